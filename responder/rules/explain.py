"""Why an alert got its decision, in words: built when an incident opens or a person asks, never for each alert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from responder.model import Alert, Decision
from responder.rules.channels import near
from responder.rules.matchers import Matcher, show
from responder.rules.regexes import ANYTHING, SOMETHING, written_out
from responder.rules.rule import Rule

MAX_TRIED = 50  # rules shown
MAX_SEARCHED = 2000  # rules looked at for the nearest miss
MAX_MISSES_SHOWN = 3
MAX_HINTED = 3  # failing matchers; a rule that misses more is not near
MAX_COMPARED_CHARS = 80
MAX_LISTED = 50  # texts of one regex
FAR, SHORT, LONG = 2, 3, 6  # letters: the most that a slip changes, the least that can be misspelt, and twice so


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
        """Give the whole story, a line each: first what decided, then the rules that did not match."""
        tried = [f"{name}: {miss or 'matches'}" for name, miss in self.decision.tried]
        if self.untold:
            tried.insert(-1, f"... {self.untold} more rules that do not match")
        nearest = [f"nearest miss: {self.nearest}"] if self.nearest else []
        return [f"severity: {self.severity}", *self.policy, *nearest, "rules tried, in order:", *tried]


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
    """Find the rule that came nearest: a letter or two away before any other, then with the fewest failing matchers.

    A rule is near only if the alert met something that it asks for, or every failing value looks misspelt.
    """
    best: tuple[tuple[bool, int], Rule, list[Matcher]] | None = None
    for rule in rules:
        missed = [matcher for matcher in rule.matchers if not matcher.matches(alert.labels)]
        if best is not None and not best[0][0] and len(missed) >= best[0][1]:
            continue
        misspelt = bool(missed) and _misspelt_all(missed, alert.labels)
        key = (not misspelt, len(missed))
        if best is not None and key >= best[0]:
            continue
        if misspelt or any(m.positive and alert.labels.get(m.name) for m in rule.matchers if m not in missed):
            best = key, rule, missed
    if best is None:
        return ""
    _, rule, missed = best
    told = [(matcher, hint(matcher, alert.labels)) for matcher in missed]
    texts = [matcher.miss(alert.labels) + (f" ({said})" if said else "") for matcher, said in told[:MAX_MISSES_SHOWN]]
    more = f" and {len(told) - len(texts)} more" if len(told) > len(texts) else ""
    return f"{rule.name} would match but for {' and '.join(texts)}{more}"


def _misspelt_all(missed: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    return len(missed) <= MAX_HINTED and all(hint(matcher, labels) for matcher in missed)


def hint(matcher: Matcher, labels: Mapping[str, str]) -> str:
    """Say how a failing matcher's value, or its label's name, looks misspelt; "" when it does not."""
    value = labels.get(matcher.name, "")
    if not matcher.positive or len(value) > MAX_COMPARED_CHARS:
        return ""
    if not value:
        there = next((n for n in labels if _misspelt(n, matcher.name) and matcher.test(labels[n])), None)
        return "" if there is None else f"there is a label {show(there)}"
    found = min(
        ((away, word) for word in _texts(matcher) if (away := _misspelt(value, word)) is not None), default=None
    )
    if found is None:
        return ""
    if value.casefold() == found[1].casefold():
        return f"{show(found[1])} but for upper and lower case"
    return f"{found[0]} letter{'s' * (found[0] > 1)} from {show(found[1])}"


def _texts(matcher: Matcher) -> Iterable[str]:
    """Give the values that a matcher asks for, as far as they can be listed."""
    return (matcher.value,) if matcher.operator == "=" else _listed(matcher.value)


@lru_cache(maxsize=4096)
def _listed(pattern: str) -> tuple[str, ...]:
    """Give the texts that a regex lists, () for one that leaves something open."""
    texts = written_out(pattern) or ()
    return () if any(ANYTHING in text or SOMETHING in text for text in texts) else texts[:MAX_LISTED]


def _misspelt(one: str, other: str) -> int | None:
    """Give the letters between two texts if they are few for their length, else None. Quick to say no."""
    if abs(len(one) - len(other)) > FAR or len(one) < SHORT or len(other) < SHORT:
        return None
    if one.casefold() == other.casefold():
        return 1
    if len(set(one) ^ set(other)) > 2 * FAR:
        return None
    return near(one, other, FAR if min(len(one), len(other)) >= LONG else 1)
