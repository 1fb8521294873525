"""Every error that crosses a module's border; the class says whether the same call may work later."""


class ResponderError(Exception):
    """Root of all errors raised on purpose; its message says what, where and which value."""

    reason = "error"


class TransientError(ResponderError):
    """The same call may work later: a timeout, 429, 5xx. The retry step tries again.

    `retry_after_s` is the other side's own wish in seconds, None when it named none.
    """

    reason = "transient"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """Keep the message and the wait that the other side asked for."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(ResponderError):
    """The same call fails again: a bad token, an unknown channel. A person must act.

    `code` is the other side's own word for it (`channel_not_found`), "" when it has none.
    """

    reason = "permanent"

    def __init__(self, message: str, *, code: str = "") -> None:
        """Keep the message and the other side's word."""
        super().__init__(message)
        self.code = code


class PayloadError(ResponderError):
    """A body that cannot be read as what its receiver expects; the message names the key."""

    reason = "payload"


class FileError(ResponderError):
    """A user's file is wrong: `path`, `line` (1-based, 0 when unknown) and the reason with its remedy."""

    reason = "file"

    def __init__(self, path: str, line: int, message: str) -> None:
        """Say where and why in one line, as compilers do; a name that is not UTF-8 must not keep it from being told."""
        path, message = (text.encode("utf-8", "replace").decode() for text in (path, message))
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path, self.line, self.message = path, line, message


class Misuse(ResponderError):
    """A command is asked for what it cannot do; the message says how to ask. Exit code 2."""

    reason = "misuse"


class ConfigError(ResponderError):
    """The configuration cannot be used; the message names the key and the value."""

    reason = "config"


class StoreError(ResponderError):
    """The store could not commit. Nothing of the transaction is written; the sender should try again."""

    reason = "store"


class Conflict(StoreError):
    """A row changed between the read and the write; read again and recompute."""

    reason = "conflict"


class Rejected(StoreError):
    """The store refuses what is to be written, and would again: nothing of it is there, its neighbours stand."""

    reason = "rejected"


class Fenced(Conflict):
    """A run is over or in other hands; whoever still works on it stops, and writes nothing."""

    reason = "fenced"


class SchemaTooNew(StoreError):
    """The database was written by a newer version; it is left untouched."""

    reason = "schema"
