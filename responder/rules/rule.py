"""One rule as a value: what it matches, how severe it is, and what raises it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from responder.model import Alert, Severity
from responder.rules.calendar import Calendar
from responder.rules.matchers import Matcher, show

SEVERITY_LABELS = frozenset(
    (
        "severity",
        "priority",
        "level",
        "urgency",
        "criticality",
        "sev",
        "alert_severity",
        "severity_level",
        "alertpriority",
        "pager",
        "page",
    )
)
UNMAPPED = Severity.P2  # of an alert whose label says nothing that the rule's map knows
MAX_NUMBER_CHARS = 80
_NOBODY = "\0 no alert has this name"
_NUMBER = re.compile(r"\s*([-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,3})?|\+?Inf)\s*([%kMGT]?)\s*")
_SCALE = {"": 1.0, "%": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class SeverityFrom:
    """A severity read from a label, by the author's map. Values compare without regard to case and outer space."""

    label: str
    map: Mapping[str, Severity]  # keys folded
    otherwise: Severity | None

    def of(self, labels: Mapping[str, str]) -> tuple[Severity, str]:
        """Give the severity and, in words, what decided it."""
        value = labels.get(self.label, "")
        mapped = self.map.get(fold(value))
        if mapped is not None:
            return mapped, f"{self.label}={show(value)} is {mapped}" if value else f"no label {self.label}: {mapped}"
        there = f"{self.label}={show(value)} is not in the map" if value else f"label {self.label} is missing"
        if self.otherwise is not None:
            return self.otherwise, f"{there}; else {self.otherwise}"
        return UNMAPPED, f"{there} and the rule has no else; {UNMAPPED}"


@dataclass(frozen=True, slots=True)
class Raise:
    """One condition that raises. `kind`: value (of this alert) | distinct | count | open_for | time (of the incident).

    With `in_hours` it must also be inside (true) or outside (false) business hours; kind `time` asks nothing else. A
    value is judged when its alert comes, by the time of receipt; all others whenever the incident is looked at.
    """

    to: Severity
    kind: str
    at_least: float  # for open_for: seconds
    where: str = ""  # for value: annotation | label
    name: str = ""  # for value: of the annotation or label; for distinct: the label
    in_hours: bool | None = None  # None: at any time
    hours: Calendar | None = field(default=None, compare=False, repr=False)  # the policy's; a RuleSet fills it in
    line: int = field(default=0, compare=False, repr=False)

    def met_by_alert(self, alert: Alert) -> bool:
        """Say whether this very alert meets it."""
        if self.kind != "value":
            return False
        number = number_in((alert.annotations if self.where == "annotation" else alert.labels).get(self.name, ""))
        return number is not None and number >= self.at_least and self._in_time(alert.received_at)

    def met_by_incident(
        self, facts: Mapping[str, Collection[str]], firing: int, open_for_s: float, at: datetime
    ) -> bool:
        """Say whether an incident that has grown this far meets it at this time."""
        if not self._in_time(at):
            return False
        if self.kind == "distinct":
            return len(set(facts.get(self.name, ())) - {""}) >= self.at_least
        if self.kind == "count":
            return firing >= self.at_least
        return self.kind == "time" or (self.kind == "open_for" and open_for_s >= self.at_least)

    def due_at(self, opened_at: datetime, at: datetime) -> datetime | None:
        """Say when, after `at`, time alone may make an incident meet it; None when it never will.

        What also asks for a number of alerts may then be short of it: its time comes again with the next hours.
        """
        starts_at = opened_at + timedelta(seconds=self.at_least if self.kind == "open_for" else 0)
        if self.in_hours is None:
            return starts_at if self.kind == "open_for" and starts_at > at else None
        if self.kind == "value" or self.hours is None:
            return None
        if starts_at > at and self._in_time(starts_at):
            return starts_at
        change = self.hours.next_change(max(starts_at, at))
        return change if change is None or self._in_time(change) else self.hours.next_change(change)

    def _in_time(self, at: datetime) -> bool:
        return self.in_hours is None or (self.hours is not None and self.hours.covers(at) is self.in_hours)

    def text(self) -> str:
        """Give the condition in words."""
        what = {
            "value": f"{self.where} {self.name} at least {self.at_least:g}",
            "distinct": f"at least {self.at_least:g} distinct {self.name}",
            "count": f"at least {self.at_least:g} firing",
            "open_for": f"open for {self.at_least:g} s",
            "time": "",
        }[self.kind]
        return f"{self.to} when {' and '.join(part for part in (what, self.when()) if part)}"

    def when(self) -> str:
        """Give the hours that it asks for in words, empty for any time."""
        return {None: "", True: "inside business hours", False: "outside business hours"}[self.in_hours]


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a rule file. `path` and `line` say where it stands; they are no part of what it means."""

    name: str
    matchers: tuple[Matcher, ...]
    severity: Severity | SeverityFrom
    raises: tuple[Raise, ...] = ()
    runbook: str = ""  # "" = the policy's for that severity
    group_by: tuple[str, ...] = ("alertname",)
    systems: tuple[str, ...] = ()
    channel: str = ""
    goes_on: bool = False  # `continue`
    labels_only: bool = False  # `continue: labels`: only to rules that read a severity label and know no name
    heartbeat_s: float | None = None  # its alerts are signs of life: only their absence for so long is an incident
    path: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def reads(self) -> frozenset[str]:
        """Name the labels that it looks at to match and to judge."""
        names = {matcher.name for matcher in self.matchers}
        names |= {condition.name for condition in self.raises if condition.where == "label"}
        return frozenset(names | ({self.severity.label} if isinstance(self.severity, SeverityFrom) else set()))

    @property
    def matched_by(self) -> str:
        """Say how well it knows its alerts: rule (an alert or family) | label (a severity convention) | backstop."""
        names = [matcher for matcher in self.matchers if matcher.name == "alertname"]
        if not all(matcher.test(_NOBODY) for matcher in names):
            return "rule"
        if isinstance(self.severity, SeverityFrom):
            return "label"
        if not self.matchers:
            return "backstop"
        return "label" if all(matcher.name in SEVERITY_LABELS for matcher in self.matchers) else "rule"

    def with_hours(self, hours: Calendar | None) -> Rule:
        """Give the rule with the policy's business hours in the conditions that ask for them."""
        if all(condition.in_hours is None for condition in self.raises):
            return self
        return replace(self, raises=tuple(replace(condition, hours=hours) for condition in self.raises))

    def goes_on_to(self, later: Rule) -> bool:
        """Say whether a match of this rule goes on to that later one."""
        return self.goes_on and (not self.labels_only or later.matched_by == "label")

    def unspoken(self, labels: Mapping[str, str]) -> bool:
        """Say whether its severity is for an alert without a label, so that a rule on another label may say less."""
        given = self.severity
        return self.labels_only and isinstance(given, SeverityFrom) and not fold(labels.get(given.label, ""))

    def severity_of(self, alert: Alert) -> Severity:
        """Give this alert's severity, raised already if the alert itself meets a condition."""
        severity = self.severity if isinstance(self.severity, Severity) else self.severity.of(alert.labels)[0]
        for condition in self.raises:
            if condition.to < severity and condition.met_by_alert(alert):
                severity = condition.to
        return severity

    def severity_text(self, alert: Alert) -> str:
        """Say in words where this alert's severity comes from."""
        base = (
            self.severity.of(alert.labels)[1] if isinstance(self.severity, SeverityFrom) else f"{self.severity} by rule"
        )
        met = [condition.text() for condition in self.raises if condition.met_by_alert(alert)]
        return "; ".join([base, *(f"raised: {text}" for text in met)])


def fold(value: str) -> str:
    """Give a label's value as severity maps compare it."""
    return value.strip().casefold()


def number_in(text: str) -> float | None:
    """Read a number as alerts write it (`25`, `25.3%`, `1.2k`, `+Inf`), None when it is not one."""
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_NUMBER_CHARS else None
    return None if match is None else float(match[1]) * _SCALE[match[2]]
