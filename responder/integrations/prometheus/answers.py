"""What Prometheus answers, as text for people and models: values, summaries of series, alerts, rules."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from responder.redact import visible
from responder.turns import ToolResult

MAX_SERIES = 50  # shown; the rest is counted
MAX_NOTES = 5
MAX_VALUE_CHARS = 200
LEAST_POINTS, LEAST_SHARE = 8, 0.6  # for a change point: points, and how much of the spread the step must explain
HUGE = 1e100  # beyond it squares overflow

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels, and (Unix seconds, value) pairs; a histogram's value is its average."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    note: str = ""

    @property
    def name(self) -> str:
        """Write it as PromQL does: up{instance="a", job="b"}."""
        pairs = sorted((key, value) for key, value in self.labels.items() if key != "__name__")
        inner = ", ".join(f"{_cut(key)}={json.dumps(_cut(value), ensure_ascii=False)}" for key, value in pairs)
        return f"{_cut(self.labels.get('__name__', ''))}{{{inner}}}"


def parsed(body: bytes) -> Json:
    """Read a body as a JSON object; {} when it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def said_by(body: bytes) -> str:
    """What an error's body says, on one line."""
    found = parsed(body)
    words = [str(found[key]) for key in ("errorType", "error") if isinstance(found.get(key), str)]
    return f": {_cut(': '.join(words), 500)}" if words else ""


def notes_of(found: object, kind: str) -> list[str]:
    """Give warnings or infos as lines."""
    listed = found if isinstance(found, list) else []
    return [f"{kind}: {_cut(str(each), 300)}" for each in listed[:MAX_NOTES]]


def _cut(text: str, limit: int = MAX_VALUE_CHARS) -> str:
    shown = visible(str(text)[: limit + 1])
    return " ".join((shown if len(text) <= limit else shown[:limit] + "…").split(" "))


def instant(data: Any) -> ToolResult:
    """Show an instant query: one value a line. Raises: TypeError, ValueError, KeyError: not of the API."""
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        at, text = result
        return ToolResult("ok", f"{text} at {_at(float(at))}", _number(text))
    if kind == "string":
        return ToolResult("ok", _cut(result[1], 2000))
    if kind == "matrix":
        return _summaries([_series(each) for each in result], "")
    series = [_series(each) for each in result]
    if not series:
        return ToolResult("no_data", "no series: nothing matches, or it has no samples at this time")
    lines = [f"{each.name} {_shown(each.points[-1][1])}{each.note}" for each in series[:MAX_SERIES] if each.points]
    lines += _more(len(series), MAX_SERIES, "series")
    value = series[0].points[-1][1] if len(series) == 1 and series[0].points else None
    return ToolResult("ok", "\n".join(lines), value)


def over_time(data: Any, minutes: float, step_s: int) -> ToolResult:
    """Show a range query: one summary a series. Raises: as `instant`."""
    if data["resultType"] != "matrix":
        raise ValueError(data["resultType"])
    return _summaries([_series(each) for each in data["result"]], f"last {minutes:g} min, one point every {step_s} s\n")


def _summaries(series: list[Series], title: str) -> ToolResult:
    if not series:
        return ToolResult("no_data", f"{title}no series: nothing matches, or it has no samples in this time")
    lines = [f"{each.name} {_summary(each)}{each.note}" for each in series[:MAX_SERIES]]
    lines += _more(len(series), MAX_SERIES, "series")
    value = series[0].points[-1][1] if len(series) == 1 and series[0].points else None
    return ToolResult("ok", title + "\n".join(lines), value)


def _summary(series: Series) -> str:
    finite = [(at, value) for at, value in series.points if math.isfinite(value)]
    odd = len(series.points) - len(finite)
    if not finite:
        return f"{odd} points, none a finite number"
    values = [value for _, value in finite]
    low, high = min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])
    parts = [
        f"first {_shown(values[0])}",
        f"last {_shown(series.points[-1][1])}",
        f"min {_shown(low[1])} at {_at(low[0])}",
        f"max {_shown(high[1])} at {_at(high[0])}",
        f"avg {_shown(math.fsum(value / len(values) for value in values))}",
        f"{len(values)} points from {_at(finite[0][0])} to {_at(finite[-1][0])}",
    ]
    if odd:
        parts.append(f"{odd} not finite")
    return ", ".join(parts) + _change(finite)


def _change(points: Sequence[tuple[float, float]]) -> str:
    """Hint where a series steps: the cut that explains most of its spread, if that is most of it."""
    values = [value for _, value in points]
    n = len(values)
    if n < LEAST_POINTS or max(map(abs, values)) > HUGE:
        return ""
    total = math.fsum(values)
    spread = math.fsum((value - total / n) ** 2 for value in values)
    if spread <= 0.0:
        return ""
    best, at, left = 0.0, 0, 0.0
    for k in range(1, n):
        left += values[k - 1]
        explained = k * (n - k) / n * (left / k - (total - left) / (n - k)) ** 2
        if explained > best and min(k, n - k) > 1:
            best, at = explained, k
    if best < LEAST_SHARE * spread:
        return ""
    before, after = math.fsum(values[:at]) / at, math.fsum(values[at:]) / (n - at)
    return f"; steps from about {_shown(before)} to about {_shown(after)} at {_at(points[at][0])}"


def _series(each: Json) -> Series:
    """Read one series of a vector or a matrix, of numbers or of native histograms."""
    labels = {str(key): str(value) for key, value in each["metric"].items()}
    samples = each["values"] if "values" in each else [each["value"]] if "value" in each else []
    points = [(float(at), _number(text)) for at, text in samples]
    histograms = each["histograms"] if "histograms" in each else [each["histogram"]] if "histogram" in each else []
    if points or not histograms:
        return Series(labels, points)
    counts = [(float(at), _number(h.get("count")), _number(h.get("sum"))) for at, h in histograms]
    averages = [(at, total / count if count else math.nan) for at, count, total in counts]
    _, count, total = counts[-1]
    return Series(labels, averages, f" (average of a histogram: count {_shown(count)}, sum {_shown(total)})")


def _number(text: object) -> float:
    """Read `NaN`, `+Inf`, `1e+00`; what is no number is NaN."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def _shown(value: float) -> str:
    """Write a number with six digits that count; a large whole one in full."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:  # noqa: PLR2004 - floats are exact below
        return str(int(value))
    return f"{value:.6g}"


def _at(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def _more(count: int, shown: int, what: str) -> list[str]:
    return [f"… {count - shown} more {what}; aggregate or match fewer"] if count > shown else []


def alerts(data: Any, wanted: str) -> ToolResult:
    """Show the active alerts that mention `wanted`, firing ones first; the value is their number."""
    found = [each for each in data["alerts"] if _mentions(wanted, each.get("labels"), each.get("annotations"))]
    found.sort(key=lambda each: each.get("state") != "firing")
    if not found:
        return ToolResult(
            "no_data", "no alert is firing or pending" + (f" that mentions {_cut(wanted)!r}" * bool(wanted))
        )
    lines = [_alert_line(each) for each in found[:MAX_SERIES]] + _more(len(found), MAX_SERIES, "alerts")
    return ToolResult("ok", "\n".join(lines), float(len(found)))


def _alert_line(alert: Json) -> str:
    labels = {str(key): str(value) for key, value in (alert.get("labels") or {}).items()}
    name = labels.pop("alertname", "unnamed alert")
    notes = alert.get("annotations") or {}
    said = notes.get("summary") or notes.get("description") or ""
    since, value = _cut(alert.get("activeAt", "")), _shown(_number(alert.get("value")))
    line = f"{_cut(alert.get('state', ''))} {_cut(name)}{Series(labels, ()).name} value {value} since {since}"
    return line + (f": {_cut(said)}" if said else "")


def rules(data: Any, wanted: str) -> ToolResult:
    """Show the alerting rules that mention `wanted`, firing ones first."""
    listed = [
        (str(group.get("name", "")), rule)
        for group in data["groups"]
        for rule in group["rules"]
        if rule.get("type") != "recording"
        and _mentions(wanted, [group.get("name"), rule.get("name"), rule.get("query")])
    ]
    listed.sort(key=lambda pair: (pair[1].get("state") != "firing", pair[1].get("state") != "pending"))
    if not listed:
        return ToolResult("no_data", "no alerting rule" + (f" mentions {_cut(wanted)!r}" * bool(wanted)))
    lines = [_rule_line(*pair) for pair in listed[:MAX_SERIES]] + _more(len(listed), MAX_SERIES, "rules")
    return ToolResult("ok", "\n".join(lines))


def _rule_line(group: str, rule: Json) -> str:
    error = f"; last error: {_cut(rule['lastError'])}" if rule.get("lastError") else ""
    active = len(rule.get("alerts") or ())
    return (
        f"{_cut(rule.get('state', ''))} {_cut(rule.get('name', ''))} (group {_cut(group)}, {active} active,"
        f" for {_shown(_number(rule.get('duration')))} s, health {_cut(rule.get('health', ''))}): "
        f"{_cut(' '.join(str(rule.get('query', '')).split()), 500)}{error}"
    )


def _mentions(wanted: str, *parts: object) -> bool:
    return not wanted or wanted.casefold() in " ".join(_flat(parts)).casefold()


def _flat(parts: Iterable[object]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Mapping):
            yield from (f"{key}={value}" for key, value in part.items())
        elif isinstance(part, (list, tuple)):
            yield from (str(each) for each in part)
