"""The configuration, read once: `responder.yaml`, with `${NAME}` from the environment and `file:PATH` from files.

This is the only module that reads the environment. Settings hold values, never clients.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from responder.errors import ConfigError, FileError
from responder.files import Located, line_of, read_yaml

DEFAULT_PATH = Path("responder.yaml")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
MAX_PORT = 65535
MAY = ("read", "ack", "resolve", "approve", "reload")


class Token(BaseModel, frozen=True, extra="forbid"):
    """A person's key to the API, and what it opens."""

    person: str
    token: SecretStr
    may: tuple[str, ...] = ("read",)

    @field_validator("token")
    @classmethod
    def _not_empty(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():  # a header that is missing would be equal to it
            raise ValueError("the token is empty")
        return value

    @field_validator("may")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if word not in MAY:
                raise ValueError(f"{word!r} is not one of {', '.join(MAY)}")
        return value


class Api(BaseModel, frozen=True, extra="forbid"):
    """Who may use the API. Without tokens it answers on loopback only, and does not approve, resolve or reload."""

    tokens: tuple[Token, ...] = ()


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Read once, in `__main__`; passed down as values, never looked up.

    `receivers`, `chat`, `tools` and `llm` are read by the integrations that they name.
    """

    listen: str = "127.0.0.1:8080"
    base_url: str = ""  # where people reach us, for links
    store: str = "sqlite:responder.db"
    rules: tuple[Path, ...] = ()
    runbooks: tuple[Path, ...] = ()
    receivers: Mapping[str, Mapping[str, Any]] = Field(default_factory=lambda: {"alertmanager": {}})
    chat: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    llm: Mapping[str, Any] = Field(default_factory=dict)
    tools: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    api: Api = Api()
    drain_s: float = 20.0  # how long work may finish after SIGTERM
    keep_bodies_s: float = 86400.0  # how long a moved body is kept
    watch_s: float = Field(2.0, ge=0)  # between two looks at the files of rules and runbooks; 0 = SIGHUP and HTTP alone
    log_level: str = "info"

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        port = value.rpartition(":")[2]
        if ":" not in value or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
            raise ValueError(f"{value!r} is not HOST:PORT")
        return value

    @field_validator("receivers", "chat", "tools", mode="before")
    @classmethod
    def _empty_is_default(cls, value: object) -> object:
        """`slack:` with nothing behind it means its defaults."""
        if isinstance(value, Mapping):
            return {name: {} if each is None else each for name, each in value.items()}
        return value

    @field_validator("rules", "runbooks", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @property
    def host(self) -> str:
        """The host part of `listen`."""
        return self.listen.rpartition(":")[0].strip("[]") or "0.0.0.0"

    @property
    def port(self) -> int:
        """The port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach us."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def sqlite_path(self) -> Path:
        """The database file. Raises: ConfigError: another kind of store."""
        if not self.store.startswith("sqlite:"):
            raise ConfigError(f"store: {self.store.partition(':')[0]!r} is not supported yet; use sqlite:PATH")
        return Path(self.store.removeprefix("sqlite:").removeprefix("//") or "responder.db")


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration; without a path `./responder.yaml` where there is one, else all defaults.

    Relative paths of rules, runbooks and the store are taken from the file's folder.

    Raises: ConfigError, FileError: with file, line and key.
    """
    environment = os.environ if environment is None else environment
    if path is None and DEFAULT_PATH.exists():
        path = DEFAULT_PATH
    if path is None:
        return Settings()
    found = read_yaml(path)
    if found is None:
        return Settings()
    if not isinstance(found, Mapping):
        raise FileError(str(path), 1, "the file must be a mapping of keys")
    try:
        settings = Settings.model_validate(_fill(path, found, environment))
    except ValidationError as error:
        raise _located(path, found, error) from error
    return _anchored(settings, path.parent)


def _anchored(settings: Settings, folder: Path) -> Settings:
    store = settings.store
    if store.startswith("sqlite:") and not settings.sqlite_path.is_absolute():
        store = f"sqlite:{folder / settings.sqlite_path}"
    return settings.model_copy(
        update={
            "rules": tuple(folder / each for each in settings.rules),
            "runbooks": tuple(folder / each for each in settings.runbooks),
            "store": store,
        }
    )


def _fill(path: Path, value: Any, environment: Mapping[str, str], line: int = 0) -> Any:
    """Put environment variables and secret files in place of their names."""
    if isinstance(value, Mapping):
        return {key: _fill(path, each, environment, line_of(value, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(path, each, environment, line) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith("file:"):
        try:
            return Path(value.removeprefix("file:")).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(str(path), line, f"secret {value!r} cannot be read: {error}") from error

    def variable(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise FileError(str(path), line, f"environment variable {name} is not set")
        return environment[name]

    return _VARIABLE.sub(variable, value)


def _located(path: Path, found: Any, error: ValidationError) -> FileError:
    """Name the line of the first thing that is wrong."""
    first = error.errors()[0]
    line, here = line_of(found), found
    for step in first["loc"]:
        if isinstance(here, Located) and isinstance(step, str):
            line = line_of(here, step) or line
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
            line = line_of(here) or line
    key = ".".join(str(step) for step in first["loc"])
    reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
    return FileError(str(path), line, f"{key}: {reason}")


def placed(path: Path | None, error: ConfigError) -> ConfigError | FileError:
    """Name file and line of the key that an error begins with, where it stands in the file; else give it as it is."""
    path = DEFAULT_PATH if path is None and DEFAULT_PATH.exists() else path
    key, colon, _ = str(error).partition(": ")
    if path is None or not colon:
        return error
    try:
        here, line = read_yaml(path), 0
    except FileError:
        return error
    for step in key.split("."):
        if not isinstance(here, Located) or step not in here:
            break
        line, here = line_of(here, step) or line, here.get(step)
    return FileError(str(path), line, str(error)) if line else error


def read_section(model: type[BaseModel], section: str, values: Mapping[str, Any]) -> BaseModel:
    """Read one integration's settings.

    Raises: ConfigError: naming the section, the key and what is wrong, never a secret's value.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([section, *(str(step) for step in first["loc"])])
        reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        known = f"; known: {', '.join(sorted(model.model_fields))}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{key}: {reason}{known}") from error


def secrets(settings: object) -> set[str]:
    """Find every secret value in a settings tree, for redaction."""
    found: set[str] = set()
    if isinstance(settings, SecretStr):
        found.add(settings.get_secret_value())
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            found |= secrets(getattr(settings, name))
    elif isinstance(settings, Mapping):
        for each in settings.values():
            found |= secrets(each)
    elif isinstance(settings, (list, tuple)):
        for each in settings:
            found |= secrets(each)
    return found
