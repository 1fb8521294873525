"""What is in every sender's bodies: JSON that is nearly JSON, times that are none, text that no database would hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # Go's zero time is year 1; nothing fired before Prometheus was thought of


def read_json(body: bytes) -> Any:
    """Read JSON strictly first; then forgiving of bad UTF-8, a byte order mark, NaN, and huge numbers.

    Raises: ValueError, RecursionError: not JSON at all.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        wide = body[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = body.decode("utf-16") if wide else body.decode("utf-8-sig", "replace")
        return _scrubbed(json.loads(text, parse_constant=str, parse_int=_number))


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) < 20 else digits  # noqa: PLR2004 - what fits 64 bits


def _scrubbed(value: Any) -> Any:
    """Replace lone surrogates: one in a label would break the database, the matchers and the metrics page."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_scrubbed(each) for each in value]
    return value


def word(value: object) -> str:
    """Give a text, or "" for what is none."""
    return value if isinstance(value, str) else ""


def objects(value: object) -> list[dict[str, Any]]:
    """Give the objects of a list; nothing of what is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def raw(element: object) -> bytes:
    """Write an element that could not be used, to be kept."""
    try:
        return json.dumps(element).encode()
    except RecursionError:
        return b"(nested too deep to be written; the body holds it for as long as bodies are kept)"


def text(value: object) -> str:
    """Give any value as text that can be stored; "" for null."""
    if value is None:
        return ""
    said = value if isinstance(value, str) else json.dumps(value)
    return said.replace("\0", "\ufffd")


def time(value: object) -> datetime | None:
    """Read RFC 3339 with any number of fractional digits; None for Go's zero time and for what is no time."""
    if not isinstance(value, str) or value.startswith("0001-"):
        return None
    try:
        at = datetime.fromisoformat(value)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if at >= EARLIEST else None
