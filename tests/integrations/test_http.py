"""The probe: goes only where the operator said, by the address that was checked, and tells what it met."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from responder.integrations.http import Probe, Settings, open_http
from responder.ports import Surroundings
from responder.turns import ToolResult

LOOPBACK = ("127.0.0.0/8", "::1")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class StillClock:
    """A clock that stands."""

    def now(self) -> datetime:
        """Noon."""
        return datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        """Nothing passes."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """At once."""


class NoIds:
    """Nothing here is random."""

    def token(self) -> str:
        """One word."""
        return "t"

    def fraction(self) -> float:
        """One number."""
        return 0.0


class Listener:
    """A server that counts connections and says the same to all."""

    def __init__(self, answer: bytes, hang: bool) -> None:
        """Keep what to say."""
        self.answer, self.hang, self.connections, self.port = answer, hang, 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say it and close."""
        self.connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            while self.hang:
                await reader.read(1)
                if reader.at_eof():
                    break
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(
    answer: bytes = ANSWER, *, hang: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listener]:
    """A listener on loopback."""
    listener = Listener(answer, hang)
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=tls)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


@asynccontextmanager
async def probing(*hosts: str, private: tuple[str, ...] = LOOPBACK, **more: Any) -> AsyncIterator[Probe]:
    """The tool, opened."""
    around = Surroundings(StillClock(), NoIds())
    async with open_http(Settings(hosts=hosts, allow_private=private, **more), around) as (tool,):
        assert isinstance(tool, Probe)
        yield tool


async def ask(
    port: int, *, scheme: str = "http", host: str = "localhost", private: tuple[str, ...] = LOOPBACK,
    expect_status: int | None = None, **more: Any,
) -> ToolResult:  # fmt: skip
    """Probe a listener by a name that is listed."""
    expected = {} if expect_status is None else {"expect_status": expect_status}
    async with probing(f"{host}:{port}", private=private, **more) as probe:
        return await probe.call({"url": f"{scheme}://{host}:{port}/health", **expected})


async def test_it_tells_status_latency_and_the_beginning_of_the_body() -> None:
    async with listening() as listener:
        result = await ask(listener.port)
    assert (result.outcome, result.value) == ("ok", 200.0)
    assert "HTTP 200 OK" in result.text
    assert result.text.endswith("hello")


async def test_what_was_expected_is_compared() -> None:
    async with listening(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as listener:
        result = await ask(listener.port, expect_status=200)
    assert result.value == 503.0
    assert "expected 200: NO" in result.text


async def test_a_redirect_is_shown_and_not_followed() -> None:
    async with listening() as inner:
        answer = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inner.port}/\r\nContent-Length: 0\r\n\r\n"
        async with listening(answer.encode()) as outer:
            result = await ask(outer.port)
    assert f"redirects to http://127.0.0.1:{inner.port}/ (not followed)" in result.text
    assert (result.value, inner.connections) == (302.0, 0)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://LOCALHOST.:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://0:{port}/",
        "http://0.0.0.0:{port}/",
        "http://[::1]:{port}/",
        "http://[::]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://[2002:7f00:1::]:{port}/",
        "http://127.0.0.1.nip.io:{port}/",
        "http://api.example.com@127.0.0.1:{port}/",
        "http://api.example.com:x@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#api.example.com",
        "http://127.0.0.1:{port}\\@api.example.com/",
        "http://api.example.com\\@127.0.0.1:{port}/",
        "http://api.example.com%2f@127.0.0.1:{port}/",
        "http://api.example.com\r\nHost: 127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\t/",
        "http://①②⑦.0.0.1:{port}/",
        "http://ⓛocalhost:{port}/",
        "HTTP://127.0.0.1:{port}",
        "//127.0.0.1:{port}/",
        "///127.0.0.1:{port}/",
        "127.0.0.1:{port}",
        "gopher://127.0.0.1:{port}/_x",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "unix:///var/run/docker.sock",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://metadata.google.internal/",
        "javascript:alert(1)",
        "http://",
        "http://[",
        "http://api.example.com:99999/",
        "",
        "http://api.example.com:{port}/",
        "https://api.example.com.evil.test/",
    ],
)
async def test_an_address_that_is_not_listed_is_never_connected_to(url: str) -> None:
    async with listening() as listener, probing("api.example.com") as probe:
        result = await probe.call({"url": url.replace("{port}", str(listener.port))})
    assert (result.outcome, listener.connections) == ("refused", 0)


async def test_a_listed_name_with_a_private_address_is_refused() -> None:
    async with listening() as listener:
        result = await ask(listener.port, private=())
    assert (result.outcome, listener.connections) == ("refused", 0)
    assert "not public" in result.text


async def test_a_listed_number_is_checked_as_a_name_is() -> None:
    async with listening() as listener:
        results = [await ask(listener.port, host=host, private=()) for host in ("127.0.0.1", "[::1]")]
    assert [result.outcome for result in results] == ["refused"] * 2
    assert listener.connections == 0


async def test_the_name_is_resolved_once_and_the_checked_address_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def changing(host: object, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(2, 1, 6, "", (address, port))]

    async with listening() as listener, probing(f"rebind.test:{listener.port}") as probe:
        monkeypatch.setattr("responder.integrations.http.socket.getaddrinfo", changing)
        result = await probe.call({"url": f"http://rebind.test:{listener.port}/"})
    assert (result.value, listener.connections, asked) == (200.0, 1, ["rebind.test"])


async def test_one_bad_address_among_good_ones_refuses_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", ("127.0.0.1", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    async with probing("mixed.test") as probe:
        monkeypatch.setattr("responder.integrations.http.socket.getaddrinfo", lambda *_, **__: found)
        assert (await probe.call({"url": "http://mixed.test/"})).outcome == "refused"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.1.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:10.1.2.3", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a01:203", False),
        ("64:ff9b::5db8:d822", False),
        ("2002:a01:203::1", False),
        ("::10.1.2.3", False),
        ("192.168.7.8", True),
        ("::ffff:192.168.7.8", True),
        ("192.168.8.8", False),
        ("169.254.169.254", False),
    ],
)
async def test_only_public_and_listed_networks_are_allowed(address: str, allowed: bool) -> None:
    async with probing("x.test", private=("192.168.7.0/24",)) as probe:
        assert probe.allows(ip_address(address)) is allowed


async def test_metadata_is_refused_even_where_everything_is_allowed() -> None:
    async with probing("x.test", private=("0.0.0.0/0", "::/0")) as probe:
        assert not probe.allows(ip_address("169.254.169.254"))
        assert not probe.allows(ip_address("::ffff:169.254.169.254"))


def test_a_network_that_is_none_stops_the_start() -> None:
    with pytest.raises(ValidationError):
        Settings(allow_private=("everything",))


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 xyz\r\n\r\n"],
    ids=["nothing", "garbage", "cut", "no status"],
)
async def test_a_broken_answer_is_a_finding_not_a_failure(answer: bytes) -> None:
    async with listening(answer) as listener:
        result = await ask(listener.port)
    assert (result.outcome, result.value) == ("ok", 0.0)
    assert result.text.startswith("no answer")


async def test_a_hang_ends_in_time() -> None:
    async with listening(hang=True) as listener:
        result = await ask(listener.port, timeout_s=0.1)
    assert (result.value, result.text) == (0.0, "no answer within 0.1 s")


async def test_nobody_listening_is_a_finding() -> None:
    async with listening() as listener:
        port = listener.port
    result = await ask(port)
    assert (result.outcome, result.value) == ("ok", 0.0)


async def test_an_endless_body_is_read_in_part() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 300_000) as listener:
        result = await ask(listener.port)
    assert result.value == 200.0
    assert "65536 bytes or more" in result.text
    assert len(result.text) < 600


async def test_control_characters_of_the_answer_are_shown_as_such() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n\x1b[2J\xff\x00x") as listener:
        assert "\x1b" not in (await ask(listener.port)).text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
    ]
    made += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return key, cert


def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """The server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    return context


async def test_the_days_left_of_a_certificate_are_told(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting: Callable[..., ssl.SSLContext] = ssl.create_default_context
    monkeypatch.setattr(
        "responder.integrations.http.ssl.create_default_context", lambda: trusting(cafile=str(certificate[1]))
    )
    async with listening(tls=server_tls(certificate)) as listener:
        result = await ask(listener.port, scheme="https")
    assert result.value == 200.0
    assert "certificate valid for" in result.text


async def test_a_certificate_that_nobody_trusts_is_a_finding(certificate: tuple[Path, Path]) -> None:
    async with listening(tls=server_tls(certificate)) as listener:
        result = await ask(listener.port, scheme="https")
    assert (result.outcome, result.value) == ("ok", 0.0)
    assert "TLS fails" in result.text
