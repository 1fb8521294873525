"""What the Messages API refuses, on version 2026-10-21."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from responder.doubles.anthropic_models import EFFORTS, find_model
from responder.doubles.anthropic_tools import (
    TOOL_NAME,
    ApiRefusal,
    check_strict,
    check_tool_choice,
    check_tools,
    refuse,
)
from responder.doubles.anthropic_turns import Json, signature

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_CACHE_MARKS = 4
MIN_THINKING_TOKENS = 1024
CHARS_A_TOKEN = 4  # an estimate, as good as this double needs

COUNT_KEYS = frozenset(
    {"cache_control", "messages", "model", "output_config", "speed", "system", "thinking", "tool_choice", "tools"}
)
CREATE_KEYS = COUNT_KEYS | {
    *("container", "diagnostics", "inference_geo", "max_tokens", "metadata"),
    *("service_tier", "stop_sequences", "stream"),
}
BETA_KEYS = {"context_management": ("context-management-", "compact-"), "mcp_servers": ("mcp-client-",)}
SAMPLING_KEYS = ("temperature", "top_p", "top_k")

Shape = Mapping[str, Collection[str] | None]  # a block's type -> its keys; None: not looked into

ANY_KEYS: frozenset[str] | None = None
MARK = {"type", "cache_control"}
USER_BLOCKS: Shape = {
    "text": {*MARK, "text"},
    "tool_result": {*MARK, "tool_use_id", "content", "is_error", "toolset_name"},
    "image": {*MARK, "source", "transformations"},
    "document": {*MARK, "source", "citations", "context", "title"},
    **dict.fromkeys(("search_result", "container_upload"), ANY_KEYS),
}
SERVER_RESULTS = (
    *("web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result", "tool_search_tool_result"),
    *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "server_tool_use", "compaction"),
)
ASSISTANT_BLOCKS: Shape = {
    "text": {*MARK, "text", "citations"},
    "tool_use": {*MARK, "id", "name", "input", "caller", "toolset_name"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    **dict.fromkeys(SERVER_RESULTS, ANY_KEYS),
}
BLOCKS: Mapping[str, Shape] = {"user": USER_BLOCKS, "assistant": ASSISTANT_BLOCKS, "system": {"text": {*MARK, "text"}}}

USE_ID = re.compile(r"[a-zA-Z0-9_-]+")


def check_create(body: Json, betas: str = "") -> None:
    """Refuse what `POST /v1/messages` refuses.

    Raises: ApiRefusal: with the status, the type and a message that names the place.
    """
    _check_keys(body, CREATE_KEYS, betas)
    limit = body.get("max_tokens")
    if limit is None:
        raise refuse("max_tokens: Field required")
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise refuse("max_tokens: Input should be a valid integer")
    if limit < 0:
        raise refuse("max_tokens: Input should be greater than or equal to 0")
    _check_common(body)
    most = (find_model(body["model"]) or {})["max_tokens"]
    if limit > most:
        raise refuse(f"max_tokens: {limit} > {most}, which is the maximum allowed number of output tokens")
    _check_options(body)


def check_count(body: Json, betas: str = "") -> None:
    """Refuse what `POST /v1/messages/count_tokens` refuses."""
    _check_keys(body, COUNT_KEYS, betas)
    _check_common(body)


def estimate_tokens(body: Json) -> int:
    """Roughly how many input tokens a request has."""
    seen = {key: body.get(key) for key in ("messages", "system", "tools")}
    return max(1, len(json.dumps(seen)) // CHARS_A_TOKEN)


def _check_keys(body: Json, allowed: Collection[str], betas: str) -> None:
    for key in body:
        if key == "thread":
            raise refuse("thread: threads are not supported here", "thread_unsupported_request")
        if key in SAMPLING_KEYS:
            raise refuse(f"{key}: sampling parameters are not supported on this API version")
        if key not in allowed and not any(beta in betas for beta in BETA_KEYS.get(key, ())):
            raise refuse(f"{key}: Extra inputs are not permitted")


def _check_common(body: Json) -> None:
    if not isinstance(body.get("model"), str):
        raise refuse("model: Field required")
    known = find_model(body["model"])
    if known is None or known["lifecycle"] == "retired":
        raise ApiRefusal(404, "not_found_error", f"model: {body['model']}")
    check_messages(body.get("messages"))
    _check_system(body.get("system"))
    check_tools(body.get("tools"))
    check_tool_choice(body)
    _check_thinking(body)
    _check_cache(body)
    tokens = estimate_tokens(body)
    if tokens > known["max_input_tokens"]:
        raise refuse(f"prompt is too long: {tokens} tokens > {known['max_input_tokens']} maximum")


def _check_options(body: Json) -> None:
    if not isinstance(body.get("stream", False), bool):
        raise refuse("stream: Input should be a valid boolean")
    stops = body.get("stop_sequences", [])
    if not isinstance(stops, list) or any(not isinstance(each, str) or not each.strip() for each in stops):
        raise refuse("stop_sequences: each stop sequence must contain non-whitespace")
    output = body.get("output_config") or {}
    if output.get("effort") not in (None, *EFFORTS):
        raise refuse(f"output_config.effort: Input should be one of {EFFORTS}")
    wanted = output.get("format")
    if wanted is not None:
        if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
            raise refuse("output_config.format.schema: Field required")
        check_strict(wanted["schema"], "output_config.format.schema")


def check_messages(messages: object) -> None:
    """Refuse a conversation that the model could not have had.

    Raises: ApiRefusal: 400, naming the message and the block.
    """
    if not isinstance(messages, list):
        raise refuse("messages: Field required")
    if not messages:
        raise refuse("messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}")
    if messages[0]["role"] != "user":
        raise refuse("messages: first message must use the user role")
    turns = _merged(messages)
    _check_tool_pairs(turns)
    _check_end(turns[-1])


def _check_message(message: object, place: str) -> None:
    if not isinstance(message, dict):
        raise refuse(f"{place}: Input should be an object")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in BLOCKS:
        raise refuse(f"{place}.role: Input should be 'user', 'assistant' or 'system'")
    for key in message.keys() - {"role", "content"}:
        raise refuse(f"{place}.{key}: Extra inputs are not permitted")
    if not content:
        raise refuse(f"{place}: all messages must have non-empty content")
    if isinstance(content, str):
        _check_text(content, place)
        return
    if not isinstance(content, list):
        raise refuse(f"{place}.content: Input should be a valid list")
    for index, block in enumerate(content):
        _check_block(block, BLOCKS[role], f"{place}.content.{index}")


def _check_text(text: object, place: str) -> None:
    if not isinstance(text, str):
        raise refuse(f"{place}.text: Input should be a valid string")
    if not text:
        raise refuse(f"{place}: text content blocks must be non-empty")
    if not text.strip():
        raise refuse(f"{place}: text content blocks must contain non-whitespace text")


def _check_block(block: object, allowed: Shape, place: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(kind, str) or kind not in allowed:
        raise refuse(f"{place}: Input tag '{kind}' does not match any of the expected tags")
    keys = allowed[kind]
    for key in block if keys is not None else ():
        if key not in (keys or ()):
            raise refuse(f"{place}.{kind}.{key}: Extra inputs are not permitted")
    match kind:
        case "text":
            _check_text(block.get("text"), place)
        case "tool_use":
            _check_tool_use(block, place)
        case "tool_result":
            _check_tool_result(block, place)
        case "thinking":
            if block.get("signature") != signature(str(block.get("thinking"))):
                raise refuse(f"{place}: Invalid `signature` in `thinking` block: it cannot be modified")


def _check_tool_use(block: Json, place: str) -> None:
    if not USE_ID.fullmatch(str(block.get("id") or "")):
        raise refuse(f"{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not TOOL_NAME.fullmatch(str(block.get("name") or "")):
        raise refuse(f"{place}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    if not isinstance(block.get("input"), dict):
        raise refuse(f"{place}.tool_use.input: Input should be a valid dictionary")


def _check_tool_result(block: Json, place: str) -> None:
    if not isinstance(block.get("tool_use_id"), str):
        raise refuse(f"{place}.tool_result.tool_use_id: Field required")
    if not isinstance(block.get("is_error", False), bool):
        raise refuse(f"{place}.tool_result.is_error: Input should be a valid boolean")
    content = block.get("content", "")
    if not isinstance(content, (str, list)):
        raise refuse(f"{place}.tool_result.content: Input should be a valid list")
    inner = {kind: USER_BLOCKS[kind] for kind in USER_BLOCKS if kind != "tool_result"}
    for index, part in enumerate(content if isinstance(content, list) else []):
        _check_block(part, {**inner, "tool_reference": ANY_KEYS}, f"{place}.tool_result.content.{index}")


def _blocks(content: object) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content) if isinstance(content, list) else []


def _merged(messages: Sequence[Json]) -> list[Json]:
    """The turns: messages of one role after another are one turn, as the API itself joins them."""
    turns: list[Json] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += _blocks(message["content"])
        else:
            turns.append({"role": message["role"], "content": _blocks(message["content"])})
    return turns


def _named(turn: Json | None, kind: str, key: str) -> list[str]:
    return [block[key] for block in (turn or {"content": []})["content"] if block["type"] == kind]


def _check_tool_pairs(turns: Sequence[Json]) -> None:
    seen: set[str] = set()
    for index, turn in enumerate(turns):
        uses = _named(turn, "tool_use", "id")
        if len(set(uses)) < len(uses) or seen & set(uses):
            raise refuse(f"messages.{index}: `tool_use` ids must be unique")
        seen |= set(uses)
        before = turns[index - 1] if index else None
        _check_results(turn, _named(before, "tool_use", "id"), index)
    if _named(turns[-1], "tool_use", "id"):
        raise refuse("messages: `tool_use` ids were found without `tool_result` blocks immediately after")


def _check_results(turn: Json, uses: Sequence[str], index: int) -> None:
    results = _named(turn, "tool_result", "tool_use_id")
    for name in results:
        if name not in uses:
            raise refuse(
                f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message."
            )
        if results.count(name) > 1:
            raise refuse(f"messages.{index}: each tool_use must have a single result: {name}")
    first = [block["type"] for block in turn["content"]][: len(results)]
    missing = sorted(set(uses) - set(results))
    if missing or any(kind != "tool_result" for kind in first):
        raise refuse(
            f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing or uses)}. Each `tool_use` block must have a corresponding `tool_result` block at the "
            "beginning of the next message."
        )


def _check_end(turn: Json) -> None:
    # A turn that paused at a server tool is sent back as it is, to be taken up again.
    paused = turn["content"][-1]["type"] in SERVER_RESULTS
    if turn["role"] == "assistant" and not paused:
        raise refuse("This model does not support assistant message prefill: the last message must be of the user.")


def _check_system(system: object) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise refuse("system: Input should be a valid list")
    for index, block in enumerate(system):
        _check_block(block, {"text": {*MARK, "text", "citations"}}, f"system.{index}")


def _check_thinking(body: Json) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("adaptive", "enabled", "disabled", "between_tools"):
        raise refuse("thinking.type: Input should be 'adaptive', 'enabled', 'disabled' or 'between_tools'")
    if kind == "enabled":
        _check_thinking_budget(thinking.get("budget_tokens"), body.get("max_tokens"))
    forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    if kind in ("adaptive", "enabled") and forced:
        raise refuse("thinking: Thinking may not be enabled when tool_choice forces tool use.")


def _check_thinking_budget(budget: object, limit: int | None) -> None:
    if not isinstance(budget, int) or budget < MIN_THINKING_TOKENS:
        raise refuse("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if limit is not None and budget >= limit:
        raise refuse("`max_tokens` must be greater than `thinking.budget_tokens`")


def _check_cache(body: Json) -> None:
    marks = [mark for key in ("tools", "system", "messages") for mark in _marks(body.get(key))]
    if isinstance(body.get("cache_control"), dict):
        marks.append(body["cache_control"])
    if len(marks) > MAX_CACHE_MARKS:
        raise refuse(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    lives = [mark.get("ttl", "5m") for mark in marks]
    if any(mark.get("type") != "ephemeral" for mark in marks) or set(lives) - {"5m", "1h"}:
        raise refuse("cache_control: Input should be {'type': 'ephemeral', 'ttl': '5m' or '1h'}")
    if lives != sorted(lives):  # "1h" sorts before "5m"
        raise refuse("cache_control.ttl: a ttl='1h' block must not come after a ttl='5m' block")


def _marks(part: object) -> Iterator[Json]:
    if isinstance(part, list):
        for item in part:
            yield from _marks(item)
    elif isinstance(part, dict):
        if isinstance(part.get("cache_control"), dict):
            yield part["cache_control"]
        yield from _marks(part.get("content"))


def check_thinking_kept(messages: Sequence[Json], served: Mapping[str, Sequence[Json]]) -> None:
    """Refuse the latest tool uses without the thinking that came with them; `served` has it by tool use id.

    Raises: ApiRefusal: 400.
    """
    said = [message for message in messages if message["role"] == "assistant"]
    content = _blocks(said[-1]["content"]) if said else []
    for block in content:
        for thought in served.get(str(block.get("id")), ()):
            if thought not in content:
                raise refuse("messages: `thinking` blocks in the latest assistant message cannot be modified")


def thinking_of(content: object) -> list[Json]:
    """The thinking blocks of a message's content."""
    return [block for block in _blocks(content) if block["type"] in ("thinking", "redacted_thinking")]
