"""What another rule set would make of the same alerts: severities that change, new pages at night, new backstops.

Each alert is decided by itself, as if it opened its incident: what only time or other alerts raise does not show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from responder.model import Alert, Decision, Severity
from responder.rules.classify import RuleSet

WAKES = (Severity.P0, Severity.P1)  # what wakes people up
DAY_BEGINS, DAY_ENDS, SATURDAY = 8, 20, 5  # hours in UTC; the fifth day after Monday
FIELDS = ("severity", "rule", "runbook", "channel", "group")
MAX_EXAMPLES = 5
AtNight = Callable[[datetime | None], bool]


def outside_business_hours(at: datetime | None) -> bool:
    """Say whether people sleep then: 20:00 to 08:00 and weekends, in UTC. A time that nobody knows counts as night."""
    if at is None:
        return True
    utc = at.astimezone(UTC)
    return utc.weekday() >= SATURDAY or not DAY_BEGINS <= utc.hour < DAY_ENDS


@dataclass
class Difference:
    """The sum over all alerts. A key of `moves` is (severity before, after); of `rules` (rule before, after)."""

    alerts: int = 0
    changed: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    new_night_pages: int = 0
    lost_night_pages: int = 0
    new_backstop: int = 0
    left_backstop: int = 0
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    night_examples: list[str] = field(default_factory=list)
    backstop_examples: list[str] = field(default_factory=list)

    def add(self, alert: Alert, old: Decision, new: Decision, *, night: bool = True) -> None:
        """Count one alert. Args: night: it began when people sleep."""
        self.alerts += 1
        changed = [name for name, before, after in _pairs(old, new) if before != after]
        self.fields.update(changed)
        self.changed += bool(changed)
        if (new.severity in WAKES) != (old.severity in WAKES) and night:
            self.lost_night_pages += old.severity in WAKES
            self.new_night_pages += new.severity in WAKES
            _keep(self.night_examples, alert.name if new.severity in WAKES else "")
        if (new.matched_by == "backstop") != (old.matched_by == "backstop"):
            self.left_backstop += old.matched_by == "backstop"
            self.new_backstop += new.matched_by == "backstop"
            _keep(self.backstop_examples, alert.name if new.matched_by == "backstop" else "")
        if old.rule != new.rule:
            self.rules[old.rule, new.rule] += 1
        if old.severity != new.severity:
            move = str(old.severity), str(new.severity)
            self.moves[move] += 1
            _keep(self.examples.setdefault(move, []), alert.name)

    def headline(self) -> str:
        """Say it in one line: `12 P2 -> P1, 3 now backstop, 0 new night pages`."""
        moves = [f"{count} {old} -> {new}" for (old, new), count in sorted(self.moves.items())]
        rest = [f"{self.new_backstop} now backstop", f"{self.new_night_pages} new night pages"]
        return ", ".join([*moves, *rest]) + f" (of {self.alerts} alerts, {self.changed} changed)"

    def as_dict(self) -> dict[str, object]:
        """Give it as JSON knows it."""
        return {
            "alerts": self.alerts,
            "changed": self.changed,
            "fields": {name: self.fields[name] for name in FIELDS},
            "severity": [
                {"from": old, "to": new, "alerts": count, "examples": self.examples[old, new]}
                for (old, new), count in sorted(self.moves.items())
            ],
            "rules": [{"from": old, "to": new, "alerts": count} for (old, new), count in self.rules.most_common()],
            "new_night_pages": self.new_night_pages,
            "lost_night_pages": self.lost_night_pages,
            "new_backstop": self.new_backstop,
            "left_backstop": self.left_backstop,
            "night_examples": self.night_examples,
            "backstop_examples": self.backstop_examples,
        }

    def markdown(self) -> str:
        """Give it as a table for a pull request."""
        rows = [
            f"| {old} | {new} | {count} | {', '.join(map(_cell, self.examples[old, new]))} |"
            for (old, new), count in sorted(self.moves.items())
        ]
        head = ["| from | to | alerts | for example |", "|---|---|---|---|"]
        table = [*head, *rows, ""] if rows else []
        night = f"- {self.new_night_pages} new night pages (P0, P1), {self.lost_night_pages} no longer"
        night += _for_example(self.night_examples)
        back = f"- {self.new_backstop} now backstop, {self.left_backstop} no longer"
        back += _for_example(self.backstop_examples)
        changed = f"- {self.changed} of {self.alerts} alerts changed in any way"
        return "\n".join(["### Rules: what changes", "", *table, night, back, changed])


def compare(
    old: RuleSet, new: RuleSet, alerts: Iterable[Alert], *, at_night: AtNight = outside_business_hours
) -> Difference:
    """Decide each alert by both rule sets and add up what differs. Args: at_night: whether people sleep at a time."""
    found = Difference()
    for alert in alerts:
        found.add(alert, old.classify(alert), new.classify(alert), night=at_night(alert.started_at))
    return found


def _pairs(old: Decision, new: Decision) -> Iterator[tuple[str, object, object]]:
    yield "severity", old.severity, new.severity
    yield "rule", old.rule, new.rule
    yield "runbook", old.runbook, new.runbook
    yield "channel", (old.channel, old.extra_channels), (new.channel, new.extra_channels)
    yield "group", old.group_key.partition(",")[2], new.group_key.partition(",")[2]


def _keep(names: list[str], name: str) -> None:
    if name and len(names) < MAX_EXAMPLES and name not in names:
        names.append(name)


def _for_example(names: Iterable[str]) -> str:
    listed = ", ".join(map(_cell, names))
    return f": {listed}" if listed else ""


def _cell(name: str) -> str:
    """Make an alert's name safe in a table: strangers write it."""
    plain = "".join(char if char.isprintable() and char not in "|`<>[]\\*" else "_" for char in name)
    return f"`{plain[:80]}`"
