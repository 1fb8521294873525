"""What is asked of tools and models, and what comes back: values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool found. `text` is for people and models; `value` is the one number a check compares, if there is one.

    outcome: ok | no_data | unavailable | refused.
    """

    outcome: str
    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool's public face: dotted name, what it is for, JSON schema of its arguments, and its deadline in seconds."""

    name: str
    description: str
    schema: Mapping[str, object]
    timeout_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model call, by price class, and what they cost."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One turn asked of a model. `tier` is fast | deep | fallback; messages and tools in the Messages API's shape."""

    tier: str
    system: str
    messages: list[dict[str, object]]
    tools: list[dict[str, object]]
    max_tokens: int = 4096
    timeout_s: float = 120.0
    tool_choice: str = "auto"


@dataclass(frozen=True, slots=True)
class ModelReply:
    """One turn answered. `content` are blocks as dicts, to be sent back unchanged."""

    content: list[dict[str, object]]
    stop_reason: str
    usage: Usage
    model: str
