"""The model's edge, by the real SDK against the strict double: what is asked, what comes back, what a failure means."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from responder.doubles.anthropic import AnthropicDouble, Turn
from responder.errors import PermanentError, TransientError
from responder.llm import Models, Price, Settings, open_model, usage_of
from responder.ports import Model
from responder.turns import ModelRequest

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TOOL: dict[str, object] = {"name": "promql", "description": "d", "input_schema": {"type": "object", "properties": {}}}
ASKED: list[dict[str, object]] = [{"role": "user", "content": "What is wrong?"}]


class StillClock:
    """A clock that stands."""

    def now(self) -> datetime:
        """Noon."""
        return NOW

    def monotonic(self) -> float:
        """Nothing passes."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """At once."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


def settings(url: str, **more: Any) -> Settings:
    """Settings that point to a server of the test."""
    return Settings(api_key=SecretStr("sk-test"), base_url=url, **more)


def request(**more: Any) -> ModelRequest:
    """A turn with one tool."""
    return ModelRequest(**{"tier": "fast", "system": "You look.", "messages": ASKED, "tools": [TOOL], **more})


@asynccontextmanager
async def speaking(*turns: Turn, **more: Any) -> AsyncIterator[tuple[Model, AnthropicDouble]]:
    """The model over a double that says these turns."""
    async with (
        AnthropicDouble(turns=turns) as double,
        open_model(settings(double.base_url, **more), StillClock()) as model,
    ):
        assert model is not None
        yield model, double


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Any], **more: Any) -> AsyncIterator[Model]:
    """The model over a server that answers anything."""
    app = web.Application()
    app.router.add_post("/v1/messages", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with open_model(settings(f"http://127.0.0.1:{runner.addresses[0][1]}", **more), StillClock()) as model:
            assert model is not None
            yield model
    finally:
        await runner.cleanup()


async def test_without_a_key_there_is_no_model() -> None:
    for key in (None, SecretStr("")):
        async with open_model(Settings(api_key=key), StillClock()) as model:
            assert model is None


def test_a_misspelt_key_stops_the_start() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"modles": {}})


async def test_a_turn_comes_back_with_its_blocks_its_stop_reason_and_its_cost() -> None:
    turn = Turn(text="Looking.", thinking="hm", tool_uses=[("promql", {"query": "up"})])
    async with speaking(turn) as (model, double):
        reply = await model.complete(request())
    assert [block["type"] for block in reply.content] == ["thinking", "text", "tool_use"]
    assert (reply.stop_reason, reply.model) == ("tool_use", "claude-haiku-5-5")
    assert (reply.usage.input, reply.usage.output, reply.usage.cache_read) == (120, 45, 8192)
    assert reply.usage.cost_usd == pytest.approx((120 + 2048 * 2 + 8192 * 0.1) * 0.1e-6 + 45 * 0.5e-6)
    assert len(double.paid) == 1


async def test_the_blocks_can_be_sent_back_unchanged_with_the_tool_results() -> None:
    first = Turn(text="Looking.", thinking="hm", tool_uses=[("promql", {}), ("promql", {"a": None})])
    async with speaking(first, Turn(text="Done.")) as (model, double):
        said = (await model.complete(request())).content
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "1"} for block in said if "id" in block
        ]
        await model.complete(
            request(messages=[*ASKED, {"role": "assistant", "content": said}, {"role": "user", "content": results}])
        )
    assert [received.status for received in double.requests] == [200, 200]


async def test_tools_system_and_the_conversation_are_marked_for_the_cache_and_nothing_is_sampled() -> None:
    async with speaking(Turn(text="x")) as (model, double):
        await model.complete(request())
    body = double.requests[0].body
    marked = [body["tools"][-1], body["system"][-1], body["messages"][-1]["content"][-1]]
    assert all(block["cache_control"] == {"type": "ephemeral"} for block in marked)
    assert not {"temperature", "top_p", "thread", "stream"} & body.keys()
    assert "traceparent" not in {name.lower() for name in double.requests[0].headers}


async def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with speaking(Turn(text="x")) as (model, _):
        assert (await model.complete(request())).content


async def test_each_tier_asks_its_model() -> None:
    async with speaking(*[Turn(text="x")] * 3) as (model, double):
        for tier in ("fast", "deep", "fallback"):
            await model.complete(request(tier=tier))
    assert [each.body["model"] for each in double.requests] == list(Settings().tiers().values())


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_passes_may_be_tried_again(status: int) -> None:
    async with speaking(Turn(status=status), Turn(text="x")) as (model, double):
        with pytest.raises(TransientError):
            await model.complete(request())
    assert len(double.requests) == 1, "the SDK must not retry by itself"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_what_stays_wrong_is_not_tried_again(status: int) -> None:
    async with speaking(Turn(status=status)) as (model, _):
        with pytest.raises(PermanentError) as raised:
            await model.complete(request())
    assert raised.value.code


@pytest.mark.parametrize(
    "code", ["enforced_spend_limit_reached", "contract_spend_limit_reached", "ramp_limit_exceeded"]
)
async def test_a_spend_limit_is_no_rate_limit(code: str) -> None:
    async with speaking(Turn(status=429, error_code=code)) as (model, _):
        with pytest.raises(PermanentError) as raised:
            await model.complete(request())
    assert raised.value.code == code


async def test_an_unknown_model_is_named_as_such() -> None:
    async with speaking(models=Models(fast="claude-haiku-9")) as (model, _):
        with pytest.raises(PermanentError) as raised:
            await model.complete(request())
    assert raised.value.code == "not_found_error"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "3600"}, 300.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({}, None),
    ],
)
async def test_the_wait_asked_for_is_kept_within_reason(headers: dict[str, str], seconds: float | None) -> None:
    async with speaking(Turn(status=429, headers=headers)) as (model, _):
        with pytest.raises(TransientError) as raised:
            await model.complete(request())
    assert raised.value.retry_after_s == seconds


@pytest.mark.parametrize(
    "turn",
    [
        Turn(html="<html>Sign in</html>"),
        Turn(html="<html>Bad gateway</html>", status=502),
        Turn(text="x", stream_cut="reset"),
        Turn(raw={"type": "message"}),
        Turn(raw={"content": "words"}),
    ],
    ids=["html with 200", "html with 502", "cut off", "no content", "content is text"],
)
async def test_an_answer_that_is_none_may_be_tried_again(turn: Turn) -> None:
    async with speaking(turn) as (model, _):
        with pytest.raises(TransientError):
            await model.complete(request())


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", '"x"', "{", '{"content": {}}', '{"content": [[]], "usage": 3}', "1e999", "[" * 100_000],
)
async def test_odd_json_never_comes_out_as_another_error(body: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    async with answering(answer) as model:
        try:
            reply = await model.complete(request())
        except TransientError:
            return
    assert reply.content == []


async def test_odd_blocks_are_dropped_and_odd_values_made_plain() -> None:
    deep: Any = {"type": "tool_use", "id": "t1", "name": "promql", "input": {"q": "a\udc00b\x00", "n": 10**30}}
    blocks = [{"type": "text"}, {"type": "hologram"}, {"type": "tool_use", "id": 3, "name": "x", "input": {}}, deep]
    body = {"type": "message", "role": "assistant", "content": blocks, "stop_reason": None, "usage": None}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps(body), content_type="application/json")

    async with answering(answer) as model:
        reply = await model.complete(request())
    assert [block["input"] for block in reply.content] == [{"q": "a?b", "n": str(10**30)}]
    assert (reply.stop_reason, reply.usage.cost_usd) == ("", 0.0)


async def test_a_hang_ends_with_the_requests_own_deadline() -> None:
    async with speaking(Turn(text="x", delay_s=30)) as (model, _):
        with pytest.raises(TransientError, match="no answer within"):
            await model.complete(request(timeout_s=0.05))


async def test_nobody_listening_may_be_tried_again() -> None:
    async with open_model(settings("http://127.0.0.1:1"), StillClock()) as model:
        assert model is not None
        with pytest.raises(TransientError):
            await model.complete(request())


async def test_a_redirect_is_not_followed() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

    async with answering(answer) as model:
        with pytest.raises(PermanentError):
            await model.complete(request())


async def test_no_error_repeats_the_key() -> None:
    async with (
        AnthropicDouble(api_key="sk-other") as double,
        open_model(settings(double.base_url), StillClock()) as model,
    ):
        assert model is not None
        with pytest.raises(PermanentError) as raised:
            await model.complete(request())
    assert "sk-test" not in str(raised.value)


class Tokens:
    """Usage as the SDK gives it; what is not named is missing."""

    def __init__(self, **tokens: object) -> None:
        """Keep them as attributes."""
        self.__dict__.update(tokens)


@pytest.mark.parametrize(
    ("model", "tokens", "usd"),
    [
        ("claude-haiku-5-5", {"input_tokens": 100_000, "output_tokens": 1000}, 0.0105),
        ("claude-haiku-5-5", {"input_tokens": 100_001, "output_tokens": 1000}, 0.0525005),
        ("claude-haiku-5-5", {"input_tokens": 1, "cache_read_input_tokens": 100_000}, 0.0050005),
        ("claude-sonnet-5-5", {"input_tokens": 1_000_000, "output_tokens": 100_000}, 3.0),
        ("claude-sonnet-5-5", {"cache_creation_input_tokens": 1_000_000}, 2.5),
        ("claude-haiku-4-5-20251001", {"input_tokens": 1_000_000}, 1.0),
        ("a-model-of-tomorrow", {"input_tokens": 1_000_000, "output_tokens": 1_000_000}, 60.0),
        ("claude-sonnet-5-5", {"input_tokens": None, "output_tokens": "many"}, 0.0),
        ("claude-sonnet-5-5", {"input_tokens": -5}, 0.0),
    ],
)
def test_a_turn_costs_what_the_price_page_says(model: str, tokens: dict[str, object], usd: float) -> None:
    assert usage_of(Tokens(**tokens), Settings().price(model)).cost_usd == pytest.approx(usd)


def test_prices_can_be_laid_over_ours() -> None:
    own = Settings(prices={"claude-sonnet-5-5": Price(input=1, output=2)})
    assert own.dearest_usd() == {"fast": (0.5, 2.5), "deep": (1, 2), "fallback": (1, 5)}
