"""A receiver whose bodies are read by a mapping, and whose sender shows a token: it has no signature of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from responder.credentials import Tokens, TokenSettings
from responder.mapping import Mapper
from responder.model import Decoded

MAX_BYTES = 8 << 20


class MappedSettings(TokenSettings):
    """The token; `id_header`: a header that a retry of the same delivery repeats, if the sender has one."""

    id_header: str = Field(default="X-Webhook-Id", pattern=r"^[A-Za-z0-9-]+$")


class Mapped:
    """One such receiver."""

    max_bytes = MAX_BYTES
    unready = ""
    alarms = False  # anybody may knock without a token
    methods = ("POST", "PUT")

    def __init__(self, settings: MappedSettings, name: str, mapper: Mapper) -> None:
        """Keep the token and the mapping."""
        self.name, self.id_header = name, settings.id_header
        self._tokens, self._mapper = Tokens(settings), mapper

    @property
    def guarded(self) -> bool:
        """Whether a token is set."""
        return bool(self._tokens)

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Compare the token."""
        return self._tokens.match(headers)

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """There is no signature."""
        return True

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Read the body by the mapping."""
        return self._mapper.decode(body, received_at)
