"""A probe: asks one listed address whether it answers. The only tool that opens a connection to a place named by text.

The host must be listed by the operator. Its name is resolved once, every address is checked, and the connection goes
to one that was checked: a name that changes its answer between check and use gains nothing. No redirect is followed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorSSLError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import AfterValidator, BaseModel, Field
from yarl import URL

from responder.ports import Clock, Plugin, Surroundings, Tool
from responder.redact import visible
from responder.turns import ToolResult, ToolSpec

MAX_URL_CHARS = 2000
MAX_READ_BYTES = 64 << 10
SHOWN_CHARS = 300
RESOLVE_S = 2.0
PORTS = {"http": 80, "https": 443}
REDIRECT = range(300, 400)
# Addresses of cloud metadata: they give out credentials, and are refused even where their network is allowed.
METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"))
)
# IPv6 that carries an IPv4 address which some gateway would connect to: NAT64, 6to4, Teredo, IPv4-compatible.
CARRIERS = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))

Address = IPv4Address | IPv6Address


def _network(text: str) -> str:
    """Raises: ValueError: not a network."""
    return str(ip_network(text, strict=False))


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Which hosts may be asked: `api.example.com` on its usual ports, `api.example.com:8443` on that one.

    `allow_private` names networks (CIDR) whose addresses a listed host may have although they are not public.
    """

    hosts: tuple[str, ...] = ()
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    allow_private: tuple[Annotated[str, AfterValidator(_network)], ...] = ()


class NotAllowed(Exception):
    """The probe does not go there; the message says why."""


class Probe:
    """The tool `http.probe`."""

    def __init__(self, settings: Settings, clock: Clock, threads: ThreadPoolExecutor) -> None:
        """Prepare the lists; names are resolved on threads of their own, never on the loop's."""
        self._settings, self._clock, self._threads = settings, clock, threads
        self._hosts = frozenset(host.strip().lower() for host in settings.hosts)
        self._networks = tuple(map(ip_network, settings.allow_private))
        listed = ", ".join(sorted(self._hosts)) or "none"
        self.spec = ToolSpec(
            "http.probe",
            f"GET one address: status, latency, certificate. Hosts allowed: {listed}. No redirect is followed.",
            {
                "type": "object",
                "properties": {
                    "url": {"type": "string", "description": "http:// or https://"},
                    "expect_status": {"type": "integer", "description": "the status that would be healthy"},
                },
                "required": ["url"],
                "additionalProperties": False,
            },
            settings.timeout_s + 1,
        )

    async def call(self, args: Mapping[str, Any]) -> ToolResult:
        """Ask once. The value is the HTTP status, 0 when nothing answered: that too is what a probe finds."""
        try:
            url = self.checked(str(args.get("url") or ""))
            async with asyncio.timeout(self._settings.timeout_s):
                addresses = await self._addresses(url)
                return await self._get(url, addresses, args.get("expect_status"))
        except NotAllowed as refusal:
            return ToolResult("refused", str(refusal))
        except TimeoutError:
            return _silent(f"no answer within {self._settings.timeout_s:g} s")
        except (ClientConnectorCertificateError, ClientConnectorSSLError) as error:
            return _silent(f"TLS fails: {_reason(error)}")
        except (ClientError, OSError, ValueError) as error:
            return _silent(f"no answer: {_reason(error)}")

    def checked(self, text: str) -> URL:
        """Give the address if it is one of a listed host.

        Raises: NotAllowed.
        """
        if (
            not text
            or len(text) > MAX_URL_CHARS
            or not text.isascii()
            or not text.isprintable()
            or set(text) & set(' \\"<>')
        ):
            raise NotAllowed("The url must be plain ASCII without spaces, quotes or backslashes.")
        try:
            url = URL(text)
            scheme, host, port = url.scheme, url.raw_host or "", url.port
        except ValueError:
            raise NotAllowed("This is not a url.") from None
        if scheme not in PORTS or not host or not port:
            raise NotAllowed("The url must begin with http:// or https:// and name a host.")
        if url.raw_user is not None or url.raw_password is not None:
            raise NotAllowed("The url must not hold a user or a password.")
        named = f"[{host}]" if ":" in host else host
        if f"{named}:{port}" not in self._hosts and not (named in self._hosts and port == PORTS[scheme]):
            raise NotAllowed(f"Host {visible(named)[:100]} on port {port} is not listed under tools.http.hosts.")
        return url.with_fragment(None)

    async def _addresses(self, url: URL) -> list[str]:
        """Resolve the host once; one address that is not allowed refuses all. Raises: NotAllowed, OSError."""
        host, port = url.raw_host or "", url.port
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_S):
            found = await loop.run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for address in addresses:
            if not self.allows(ip_address(address.partition("%")[0])):
                raise NotAllowed(f"Host {visible(host)[:100]} has the address {address}, which is not public.")
        if not addresses:
            raise OSError("the name has no address")
        return addresses

    def allows(self, address: Address) -> bool:
        """Whether a connection to this address is allowed: it is public, or its network is listed."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if address in METADATA:
            return False
        if any(address.version == network.version and address in network for network in self._networks):
            return True
        if isinstance(address, IPv6Address) and any(address in network for network in CARRIERS):
            return False
        hidden = address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified
        return address.is_global and not (hidden or address.is_multicast or address.is_reserved)

    async def _get(self, url: URL, addresses: Sequence[str], expected: object) -> ToolResult:
        loop, tls, seen = asyncio.get_running_loop(), None, list[Mapping[str, Any]]()
        if url.scheme == "https":
            tls, seen = await loop.run_in_executor(self._threads, _tls)  # reads all certificates of the system
        connector = TCPConnector(
            resolver=_Pinned(addresses), use_dns_cache=False, force_close=True, ssl=tls or True, limit=1
        )
        headers = {"User-Agent": "responder-probe", "Accept": "*/*", "Accept-Encoding": "identity"}
        async with ClientSession(
            connector=connector, headers=headers, trust_env=False, cookie_jar=DummyCookieJar(), auto_decompress=False,
            timeout=ClientTimeout(total=self._settings.timeout_s),
        ) as http:  # fmt: skip
            began = self._clock.monotonic()
            async with http.get(url, allow_redirects=False) as response:
                took_ms = (self._clock.monotonic() - began) * 1000
                body = await _begin_of(response)
            return ToolResult("ok", self._told(response, body, took_ms, seen, expected), float(response.status))

    def _told(
        self, response: ClientResponse, body: bytes, took_ms: float, seen: Sequence[Mapping[str, Any]], expected: object
    ) -> str:
        lines = [f"HTTP {response.status} {visible(response.reason or '')[:100]}".rstrip(), f"latency {took_ms:.0f} ms"]
        if isinstance(expected, int):
            lines.append(f"expected {expected}: {'yes' if response.status == expected else 'NO'}")
        if seen:
            lines.append(self._certificate(seen[-1]))
        if response.status in REDIRECT:
            where = visible(response.headers.get("Location", "nowhere"))[:SHOWN_CHARS]
            lines.append(f"redirects to {where} (not followed)")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            lines.append(f"{len(body)} bytes, packed; not shown")
        else:
            lines.append(f"{len(body)} bytes{' or more' * (len(body) >= MAX_READ_BYTES)}")
            lines.append(visible(body.decode("utf-8", "replace"))[:SHOWN_CHARS])
        return "\n".join(lines)

    def _certificate(self, certificate: Mapping[str, Any]) -> str:
        try:
            until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        except (KeyError, ValueError):
            return "certificate without an end"
        return f"certificate valid for {(until - self._clock.now()).days} more days (until {until:%Y-%m-%d})"


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, whatever it is asked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _tls() -> tuple[ssl.SSLContext, list[Mapping[str, Any]]]:
    """Give a context that verifies, and the list that the server's certificate will be put in.

    A short answer frees its connection before anybody could ask it for the certificate, so the handshake notes it.
    """
    seen: list[Mapping[str, Any]] = []

    class Noting(ssl.SSLObject):
        """Notes the certificate when the handshake is done."""

        def do_handshake(self) -> None:
            super().do_handshake()
            seen.append(self.getpeercert() or {})

    context = ssl.create_default_context()
    context.sslobject_class = Noting
    return context, seen


async def _begin_of(response: ClientResponse) -> bytes:
    """Read at most MAX_READ_BYTES; the rest is left in the wire."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= MAX_READ_BYTES:
            break
    return bytes(body[:MAX_READ_BYTES])


def _silent(text: str) -> ToolResult:
    return ToolResult("ok", text, 0.0)


def _reason(error: Exception) -> str:
    """Say an error in words that hold nothing but the system's own."""
    certificate = getattr(error, "certificate_error", None)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return visible(certificate.verify_message)[:200]
    inner = getattr(error, "os_error", error)
    said = inner.strerror if isinstance(inner, OSError) and inner.strerror else type(error).__name__
    return visible(said)[:200]


@asynccontextmanager
async def open_http(settings: Settings, around: Surroundings) -> AsyncIterator[Sequence[Tool]]:
    """Open the threads that resolve names; each probe opens and closes its own connection."""
    threads = ThreadPoolExecutor(2, thread_name_prefix="probe")
    try:
        yield [Probe(settings, around.clock, threads)]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


plugin = Plugin(Settings, tools=open_http)
