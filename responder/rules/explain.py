"""Why an alert got its decision, in words: built when an incident opens or a person asks, never for each alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from responder.model import Alert, Decision
from responder.rules.matchers import Matcher
from responder.rules.rule import Rule

MAX_TRIED = 50  # rules shown
MAX_SEARCHED = 2000  # rules looked at for the nearest miss
MAX_MISSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its reasons. `decision.tried` ends with the rule that matched, when it is one of the first 50."""

    decision: Decision
    severity: str  # where the severity comes from
    nearest: str  # the rule before it that almost matched, "" when none came near
    untold: int = 0  # rules tried that `tried` leaves out
    policy: tuple[str, ...] = ()  # what the policy does with it besides: mutes it, keeps it quiet

    def as_dict(self) -> dict[str, Any]:
        """Give what an incident keeps of it, as JSON knows it."""
        decision = self.decision
        return {
            "rule": decision.rule,
            "severity": str(decision.severity),
            "matched_by": decision.matched_by,
            "revision": decision.revision,
            "because": self.severity,
            "nearest": self.nearest,
            "tried": [[name, miss] for name, miss in decision.tried],
            "untold": self.untold,
            "policy": list(self.policy),
        }

    def lines(self) -> list[str]:
        """Give the whole story, a line each."""
        tried = [f"{name}: {miss or 'matches'}" for name, miss in self.decision.tried]
        if self.untold:
            tried.insert(-1, f"... {self.untold} more rules that do not match")
        nearest = [f"nearest miss: {self.nearest}"] if self.nearest else []
        return [*tried, f"severity: {self.severity}", *nearest, *self.policy]


def explain(rules: Sequence[Rule], backstop: Rule, alert: Alert, decision: Decision) -> Explanation:
    """Try the rules again, this time keeping what each one missed."""
    before: list[Rule] = []
    winner = backstop
    for rule in rules:
        if rule.name == decision.rule:
            winner = rule
            break
        before.append(rule)
    shown = before[: MAX_TRIED - 1]
    tried = [(rule.name, _first_miss(rule, alert)) for rule in shown]
    return Explanation(
        decision=replace(decision, tried=(*tried, (winner.name, None))),
        severity=_severity(rules, winner, alert, decision),
        nearest=_nearest(before[:MAX_SEARCHED], alert),
        untold=len(before) - len(shown),
    )


def _first_miss(rule: Rule, alert: Alert) -> str:
    return next((matcher.miss(alert.labels) for matcher in rule.matchers if not matcher.matches(alert.labels)), "")


def _severity(rules: Sequence[Rule], winner: Rule, alert: Alert, decision: Decision) -> str:
    text = winner.severity_text(alert)
    own = winner.severity_of(alert)
    if decision.severity != own:
        later = next(
            rule.name
            for rule in rules[rules.index(winner) + 1 :]
            if winner.goes_on_to(rule)
            and all(m.matches(alert.labels) for m in rule.matchers)
            and rule.severity_of(alert) == decision.severity
        )
        moved = "raised" if decision.severity < own else "lowered"
        text += f"; {moved} to {decision.severity} by rule {later}, which the match continues to"
    return text


def _nearest(rules: Sequence[Rule], alert: Alert) -> str:
    """Find the rule with the fewest failing matchers, of those that were met in something they ask for."""
    best: tuple[Rule, list[Matcher]] | None = None
    for rule in rules:
        missed = [matcher for matcher in rule.matchers if not matcher.matches(alert.labels)]
        met = any(m.positive and alert.labels.get(m.name) for m in rule.matchers if m not in missed)
        if met and (best is None or len(missed) < len(best[1])):
            best = rule, missed
    if best is None:
        return ""
    rule, missed = best
    texts = [matcher.miss(alert.labels) for matcher in missed[:MAX_MISSES_SHOWN]]
    more = f" and {len(missed) - len(texts)} more" if len(missed) > len(texts) else ""
    return f"{rule.name} would match but for {' and '.join(texts)}{more}"
