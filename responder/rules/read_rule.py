"""From one entry under `rules:` to a Rule."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import line_of
from responder.model import Severity
from responder.rules.fields import Fields
from responder.rules.matchers import Regexes
from responder.rules.rule import Raise, Rule, SeverityFrom, fold

LABELS = "labels"  # of `continue`: only to the rules that read a severity label
KEYS = ("name", "match", "severity", "raise", "runbook", "group_by", "systems", "channel", "continue", "heartbeat")
MIN_HEARTBEAT_S, MAX_HEARTBEAT_S = 60.0, 86400.0
CONDITIONS = (
    "{value: annotation:NAME, at_least: 25}, {distinct: LABEL, at_least: 5}, "
    "{count: true, at_least: 10} or {open_for: 30m}, alone or with business_hours: true or false"
)


def read_rule(
    path: Path, found: Any, errors: list[FileError], *, runbooks: Collection[str] | None, line: int, regexes: Regexes
) -> Rule:
    """Read one rule; what is wrong with it is added to `errors`.

    Args: runbooks: the names that exist, None when nobody knows; line: of the list, for an entry that is no mapping;
        regexes: those of this load.
    """
    fields = Fields(path, found, errors, what="a rule", line=line)
    name = fields.text("name")
    if isinstance(found, dict):
        fields.known(KEYS)
        if not found.get("name"):
            fields.wrong("name", "a rule has no name; pages, metrics and explanations call it by its name")
        else:
            fields.what = f"rule {name!r}"
    severity = _severity(fields) if fields.found else None
    labels_only = fields.found.get("continue") == LABELS
    return Rule(
        name=name,
        matchers=fields.matchers("match", regexes),
        severity=severity or Severity.P2,
        raises=tuple(_raises(fields, severity)),
        runbook=_runbook(fields, runbooks),
        group_by=fields.labels("group_by", ("alertname",)),
        systems=fields.labels("systems"),
        channel=fields.channel("channel"),
        goes_on=labels_only or fields.flag("continue"),
        labels_only=labels_only,
        heartbeat_s=_heartbeat_s(fields),
        path=str(path),
        line=fields.line,
    )


def _heartbeat_s(fields: Fields) -> float | None:
    """Read how long alerts that always fire may be missing."""
    if "heartbeat" not in fields.found:
        return None
    for key in ("raise", "continue"):
        if fields.found.get(key):
            fields.wrong(key, f"{key} does not go with heartbeat: no incident opens while its alerts come; remove one")
    if fields.found["heartbeat"] is None:
        fields.wrong("heartbeat", "heartbeat must be a duration such as 10m; leave it out for none")
    found = fields.duration_s("heartbeat", least=MIN_HEARTBEAT_S)
    if found is not None and found > MAX_HEARTBEAT_S:
        fields.wrong("heartbeat", f"heartbeat must be at most 24h, not {fields.found['heartbeat']!r:.60}")
    return found


def _runbook(fields: Fields, runbooks: Collection[str] | None) -> str:
    name = fields.text("runbook")
    if name and runbooks is not None and name not in runbooks:
        fields.wrong("runbook", f"there is no runbook {name!r}; known: {', '.join(sorted(runbooks)) or 'none'}")
    return name


def _severity(fields: Fields) -> Severity | SeverityFrom | None:
    found = fields.found.get("severity")
    if not isinstance(found, dict):
        return fields.severity("severity")
    inner = Fields(fields.path, found, fields.errors, what="severity")
    inner.known(("from_label", "map", "else"))
    label = inner.text("from_label")
    if not label:
        inner.wrong("from_label", "severity has no from_label; name the label, or write P0, P1, P2 or P3")
    otherwise = inner.severity("else") if "else" in found else None
    return SeverityFrom(label, _map(inner), otherwise)


def _map(severity: Fields) -> dict[str, Severity]:
    if not severity.found.get("map"):
        severity.wrong("map", "severity has no map; say what each value of the label means, as in {critical: P1}")
        return {}
    values = Fields(severity.path, severity.found["map"], severity.errors, what="map", line=severity.line)
    found: dict[str, Severity] = {}
    for value in values.found:
        if fold(value) in found:
            values.wrong(value, f"{value!r:.60} stands twice in the map; upper and lower case count as one")
        mapped = values.severity(value)
        if mapped is not None:
            found[fold(value)] = mapped
    return found


def _raises(fields: Fields, severity: Severity | SeverityFrom | None) -> list[Raise]:
    items = fields.found.get("raise")
    if items is None:
        return []
    if not isinstance(items, list):
        fields.wrong("raise", "raise must be a list of {to: P1, when: ...}")
        return []
    read = [_raise(fields, item, severity) for item in items]
    return [condition for condition in read if condition is not None]


def _raise(fields: Fields, item: Any, severity: Severity | SeverityFrom | None) -> Raise | None:
    line = line_of(fields.found, "raise")
    outer = Fields(fields.path, item, fields.errors, what="a raise", line=line)
    if not outer.found:
        return None
    outer.known(("to", "when"))
    to = outer.severity("to")
    if to is not None and isinstance(severity, Severity) and to >= severity:
        outer.wrong("to", f"raise to {to} never raises: the rule is {severity} already; only a person lowers")
    when = Fields(fields.path, outer.found.get("when"), fields.errors, what="when", line=outer.line)
    if to is None or not when.found:
        return None
    return _condition(when, to)


def _condition(when: Fields, to: Severity) -> Raise | None:
    kinds = [kind for kind in ("value", "distinct", "count", "open_for") if kind in when.found]
    in_hours = _in_hours(when)
    if len(kinds) > 1 or (not kinds and "business_hours" not in when.found):
        when.wrong(None, f"when must hold one condition: {CONDITIONS}")
        return None
    kind = kinds[0] if kinds else "time"
    numbered = kind in ("value", "distinct", "count")
    when.known([*kinds, "business_hours", *(["at_least"] if numbered else [])])
    if not numbered:
        opened_s = _open_for_s(when) if kinds else 0.0
        return None if opened_s is None else Raise(to, kind, opened_s, in_hours=in_hours, line=when.line)
    least = when.number("at_least") if kind == "value" else when.number("at_least", whole=True, least=1)
    where, name = _subject(when, kind)
    if least is None or (kind != "count" and not name):
        return None
    return Raise(to, kind, least, where, name, in_hours, line=when.line)


def _in_hours(when: Fields) -> bool | None:
    if "business_hours" not in when.found:
        return None
    value = when.found["business_hours"]
    if not isinstance(value, bool):
        when.wrong("business_hours", f"business_hours must be true (inside them) or false (outside), not {value!r:.60}")
    return value is True


def _open_for_s(when: Fields) -> float | None:
    if when.found["open_for"] is None:
        when.wrong("open_for", "open_for must be a duration such as 30m")
    return when.duration_s("open_for")


def _subject(when: Fields, kind: str) -> tuple[str, str]:
    """Give where the value stands and its name; "" for what a kind has not."""
    if kind == "count":
        if when.found["count"] is not True:
            when.wrong("count", "count must be true: it counts the firing alerts of the incident")
        return "", ""
    name = when.text(kind)
    if kind == "distinct":
        if not name:
            when.wrong("distinct", "distinct must name a label")
        return "", name
    where, colon, name = name.partition(":")
    if where not in ("annotation", "label") or not colon or not name:
        when.wrong("value", f"value must be annotation:NAME or label:NAME, not {when.found['value']!r:.60}")
        return "", ""
    return where, name
