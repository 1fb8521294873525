"""Slack, spoken to through a double as strict as the real one; what is drawn is inert and within the limits."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from responder.doubles.slack import Fault, SlackDouble, live_markup
from responder.doubles.slack_checks import check_blocks
from responder.errors import PermanentError, TransientError
from responder.integrations.slack import Settings, plugin
from responder.integrations.slack.blocks import MAX_FALLBACK_CHARS, Drawn, draw, escape, mention_of, take
from responder.model import Marker, Message, Severity
from responder.ports import Chat, Surroundings

INC = "C0INC00001"
HEAD = Marker("INC-7", "head", 1)
REPLY = Marker("INC-7", "reply", 2)
MESSAGE = Message(
    "API error rate high",
    facts=(("Severity", "P1"), ("Service", "api_gateway"), ("Query", "rate(x[5m]) * 100 > 5")),
    body="What we know & what we do <not>.\nhttps://example.com/a?b=1&c=2",
    code="kubectl get pods",
    footer="rule api-degraded",
    mention="here",
    severity=Severity.P1,
)


@dataclass
class Still:
    """A clock and a source of ids that nothing here asks."""

    asked: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("an integration does not wait: the outbox does")

    def token(self) -> str:
        return "t"

    def fraction(self) -> float:
        return 0.0


def opened(base_url: str, **more: Any) -> AbstractAsyncContextManager[Chat]:
    """Open the chat as the composition root does."""
    assert plugin.chat is not None
    given_settings = plugin.settings.model_validate({"bot_token": "xoxb-test", "base_url": base_url, **more})
    still = Still()
    return plugin.chat(given_settings, Surroundings(still, still))


@pytest.fixture
async def double() -> AsyncIterator[SlackDouble]:
    """A workspace with #incidents and #general."""
    async with SlackDouble() as opened_double:
        yield opened_double


@pytest.fixture
async def slack(double: SlackDouble) -> AsyncIterator[Chat]:
    """The chat under test."""
    async with opened(double.base_url) as chat:
        yield chat


async def post(chat: Chat, message: Message = MESSAGE, marker: Marker = HEAD, **place: Any) -> tuple[str, str]:
    """Post with usual arguments."""
    where: dict[str, Any] = {"channel": "", "thread_ts": "", "broadcast": False, **place}
    return await chat.post(message, marker=marker, **where)


def since(minutes: float = 1) -> datetime:
    """A little while ago."""
    return datetime.now(UTC) - timedelta(minutes=minutes)


def texts(part: object) -> Iterator[dict[str, Any]]:
    """Every text object of some blocks."""
    if isinstance(part, list):
        for item in part:
            yield from texts(item)
    elif isinstance(part, dict):
        if part.get("type") in ("plain_text", "mrkdwn"):
            yield part
        else:
            yield from texts(list(part.values()))


def live(drawn: Drawn) -> list[str]:
    """All live markup of a drawing, its fallbacks included."""
    every = [part["text"] for part in texts(drawn.blocks)] + [drawn.text, drawn.plain]
    return [found for text in every for found in live_markup(text)]


# What it may say.


async def test_its_budget_is_what_slack_allows_unless_the_settings_say_otherwise(double: SlackDouble) -> None:
    async with opened(double.base_url) as chat, opened(double.base_url, budget={"channel_per_s": 0.5}) as slower:
        assert chat.budget is not None
        assert slower.budget is not None
        assert (chat.budget.channel_per_s, slower.budget.channel_per_s) == (1.0, 0.5)
        assert slower.budget.edits_burst == chat.budget.edits_burst
        assert chat.budget.edits_per_s * 60 + chat.budget.edits_burst <= 50  # Tier 3, in any minute


@pytest.mark.parametrize("wrong", [{"channel_per_s": 0}, {"chat_burst": 0}, {"per_channel": 1}])
def test_a_budget_that_lets_nothing_through_stops_the_start(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        plugin.settings.model_validate({"bot_token": "x", "budget": wrong})


# Posting, editing, finding.


async def test_a_head_is_posted_with_blocks_text_and_marker(slack: Chat, double: SlackDouble) -> None:
    """The whole request, as it arrives."""
    channel, ts = await post(slack)
    (message,) = double.messages("incidents")
    assert (channel, ts) == (INC, message["ts"])
    assert [block["type"] for block in message["blocks"]] == ["header", *["section"] * 4, "context"]
    assert message["blocks"][0]["text"]["text"] == MESSAGE.title
    assert message["metadata"] == {
        "event_type": "responder_post",
        "event_payload": {"incident": "INC-7", "kind": "head", "post": 1},
    }
    params = double.called("chat.postMessage")[0].params
    sent = {"channel": "#incidents", "unfurl_links": False, "unfurl_media": False, "parse": "none"}
    assert {key: params.get(key) for key in (*sent, "link_names")} == {**sent, "link_names": None}


@pytest.mark.parametrize(("broadcast", "subtype"), [(False, None), (True, "thread_broadcast")])
async def test_a_reply_goes_into_its_thread(slack: Chat, double: SlackDouble, broadcast: bool, subtype: str) -> None:
    """Shown in the channel only when asked."""
    channel, ts = await post(slack)
    await post(slack, marker=REPLY, channel=channel, thread_ts=ts, broadcast=broadcast)
    ((_, (reply,)),) = double.threads()
    assert (reply["thread_ts"], reply.get("subtype")) == (ts, subtype)


async def test_an_edit_replaces_the_blocks_keeps_the_marker_and_calls_nobody(slack: Chat, double: SlackDouble) -> None:
    """Passing text alone would remove the blocks, and a second mention would call again."""
    channel, ts = await post(slack)
    await slack.edit(replace(MESSAGE, title="Now P0"), channel=channel, ts=ts, marker=HEAD)
    (message,) = double.messages(INC)
    assert message["blocks"][0]["text"]["text"] == "Now P0"
    assert message["metadata"]["event_payload"] == {"incident": "INC-7", "kind": "head", "post": 1}
    assert [found for part in texts(message["blocks"]) for found in live_markup(part["text"])] == []


@pytest.mark.parametrize("threaded", [False, True], ids=["in the channel", "in the thread"])
async def test_find_gives_the_post_that_carries_the_marker(slack: Chat, double: SlackDouble, threaded: bool) -> None:
    """Through conversations.history or conversations.replies, among others of the same incident."""
    channel, ts = await post(slack)
    thread_ts = ts if threaded else ""
    wanted = Marker("INC-7", "page", 9)
    there = await post(slack, marker=wanted, channel=channel, thread_ts=thread_ts)
    await post(slack, marker=REPLY, channel=channel, thread_ts=thread_ts)
    found = await slack.find(wanted, channel=channel, thread_ts=thread_ts, since=since())
    assert found == there
    missing = replace(wanted, post=10)
    assert await slack.find(missing, channel=channel, thread_ts=thread_ts, since=since()) is None


async def test_find_reads_further_pages(slack: Chat, double: SlackDouble) -> None:
    """The newest come first, ours is older than a page of chatter."""
    there = await post(slack)
    for number in range(450):
        double.say("incidents", f"chatter {number}")
    assert await slack.find(HEAD, channel=INC, thread_ts="", since=since()) == there
    assert len(double.called("conversations.history")) == 3


async def test_find_gives_up_after_a_few_pages_and_does_not_say_that_it_looked(
    slack: Chat, double: SlackDouble
) -> None:
    """A flooded channel does not hold the outbox up; None would mean: not there, and the page would go out twice."""
    await post(slack)
    for number in range(1100):
        double.say("incidents", f"chatter {number}")
    with pytest.raises(TransientError, match="pages"):
        await slack.find(HEAD, channel=INC, thread_ts="", since=since())
    assert len(double.called("conversations.history")) == 5


async def test_find_believes_only_the_bot_itself(slack: Chat, double: SlackDouble) -> None:
    """Metadata that looks like ours can be written by any app."""
    channel, ts = await post(slack)
    forged = {**double.messages(INC)[0], "bot_id": "B0EVIL001", "user": "U0EVIL001"}
    double.store.remove(INC, double.store.message(INC, ts))
    double.store.add(INC, forged)
    assert await slack.find(HEAD, channel=channel, thread_ts="", since=since()) is None


async def test_find_looks_names_up_by_itself(slack: Chat, double: SlackDouble) -> None:
    """After a restart only the name is known, and reading methods take no names."""
    channel, ts = await post(slack)
    async with opened(double.base_url) as later:
        assert await later.find(HEAD, channel="#incidents", thread_ts="", since=since()) == (channel, ts)
        assert await later.find(HEAD, channel="#incidents", thread_ts="", since=since()) == (channel, ts)
    assert len(double.called("conversations.list")) == 1
    assert len(double.called("auth.test")) == 1


async def test_find_in_an_unknown_channel_does_not_say_that_it_looked(slack: Chat) -> None:
    """None would mean: looked, and not there."""
    with pytest.raises(PermanentError) as caught:
        await slack.find(HEAD, channel="#gone", thread_ts="", since=since())
    assert caught.value.code == "channel_not_found"


async def test_a_post_whose_answer_was_lost_is_found(slack: Chat, double: SlackDouble) -> None:
    """The reason for the marker."""
    double.script("chat.postMessage", Fault(stored=True, reset=True))
    with pytest.raises(TransientError):
        await post(slack)
    assert await slack.find(HEAD, channel="#incidents", thread_ts="", since=since()) == (
        INC,
        double.messages(INC)[0]["ts"],
    )


async def test_a_permalink_is_slacks_own(slack: Chat) -> None:
    """Asked for, not built."""
    channel, ts = await post(slack)
    assert (await slack.permalink(channel=channel, ts=ts)).startswith("https://shop.slack.com/archives/")


# What goes wrong.


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503, html=True),
        Fault(status=200, html=True),
        Fault(status=403, html=True),
        Fault(reset=True),
        Fault(ok_false="internal_error"),
        Fault(ok_false="fatal_error"),
        Fault(ok_false="request_timeout"),
        Fault(ok_false="service_unavailable"),
        Fault(ok_false="team_added_to_org"),
        Fault(ok_false="ratelimited"),
    ],
    ids=str,
)
async def test_what_may_pass_is_transient(slack: Chat, double: SlackDouble, fault: Fault) -> None:
    """One call, one error; the next one works."""
    double.script("chat.postMessage", fault)
    with pytest.raises(TransientError):
        await post(slack)
    assert len(double.called("chat.postMessage")) == 1
    await post(slack)


@pytest.mark.parametrize(("wish", "told"), [(30, 30.0), (None, None)])
async def test_a_429_says_how_long(slack: Chat, double: SlackDouble, wish: float | None, told: float | None) -> None:
    """The outbox waits, not the integration."""
    double.script("chat.postMessage", Fault(status=429, retry_after=wish))
    with pytest.raises(TransientError) as caught:
        await post(slack)
    assert caught.value.retry_after_s == told
    assert len(double.called("chat.postMessage")) == 1


@pytest.mark.parametrize(
    "code", ["channel_not_found", "not_in_channel", "is_archived", "invalid_auth", "token_revoked", "msg_too_long"]
)
async def test_what_stays_refused_is_permanent_and_keeps_slacks_word(
    slack: Chat, double: SlackDouble, code: str
) -> None:
    """Where the message goes next depends on the word."""
    double.script("chat.postMessage", Fault(ok_false=code))
    with pytest.raises(PermanentError, match=code) as caught:
        await post(slack)
    assert caught.value.code == code


async def test_a_call_ends_in_time_however_slow_slack_is(double: SlackDouble) -> None:
    """In total, with a second request on the way."""
    double.script("chat.postMessage", Fault(ok_false="invalid_blocks"), Fault(hang_s=30))
    async with opened(double.base_url, timeout_s=0.3) as chat:
        with pytest.raises(TransientError, match=r"0\.3 s"):
            await post(chat)


async def test_nobody_listening_is_transient() -> None:
    """A refused connection."""
    async with SlackDouble() as gone:
        url = gone.base_url
    async with opened(url) as chat:
        with pytest.raises(TransientError):
            await post(chat)


@pytest.mark.parametrize("code", ["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"])
@pytest.mark.parametrize("editing", [False, True], ids=["post", "edit"])
async def test_refused_blocks_go_again_as_plain_text(
    slack: Chat, double: SlackDouble, code: str, editing: bool
) -> None:
    """A message is never lost for its looks, nor its marker with them."""
    channel, ts = await post(slack) if editing else ("", "")
    double.script("chat.update" if editing else "chat.postMessage", Fault(ok_false=code))
    await (slack.edit(MESSAGE, channel=channel, ts=ts, marker=HEAD) if editing else post(slack))
    (message,) = double.messages(INC)
    assert "blocks" not in message
    assert "kubectl get pods" in message["text"]
    assert message["metadata"]["event_payload"]["incident"] == "INC-7"


@pytest.mark.parametrize("code", ["invalid_metadata_format", "metadata_too_large"])
async def test_refused_metadata_goes_without(slack: Chat, double: SlackDouble, code: str) -> None:
    """Better a message that cannot be found again than none."""
    double.script("chat.postMessage", Fault(ok_false=code))
    await post(slack)
    assert "metadata" not in double.messages(INC)[0]


async def test_blocks_refused_twice_are_an_error(slack: Chat, double: SlackDouble) -> None:
    """Once is enough."""
    double.script("chat.postMessage", Fault(ok_false="invalid_blocks", times=2))
    with pytest.raises(PermanentError):
        await post(slack)
    assert len(double.called("chat.postMessage")) == 2


GARBAGE = {
    "a list": (b"[1, 2]", "application/json"),
    "a text": (b"ok", "text/plain"),
    "a number": (b"5", "application/json"),
    "null": (b"null", "application/json"),
    "broken": (b'{"ok": tru', "application/json"),
    "not UTF-8": (b'{"ok": "\xff"}', "application/json"),
    "bottomless": (b"[" * 100_000, "application/json"),
    "ok but empty": (b'{"ok": true}', "application/json"),
    "bytes": (b"\x00\x01", "application/gzip"),
    "an odd error": (b'{"ok": false, "error": ["x"]}', "text/html"),
}


@pytest.mark.parametrize(("body", "kind"), GARBAGE.values(), ids=GARBAGE.keys())
async def test_an_answer_that_is_not_slacks_is_transient(body: bytes, kind: str) -> None:
    """A captive portal, a broken proxy: it may pass, and it must not surprise the outbox."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind)

    app = web.Application()
    app.router.add_route("*", "/api/{method}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with opened(f"http://127.0.0.1:{runner.addresses[0][1]}/api/") as chat:
            with pytest.raises(TransientError):
                await post(chat)
    finally:
        await runner.cleanup()


async def test_the_environments_proxy_is_not_used(double: SlackDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a setting of ours get lost."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with opened(double.base_url) as chat:
        await post(chat)
    async with opened(double.base_url, proxy="http://127.0.0.1:1") as chat:
        with pytest.raises(TransientError):
            await post(chat)


async def test_no_error_tells_the_token(double: SlackDouble) -> None:
    """Errors end in logs and in the thread."""
    async with opened(double.base_url, bot_token="xoxb-wrong-secret") as chat:
        with pytest.raises(PermanentError) as caught:
            await post(chat)
    assert "wrong-secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert "wrong-secret" not in repr(Settings.model_validate({"bot_token": "xoxb-wrong-secret"}))


# What is drawn.


@pytest.mark.parametrize(
    ("word", "markup"),
    [
        ("here", "<!here>"),
        ("channel", "<!channel>"),
        ("user:U0ANA00001", "<@U0ANA00001>"),
        ("group:S0TEAM001", "<!subteam^S0TEAM001>"),
        ("", ""),
        ("everyone", ""),
        ("user:", ""),
        ("user:U1", ""),
        ("user:u0ana00001", ""),
        ("user:U0ANA00001\n", ""),
        ("user:U0ANA00001> <!channel", ""),
        ("group:S0TEAM001|x", ""),
        ("other:U0ANA00001", ""),
    ],
)
def test_a_mention_is_one_of_four_forms_or_nothing(word: str, markup: str) -> None:
    """It comes from a policy file, and still is checked."""
    assert mention_of(word) == markup


@pytest.mark.parametrize(("kind", "called"), [("head", True), ("page", True), ("reply", False), ("notice", False)])
def test_only_heads_and_pages_mention(kind: str, called: bool) -> None:
    """An update that calls people every 15 minutes is soon muted."""
    drawn = draw(MESSAGE, Marker("INC-7", kind, 1))
    assert set(live(drawn)) == ({"<!here>"} if called else set())
    assert drawn.text.startswith("<!here> ") is called
    assert drawn.plain.startswith("<!here>\n") is called


HOSTILE = {
    "mentions": "<!channel> <!here> <!everyone> <@U1> <@U0ANA00001> <!subteam^S0TEAM001> @here @channel #general",
    "links": "<http://evil.example|safe.example> <mailto:a@b|x> <tel:1>",
    "dates": "<!date^1392734382^{date}^https://evil.example|x>",
    "entities": "&lt;!channel&gt; &amp;lt;!here&amp;gt; &#60;!here&#62;",
    "fences": "``` out\n<!channel>\n``` `code`",
    "styles": "*bold* _it_ ~gone~ `code`\n> quote\n:fire: • list",
    "bidi": "pay\u202e gnp.exe \u2066x\u2069",
    "zero-width": "<\u200b!channel> \ufeff\u2060\U000e0041",
    "zalgo": "z" + "\u0301" * 5000,
    "control": "\x00\x07\x1b[2J\r\x7f\x85\u2028",
    "surrogates": "\ud83d \udd25",
    "only blanks": "\u200b \u3164 \u2800",
    "spaces": " \n\t\u3000\n",
    "angle brackets": "<" * 4000,
    "ampersands": "&" * 45_000,
    "long": "x" * 45_000,
    "long lines": "a line & more\n" * 4000,
    "astral": "🔥" * 4000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_taken_by_slack_and_only_we_mention(slack: Chat, double: SlackDouble, text: str) -> None:
    """In every place of a message at once."""
    message = Message(text, ((text, text), ("Label", text)), text, text, text, "user:U0ANA00001", Severity.P0)
    channel, ts = await post(slack, message)
    await slack.edit(message, channel=channel, ts=ts, marker=HEAD)
    assert [call.ok for call in double.calls] == [True, True]
    drawn = draw(message, HEAD)
    assert sum(len(part["text"]) for part in texts(drawn.blocks)) < 10_000
    assert max(len(drawn.text), len(drawn.plain)) <= MAX_FALLBACK_CHARS
    assert set(live(drawn)) == {"<@U0ANA00001>"}
    assert live(draw(message, REPLY)) == []


async def test_three_hundred_facts_are_taken(slack: Chat, double: SlackDouble) -> None:
    """Ten fields a section, fifty blocks a message; the rest is counted."""
    facts = tuple((f"label {number}", f"value <{number}>") for number in range(300))
    await post(slack, replace(MESSAGE, facts=facts))
    (call,) = double.called("chat.postMessage")
    assert call.ok
    assert "more characters, see `responder incidents show INC-7`" in str(call.params["blocks"][-1])


def test_what_is_cut_is_counted_and_said_where_to_read() -> None:
    """Body, code and footer all still have their place."""
    drawn = draw(replace(MESSAGE, body="b" * 45_000, code="c" * 45_000), HEAD)
    whole = str(drawn.blocks)
    assert "bbb" in whole
    assert "ccc" in whole
    assert "rule api-degraded" in whole
    (left_out,) = re.findall(r"… ([0-9]+) more characters", whole)
    shown = whole.count("b" * 10) * 10 + whole.count("c" * 10) * 10
    assert 0 <= 90_000 - int(left_out) - shown < 50


def test_a_short_message_is_shown_whole() -> None:
    """Nothing is said about more."""
    drawn = draw(MESSAGE, HEAD)
    whole = "\n".join(part["text"] for part in texts(drawn.blocks))
    assert "more characters" not in whole
    for part in (MESSAGE.title, MESSAGE.body, MESSAGE.code, MESSAGE.footer, "rate(x[5m]) * 100 > 5"):
        assert escape(part) in whole
        assert escape(part) in drawn.text
        assert escape(part) in drawn.plain


def test_long_text_is_cut_at_line_ends() -> None:
    """Nobody reads half a line."""
    line = "a line of some forty characters, no more"
    drawn = draw(Message("t", body=f"{line}\n" * 150), REPLY)
    pieces = [block["text"]["text"] for block in drawn.blocks[1:]]
    assert len(pieces) == 3
    assert {each for piece in pieces for each in piece.split("\n")} == {line}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("api_gateway", "mrkdwn"),
        ("12:59:31", "mrkdwn"),
        ("a < b & c", "mrkdwn"),
        ("*bold*", "plain_text"),
        ("_private", "plain_text"),
        ("trailing_ x", "plain_text"),
        ("`x`", "plain_text"),
        ("~x~", "plain_text"),
        ("a\n> b", "plain_text"),
        (":fire:", "plain_text"),
        ("", "plain_text"),
    ],
)
def test_a_fact_that_could_restyle_is_plain_text(value: str, kind: str) -> None:
    """The others get a bold label."""
    (_, section) = draw(Message("t", facts=(("Label", value),)), REPLY).blocks
    assert section["fields"][0]["type"] == kind


def test_nothing_can_leave_a_code_block() -> None:
    """Backticks inside a fence have no escape, so there are none."""
    drawn = draw(Message("t", code="```\n<!channel>\n```"), REPLY)
    text = drawn.blocks[1]["text"]["text"]
    assert text.count("`") == 6
    assert text.startswith("```\n")
    assert text.endswith("\n```")


def test_the_title_is_one_line_of_at_most_150() -> None:
    """Entities are not cut in two."""
    drawn = draw(Message("a\nb " + "&" * 200), REPLY)
    title = drawn.blocks[0]["text"]["text"]
    assert title.startswith("a b &amp;")
    assert title.endswith("&amp;…")
    assert len(title) <= 150


def test_an_empty_message_still_has_a_text() -> None:
    """Slack refuses a message without any."""
    drawn = draw(Message(""), REPLY)
    assert (drawn.blocks, drawn.text) == ([], "(empty)")


@pytest.mark.parametrize(
    ("text", "room", "head"),
    [("abc", 3, "abc"), ("abc", 2, "ab"), ("a&b", 5, "a"), ("a&b", 6, "a&"), ("ab\ncd", 4, "ab\n"), ("abc", 0, "")],
)
def test_take_never_splits_an_entity(text: str, room: int, head: str) -> None:
    """And loses nothing."""
    assert take(text, room) == (head, text[len(head) :])


ANY_TEXT = st.text(st.characters(), max_size=200) | st.sampled_from(
    [each for each in HOSTILE.values() if len(each) < 1000]
)


@settings(max_examples=150, deadline=None)
@given(
    ANY_TEXT,
    st.lists(st.tuples(st.text(st.characters(), max_size=30), ANY_TEXT), max_size=3),
    ANY_TEXT,
    ANY_TEXT,
    ANY_TEXT,
)
def test_any_message_is_within_the_limits_and_inert(
    title: str, facts: list[tuple[str, str]], body: str, code: str, footer: str
) -> None:
    """Text over all planes, in every place."""
    drawn = draw(Message(title, tuple(facts), body, code, footer, mention="channel"), HEAD)
    if drawn.blocks:
        check_blocks(drawn.blocks)
    assert sum(len(part["text"]) for part in texts(drawn.blocks)) < 10_000
    assert len(drawn.text) <= MAX_FALLBACK_CHARS
    assert len(drawn.plain) <= MAX_FALLBACK_CHARS
    assert set(live(drawn)) == {"<!channel>"}
    for text in [drawn.text, drawn.plain, *(part["text"] for part in texts(drawn.blocks))]:
        assert all(char.isprintable() or char in "\n\t" or char.isspace() for char in text)
        assert text.encode().decode() == text
