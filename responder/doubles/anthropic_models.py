"""The model catalogue of the Anthropic double, as `GET /v1/models` lists it."""

from typing import Any

SMALL = {"max_input_tokens": 200_000, "max_tokens": 64_000}
EFFORTS = ("low", "medium", "high", "xhigh", "max")
YES = {"supported": True}


def model(model_id: str, name: str, created: str, **more: Any) -> dict[str, Any]:
    """One entry of the catalogue; `more` lies over an active model's values."""
    return {
        "type": "model",
        "id": model_id,
        "display_name": name,
        "created_at": f"{created}T00:00:00Z",
        "line": model_id.split("-")[1],
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
        "capabilities": capabilities(),
        **more,
    }


def leaving(lifecycle: str, deprecated: str, retires: str) -> dict[str, Any]:
    """What differs for a model on its way out; the dates are days."""
    days = {"deprecated_at": f"{deprecated}T00:00:00Z", "retires_at": f"{retires}T00:00:00Z"}
    return {"lifecycle": lifecycle, **days, **SMALL}


def capabilities() -> dict[str, Any]:
    """What every model of the catalogue can do."""
    plain = ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    return {
        **{name: YES for name in plain},
        "context_management": YES,
        "effort": {**YES, **dict.fromkeys(EFFORTS, YES)},
        "server_tools": {**YES, "code_execution": YES, "web_search": YES},
        "thinking": {**YES, "types": dict.fromkeys(kinds, YES)},
    }


CATALOGUE: dict[str, dict[str, Any]] = {
    each["id"]: each
    for each in (
        model("claude-haiku-5-5", "Claude Haiku 5.5", "2026-09-01"),
        model("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-01"),
        model("claude-fable-5-1", "Claude Fable 5.1", "2026-07-01"),
        model("claude-opus-5-5", "Claude Opus 5.5", "2026-07-01"),
        model("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05"),
        model("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17"),
        model("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-01", **SMALL),
        model(
            "claude-sonnet-4-5-20250929",
            "Claude Sonnet 4.5",
            "2025-09-29",
            **leaving("deprecated", "2026-05-30", "2026-11-30"),
        ),
        model("claude-sonnet-4-0", "Claude Sonnet 4", "2025-05-14", **leaving("retired", "2025-12-15", "2026-06-15")),
    )
}
ALIASES = {"claude-haiku-4-5": "claude-haiku-4-5-20251001", "claude-sonnet-4-5": "claude-sonnet-4-5-20250929"}


def find_model(model_id: object) -> dict[str, Any] | None:
    """The catalogue's entry for an id or an alias; None when there is none."""
    return CATALOGUE.get(ALIASES.get(str(model_id), str(model_id)))
