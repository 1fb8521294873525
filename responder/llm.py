"""Anthropic's models behind `ports.Model`: one call is one try, classified and priced. Only this file knows the SDK.

Retries, budgets and what to do without a model are the chain's business, not this file's.
Source: https://platform.claude.com/docs/en/api/messages (version 2026-10-21, SDK 2.10).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx2
from anthropic import AnthropicError, APIStatusError, AsyncAnthropic
from anthropic.types import Message as Answer
from pydantic import BaseModel, Field, SecretStr

from responder.errors import PermanentError, TransientError
from responder.ports import Clock, Model
from responder.redact import visible
from responder.turns import ModelReply, ModelRequest, Usage

API_URL = "https://api.anthropic.com"  # given always: else the SDK asks the environment
CONNECT_S = 5.0
MAX_RETRY_AFTER_S = 300.0
MAX_ANSWER_CHARS = 1_000_000
MAX_DEPTH = 40
SPEND_LIMITS = frozenset(("enforced_spend_limit_reached", "contract_spend_limit_reached", "ramp_limit_exceeded"))
PASSING = frozenset((200, 408, 409, 429))  # 200: an error event inside an answer
FIRST_ERROR, SERVER_ERROR = 400, 500
CACHE_WRITE, CACHE_WRITE_1H, CACHE_READ = 1.25, 2.0, 0.1  # times the price of input
MARK = {"type": "ephemeral"}
GARBAGE = (ValueError, TypeError, AttributeError, KeyError, RecursionError)  # of the SDK over a body that is no message
KEPT = ("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use")


class Price(BaseModel, frozen=True, extra="forbid"):
    """USD per million tokens. Beyond `step_tokens` of prompt the whole request costs the `above` prices."""

    input: float
    output: float
    step_tokens: int | None = None
    above_input: float = 0.0
    above_output: float = 0.0


# Price pages of 2026-11; a dated name (…-20251001) is found by its beginning.
PRICES: Mapping[str, Price] = {
    "claude-haiku-5-5": Price(input=0.1, output=0.5, step_tokens=100_000, above_input=0.5, above_output=2.5),
    "claude-sonnet-5-5": Price(input=2, output=10),
    "claude-opus-5-5": Price(input=4, output=20),
    "claude-fable-5-1": Price(input=10, output=50),
    "claude-haiku-4-5": Price(input=1, output=5),
}


class Models(BaseModel, frozen=True, extra="forbid"):
    """The model of each tier."""

    fast: str = "claude-haiku-5-5"
    deep: str = "claude-sonnet-5-5"
    fallback: str = "claude-haiku-4-5"


class Budget(BaseModel, frozen=True, extra="forbid"):
    """USD for one incident, for one UTC day, and what a P0 may use on top of the day's."""

    incident_usd: float = Field(2.0, ge=0)
    day_usd: float = Field(50.0, ge=0)
    p0_reserve_usd: float = Field(20.0, ge=0)


class Settings(BaseModel, frozen=True, extra="forbid"):
    """The key `llm:` of responder.yaml. Without a key there is no model."""

    api_key: SecretStr | None = None
    base_url: str | None = None
    models: Models = Models()
    budget: Budget = Budget()
    timeout_s: float = 120.0  # of one call, whatever the request asks for
    prices: Mapping[str, Price] = {}  # laid over ours

    def tiers(self) -> dict[str, str]:
        """Give the model of each tier: fast, deep, fallback."""
        return dict(self.models)

    def price(self, model: str) -> Price:
        """Give a model's price; an unknown one costs as the dearest known, so that a budget errs to the safe side."""
        known = {**PRICES, **self.prices}
        found = max((name for name in known if model.startswith(name)), key=len, default="")
        return known[found] if found else max(known.values(), key=lambda price: price.output)

    def dearest_usd(self) -> dict[str, tuple[float, float]]:
        """Give (input, output) of each tier at its worst, USD per million tokens: for estimates before a call."""
        prices = {tier: self.price(model) for tier, model in self.tiers().items()}
        return {t: (max(p.input, p.above_input), max(p.output, p.above_output)) for t, p in prices.items()}


def names(settings: Settings) -> list[str]:
    """Name the configured models, one a tier: the closed set of the metrics' label."""
    return list(settings.tiers().values())


class AnthropicModel:
    """One API key. A call that fails says whether another try may help; nothing is retried here."""

    def __init__(self, settings: Settings, client: AsyncAnthropic, clock: Clock) -> None:
        """Speak through a client that retries nothing by itself."""
        self._settings, self._client, self._clock = settings, client, clock
        self._tiers = settings.tiers()

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Ask for one turn. `model` of the reply is the configured name, whatever the server calls it.

        Raises: TransientError: busy, unreachable, too slow, or an answer that is none. PermanentError: refused for
        good; `code` is the API's `error_code`, else its error type (`not_found_error`: no such model).
        """
        model = self._tiers.get(request.tier, self._settings.models.fallback)
        limit_s = min(request.timeout_s, self._settings.timeout_s)
        try:
            async with asyncio.timeout(limit_s):
                answer: object = await self._client.messages.create(**_body(request, model), timeout=limit_s + 1)
        except TimeoutError as error:
            raise TransientError(f"llm: {model}: no answer within {limit_s:g} s") from error
        except APIStatusError as error:
            raise self._refusal(model, error) from error
        except (AnthropicError, httpx2.HTTPError, httpx2.InvalidURL, *GARBAGE) as error:
            raise TransientError(f"llm: {model}: cannot be reached ({type(error).__name__})") from error
        return self._reply(answer, model)

    def _reply(self, answer: object, model: str) -> ModelReply:
        """Make a reply of what the SDK gives: it checks nothing, and a page of HTML is a text to it."""
        content = getattr(answer, "content", None)
        if not isinstance(answer, Answer) or not isinstance(content, list):
            raise TransientError(f"llm: {model}: the answer is not a message")
        try:
            blocks = [block for block in map(_plain, map(_unwrapped, content)) if _is_whole(block)]
            if sum(len(str(block)) for block in blocks) > MAX_ANSWER_CHARS:
                raise TransientError(f"llm: {model}: the answer is larger than {MAX_ANSWER_CHARS} characters")
            usage = usage_of(answer.usage, self._settings.price(model))
        except GARBAGE as error:
            raise TransientError(f"llm: {model}: the answer is not a message ({type(error).__name__})") from error
        stop = answer.stop_reason if isinstance(answer.stop_reason, str) else ""
        return ModelReply(blocks, visible(stop)[:40], usage, model)

    def _refusal(self, model: str, error: APIStatusError) -> TransientError | PermanentError:
        status, code = error.status_code, visible(str(error.error_code or error.type or ""))[:80]
        said = visible(str(error.api_message or ""))[:200]
        text = f"llm: {model}: HTTP {status} {code}".rstrip() + (f": {said}" if said else "")
        passing = status in PASSING or status >= SERVER_ERROR
        if passing and code not in SPEND_LIMITS:
            return TransientError(text, retry_after_s=self._retry_after_s(error.response.headers))
        return PermanentError(text, code=code or str(status))

    def _retry_after_s(self, headers: Mapping[str, str]) -> float | None:
        """Read the wait that is wished for: milliseconds, seconds or a date; at most MAX_RETRY_AFTER_S."""
        try:
            if "retry-after-ms" in headers:
                wish = float(headers["retry-after-ms"]) / 1000
            elif "retry-after" not in headers:
                return None
            elif headers["retry-after"].strip().replace(".", "", 1).isdecimal():
                wish = float(headers["retry-after"])
            else:
                until = parsedate_to_datetime(headers["retry-after"])
                until = until if until.tzinfo else until.replace(tzinfo=UTC)
                wish = (until - self._clock.now()).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(wish, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(wish) else None


def usage_of(usage: object, price: Price) -> Usage:
    """Count and price the tokens of one answer; what is missing or odd counts as none."""

    def tokens(of: object, name: str) -> int:
        found = getattr(of, name, None)
        return max(0, found) if isinstance(found, int) and not isinstance(found, bool) else 0

    fresh, written = tokens(usage, "input_tokens"), tokens(usage, "cache_creation_input_tokens")
    read, out = tokens(usage, "cache_read_input_tokens"), tokens(usage, "output_tokens")
    hour = min(written, tokens(getattr(usage, "cache_creation", None), "ephemeral_1h_input_tokens"))
    above = price.step_tokens is not None and fresh + written + read > price.step_tokens
    per_input, per_output = (price.above_input, price.above_output) if above else (price.input, price.output)
    weighed = fresh + (written - hour) * CACHE_WRITE + hour * CACHE_WRITE_1H + read * CACHE_READ
    return Usage(fresh, out, read, written, (weighed * per_input + out * per_output) / 1e6)


def _body(request: ModelRequest, model: str) -> dict[str, Any]:
    """Write the request; what will be sent again is marked for the cache: tools, system, the conversation so far."""
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens, "messages": _marked(request.messages)}
    if request.system:
        body["system"] = [{"type": "text", "text": request.system, "cache_control": MARK}]
    if request.tools:
        body["tools"] = [*request.tools[:-1], {**request.tools[-1], "cache_control": MARK}]
        named = request.tool_choice not in ("auto", "any", "none")
        choice = {"type": "tool", "name": request.tool_choice} if named else {"type": request.tool_choice}
        body["tool_choice"] = choice
    return body


def _marked(messages: list[dict[str, object]]) -> list[dict[str, object]]:
    """Mark the last block of the last message, where it is one that may carry a mark."""
    if not messages:
        return messages
    last = messages[-1]
    content = last.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(cast(list[Any], content or []))
    if blocks and blocks[-1].get("type") in ("text", "tool_result"):
        blocks[-1] = {**blocks[-1], "cache_control": MARK}
        return [*messages[:-1], {**last, "content": blocks}]
    return messages


def _unwrapped(block: Any) -> Any:
    """Give a block as it came; what is of a wrong type passes here, `_is_whole` judges it."""
    return block.to_dict(mode="python", warnings=False) if hasattr(block, "to_dict") else block


def _is_whole(block: object) -> bool:
    """Whether a block is one that we know, with what it needs to be used and sent back."""
    if not isinstance(block, dict) or block.get("type") not in KEPT:
        return False
    if block["type"] == "text":
        return isinstance(block.get("text"), str) and bool(block["text"].strip())
    if block["type"] == "tool_use":
        named = isinstance(block.get("id"), str) and isinstance(block.get("name"), str)
        return named and isinstance(block.get("input"), dict)
    return True


def _plain(value: Any, depth: int = 0) -> Any:
    """Give what any database and any encoder can hold: no lone surrogates, NULs, huge integers, or bottomless nests."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_plain(str(key), depth): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return str(value)[:400] if abs(value) < 1 << 1024 else "a huge number"
    return value


@asynccontextmanager
async def open_model(settings: Settings, clock: Clock) -> AsyncIterator[Model | None]:
    """Open one HTTP client for all calls; None when there is no key. Proxies of the environment are not used."""
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if not key:
        yield None
        return
    timeout = httpx2.Timeout(settings.timeout_s + 1, connect=CONNECT_S)
    async with httpx2.AsyncClient(trust_env=False, timeout=timeout, follow_redirects=False) as http:
        client = AsyncAnthropic(
            api_key=key,
            base_url=settings.base_url or API_URL,
            max_retries=0,
            timeout=timeout,
            open_telemetry=False,
            http_client=http,
        )
        yield AnthropicModel(settings, client, clock)
