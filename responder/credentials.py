"""What a sender proves itself with: a token in a header, or an HMAC over the bytes that it sent."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

USUAL = "Authorization"
BEARER, BASIC = b"bearer ", b"basic "


def _not_empty(value: SecretStr) -> SecretStr:
    """Raises: ValueError: a header that is missing would be equal to it."""
    if not value.get_secret_value().strip():
        raise ValueError("the secret is empty; set it, or remove the key")
    return value


Secret = Annotated[SecretStr, AfterValidator(_not_empty)]


class TokenSettings(BaseModel, frozen=True, extra="forbid"):
    """`token`: what the sender shows in `header`; `tokens`: more that are valid too, while one is being changed.

    In `Authorization` it comes as `Bearer TOKEN`, or as the password of `Basic`; another header may hold it bare.
    """

    token: Secret | None = None
    tokens: tuple[Secret, ...] = ()
    header: str = Field(default=USUAL, pattern=r"^[A-Za-z0-9-]+$")


class Tokens:
    """The tokens of one door, as the bytes that a header is compared with."""

    def __init__(self, settings: TokenSettings) -> None:
        """Read them from the settings of a receiver."""
        self._tokens = _plain([*settings.tokens, *([settings.token] if settings.token else [])])
        self._header = settings.header

    def __bool__(self) -> bool:
        """Whether any is set."""
        return bool(self._tokens)

    def match(self, headers: Mapping[str, str]) -> bool:
        """Compare in constant time; True when none is set."""
        if not self._tokens:
            return True
        sent = headers.get(self._header, "").encode("utf-8", "surrogateescape")
        shown = _shown(sent, bare=self._header.lower() != USUAL.lower())
        return any([hmac.compare_digest(shown, token) for token in self._tokens])


def _shown(sent: bytes, *, bare: bool) -> bytes:
    scheme = sent[:7].lower()
    if scheme == BEARER:
        return sent[7:].strip()
    if scheme.startswith(BASIC):
        try:
            return b64decode(sent[6:].strip(), validate=True).partition(b":")[2]
        except NotBase64:
            return b""
    return sent.strip() if bare else b""


class Signatures:
    """HMAC-SHA256 as hex digits; several secrets during a rotation."""

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        """Keep the secrets as bytes."""
        self._secrets = _plain(secrets)

    def __bool__(self) -> bool:
        """Whether any is set."""
        return bool(self._secrets)

    def match(self, signature: str, *signed: bytes) -> bool:
        """Compare in constant time what stands in the header with what these parts, one after the other, give."""
        shown = signature.strip().lower().encode("utf-8", "surrogateescape")
        return any([hmac.compare_digest(shown, _hmac(secret, signed)) for secret in self._secrets])


def _hmac(secret: bytes, signed: Iterable[bytes]) -> bytes:
    made = hmac.new(secret, digestmod=hashlib.sha256)
    for part in signed:
        made.update(part)
    return made.hexdigest().encode()


def _plain(secrets: Iterable[SecretStr]) -> list[bytes]:
    return [secret.get_secret_value().strip().encode() for secret in secrets]
