"""Reads what other systems send: JSON from strangers, their times, their texts. Shared by all receivers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from responder.model import Alert, BadEntry, Decoded

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # Go's zero time is year 1; nothing fired before Prometheus was thought of
MAX_LABELS = 10_000
_PER_SECOND = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))  # below this a number counts s, ms, us, ns


def read_json(body: bytes) -> Any:
    """Read JSON strictly first; then forgiving of bad UTF-8, a byte order mark, NaN, and huge numbers.

    Raises: ValueError, RecursionError: not JSON at all.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        wide = body[:2] in (b"\xff\xfe", b"\xfe\xff")
        return _forgiving(body.decode("utf-16") if wide else body.decode("utf-8-sig", "replace"))


def template_data(body: bytes, found: dict[str, Any], read: Callable[[Any], Alert]) -> Decoded:
    """Decode a body in the form of Alertmanager's template.Data, which Grafana sends as well.

    Args: found: the body as read, "alerts" a list; read: one element, raising ValueError, TypeError or OverflowError.
    Returns: one alert per element that can be read; the others in `bad`.
    """
    alerts, bad = [], []
    for element in read_alerts(body, found):
        try:
            alerts.append(read(element))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            bad.append(BadEntry(str(error)[:200], raw_of(element), 1))
    truncated = found.get("truncatedAlerts")
    return Decoded(
        tuple(alerts),
        tuple(bad),
        group_key=word(found.get("groupKey"))[:2000],
        truncated=truncated if isinstance(truncated, int) and truncated > 0 else 0,
        sender=word(found.get("externalURL"))[:500],
    )


def read_alerts(body: bytes, found: dict[str, Any]) -> list[Any]:
    """Give the elements of "alerts", read again where one may say its status twice.

    `firing` wins then, for when unsure, it fires and it pages. Args: found: the body as read, "alerts" a list.
    """
    alerts: list[Any] = found["alerts"]
    if body.count(b'"status"') <= len(alerts) + ("status" in found):
        return alerts
    try:
        again = _forgiving(body.decode("utf-8-sig", "replace"), _firing_wins)
    except (ValueError, RecursionError):
        return alerts
    listed = again.get("alerts") if isinstance(again, dict) else None
    return listed if isinstance(listed, list) else alerts


def as_text(value: object) -> str:
    """Give a text that every store takes: other JSON as it is written, None as ""."""
    if value is None:
        return ""
    said = value if isinstance(value, str) else json.dumps(value)
    return said.replace("\0", "\ufffd")


def as_texts(value: object, what: str) -> dict[str, str]:
    """Give a mapping of texts, as labels are. Raises: TypeError, ValueError: no mapping, or too large; names `what`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{what} is {type(value).__name__}, not an object")
    if len(value) > MAX_LABELS:
        raise ValueError(f"{len(value)} {what}")
    try:  # the common case: all are text and clean
        if "\0" not in "".join(value.values()) and "\0" not in "".join(value):
            return value
    except TypeError:
        pass
    return {as_text(key): as_text(each) for key, each in value.items()}


def word(value: object) -> str:
    """Give a text, "" for anything else."""
    return as_text(value) if isinstance(value, str) else ""


def raw_of(element: object) -> bytes:
    """Give an element as it is kept in quarantine."""
    try:
        return json.dumps(element).encode()
    except RecursionError:
        return b"(nested too deep to be written; the body holds it for as long as bodies are kept)"


def moment(value: object) -> datetime | None:
    """Read RFC 3339 with any number of fractional digits; None for Go's zero time and for what is no time."""
    if not isinstance(value, str) or value.startswith("0001-"):
        return None
    try:
        at = datetime.fromisoformat(value)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if at >= EARLIEST else None


def moment_or_epoch(value: object) -> datetime | None:
    """Read RFC 3339, or a number since 1970 of seconds, milli-, micro- or nanoseconds: its size tells which."""
    if isinstance(value, str) and value.isascii() and value.replace(".", "", 1).isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return moment(value)
    for below, per_second in _PER_SECOND:
        if 0 < value < below:
            at = datetime.fromtimestamp(value / per_second, UTC)
            return at if at >= EARLIEST else None
    return None


def _forgiving(text: str, pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]] = dict) -> Any:
    return _scrubbed(json.loads(text, parse_constant=str, parse_int=_number, object_pairs_hook=pairs))


def _firing_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    kept = dict(pairs)
    if kept.get("status") == "resolved" and ("status", "firing") in pairs:
        kept["status"] = "firing"
    return kept


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
