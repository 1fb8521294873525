"""The webhook door: what it takes, what it refuses, and how."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest

from responder.errors import TransientError
from responder.model import Decoded, Status
from responder.web import door as door_module
from tests.given import body, entry
from tests.web.given import Web, hang_up, read_reply, web


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Web]:
    async with web(tmp_path) as given:
        yield given


async def stored(given: Web) -> list[bytes]:
    return [raw for (raw,) in given.at.sql("SELECT body FROM inbox ORDER BY seq")]


async def test_a_webhook_is_on_disk_when_it_is_answered_and_is_not_read_yet(at: Web) -> None:
    raw = body(entry())
    reply = await at.post(raw)
    assert (reply.status, reply.json) == (202, {"status": "accepted"})
    assert reply.headers["content-type"].startswith("application/json")
    assert await stored(at) == [raw]
    assert await at.at.all_incidents() == []
    assert at.counted("accepted") == 1


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff" * 100, b"[]", b'{"alerts": 1}'], ids=repr)
async def test_content_is_never_refused(at: Web, raw: bytes) -> None:
    assert (await at.post(raw)).status == 202
    assert await stored(at) == [raw]


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
async def test_the_content_type_does_not_matter(at: Web, kind: str) -> None:
    assert (await at.post(body(entry()), headers={"Content-Type": kind})).status == 202


async def test_nothing_is_answered_before_the_commit(at: Web) -> None:
    hold = threading.Event()
    held = at.at.store._writer.submit(lambda _: hold.wait(5))
    task = asyncio.ensure_future(at.post(body(entry())))
    await asyncio.sleep(0.15)
    assert not task.done()
    hold.set()
    await held
    assert (await task).status == 202


# --- who, what, where ---


async def test_an_unknown_receiver_is_404_and_names_the_known(at: Web) -> None:
    reply = await at.ask("POST", "/webhooks/nagios", b"{}")
    assert reply.status == 404
    assert b"alertmanager" in reply.body


@pytest.mark.parametrize(
    "path", ["/", "/webhooks", "/webhooks/", "/webhooks/alertmanager/", "/webhooks/../metrics", "/x"]
)
async def test_other_paths_are_404_and_never_a_redirect(at: Web, path: str) -> None:
    assert (await at.ask("POST", path, b"{}")).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_any_other_method_is_405(at: Web, method: str) -> None:
    reply = await at.ask(method, "/webhooks/alertmanager")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert at.counted("method") == 1


async def test_nobody_can_post_what_only_we_say(at: Web) -> None:
    assert (await at.ask("POST", "/webhooks/responder", b'{"alerts": []}')).status == 401
    assert await stored(at) == []


async def test_a_wrong_token_is_refused_by_the_headers_alone(tmp_path: Path) -> None:
    async with web(tmp_path, token="right") as at:
        assert (await at.post(b"", headers={"Authorization": "Bearer wrong"}, length=5000)).status == 401
        bare = await at.post(b"{}")
        assert (bare.status, bare.headers["www-authenticate"]) == (401, 'Bearer, Basic realm="responder"')
        assert (await at.post(b"", headers={"Authorization": "Bearer wrong"}, length=1 << 40)).status == 401
        assert (await at.post(b"{}", headers={"Authorization": "Bearer right"})).status == 202
        assert at.counted("unauthorized") == 3
        assert await at.at.all_incidents() == []


async def test_while_stopping_the_sender_is_told_to_come_again(at: Web) -> None:
    at.door.closing = True
    reply = await at.post(body(entry()))
    assert (reply.status, "retry-after" in reply.headers) == (503, True)
    assert at.counted("closing") == 1


# --- sizes ---


async def oversized(given: Web) -> int:
    await given.at.settle()
    found = await given.at.all_incidents()
    assert all("sends bodies over" in each.title for each in found)
    return len(found)


async def test_too_large_by_its_own_word_is_413_and_one_incident(tmp_path: Path) -> None:
    async with web(tmp_path, max_bytes=1000) as at:
        for _ in range(3):
            reply = await at.post(b"", length=1001)
            assert reply.status == 413
        assert await oversized(at) == 1
        assert at.at.sql("SELECT count(*) FROM inbox") == [(1,)]
        assert at.counted("too_large") == 3
        assert (await at.post(b"x" * 1000)).status == 202


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"


CHUNKED = b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_chunked_body_is_taken(at: Web) -> None:
    reply = await at.raw(CHUNKED + chunked(b'{"a', b'lerts": []}'))
    assert reply is not None
    assert reply.status == 202
    assert await stored(at) == [b'{"alerts": []}']


async def test_a_chunked_body_over_the_cap_is_413_and_one_incident(tmp_path: Path) -> None:
    async with web(tmp_path, max_bytes=1000) as at:
        for _ in range(2):
            reply = await at.raw(CHUNKED + chunked(*[b"x" * 100] * 11))
            assert reply is not None
            assert reply.status == 413
        assert await oversized(at) == 1
        reply = await at.raw(CHUNKED + chunked(*[b"x" * 100] * 10))
        assert reply is not None
        assert reply.status == 202


async def test_a_chunked_body_without_end_is_cut_off_at_the_cap(tmp_path: Path) -> None:
    async with web(tmp_path, max_bytes=1000) as at:
        reader, writer = await at.connect()
        writer.write(CHUNKED)
        for _ in range(20):
            writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
        reply = await asyncio.wait_for(read_reply(reader), 5)
        assert reply is not None
        assert reply.status == 413
        await hang_up(writer)


def packing(coding: str, raw: bytes) -> bytes:
    return gzip.compress(raw) if coding == "gzip" else zlib.compress(raw)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_small_body_that_unpacks_to_too_much_is_413(tmp_path: Path, coding: str) -> None:
    async with web(tmp_path, max_bytes=100_000) as at:
        packed = packing(coding, b"x" * 3_000_000)
        assert len(packed) < 10_000
        assert (await at.post(packed, headers={"Content-Encoding": coding})).status == 413
        fine = packing(coding, b'{"alerts": []}')
        assert (await at.post(fine, headers={"Content-Encoding": coding})).status == 202
        assert (await stored(at))[-1] == b'{"alerts": []}'


async def in_flight(at: Web, size_bytes: int) -> None:
    """Wait until the door has taken in, or given back, what is on its way."""
    async with asyncio.timeout(5):
        while at.door._in_flight != size_bytes:
            await asyncio.sleep(0.005)


async def test_too_many_bytes_in_flight_are_503_and_given_back_when_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "MAX_IN_FLIGHT", 10_000)
    async with web(tmp_path) as at:
        reader, writer = await at.connect()
        writer.write(b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\n\r\n" + b"x" * 10)
        await in_flight(at, 6000)
        reply = await at.post(b"y" * 5000)
        assert (reply.status, "retry-after" in reply.headers) == (503, True)
        assert (await at.post(b"y" * 3000)).status == 202
        writer.write(b"x" * 5990)
        first = await asyncio.wait_for(read_reply(reader), 5)
        assert first is not None
        assert first.status == 202
        assert (await at.post(b"y" * 9000)).status == 202
        assert at.counted("overload") == 1
        await hang_up(writer)


async def test_a_client_that_goes_gives_its_bytes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "MAX_IN_FLIGHT", 10_000)
    async with web(tmp_path) as at:
        for _ in range(3):
            _, writer = await at.connect()
            writer.write(b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nx")
            await in_flight(at, 9000)
            await hang_up(writer)
            await in_flight(at, 0)
        assert (await at.post(b"y" * 9000)).status == 202
        assert await stored(at) == [b"y" * 9000]


async def test_a_body_that_does_not_come_is_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "DEADLINE_S", 0.15)
    async with web(tmp_path) as at:
        assert (await at.post(b"only so much", length=100)).status == 408
        assert at.counted("timeout") == 1
        assert await stored(at) == []


# --- the store ---


async def test_a_store_that_cannot_commit_is_503_with_retry_after(at: Web) -> None:
    await at.at.store._writer.submit(
        lambda connection: connection.execute(
            "CREATE TRIGGER planted BEFORE INSERT ON inbox BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
    )
    reply = await at.post(body(entry()))
    assert (reply.status, "retry-after" in reply.headers) == (503, True)
    assert at.counted("store") == 1
    assert await stored(at) == []


async def test_a_repeated_webhook_id_is_2xx_and_one_row(at: Web) -> None:
    for _ in range(3):
        assert (await at.post(body(entry()), headers={"X-Webhook-Id": "abc"})).status == 202
    assert len(await stored(at)) == 1
    assert (at.counted("accepted"), at.counted("duplicate")) == (1, 2)


@pytest.mark.parametrize("value", ["\xff\xfe", "x" * 4000, "'; DROP TABLE inbox", "ü"], ids=ascii)
async def test_an_odd_webhook_id_is_taken_and_stops_nobody(at: Web, value: str) -> None:
    assert (await at.post(b"one", headers={"X-Webhook-Id": value})).status == 202
    assert (await at.post(b"two")).status == 202
    assert await stored(at) == [b"one", b"two"]


# --- framing ---

POST = b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\n"
BROKEN: dict[str, bytes] = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a sign": POST + b"Content-Length: +4\r\n\r\nabcd",
    "a minus": POST + b"Content-Length: -4\r\n\r\nabcd",
    "hex": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "a list of lengths": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a signed chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n+4\r\nabcd\r\n0\r\n\r\n",
    "a folded header": POST + b"X-A: b\r\n  c\r\nContent-Length: 2\r\n\r\n{}",
    "a nul in a header": POST + b"X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "a header of 1 MB": POST + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_framing_is_4xx_or_cut_and_never_stored(at: Web, raw: bytes) -> None:
    reply = await at.raw(raw)
    assert reply is None or 400 <= reply.status < 500
    assert await stored(at) == []
    assert (await at.post(b"{}")).status == 202


async def test_who_asks_first_is_told_to_go_on(at: Web) -> None:
    reader, writer = await at.connect()
    writer.write(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    first = await asyncio.wait_for(read_reply(reader), 5)
    assert first is not None
    assert first.status == 100
    writer.write(b"{}")
    second = await asyncio.wait_for(read_reply(reader), 5)
    assert second is not None
    assert second.status == 202
    await hang_up(writer)


async def test_requests_one_after_the_other_on_one_connection_are_each_answered(at: Web) -> None:
    reader, writer = await at.connect()
    writer.write(b"".join(POST + b"Content-Length: 1\r\n\r\n%d" % n for n in range(10)))
    replies = [await asyncio.wait_for(read_reply(reader), 5) for _ in range(10)]
    assert [reply.status for reply in replies if reply] == [202] * 10
    assert await stored(at) == [b"%d" % n for n in range(10)]
    await hang_up(writer)


async def test_many_at_once_are_all_stored(at: Web) -> None:
    replies = await asyncio.gather(*(at.post(b"%d" % n) for n in range(100)))
    assert {reply.status for reply in replies} == {202}
    assert sorted(await stored(at)) == sorted(b"%d" % n for n in range(100))


async def test_a_body_that_is_not_packed_as_it_says_is_4xx_and_never_5xx(at: Web) -> None:
    reply = await at.raw(POST + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!")
    assert reply is None or 400 <= reply.status < 500
    assert await stored(at) == []
    assert (await at.post(b"{}")).status == 202


# --- receivers that sign ---


class Signed:
    """A receiver with a signature: `good` is one, `later` cannot be judged now."""

    name = "signed"
    max_bytes = 1 << 20
    guarded = True
    alarms = True
    methods = ("POST", "PUT")
    id_header = "X-Delivery"

    def __init__(self, unready: str = "") -> None:
        self.unready = unready

    def authorize(self, headers: Mapping[str, str]) -> bool:
        return True

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        if headers.get("X-Signature") == "later":
            raise TransientError("the key cannot be fetched")
        return headers.get("X-Signature") == "good"

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        return Decoded(())


@asynccontextmanager
async def signed(folder: Path, receiver: Signed | None = None) -> AsyncIterator[Web]:
    async with web(folder, more={"signed": receiver or Signed()}) as at:
        yield at


async def sign(at: Web, signature: str, *, method: str = "POST", delivery: str = "") -> int:
    headers = {"X-Signature": signature, "X-Delivery": delivery}
    return (await at.ask(method, "/webhooks/signed", b"{}", headers=headers)).status


async def test_a_receiver_without_its_own_secret_is_503(tmp_path: Path) -> None:
    async with signed(tmp_path, Signed("its secret is not set")) as at:
        reply = await at.ask("POST", "/webhooks/signed", b"{}", headers={"X-Signature": "good"})
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert b"its secret is not set" in reply.body
        assert at.counted("unready", "signed") == 1


async def test_a_signature_that_cannot_be_judged_now_is_503(tmp_path: Path) -> None:
    async with signed(tmp_path) as at:
        assert await sign(at, "later") == 503


async def test_a_receiver_says_which_methods_it_is_sent_by(tmp_path: Path) -> None:
    async with signed(tmp_path) as at:
        assert [await sign(at, "good", method=method) for method in ("POST", "PUT", "GET")] == [202, 202, 405]


async def test_the_first_wrong_signature_pages_and_a_good_one_ends_it(tmp_path: Path) -> None:
    async with signed(tmp_path) as at:
        assert [await sign(at, "wrong") for _ in range(3)] == [403] * 3
        await at.at.settle()
        [incident] = await at.at.all_incidents()
        assert (incident.title, incident.firing) == (
            "signed's webhooks are refused: secret or signature is wrong; its alerts do not arrive",
            1,
        )
        assert await sign(at, "good") == 202
        await at.at.settle()
        [incident] = await at.at.all_incidents()
        assert (incident.status, incident.firing) == (Status.MONITORING, 0)
        at.at.clock.turn(5)
        assert await sign(at, "wrong") == 403
        await at.at.settle()
        [incident] = await at.at.all_incidents()
        assert incident.firing == 1, "the next refusal pages again"


async def test_only_a_genuine_delivery_is_remembered(tmp_path: Path) -> None:
    async with signed(tmp_path) as at:
        assert await sign(at, "wrong", delivery="d1") == 403
        assert [await sign(at, "good", delivery="d1") for _ in range(2)] == [202, 202]
        assert (at.counted("accepted", "signed"), at.counted("duplicate", "signed")) == (1, 1)
        assert await sign(at, "wrong", delivery="d1") == 403
