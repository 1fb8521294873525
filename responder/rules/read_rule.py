"""From one entry under `rules:` to a Rule."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import line_of
from responder.model import Severity
from responder.rules.fields import Fields
from responder.rules.matchers import MAX_MATCHERS, Matcher, MatcherError, Regexes, parse
from responder.rules.rule import Raise, Rule, SeverityFrom, fold

LABELS = "labels"  # of `continue`: only to the rules that read a severity label
KEYS = ("name", "match", "severity", "raise", "runbook", "group_by", "systems", "channel", "continue")
CONDITIONS = (
    "{value: annotation:NAME, at_least: 25}, {distinct: LABEL, at_least: 5}, "
    "{count: true, at_least: 10} or {open_for: 30m}"
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
        matchers=_matchers(fields, regexes),
        severity=severity or Severity.P2,
        raises=tuple(_raises(fields, severity)),
        runbook=_runbook(fields, runbooks),
        group_by=fields.labels("group_by", ("alertname",)),
        systems=fields.labels("systems"),
        channel=fields.channel("channel"),
        goes_on=labels_only or fields.flag("continue"),
        labels_only=labels_only,
        path=str(path),
        line=fields.line,
    )


def _matchers(fields: Fields, regexes: Regexes) -> tuple[Matcher, ...]:
    found: list[Matcher] = []
    texts = fields.texts("match")
    if len(texts) > MAX_MATCHERS:
        fields.wrong("match", f"match holds {len(texts)} matchers; at most {MAX_MATCHERS}")
        return ()
    for text in texts:
        try:
            matchers = parse(text, regexes)
        except MatcherError as error:
            fields.wrong("match", f"match {text!r:.100}: {error}")
            continue
        if not matchers:
            fields.wrong("match", f"match {text!r:.60} asks for nothing; leave match out to match every alert")
        found.extend(matchers)
    return tuple(found)


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
    if len(kinds) != 1:
        when.wrong(None, f"when must hold one condition: {CONDITIONS}")
        return None
    kind = kinds[0]
    when.known((kind,) if kind == "open_for" else (kind, "at_least"))
    if kind == "open_for":
        opened_s = when.duration_s("open_for")
        if when.found["open_for"] is None:
            when.wrong("open_for", "open_for must be a duration such as 30m")
        return None if opened_s is None else Raise(to, kind, opened_s)
    least = when.number("at_least") if kind == "value" else when.number("at_least", whole=True, least=1)
    where, name = _subject(when, kind)
    return None if least is None or (kind != "count" and not name) else Raise(to, kind, least, where, name)


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
