"""The Slack double, spoken to by the real SDK: what it takes, what it refuses, how it fails on demand."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from responder.doubles.slack import Fault, Limit, SlackDouble, live_markup

INC = "C0INC00001"
HEAD: dict[str, Any] = {"channel": INC, "text": "head"}


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """A strict workspace with two channels."""
    async with SlackDouble(token="xoxb-test") as double:
        yield double


def client_for(double: SlackDouble, session: ClientSession, token: str | None = "xoxb-test") -> AsyncWebClient:
    """The real SDK, without its own retries."""
    return sdk(double.base_url, session, token)


def sdk(base_url: str, session: ClientSession, token: str | None = "xoxb-test") -> AsyncWebClient:
    """A client that no proxy variable reaches: the SDK takes HTTPS_PROXY even for loopback."""
    client = AsyncWebClient(token=token, base_url=base_url, session=session, retry_handlers=[])
    client.proxy = None
    return client


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """One session that no proxy variable reaches."""
    async with ClientSession(trust_env=False) as opened:
        yield opened


@pytest.fixture
def client(slack: SlackDouble, session: ClientSession) -> AsyncWebClient:
    """The SDK with the right token."""
    return client_for(slack, session)


async def refusal(client: AsyncWebClient, method: str, **params: Any) -> dict[str, Any]:
    """The `ok: false` body of a call that is refused with HTTP 200."""
    with pytest.raises(SlackApiError) as caught:
        await client.api_call(method, json=params)
    assert caught.value.response.status_code == 200
    return dict(caught.value.response.data)


def section(text: str, **more: Any) -> dict[str, Any]:
    """A section block."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}, **more}


def actions(*elements: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An actions block."""
    return {"type": "actions", "elements": list(elements), **more}


def button(label: str = "Ack", **more: Any) -> dict[str, Any]:
    """A button."""
    return {"type": "button", "text": {"type": "plain_text", "text": label}, **more}


def overflow(**option: Any) -> dict[str, Any]:
    """A menu with one option."""
    plain = {"type": "plain_text", "text": "x"}
    return {"type": "overflow", "options": [{"text": plain, "value": "v", **option}]}


FIELD = {"type": "mrkdwn", "text": "f"}
LONG_LABEL = {"type": "plain_text", "text": "x" * 76}

BAD_BLOCKS = {
    "51-blocks": ([{"type": "divider"}] * 51, "no more than 50 items allowed [json-pointer:/blocks]"),
    "section-3001": ([section("x" * 3001)], "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
    "section-empty": ([section("")], "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
    "section-bare": ([{"type": "section"}], "missing required field: text [json-pointer:/blocks/0]"),
    "11-fields": (
        [{"type": "section", "fields": [FIELD] * 11}],
        "no more than 10 items allowed [json-pointer:/blocks/0/fields]",
    ),
    "field-2001": (
        [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}],
        "must be less than 2001 characters [json-pointer:/blocks/0/fields/0/text]",
    ),
    "header-151": (
        [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
        "must be less than 151 characters [json-pointer:/blocks/0/text/text]",
    ),
    "header-mrkdwn": (
        [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
        "unsupported type: mrkdwn [json-pointer:/blocks/0/text/type]",
    ),
    "11-context-elements": (
        [{"type": "context", "elements": [FIELD] * 11}],
        "no more than 10 items allowed [json-pointer:/blocks/0/elements]",
    ),
    "26-buttons": ([actions(*[button()] * 26)], "no more than 25 items allowed [json-pointer:/blocks/0/elements]"),
    "button-text-76": (
        [actions(button("x" * 76))],
        "must be less than 76 characters [json-pointer:/blocks/0/elements/0/text/text]",
    ),
    "button-value-2001": (
        [actions(button(value="x" * 2001))],
        "must be less than 2001 characters [json-pointer:/blocks/0/elements/0/value]",
    ),
    "button-url-3001": (
        [actions(button(url="x" * 3001))],
        "must be less than 3001 characters [json-pointer:/blocks/0/elements/0/url]",
    ),
    "button-style": (
        [actions(button(style="default"))],
        "must be one of: primary, danger [json-pointer:/blocks/0/elements/0/style]",
    ),
    "option-text-76": (
        [actions(overflow(text=LONG_LABEL))],
        "must be less than 76 characters [json-pointer:/blocks/0/elements/0/options/0/text/text]",
    ),
    "option-value-151": (
        [actions(overflow(value="x" * 151))],
        "must be less than 151 characters [json-pointer:/blocks/0/elements/0/options/0/value]",
    ),
    "block-id-256": (
        [section("x", block_id="x" * 256)],
        "must be less than 256 characters [json-pointer:/blocks/0/block_id]",
    ),
    "action-id-256": (
        [actions(button(action_id="x" * 256))],
        "must be less than 256 characters [json-pointer:/blocks/0/elements/0/action_id]",
    ),
    "block-id-twice": (
        [section("x", block_id="b"), section("y", block_id="b")],
        '`block_id` "b" already exists for another block [json-pointer:/blocks/1/block_id]',
    ),
    "action-id-twice": (
        [actions(button(action_id="a"), button(action_id="a"))],
        '`action_id` "a" already exists for another element [json-pointer:/blocks/0/elements/1/action_id]',
    ),
    "unknown-block": ([{"type": "sektion"}], "unsupported type: sektion [json-pointer:/blocks/0/type]"),
    "unknown-key": ([section("x", color="red")], "invalid additional property: color [json-pointer:/blocks/0]"),
    "no-type": ([{"text": "x"}], "missing required field: type [json-pointer:/blocks/0]"),
}


@pytest.mark.parametrize(("blocks", "message"), BAD_BLOCKS.values(), ids=BAD_BLOCKS.keys())
async def test_bad_blocks_are_refused_with_a_pointer(client: AsyncWebClient, blocks: Any, message: str) -> None:
    """Each limit of Block Kit."""
    body = await refusal(client, "chat.postMessage", channel=INC, text="x", blocks=blocks)
    assert (body["error"], body["response_metadata"]["messages"]) == ("invalid_blocks", [f"[ERROR] {message}"])


META = {"event_type": "incident", "event_payload": {"id": "42"}}
BAD_POSTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-channel": ({"channel": "C0NOWHERE1", "text": "x"}, "channel_not_found"),
    "unknown-name": ({"channel": "#nowhere", "text": "x"}, "channel_not_found"),
    "no-channel": ({"text": "x"}, "invalid_arguments"),
    "no-text": ({"channel": INC}, "no_text"),
    "empty-text": ({"channel": INC, "text": "", "blocks": []}, "no_text"),
    "text-of-all-blocks": ({"channel": INC, "text": "x", "blocks": [section("x" * 2401)] * 5}, "msg_blocks_too_long"),
    "blocks-not-json": ({"channel": INC, "text": "x", "blocks": "[{"}, "invalid_blocks_format"),
    "metadata-no-type": ({**HEAD, "metadata": {"event_payload": {}}}, "invalid_metadata_format"),
    "metadata-text-payload": (
        {**HEAD, "metadata": {"event_type": "e", "event_payload": "x"}},
        "invalid_metadata_format",
    ),
    "metadata-other-key": ({**HEAD, "metadata": {**META, "x": 1}}, "invalid_metadata_format"),
    "metadata-8-kb": (
        {**HEAD, "metadata": {"event_type": "e", "event_payload": {"x": "y" * 8200}}},
        "metadata_too_large",
    ),
    "thread-unknown": ({**HEAD, "thread_ts": "1795166042.000100"}, "thread_not_found"),
    "broadcast-without-thread": ({**HEAD, "reply_broadcast": True}, "invalid_arguments"),
    "markdown-and-text": ({**HEAD, "markdown_text": "x"}, "markdown_text_conflict"),
    "101-attachments": ({**HEAD, "attachments": [{"text": "x"}] * 101}, "too_many_attachments"),
}


@pytest.mark.parametrize(("params", "error"), BAD_POSTS.values(), ids=BAD_POSTS.keys())
async def test_bad_posts_are_refused_and_store_nothing(
    slack: SlackDouble, client: AsyncWebClient, params: dict[str, Any], error: str
) -> None:
    """Each refusal of `chat.postMessage`."""
    assert (await refusal(client, "chat.postMessage", **params))["error"] == error
    assert slack.messages(INC) == []


OTHER_REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown-method": ("chat.postMassage", {}, "unknown_method"),
    "update-unknown": ("chat.update", {**HEAD, "ts": "1.000100"}, "message_not_found"),
    "update-by-name": ("chat.update", {"channel": "#incidents", "ts": "1.0", "text": "x"}, "channel_not_found"),
    "delete-unknown": ("chat.delete", {"channel": INC, "ts": "1.000100"}, "message_not_found"),
    "permalink-unknown": ("chat.getPermalink", {"channel": INC, "message_ts": "1.0"}, "message_not_found"),
    "replies-unknown": ("conversations.replies", {"channel": INC, "ts": "1.000100"}, "thread_not_found"),
    "history-cursor": ("conversations.history", {"channel": INC, "cursor": "xx"}, "invalid_cursor"),
    "history-limit": ("conversations.history", {"channel": INC, "limit": 1001}, "invalid_limit"),
    "history-oldest": ("conversations.history", {"channel": INC, "oldest": "today"}, "invalid_ts_oldest"),
    "reaction-name": ("reactions.add", {"channel": INC, "timestamp": "1.0", "name": ":eyes:"}, "invalid_name"),
    "reaction-nowhere": ("reactions.add", {"name": "eyes"}, "no_item_specified"),
    "empty-file": ("files.getUploadURLExternal", {"filename": "a.log", "length": 0}, "missing_argument"),
    "file-unknown": ("files.completeUploadExternal", {"files": [{"id": "F1"}]}, "file_not_found"),
    "view-trigger": ("views.open", {"trigger_id": "x", "view": {"type": "modal"}}, "invalid_trigger_id"),
    "bot-token-for-socket": ("apps.connections.open", {}, "not_allowed_token_type"),
}


@pytest.mark.parametrize(("method", "params", "error"), OTHER_REFUSALS.values(), ids=OTHER_REFUSALS.keys())
async def test_other_methods_refuse(client: AsyncWebClient, method: str, params: dict[str, Any], error: str) -> None:
    """One refusal of each other method."""
    assert (await refusal(client, method, **params))["error"] == error


@pytest.mark.parametrize(("token", "error"), [(None, "not_authed"), ("xoxb-no", "invalid_auth")])
async def test_the_token_is_checked(slack: SlackDouble, session: ClientSession, token: str | None, error: str) -> None:
    """Missing and wrong."""
    assert (await refusal(client_for(slack, session, token), "auth.test"))["error"] == error


@pytest.mark.parametrize(("flag", "error"), [("is_member", "not_in_channel"), ("is_archived", "is_archived")])
async def test_a_closed_channel_refuses(slack: SlackDouble, client: AsyncWebClient, flag: str, error: str) -> None:
    """Not a member, or archived."""
    setattr(slack.store.channels[INC], flag, error == "is_archived")
    assert (await refusal(client, "chat.postMessage", **HEAD))["error"] == error


async def test_a_name_is_answered_with_the_id(client: AsyncWebClient) -> None:
    """`#name`, `name` and the id are the same channel."""
    answers = [await client.chat_postMessage(channel=name, text="x") for name in ("#incidents", "incidents", INC)]
    assert {answer["channel"] for answer in answers} == {INC}


async def test_times_grow_strictly(client: AsyncWebClient) -> None:
    """Also within a second."""
    times = [(await client.chat_postMessage(**HEAD))["ts"] for _ in range(5)]
    assert times == sorted(set(times))
    assert times[0].endswith("00")


async def test_a_new_name_opens_a_channel_when_allowed(session: ClientSession) -> None:
    """On its first use, and only once."""
    async with SlackDouble(auto_create_channels=True) as slack:
        client = client_for(slack, session)
        first = await client.chat_postMessage(channel="#payments", text="x")
        again = await client.chat_postMessage(channel=first["channel"], text="y")
    assert first["channel"] == again["channel"]
    assert [message["text"] for message in slack.messages("payments")] == ["x", "y"]


async def test_a_long_text_is_cut_by_post_and_refused_by_update(slack: SlackDouble, client: AsyncWebClient) -> None:
    """40,000 and 4,000 characters."""
    posted = await client.chat_postMessage(channel=INC, text="x" * 40_001)
    assert len(slack.messages(INC)[0]["text"]) == 40_000
    body = await refusal(client, "chat.update", channel=INC, ts=posted["ts"], text="x" * 4001)
    assert body["error"] == "msg_too_long"


async def test_an_update_drops_blocks_and_keeps_metadata(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Unless the metadata is `{}`."""
    posted = await client.chat_postMessage(**HEAD, blocks=[section("b")], metadata=META)
    await client.chat_update(channel=INC, ts=posted["ts"], text="new")
    assert slack.messages(INC)[0]["metadata"] == META
    assert "blocks" not in slack.messages(INC)[0]
    await client.chat_update(channel=INC, ts=posted["ts"], text="newer", metadata={})
    assert "metadata" not in slack.messages(INC)[0]
    assert [edit.before["text"] for edit in slack.edits] == ["head", "new"]


async def test_anothers_message_cannot_be_changed(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Neither updated nor deleted."""
    ts = slack.say(INC, "I am on it")
    assert (await refusal(client, "chat.update", channel=INC, ts=ts, text="x"))["error"] == "cant_update_message"
    assert (await refusal(client, "chat.delete", channel=INC, ts=ts))["error"] == "cant_delete_message"


async def test_a_reply_is_no_head(slack: SlackDouble, client: AsyncWebClient) -> None:
    """`thread_ts` must be the parent's."""
    head = (await client.chat_postMessage(**HEAD))["ts"]
    reply = (await client.chat_postMessage(channel=INC, text="r", thread_ts=head, reply_broadcast=True))["ts"]
    assert (await refusal(client, "chat.postMessage", **HEAD, thread_ts=reply))["error"] == "cannot_reply_to_message"
    [(first, replies)] = slack.threads()
    assert (first["reply_count"], first["latest_reply"]) == (1, reply)
    assert [each["subtype"] for each in replies] == ["thread_broadcast"]


async def test_a_deleted_head_leaves_a_tombstone(slack: SlackDouble, client: AsyncWebClient) -> None:
    """And goes with its last reply only by hand."""
    head = (await client.chat_postMessage(**HEAD))["ts"]
    await client.chat_postMessage(channel=INC, text="r", thread_ts=head)
    await client.chat_delete(channel=INC, ts=head)
    assert slack.messages(INC)[0]["subtype"] == "tombstone"


async def test_history_is_newest_first_in_pages(client: AsyncWebClient) -> None:
    """Replies are left out."""
    times = [(await client.chat_postMessage(channel=INC, text=str(number)))["ts"] for number in range(5)]
    await client.chat_postMessage(channel=INC, text="reply", thread_ts=times[0])
    first = await client.conversations_history(channel=INC, limit=3)
    rest = await client.conversations_history(
        channel=INC, limit=3, cursor=first["response_metadata"]["next_cursor"], oldest=times[0], inclusive=True
    )
    assert [each["text"] for each in first["messages"]] == ["4", "3", "2"]
    assert [each["text"] for each in rest["messages"]] == ["1", "0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)


async def test_replies_are_oldest_first_in_pages(client: AsyncWebClient) -> None:
    """The head leads the first page, whatever `oldest` says."""
    head = (await client.chat_postMessage(**HEAD))["ts"]
    times = [(await client.chat_postMessage(channel=INC, text=str(n), thread_ts=head))["ts"] for n in range(4)]
    first = await client.conversations_replies(channel=INC, ts=head, limit=2, oldest=times[0])
    rest = await client.conversations_replies(
        channel=INC, ts=head, limit=5, cursor=first["response_metadata"]["next_cursor"]
    )
    assert [each["text"] for each in first["messages"]] == ["head", "1"]
    assert [each["text"] for each in rest["messages"]] == ["2", "3"]


async def test_metadata_is_shown_only_when_asked(client: AsyncWebClient) -> None:
    """By `include_all_metadata`."""
    head = (await client.chat_postMessage(**HEAD, metadata=META))["ts"]
    bare = await client.conversations_history(channel=INC)
    full = await client.conversations_replies(channel=INC, ts=head, include_all_metadata=True)
    assert "metadata" not in bare["messages"][0]
    assert full["messages"][0]["metadata"] == META


async def test_a_file_goes_up_in_three_calls(slack: SlackDouble, client: AsyncWebClient) -> None:
    """By the SDK's own helper, into a thread."""
    head = (await client.chat_postMessage(**HEAD))["ts"]
    await client.files_upload_v2(channel=INC, content="log line", filename="a.log", thread_ts=head, initial_comment="c")
    assert [upload.content for upload in slack.store.files.values()] == [b"log line"]
    assert slack.threads()[0][1][0]["text"] == "c"


async def test_the_small_methods_answer(slack: SlackDouble, client: AsyncWebClient) -> None:
    """In the SDK's own encodings."""
    ts = (await client.chat_postMessage(**HEAD))["ts"]
    await client.reactions_add(channel=INC, name="eyes", timestamp=ts)
    assert (await refusal(client, "reactions.add", channel=INC, name="eyes", timestamp=ts))[
        "error"
    ] == "already_reacted"
    assert ts.replace(".", "") in (await client.chat_getPermalink(channel=INC, message_ts=ts))["permalink"]
    assert (await client.chat_postEphemeral(channel=INC, user="U0ANA00001", text="x"))["message_ts"] > ts
    assert (await client.conversations_info(channel=INC))["channel"]["name"] == "incidents"
    assert (await client.conversations_join(channel=INC))["warning"] == "already_in_channel"
    page = await client.conversations_list(limit=1)
    assert page["response_metadata"]["next_cursor"] == "C0GEN00001"
    assert (await client.auth_test())["user_id"] == "U0MEDIC001"
    title = {"type": "plain_text", "text": "t"}
    await client.views_open(trigger_id=slack.trigger(), view={"type": "modal", "title": title, "blocks": []})


async def test_socket_mode_says_hello(slack: SlackDouble, session: ClientSession) -> None:
    """With the app's token only."""
    url = (await client_for(slack, session).apps_connections_open(app_token="xapp-test"))["url"]
    async with session.ws_connect(url) as socket:
        assert (await socket.receive_json())["type"] == "hello"


async def test_a_scripted_429_tells_how_long(slack: SlackDouble, client: AsyncWebClient) -> None:
    """For one channel, so many times."""
    slack.script("chat.postMessage", Fault(status=429, retry_after=30, times=2, channel=INC))
    await client.chat_postMessage(channel="#general", text="x")
    for _ in range(2):
        with pytest.raises(SlackApiError) as caught:
            await client.chat_postMessage(channel="#incidents", text="x")
        assert caught.value.response["error"] == "ratelimited"
        assert caught.value.response.headers["Retry-After"] == "30"
    await client.chat_postMessage(**HEAD)
    assert [call.ok for call in slack.called("chat.postMessage")] == [True, False, False, True]


async def test_a_scripted_error_stores_nothing(slack: SlackDouble, client: AsyncWebClient) -> None:
    """`ok: false`."""
    slack.script("chat.postMessage", Fault(ok_false="message_limit_exceeded"))
    assert (await refusal(client, "chat.postMessage", **HEAD))["error"] == "message_limit_exceeded"
    assert slack.messages(INC) == []


@pytest.mark.parametrize("fault", [Fault(status=502, html=True), Fault(status=500)], ids=["html-502", "500"])
async def test_a_broken_edge_is_no_json(slack: SlackDouble, client: AsyncWebClient, fault: Fault) -> None:
    """The SDK raises for both."""
    slack.script("*", fault)
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(**HEAD)
    assert caught.value.response.status_code == fault.status


@pytest.mark.parametrize("stored", [False, True])
async def test_a_reset_may_come_before_or_after_storing(
    slack: SlackDouble, client: AsyncWebClient, stored: bool
) -> None:
    """The caller cannot tell."""
    slack.script("chat.postMessage", Fault(reset=True, stored=stored))
    with pytest.raises(ClientError):
        await client.chat_postMessage(**HEAD)
    assert len(slack.messages(INC)) == int(stored)


async def test_a_hanging_post_may_be_stored(slack: SlackDouble, session: ClientSession) -> None:
    """The caller gives up, the message is there."""
    slack.script("chat.postMessage", Fault(hang_s=600, stored=True))
    async with ClientSession(trust_env=False, timeout=ClientTimeout(total=0.05)) as hasty:
        with pytest.raises(TimeoutError):
            await client_for(slack, hasty).chat_postMessage(**HEAD)
    assert len(slack.messages(INC)) == 1


async def test_the_rate_limit_of_a_channel_can_be_enforced(session: ClientSession) -> None:
    """One post in a second, for each channel."""
    ticks = iter([0.0, 0.1, 0.2, 1.0])
    async with SlackDouble(per_channel_per_s=1, clock=lambda: next(ticks)) as slack:
        client = client_for(slack, session)
        await client.chat_postMessage(**HEAD)
        await client.chat_postMessage(channel="#general", text="x")
        with pytest.raises(SlackApiError) as caught:
            await client.chat_postMessage(**HEAD)
        await client.chat_postMessage(**HEAD)
    assert caught.value.response.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("limit", "channels", "passed"),
    [
        (Limit("chat.postMessage", 1.0, burst=2, per_channel=True), [INC] * 4, [True, True, False, True]),
        (Limit("chat.postMessage", 1.0, burst=1, per_channel=True), [INC, "#general"] * 2, [True, True, False, True]),
        (Limit("chat.postMessage", 1.0, burst=1), [INC, "#general"] * 2, [True, False, False, True]),
        (Limit("chat.update", 1.0, burst=1), [INC] * 4, [True] * 4),
    ],
    ids=["a burst passes", "each channel its own", "one for all", "another method"],
)
async def test_a_limit_takes_a_burst_and_then_its_rate(
    session: ClientSession, limit: Limit, channels: list[str], passed: list[bool]
) -> None:
    ticks = iter([0.0, 0.1, 0.2, 1.1])
    async with SlackDouble(clock=lambda: next(ticks)) as slack:
        slack.limit(replace(limit, retry_after=30))
        client, found = client_for(slack, session), []
        for channel in channels:
            try:
                await client.chat_postMessage(channel=channel, text="x")
                found.append("")
            except SlackApiError as error:
                found.append(error.response.headers["Retry-After"])
    assert found == ["" if each else "30" for each in passed]


@pytest.mark.parametrize(
    ("text", "live"),
    [
        ("a &lt;!channel&gt; b", []),
        ("<!channel> &amp; <@U0ANA00001>", ["<!channel>", "<@U0ANA00001>"]),
        ("<http://evil|text>", ["<http://evil|text>"]),
        ("5 > 3", []),
        ("`<!here>`", ["<!here>"]),
    ],
    ids=["escaped", "mentions", "link", "no-pair", "code-too"],
)
def test_live_markup_is_found(text: str, live: list[str]) -> None:
    """Escaped text is inert, also in code."""
    assert live_markup(text) == live


async def test_form_bodies_and_get_are_taken_too(slack: SlackDouble, session: ClientSession) -> None:
    """Blocks as a JSON string, the token in the body."""
    form = {"token": "xoxb-test", "channel": INC, "text": "x", "blocks": json.dumps([section("b")])}
    async with session.post(f"{slack.base_url}chat.postMessage", data=form) as posted:
        assert (await posted.json())["ok"]
    async with session.get(f"{slack.base_url}chat.postMessage", params=form) as got:
        assert (await got.json())["ok"]
    assert slack.messages(INC)[1]["blocks"] == [section("b")]


async def test_the_double_runs_as_a_process(session: ClientSession, tmp_path: Path) -> None:
    """Scripted and read over HTTP; its state is dumped at exit."""
    dump = tmp_path / "slack.json"
    command = [sys.executable, "-m", "responder.doubles.slack", "--dump", str(dump)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().strip()
    try:
        origin = base_url.removesuffix("/api/")
        script = {"method": "auth.test", "faults": [{"ok_false": "account_inactive"}]}
        async with session.post(f"{origin}/_script", json=script) as scripted:
            assert scripted.status == 200
        client = sdk(base_url, session)
        assert (await refusal(client, "auth.test"))["error"] == "account_inactive"
        await client.chat_postMessage(channel="#new-one", text="x")
        async with session.get(f"{origin}/_state") as state:
            assert [call["method"] for call in (await state.json())["calls"]] == ["auth.test", "chat.postMessage"]
    finally:
        process.terminate()
        await process.wait()
    assert json.loads(dump.read_text())["messages"]["C0NEW00002"][0]["text"] == "x"
