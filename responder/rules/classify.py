"""From an alert to a decision: the first rule that matches, and what may raise it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

from responder.errors import FileError
from responder.model import Alert, Decision, Muted, Severity
from responder.rules.explain import Explanation, explain
from responder.rules.index import Index
from responder.rules.inhibit import Sources
from responder.rules.policy import Policy
from responder.rules.rule import Raise, Rule
from responder.rules.suppress import Mutes, Suppression, inhibited, minute

OWN_SOURCE = "responder"
MAX_REASONS = 2048  # explanations kept in memory
MAX_TRIED_KEPT = 25  # rules that an episode keeps: the first, and the one that matched
MAX_KEY_CHARS = 1000  # a longer group key is replaced by its digest: label values come from strangers
BACKSTOP = Rule("backstop", (), Severity.P2)
PAGE_EVERYTHING = Rule("page-everything", (), Severity.P1)
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
RESERVED_NAMES = frozenset((BACKSTOP.name, PAGE_EVERYTHING.name))


class RuleSet:
    """All rules of one revision, read once and never changed; a reload makes a new one.

    `warnings` say what is allowed and yet looks wrong; `degraded` says why the user's own rules do not serve, or "".
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        policy: Policy | None = None,
        *,
        warnings: Sequence[FileError] = (),
        backstop: Rule = BACKSTOP,
        degraded: str = "",
    ) -> None:
        """Index the rules. Args: backstop: what decides when no rule matches."""
        self.policy = policy or Policy()
        self.rules = tuple(rule.with_hours(self.policy.business_hours) for rule in rules)
        self.warnings = tuple(warnings)
        self.backstop = backstop
        self.degraded = degraded
        self.revision = _revision(self.rules, self.policy, backstop)
        self._prepared = [_Prepared(rule) for rule in (*self.rules, backstop)]
        self._last = len(self.rules)  # position of the backstop
        self._named = {prepared.rule.name: prepared.rule for prepared in self._prepared}
        self._index = Index([rule.matchers for rule in self.rules])
        self._read = sorted({name for rule in self.rules for name in rule.reads})
        self._reasons: dict[tuple[str | None, ...], dict[str, Any]] = {}
        self._mutes = Mutes(self.policy.silences, self.policy.maintenance)

    def classify(self, alert: Alert) -> Decision:
        """Decide one alert. `tried` stays empty: `explain` fills it when somebody will read it."""
        labels = alert.labels
        matched = self._index.matches(labels)
        first = self._prepared[next(matched, self._last)]
        severity = first.rule.severity_of(alert)
        channels: list[str] = []
        if first.rule.goes_on:
            unspoken = first.rule.unspoken(labels)
            for at in matched:
                prepared = self._prepared[at]
                if first.rule.labels_only and prepared.matched_by != "label":
                    continue
                later = prepared.rule
                channels.append(later.channel)
                if later.goes_on or not unspoken:
                    severity = min(severity, later.severity_of(alert))
                    unspoken = False  # a label that pages beside another one is not outvoted by it
                else:
                    severity = _by_label(first.rule, later.severity_of(alert), alert)
                if not later.goes_on:
                    break
        # Lists below, where generators would read as well: this runs for every alert of a storm.
        policy = self.policy.of(severity)
        channel = first.rule.channel or policy.channel
        return Decision(
            rule=first.rule.name,
            severity=severity,
            runbook=first.rule.runbook or policy.runbook,
            group_key=_group_key(first.rule, labels),
            systems=tuple(dict.fromkeys([labels[name] for name in first.rule.systems if labels.get(name)])),
            channel=channel,
            extra_channels=tuple(dict.fromkeys([extra for extra in channels if extra and extra != channel])),
            matched_by=first.matched_by,
            revision=self.revision,
            distinct=tuple([(name, labels[name]) for name in first.distinct if labels.get(name)]),
            heartbeat_s=first.rule.heartbeat_s,
        )

    def judge(self, alert: Alert, at: datetime, sources: Sources) -> Decision:
        """Decide one alert, and say what mutes it now: it is a heartbeat, or `suppressed`.

        What the daemon says of itself is never muted: a wide silence must not hide that it is broken.
        """
        decision = self.classify(alert)
        if decision.heartbeat_s is not None:
            why = f"a heartbeat: its absence for {decision.heartbeat_s / 60:g} min is the incident"
            return replace(decision, muted=Muted("heartbeat", why))
        found = None if alert.source == OWN_SOURCE else self.suppressed(alert, at, sources)
        return decision if found is None else replace(decision, muted=Muted(found.kind, found.why))

    def suppressed(self, alert: Alert, at: datetime, sources: Sources) -> Suppression | None:
        """Say what mutes an alert: the first silence that applies, else maintenance window, else inhibition.

        Args: sources: the alerts that fire, kept by the caller for this rule set's `policy.inhibitions`.
        """
        found = self._mutes.first(alert, at)
        if found is not None:
            return found
        muting = sources.muting(alert)
        return None if muting is None else inhibited(*muting)

    def explain(self, alert: Alert) -> Explanation:
        """Decide one alert and say why: the rules tried, where the severity comes from, and the nearest miss.

        What the policy does with it is told for the time at which it was received.
        """
        found = explain(self.rules, self.backstop, alert, self.classify(alert))
        return replace(found, policy=tuple(self._policy_words(found.decision, alert)))

    def reasons(self, alert: Alert, decision: Decision) -> dict[str, object]:
        """Give what an episode keeps of its explanation. To explain takes a thousand times as long as to decide.

        So alerts that are alike in all that any rule reads share one explanation: in a storm nearly all of them.
        """
        key = (decision.rule, decision.severity, *(alert.labels.get(name) for name in self._read))
        found = self._reasons.get(key)
        if found is None:
            if len(self._reasons) >= MAX_REASONS:
                self._reasons.clear()
            found = explain(self.rules, self.backstop, alert, decision).as_dict()
            found["tried"], found["untold"] = _kept(found["tried"], found["untold"])
            if sum(map(len, filter(None, key))) <= MAX_KEY_CHARS:  # strangers write the values
                self._reasons[key] = found
        return found.copy()

    def _policy_words(self, decision: Decision, alert: Alert) -> Iterator[str]:
        """Say in words what the policy does with an alert; of inhibitions one alert cannot tell whether they do."""
        if decision.heartbeat_s is not None:
            yield f"heartbeat: it opens no incident; its absence for {decision.heartbeat_s:g} s does"
        muted = self._mutes.first(alert, alert.received_at)
        if muted is not None:
            yield f"muted: {muted.why}"
        could = [each.name for each in self.policy.inhibitions if each.is_target(alert.labels)]
        if could:
            yield f"inhibition rules that could mute it: {', '.join(could)}"
        quiet = self.policy.quiet(decision.severity, alert.labels, alert.received_at)
        if quiet is not None:
            yield f"quiet hours {quiet.name}: nobody is mentioned or escalated until {minute(quiet.until)}"

    def raised(
        self,
        rule: str,
        severity: Severity,
        *,
        facts: Mapping[str, Collection[str]],
        firing: int,
        open_for_s: float,
        at: datetime,
    ) -> Severity:
        """Give an incident's severity after its rule's `raise`: never lower, and unchanged when the rule is gone.

        Args: facts: label -> its distinct values so far; firing: open episodes; open_for_s: since opened_at; at: now.
        """
        by = self.raised_by(rule, severity, facts=facts, firing=firing, open_for_s=open_for_s, at=at)
        return by.to if by else severity

    def raised_by(
        self,
        rule: str,
        severity: Severity,
        *,
        facts: Mapping[str, Collection[str]],
        firing: int,
        open_for_s: float,
        at: datetime,
    ) -> Raise | None:
        """Give the condition that `raised` goes by, the worst of those met; None when none raises above `severity`."""
        worse = (c for c in self._conditions(rule) if c.to < severity)
        met = [c for c in worse if c.met_by_incident(facts, firing, open_for_s, at)]
        return min(met, key=lambda c: c.to, default=None)

    def next_raise_s(self, rule: str, severity: Severity, *, opened_at: datetime, at: datetime) -> float | None:
        """Say in how many seconds from `at` time may raise an incident next, None when it never will.

        That is when it has been open for long enough, or business hours begin or end; `raised` then says whether.
        """
        due = [c.due_at(opened_at, at) for c in self._conditions(rule) if c.to < severity]
        first = min((each for each in due if each is not None), default=None)
        return None if first is None else (first - at).total_seconds()

    def _conditions(self, name: str) -> tuple[Raise, ...]:
        rule = self._named.get(name)
        return rule.raises if rule else ()


class _Prepared:
    """A rule with what classification asks for most, worked out once."""

    __slots__ = ("_matched_by", "distinct", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._matched_by = ""
        self.distinct = tuple(dict.fromkeys(c.name for c in rule.raises if c.kind == "distinct"))

    @property
    def matched_by(self) -> str:
        """The rule's; worked out when it is first asked for, because it tries the rule's regexes."""
        if not self._matched_by:
            self._matched_by = self.rule.matched_by
        return self._matched_by


def page_everything(reason: str, shipped_policy: Policy | None = None) -> RuleSet:
    """Give the rules of last resort: the user's own cannot be read, so every alert pages as a P1.

    Args: reason: what is wrong with the user's rules, for `degraded`.
    """
    return RuleSet((), shipped_policy, backstop=PAGE_EVERYTHING, degraded=reason)


def _kept(tried: list[list[str | None]], untold: int) -> tuple[list[list[str | None]], int]:
    """Keep the first rules tried and the last, which decided; the others are counted."""
    left_out = max(0, len(tried) - MAX_TRIED_KEPT)
    return ([*tried[: MAX_TRIED_KEPT - 1], tried[-1]] if left_out else tried), untold + left_out


def _by_label(rule: Rule, said: Severity, alert: Alert) -> Severity:
    """Let another label than the rule's own decide: one that pages raises, one that does not moves it either way."""
    if said <= Severity.P1:
        return min(said, rule.severity_of(alert))
    return min([said, *(condition.to for condition in rule.raises if condition.met_by_alert(alert))])


def _group_key(rule: Rule, labels: Mapping[str, str]) -> str:
    """Name the incident that an alert belongs to: a JSON list, so that no value can pass for another's."""
    parts: list[object] = [rule.name]
    complete = True
    for name in rule.group_by:
        value = labels.get(name, "")
        complete = complete and value != ""
        parts.append((name, value))
    if not complete and "alertname" not in rule.group_by:
        parts.append(("alertname", labels.get("alertname", "")))
    key = _JSON.encode(parts)
    if len(key) <= MAX_KEY_CHARS:
        return key
    return _JSON.encode([rule.name, blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()])


def _revision(rules: Sequence[Rule], policy: Policy, backstop: Rule) -> str:
    """Give 12 hex digits over what the rules mean: comments and places do not count."""
    digest = blake2b(digest_size=6)
    for rule in (*rules, backstop):
        digest.update(repr((rule.name, rule.matchers, rule.severity, rule.raises, rule.runbook)).encode())
        digest.update(repr((rule.group_by, rule.systems, rule.channel, rule.goes_on, rule.labels_only)).encode())
        digest.update(repr(rule.heartbeat_s).encode())
    digest.update(repr(policy).encode())
    return digest.hexdigest()
