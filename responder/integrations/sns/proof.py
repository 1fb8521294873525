"""Who sent a message: its envelope, what of it is signed, and the certificates that it is checked with."""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509.oid import NameOID
from yarl import URL

from responder.bodies import read_json, word
from responder.errors import TransientError
from responder.ports import Clock

MAX_FETCHED_BYTES = 64 << 10
FETCH_S = 3.0
KEPT_S = 24 * 3600.0  # a certificate
REFUSED_S = 60.0  # an address that gave none
MAX_KNOWN = 32
FETCHES = 20  # a minute: strangers may name as many addresses as they like
HOST = re.compile(r"sns\.[a-z]{2}(-[a-z]+){1,3}-\d{1,2}\.amazonaws\.com(\.cn)?")
SIGNER = re.compile(r"sns([.-][a-z]{2}(-[a-z]+){1,3}-\d{1,2})?\.amazonaws\.com(\.cn)?")
CERTIFICATE = re.compile(r"/[A-Za-z0-9_-]{1,100}\.pem")
SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
HASHES = {"1": SHA1, "2": SHA256}
log = structlog.stdlib.get_logger("sns")

Json = Mapping[str, Any]
Fetch = Callable[[URL], Awaitable[tuple[int, bytes]]]  # raises TransientError


def is_envelope(found: object) -> bool:
    """Whether it is what SNS wraps a message in."""
    return isinstance(found, dict) and word(found.get("Type")) in SIGNED and "TopicArn" in found


def read_envelope(body: bytes) -> Json | None:
    """Read a body as an envelope; None for anything else."""
    try:
        found = read_json(body)
    except (ValueError, RecursionError):
        return None
    return found if is_envelope(found) else None


def signed_text(envelope: Json) -> bytes:
    """Give what SNS has signed: name and value of each key that is there, in this order, a line each."""
    names = SIGNED[envelope["Type"]]
    there = [(name, envelope[name]) for name in names if isinstance(envelope.get(name), str)]
    return "".join(f"{name}\n{value}\n" for name, value in there).encode("utf-8", "surrogatepass")


def at_sns(value: object) -> URL | None:
    """Read an address on SNS's own host, by https and nothing unusual; None for any other."""
    try:
        url = URL(word(value))
    except ValueError:
        return None
    usual = url.scheme == "https" and url.explicit_port is None and not url.raw_user and url.raw_password is None
    return url if usual and not url.raw_fragment and HOST.fullmatch(url.raw_host or "") else None


class Certificates:
    """The keys that SNS signs with, by address; asks for each once a day at most, and for few in a minute."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        """Begin with none."""
        self._fetch, self._clock = fetch, clock
        self._known: dict[URL, tuple[float, RSAPublicKey | None]] = {}
        self._asked: list[float] = []
        self._asking: dict[URL, asyncio.Task[RSAPublicKey | None]] = {}

    async def key(self, url: URL) -> RSAPublicKey | None:
        """Give the key, or None where there is none to be trusted. Raises: TransientError: it cannot be asked now."""
        until, key = self._known.get(url, (0.0, None))
        if url in self._known and until >= self._clock.monotonic():
            return key
        if url not in self._asking:  # who asks for the same one meanwhile waits for the same answer
            self._asking[url] = asyncio.create_task(self._ask(url), name="certificate")
            self._asking[url].add_done_callback(lambda asked: self._answered(url, asked))
        return await asyncio.shield(self._asking[url])

    def _answered(self, url: URL, asked: asyncio.Task[RSAPublicKey | None]) -> None:
        del self._asking[url]
        if not asked.cancelled():
            asked.exception()  # whoever waited has it

    async def _ask(self, url: URL) -> RSAPublicKey | None:
        now = self._clock.monotonic()
        self._asked = [at for at in self._asked if at > now - 60]
        if len(self._asked) >= FETCHES:
            raise TransientError("sns: too many certificates asked for within a minute")
        self._asked.append(now)
        status, pem = await self._fetch(url)
        if status >= 500:  # noqa: PLR2004
            raise TransientError(f"sns: {url.host} answers {status}")
        key, lasts_s = self._trusted(pem) if status == 200 else (None, 0.0)  # noqa: PLR2004
        while len(self._known) >= MAX_KNOWN:  # a stranger's address makes room first
            oldest = next(iter(self._known))
            self._known.pop(next((each for each, (_, found) in self._known.items() if found is None), oldest))
        self._known[url] = (now + (min(KEPT_S, lasts_s) if key else REFUSED_S), key)
        return key

    def _trusted(self, pem: bytes) -> tuple[RSAPublicKey | None, float]:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key, names = certificate.public_key(), _names(certificate)
        except ValueError:
            return None, 0.0
        left: timedelta = certificate.not_valid_after_utc - self._clock.now()
        begun = certificate.not_valid_before_utc <= self._clock.now()
        if not begun or left < timedelta() or not any(SIGNER.fullmatch(name) for name in names):
            log.error("certificate refused", names=names[:5], until=str(certificate.not_valid_after_utc))
            return None, 0.0
        return (key if isinstance(key, RSAPublicKey) else None), left.total_seconds()


def _names(certificate: x509.Certificate) -> list[str]:
    names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        more = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return names
    return names + more.value.get_values_for_type(x509.DNSName)


class Web:
    """Asks one address: no redirect, no cookie, little time, little to read."""

    def __init__(self, http: ClientSession, proxy: str | None, timeout_s: float = FETCH_S) -> None:
        """Keep the session."""
        self._http, self._proxy, self._timeout_s = http, proxy, timeout_s

    async def __call__(self, url: URL) -> tuple[int, bytes]:
        """Give status and body. Raises: TransientError: no answer, or too large a one."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.get(url, allow_redirects=False, proxy=self._proxy) as answer,
            ):
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MAX_FETCHED_BYTES:
                        raise TransientError(f"sns: {url.host} answers with more than {MAX_FETCHED_BYTES} bytes")
                return answer.status, bytes(body)
        except (TimeoutError, ClientError, OSError) as error:
            raise TransientError(f"sns: {url.host} cannot be asked: {type(error).__name__}") from error


async def genuine(envelope: Json, certificates: Certificates) -> bool:
    """Whether SNS has signed it. Raises: TransientError: the certificate cannot be asked for now."""
    url = at_sns(envelope.get("SigningCertURL"))
    hashed = HASHES.get(word(envelope.get("SignatureVersion")))
    if url is None or not CERTIFICATE.fullmatch(url.raw_path) or url.query_string or hashed is None:
        return False
    key = await certificates.key(url)
    if key is None:
        return False
    try:
        signature = b64decode(word(envelope.get("Signature")), validate=True)
        key.verify(signature, signed_text(envelope), PKCS1v15(), hashed())
    except (InvalidSignature, NotBase64, ValueError):
        return False
    return True
