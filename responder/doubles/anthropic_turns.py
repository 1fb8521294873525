"""What the model says next: turns, the script that picks them, and how a turn looks on the wire."""

import hashlib
import itertools
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

OK = 200
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
USAGE: Json = {
    "input_tokens": 120,
    "output_tokens": 45,
    "cache_creation_input_tokens": 2048,
    "cache_read_input_tokens": 8192,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2048},
    "output_tokens_details": {"thinking_tokens": 20},
    "server_tool_use": None,
    "service_tier": "standard",
    "inference_geo": "not_available",
    "speed": "standard",
}
DELTA_USAGE = ("output_tokens", "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(frozen=True)
class Turn:
    """One answer of the model, or one failure in its place.

    Attributes:
        tool_uses: (name, input) pairs; ids are made up, each new.
        stop_reason: by default what fits: `tool_use`, `refusal` or `end_turn`.
        usage: laid over the usual numbers.
        status: other than 200, an error of type `error` (by default the one of that status).
        html: a body of text/html in place of JSON.
        stream_cut: `no_stop`, `reset` or `error_event`; `reset` also cuts an answer that is no stream.
        refusal: the category of a refusal; the content is then empty.
        raw: the whole JSON body, as it is.
    """

    text: str | None = None
    tool_uses: Sequence[tuple[str, Json]] = ()
    thinking: str | None = None
    stop_reason: str | None = None
    usage: Json = field(default_factory=dict)
    delay_s: float = 0.0
    status: int = OK
    error: str | None = None
    error_code: str | None = None
    message: str = "scripted"
    headers: Mapping[str, str] = field(default_factory=dict)
    html: str | None = None
    stream_cut: str | None = None
    refusal: str | None = None
    raw: Json | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Turn":
        """A turn from a script file; `tool_uses` are [name, input] lists."""
        uses = tuple((name, given) for name, given in body.get("tool_uses", ()))
        return cls(**{**body, "tool_uses": uses})


Speaker = Callable[[Json], Turn]
Spoken = Turn | Speaker
Ordinals = Mapping[int, Spoken | Sequence[Spoken]]
Script = Sequence[Spoken] | Speaker | Mapping[str, Sequence[Spoken] | Ordinals]

DRY = Turn(text="Nothing more to say.")


def script_from_json(body: Any) -> Script:
    """A script from a file: a list of turns, or {words: list} or {words: {"0": turn or list}}."""
    if isinstance(body, list):
        return [Turn.from_json(each) for each in body]
    return {words: _spoken(part) for words, part in body.items()}


def _spoken(part: Any) -> Sequence[Spoken] | Ordinals:
    if isinstance(part, list):
        return [Turn.from_json(each) for each in part]
    return {int(number): _listed(each) for number, each in part.items()}


def _listed(part: Any) -> Spoken | Sequence[Spoken]:
    return [Turn.from_json(each) for each in part] if isinstance(part, list) else Turn.from_json(part)


def text_of(content: object) -> str:
    """The text of a system prompt or a message."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block["text"]) for block in blocks if isinstance(block, dict) and "text" in block)


class Prompter:
    """Picks the turn that answers a request.

    A list is used up in order. A mapping is looked up by words in the system prompt or in the first message; its value
    is a list, used up in order, or `{ordinal: turn}`, where the ordinal counts the assistant's messages so far, so that
    runs side by side do not disturb each other and a request that is sent again gets the same turn. An ordinal's list
    is used up in order, its last turn stays.
    """

    def __init__(self, script: Script, default: Turn) -> None:
        """Start at the script's beginning; `default` speaks where the script is silent."""
        self._script, self._default = script, default
        self._used: dict[tuple[str, int], int] = {}

    def next_turn(self, request: Json) -> Turn:
        """The answer to a request."""
        spoken = self._script if callable(self._script) else self._pick(self._script, request)
        return spoken(request) if callable(spoken) else spoken

    def _pick(self, script: Sequence[Spoken] | Mapping[str, Any], request: Json) -> Spoken:
        if not isinstance(script, Mapping):
            return self._take("", -1, script, lasting=False)
        first = text_of(request.get("system")) + "\n" + text_of(request["messages"][0]["content"])
        words = next((each for each in script if each in first), None)
        if words is None:
            return self._default
        part = script[words]
        if not isinstance(part, Mapping):
            return self._take(words, -1, part, lasting=False)
        ordinal = sum(message["role"] == "assistant" for message in request["messages"])
        said = part.get(ordinal, ())
        return self._take(words, ordinal, said if isinstance(said, Sequence) else [said], lasting=True)

    def _take(self, words: str, ordinal: int, said: Sequence[Spoken], *, lasting: bool) -> Spoken:
        used = self._used.get((words, ordinal), 0)
        self._used[words, ordinal] = used + 1
        if used < len(said):
            return said[used]
        return said[-1] if lasting and said else self._default


def signature(thinking: str) -> str:
    """The signature of a thinking block; only the unchanged text has it."""
    return f"EqQB{hashlib.sha256(thinking.encode()).hexdigest()[:40]}"


class Wire:
    """Turns into JSON bodies and event streams; every id is new."""

    def __init__(self) -> None:
        """Choose a prefix that no other double has."""
        self._prefix, self._numbers = secrets.token_hex(4), itertools.count(1)

    def new_id(self, kind: str) -> str:
        """`msg_…`, `toolu_…` or `req_…`."""
        return f"{kind}_{self._prefix}{next(self._numbers):06d}"

    def content(self, turn: Turn) -> list[Json]:
        """The blocks of a turn: thinking, text, tool uses."""
        blocks: list[Json] = []
        if turn.thinking is not None:
            blocks.append({"type": "thinking", "thinking": turn.thinking, "signature": signature(turn.thinking)})
        if turn.text is not None:
            blocks.append({"type": "text", "text": turn.text})
        for name, given in turn.tool_uses:
            use = {"type": "tool_use", "id": self.new_id("toolu"), "name": name, "input": given}
            blocks.append({**use, "caller": {"type": "direct"}})
        return blocks

    def message(self, turn: Turn, model: str) -> Json:
        """A whole message."""
        details = {"type": "refusal", "category": turn.refusal, "explanation": "scripted"}
        usual = "refusal" if turn.refusal else "tool_use" if turn.tool_uses else "end_turn"
        return {
            "id": self.new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [] if turn.refusal else self.content(turn),
            "stop_reason": turn.stop_reason or usual,
            "stop_sequence": None,
            "stop_details": details if turn.refusal else None,
            "container": None,
            "diagnostics": None,
            "usage": {**USAGE, **turn.usage},
        }


def error_body(error: str, message: str, request_id: str, error_code: str | None = None) -> Json:
    """The JSON of an error."""
    said: Json = {"type": error, "message": message}
    if error_code is not None:
        said["details"] = {"error_code": error_code}
    return {"type": "error", "error": said, "request_id": request_id}


def events(message: Json) -> Iterator[Json]:
    """The events of a message's stream, `message_start` to `message_stop`."""
    opening = {**message, "content": [], "stop_reason": None, "stop_details": None}
    usage = message.get("usage", {})
    yield {"type": "message_start", "message": {**opening, "usage": {**usage, "output_tokens": 1}}}
    for index, block in enumerate(message.get("content", ())):
        yield from _block_events(index, block)
    delta = {key: message.get(key) for key in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": delta, "usage": {key: usage.get(key) for key in DELTA_USAGE}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Json) -> Iterator[Json]:
    hollow: dict[str, Json] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    start = {**block, **hollow.get(block["type"], {})}
    yield {"type": "content_block_start", "index": index, "content_block": start}
    if index == 0:
        yield {"type": "ping"}
    for delta in _deltas(block):
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _deltas(block: Json) -> Iterator[Json]:
    match block["type"]:
        case "text":
            yield from ({"type": "text_delta", "text": part} for part in _halves(block["text"]))
        case "thinking":
            yield from ({"type": "thinking_delta", "thinking": part} for part in _halves(block["thinking"]))
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "tool_use":
            parts = _halves(json.dumps(block["input"]))
            yield from ({"type": "input_json_delta", "partial_json": part} for part in parts)


def _halves(text: str) -> Iterator[str]:
    middle = len(text) // 2
    yield from (part for part in (text[:middle], text[middle:]) if part)
