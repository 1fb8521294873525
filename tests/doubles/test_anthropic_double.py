"""The Anthropic double, spoken to by the real SDK: what it refuses, what it says, how it breaks on demand."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from aiohttp import ClientSession
from anthropic import AsyncAnthropic

from responder.doubles.anthropic import AnthropicDouble, Turn
from responder.doubles.anthropic_turns import signature

MODEL = "claude-opus-5-5"
Json = dict[str, Any]


def user(content: Any = "x") -> Json:
    """A message of the user."""
    return {"role": "user", "content": content}


def said(*blocks: Json) -> Json:
    """A message of the model."""
    return {"role": "assistant", "content": list(blocks)}


def use(name: str = "t1") -> Json:
    """A call of a tool."""
    return {"type": "tool_use", "id": name, "name": "promql", "input": {}}


def result(name: str = "t1", **more: Any) -> Json:
    """The answer of a tool."""
    return {"type": "tool_result", "tool_use_id": name, "content": "1", **more}


def tool(name: str = "promql", **more: Any) -> Json:
    """The description of a tool."""
    return {"name": name, "description": "d", "input_schema": {"type": "object", "properties": {}}, **more}


def text(words: str = "x", **more: Any) -> Json:
    """A block of text."""
    return {"type": "text", "text": words, **more}


def ask(*messages: Json, **more: Any) -> Json:
    """A request body."""
    return {"model": MODEL, "max_tokens": 100, "messages": list(messages) or [user()], **more}


def schema(**more: Any) -> Json:
    """A closed schema of an object with one part."""
    part = {"type": "integer", **more}
    return {"type": "object", "properties": {"n": part}, "additionalProperties": False}


MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
PDF = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
ALTERED = {"type": "thinking", "thinking": "altered", "signature": signature("original")}
OPEN_PART = {"type": "object", "properties": {}}

REFUSED: dict[str, tuple[Json, str]] = {
    "no-max-tokens": ({"model": MODEL, "messages": [user()]}, "max_tokens: Field required"),
    "negative-max-tokens": (ask(max_tokens=-1), "max_tokens: Input should be greater"),
    "huge-max-tokens": (ask(max_tokens=128_001), "maximum allowed number of output tokens"),
    "no-messages": ({"model": MODEL, "max_tokens": 1}, "messages: Field required"),
    "empty-messages": ({"model": MODEL, "max_tokens": 1, "messages": []}, "at least one message"),
    "no-model": ({"max_tokens": 1, "messages": [user()]}, "model: Field required"),
    "unknown-key": (ask(output_format={}), "output_format: Extra inputs"),
    "beta-key-without-beta": (ask(context_management={}), "context_management: Extra inputs"),
    "temperature": (ask(temperature=1.0), "temperature: sampling"),
    "top-p": (ask(top_p=1.0), "top_p: sampling"),
    "top-k": (ask(top_k=1), "top_k: sampling"),
    "role": (ask({"role": "tool", "content": "x"}), "messages.0.role"),
    "system-first": (ask({"role": "system", "content": "x"}, user()), "first message must use the user role"),
    "assistant-first": (ask(said(text()), user()), "first message must use the user role"),
    "message-key": (ask({**user(), "id": "m"}), "messages.0.id: Extra inputs"),
    "empty-content": (ask(user([])), "non-empty content"),
    "empty-string": (ask(user("")), "non-empty content"),
    "empty-text": (ask(user([text("")])), "text content blocks must be non-empty"),
    "blank-text": (ask(user([text(" \n")])), "non-whitespace"),
    "unknown-block": (ask(user([{"type": "txt"}])), "Input tag 'txt'"),
    "block-key": (ask(user([text(parsed=None)])), "messages.0.content.0.text.parsed"),
    "citations-of-user": (ask(user([text(citations=[])])), "messages.0.content.0.text.citations"),
    "document-of-assistant": (ask(user(), said(PDF), user()), "Input tag 'document'"),
    "use-without-result": (
        ask(user(), said(use()), user("go on")),
        "without `tool_result` blocks immediately after: t1",
    ),
    "one-result-of-two": (ask(user(), said(use("t1"), use("t2")), user([result("t1")])), "immediately after: t2"),
    "result-without-use": (ask(user([result()])), "unexpected `tool_use_id`"),
    "result-of-older-use": (
        ask(user(), said(use()), user([result()]), said(text()), user([result()])),
        "unexpected `tool_use_id`",
    ),
    "result-twice": (ask(user(), said(use()), user([result(), result()])), "single result"),
    "result-after-text": (ask(user(), said(use()), user([text(), result()])), "at the beginning of the next message"),
    "empty-text-in-result": (
        ask(user(), said(use()), user([result(content=[text("")])])),
        "text content blocks must be non-empty",
    ),
    "use-id-twice": (ask(user(), said(use(), use()), user([result()])), "ids must be unique"),
    "use-id-again": (
        ask(user(), said(use()), user([result()]), said(use()), user([result()])),
        "ids must be unique",
    ),
    "thinking-altered": (ask(user(), said(ALTERED, use()), user([result()])), "Invalid `signature`"),
    "prefill": (ask(user(), said(text("{"))), "prefill"),
    "tool-name-with-dot": (ask(tools=[tool("prom.query")]), "String should match pattern"),
    "tool-name-65": (ask(tools=[tool("x" * 65)]), "String should match pattern"),
    "tool-name-twice": (ask(tools=[tool(), tool()]), "Tool names must be unique"),
    "tool-key": (ask(tools=[tool(parameters={})]), "tools.0.custom.parameters: Extra inputs"),
    "schema-no-object": (ask(tools=[tool(input_schema={"type": "string"})]), "Input should be 'object'"),
    "schema-missing": (ask(tools=[{"name": "x"}]), "input_schema: Field required"),
    "schema-any-of": (ask(tools=[tool(input_schema={"type": "object", "anyOf": []})]), "anyOf at the top level"),
    "strict-open": (ask(tools=[tool(strict=True)]), "additionalProperties"),
    "strict-open-inside": (
        ask(tools=[tool(strict=True, input_schema=schema(type="array", items=OPEN_PART))]),
        "additionalProperties",
    ),
    "strict-minimum": (ask(tools=[tool(strict=True, input_schema=schema(minimum=1))]), "'minimum' is not supported"),
    "format-open": (
        ask(output_config={"format": {"type": "json_schema", "schema": OPEN_PART}}),
        "additionalProperties",
    ),
    "effort": (ask(output_config={"effort": "huge"}), "output_config.effort"),
    "choice-of-unknown-tool": (
        ask(tools=[tool()], tool_choice={"type": "tool", "name": "logql"}),
        "Tool 'logql' not found",
    ),
    "choice-without-tools": (ask(tool_choice={"type": "any"}), "only be specified while providing tools"),
    "forced-tool-while-thinking": (
        ask(tools=[tool()], tool_choice={"type": "any"}, thinking={"type": "adaptive"}),
        "tool_choice forces tool use",
    ),
    "thinking-kind": (ask(thinking={"type": "always"}), "thinking.type"),
    "thinking-budget": (ask(thinking={"type": "enabled", "budget_tokens": 1023}), "budget_tokens"),
    "five-cache-marks": (
        ask(user([text(cache_control=MARK)] * 4), cache_control=MARK),
        "maximum of 4 blocks with cache_control",
    ),
    "cache-hour-after-minutes": (
        ask(user([text(cache_control=HOUR)]), system=[text(cache_control=MARK)]),
        "must not come after",
    ),
    "too-long": (ask(user("x" * 4_100_000)), "prompt is too long"),
    "thread": (ask(thread={"type": "create"}), "threads are not supported"),
}


@pytest.fixture
async def model() -> AsyncIterator[AnthropicDouble]:
    """A model with nothing to say but its default."""
    async with AnthropicDouble(api_key="sk-test") as double:
        yield double


@pytest.fixture
async def client(model: AnthropicDouble) -> AsyncIterator[AsyncAnthropic]:
    """The SDK with the right key."""
    async with sdk(model.base_url) as opened:
        yield opened


def sdk(base_url: str, api_key: str = "sk-test") -> AsyncAnthropic:
    """The real SDK, out of reach of the environment, without retries."""
    http_client = httpx2.AsyncClient(trust_env=False, timeout=10)
    return AsyncAnthropic(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)


async def post(client: AsyncAnthropic, body: Json, path: str = "/v1/messages") -> Json:
    """Send a body as it is, through the SDK's own transport."""
    return dict(await client.post(path, cast_to=dict[str, Any], body=body))


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_request_is_refused(
    model: AnthropicDouble, client: AsyncAnthropic, body: Json, message: str
) -> None:
    """400, with a request id, and no turn is paid."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        await post(client, body)
    assert message in str(caught.value.body)
    assert (caught.value.type, caught.value.request_id is None) == ("invalid_request_error", False)
    assert model.paid == []


ACCEPTED: dict[str, Json] = {
    "system-message-inside": ask(user(), {"role": "system", "content": "be brief"}),
    "results-in-two-messages": ask(
        user(), said(use("t1"), use("t2")), user([result("t1")]), user([result("t2", is_error=True), text("go on")])
    ),
    "result-without-content": ask(user(), said(use()), user([{"type": "tool_result", "tool_use_id": "t1"}])),
    "paused-turn": ask(user(), said({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}})),
    "four-cache-marks": ask(
        user([text(cache_control=MARK)] * 2), system=[text(cache_control=HOUR)], cache_control=MARK
    ),
    "strict-tool": ask(
        tools=[tool(strict=True, input_schema=schema(default=15))], tool_choice={"type": "tool", "name": "promql"}
    ),
    "thinking": ask(thinking={"type": "adaptive"}, output_config={"effort": "medium"}),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_a_good_request_is_answered(client: AsyncAnthropic, body: Json) -> None:
    """What is near a limit and within."""
    assert (await post(client, body))["stop_reason"] == "end_turn"


async def test_the_key_is_checked(model: AnthropicDouble) -> None:
    """401."""
    async with sdk(model.base_url, "sk-other") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await post(client, ask())
    assert caught.value.type == "authentication_error"


@pytest.mark.parametrize("version", [None, "2023-06-01"])
async def test_the_version_is_checked(model: AnthropicDouble, version: str | None) -> None:
    """Missing, or one whose rules are others."""
    headers = {"Authorization": "Bearer sk-test"} | ({"anthropic-version": version} if version else {})
    async with (
        ClientSession() as session,
        session.post(f"{model.base_url}/v1/messages", json=ask(), headers=headers) as it,
    ):
        assert (it.status, (await it.json())["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("name", ["claude-nonesuch", "claude-sonnet-4-0"], ids=["unknown", "retired"])
async def test_the_model_must_be_known(client: AsyncAnthropic, name: str) -> None:
    """404."""
    with pytest.raises(anthropic.NotFoundError) as caught:
        await post(client, ask() | {"model": name})
    assert caught.value.type == "not_found_error"


async def test_a_path_must_be_known(client: AsyncAnthropic) -> None:
    """404."""
    with pytest.raises(anthropic.NotFoundError):
        await post(client, {}, "/v1/complete")


async def test_a_body_over_32_mb_is_refused(client: AsyncAnthropic) -> None:
    """413."""
    with pytest.raises(anthropic.ContentTooLargeError):
        await post(client, ask(user("x" * (32 * 1024 * 1024))))


async def test_thinking_must_come_back_with_its_tool_use(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """As it was."""
    model.script([Turn(thinking="hm", tool_uses=[("promql", {"query": "up"})])])
    message = await client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "x"}])
    content = [block.model_dump(exclude_none=True) for block in message.content]
    answer = user([result(content[-1]["id"])])
    with pytest.raises(anthropic.BadRequestError, match="cannot be modified"):
        await post(client, ask(user(), said(*content[1:]), answer))
    assert (await post(client, ask(user(), said(*content), answer)))["stop_reason"] == "end_turn"


async def test_a_turn_has_everything_of_a_message(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """Usage, a request id, new tool ids."""
    model.script([Turn(text="look", tool_uses=[("promql", {"query": "up"})] * 2, usage={"output_tokens": 7})])
    message = await client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "x"}])
    ids = {block.id for block in message.content if block.type == "tool_use"}
    assert (message.stop_reason, len(ids), message._request_id is None) == ("tool_use", 2, False)
    assert (message.usage.output_tokens, message.usage.cache_read_input_tokens) == (7, 8192)
    assert message.usage.output_tokens_details is not None


async def test_a_refusal_has_no_content(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """But a category."""
    model.script([Turn(refusal="cyber")])
    message = await client.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "x"}])
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert message.stop_details is not None
    assert message.stop_details.category == "cyber"


async def test_no_tokens_warm_the_cache_and_use_no_turn(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """`max_tokens: 0`."""
    model.script([Turn(text="first")])
    assert (await post(client, ask(max_tokens=0)))["content"] == []
    assert (await post(client, ask()))["content"] == [text("first")]


async def test_errors_are_scripted(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """With type, code and headers; html too."""
    model.script([Turn(status=429, error_code="enforced_spend_limit_reached", headers={"retry-after": "12"})])
    with pytest.raises(anthropic.RateLimitError) as caught:
        await post(client, ask())
    assert caught.value.response.headers["retry-after"] == "12"
    assert (caught.value.type, caught.value.error_code) == ("rate_limit_error", "enforced_spend_limit_reached")
    model.script([Turn(status=529), Turn(status=502, html="<html>")])
    with pytest.raises(anthropic.OverloadedError):
        await post(client, ask())
    with pytest.raises(anthropic.InternalServerError):
        await post(client, ask())
    assert [request.status for request in model.requests] == [429, 529, 502]


async def test_a_late_answer_times_out(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """And is not paid."""
    model.script([Turn(text="late", delay_s=600)])
    with pytest.raises(anthropic.APITimeoutError):
        await post(client.with_options(timeout=0.05), ask())
    assert model.paid == []


async def test_a_reset_is_no_answer(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """Without a stream too."""
    model.script([Turn(text="lost", stream_cut="reset")])
    with pytest.raises(anthropic.APIConnectionError):
        await post(client, ask())


async def final(client: AsyncAnthropic) -> anthropic.types.ParsedMessage[None]:
    """The message at the end of a stream."""
    question: anthropic.types.MessageParam = {"role": "user", "content": "x"}
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=[question]) as stream:
        return await stream.get_final_message()


async def test_a_stream_gives_the_whole_message(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """Thinking, text and input."""
    model.script([Turn(thinking="hm", text="look", tool_uses=[("promql", {"query": "up"})])])
    message = await final(client)
    blocks = [block.model_dump(exclude_none=True) for block in message.content]
    assert blocks[0] == {"type": "thinking", "thinking": "hm", "signature": signature("hm")}
    assert (blocks[1]["text"], blocks[2]["input"]) == ("look", {"query": "up"})
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 45)


async def test_a_stream_may_end_too_soon(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """Without an error, without a stop reason."""
    model.script([Turn(text="loo", stream_cut="no_stop")])
    assert (await final(client)).stop_reason is None


async def test_a_stream_may_break(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """With an error of the transport."""
    model.script([Turn(text="loo", stream_cut="reset")])
    with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
        await final(client)


async def test_a_stream_may_tell_an_error(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """With status 200."""
    model.script([Turn(text="loo", stream_cut="error_event")])
    with pytest.raises(anthropic.APIStatusError) as caught:
        await final(client)
    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


async def answers(client: AsyncAnthropic, *bodies: Json) -> list[str]:
    """The texts that answer these bodies."""
    return [(await post(client, body))["content"][0]["text"] for body in bodies]


async def test_a_list_is_used_up_in_order(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """Then the default speaks."""
    model.script([Turn(text="1"), lambda request: Turn(text=request["model"])], default=Turn(text="dry"))
    assert await answers(client, ask(), ask(), ask()) == ["1", MODEL, "dry"]


async def test_a_function_may_speak(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """It sees the request."""
    model.script(lambda request: Turn(text=request["system"]))
    assert await answers(client, ask(system="you are a")) == ["you are a"]


async def test_runs_side_by_side_have_their_own_turns(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """By words and ordinal; the same request again gets the same turn, and is seen."""
    model.script({"disk": {0: Turn(text="d0"), 1: Turn(text="d1")}, "net": [Turn(text="n0"), Turn(text="n1")]})
    disk, net = ask(user("disk full")), ask(user("x"), system="net down")
    later = ask(user("disk full"), said(text("d0")), user("and?"))
    assert await answers(client, disk, net, later, disk, net) == ["d0", "n0", "d1", "d0", "n1"]
    assert [request.body for request in model.repeated()] == [disk, net]
    assert len(model.paid) == 5


async def test_an_ordinal_may_fail_first(model: AnthropicDouble, client: AsyncAnthropic) -> None:
    """Its last turn stays."""
    model.script({"disk": {0: [Turn(status=529), Turn(text="d0")]}})
    with pytest.raises(anthropic.OverloadedError):
        await post(client, ask(user("disk")))
    assert await answers(client, ask(user("disk")), ask(user("disk"))) == ["d0", "d0"]


async def test_tokens_are_counted(client: AsyncAnthropic) -> None:
    """By the same rules, without `max_tokens`."""
    question: anthropic.types.MessageParam = {"role": "user", "content": "x"}
    assert (await client.messages.count_tokens(model=MODEL, messages=[question])).input_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Extra inputs"):
        await post(client, ask(), "/v1/messages/count_tokens")


async def test_models_are_listed(client: AsyncAnthropic) -> None:
    """With their lifecycle and limits, in pages."""
    listed = {each.id: each async for each in client.models.list(limit=2)}
    assert listed[MODEL].lifecycle == "active"
    assert (listed[MODEL].max_input_tokens, listed[MODEL].max_tokens) == (1_000_000, 128_000)
    leaving = await client.models.retrieve("claude-sonnet-4-5")
    assert (leaving.lifecycle, leaving.retires_at is None) == ("deprecated", False)
    assert listed["claude-sonnet-4-0"].lifecycle == "retired"
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("claude-nonesuch")


async def test_the_double_runs_as_a_process(tmp_path: Path) -> None:
    """Its script in a file, changed and read over HTTP."""
    turns = tmp_path / "turns.json"
    turns.write_text(json.dumps({"disk": {"0": {"tool_uses": [["promql", {"query": "up"}]]}}}))
    command = [sys.executable, "-m", "responder.doubles.anthropic", "--turns", str(turns)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().strip()
    try:
        async with sdk(base_url) as client, ClientSession(base_url) as session:
            assert (await post(client, ask(user("disk"))))["content"][0]["name"] == "promql"
            async with session.post("/_script", json={"turns": [{"text": "other"}]}) as scripted:
                assert scripted.status == 200
            assert await answers(client, ask()) == ["other"]
            async with session.get("/_state") as state:
                assert (await state.json())["paid"] == 2
    finally:
        process.terminate()
        await process.wait()
