"""What is allowed in rule files and yet looks wrong: rules nobody reaches, matchers that nothing meets, odd groups.

A finding is an error when the rule cannot do what it says, a warning when it may be meant so, a note when it is only
worth knowing. Errors are proved: a rule set that works has none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from responder.errors import FileError
from responder.incidents import MAX_FACTS
from responder.model import Alert, Severity, identify
from responder.rules.channels import bad_name, lookalikes
from responder.rules.classify import BACKSTOP, RESERVED_NAMES, RuleSet
from responder.rules.expectations import Expectations, read_expectations
from responder.rules.fields import RulesError
from responder.rules.loader import TESTS, load
from responder.rules.matchers import Matcher, show
from responder.rules.read_policy import FILE_NAME, unknown_chains
from responder.rules.rule import UNMAPPED, Raise, Rule, SeverityFrom
from responder.rules.shadows import contradict, shadows

ERROR, WARNING, NOTE = "error", "warning", "note"
# Labels that most senders set, or that a whole convention gives: a group by them is no surprise.
USUAL_LABELS = frozenset(
    ("alertname", "cluster", "namespace", "job", "instance", "service", "app", "env", "environment", "region")
) | frozenset(("node", "pod", "receiver", "severity", "team"))
# Labels that change by themselves: a restart, a scrape or a request gives a new value, and so a new incident.
CHANGING_LABELS = frozenset(
    ("pod", "pod_name", "pod_ip", "podip", "pod_uid", "uid", "id", "ip", "instance_id", "instance_ip", "container_id")
) | frozenset(("trace_id", "request_id", "session_id", "build_id", "timestamp", "time", "value", "current_value"))
ANNOTATIONS = frozenset(("summary", "description", "message", "runbook_url", "dashboard_url"))
# Alerts that fire as long as all is well.
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)
ALWAYS_FIRING = ("Watchdog", "DeadMansSwitch", "DeadMansSnitch", "InfoInhibitor")
SOURCE_LABELS = frozenset(("source", "receiver", "integration", "origin"))
NEVER_RESOLVES = {"sentry": "Sentry's issue alerts"}
REGEX_SIGNS = (".*", ".+", "|", "(?", "^", "[")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong. `code` is a stable word for it; `level` is error | warning | note."""

    path: str
    line: int
    rule: str
    reason: str
    fix: str
    code: str
    level: str = ERROR

    def text(self) -> str:
        """Give it in one line, as compilers do."""
        rule = f"rule {self.rule!r}: " if self.rule else ""
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.level}: {rule}{self.reason}; {self.fix}"


def lint(rules: Sequence[Rule]) -> list[Finding]:
    """Look at all rules, in the order in which they are tried."""
    looks: tuple[Callable[[Rule], Iterator[Finding]], ...] = (_matchers, _grouping, _raises, _sources)
    found = [finding for rule in rules for look in looks for finding in look(rule)]
    found += _shadowed(rules)
    found += _always_firing(rules)
    return _sorted(found)


def lint_set(ruleset: RuleSet, expectations: Expectations) -> list[Finding]:
    """Look at rules with their policy and their expectation files."""
    found = [_from(each, "expectation") for each in expectations.errors]
    found += _channels(ruleset)
    found += _roads(ruleset)
    found += _expectations(ruleset, expectations)
    found += _unheld(ruleset, expectations)
    found += _default_runbooks(ruleset)
    return _sorted([*lint(ruleset.rules), *found])


def lint_paths(
    paths: Sequence[Path],
    *,
    runbooks: Mapping[str, object],
    chains: Collection[str],
    shipped: Path,
    at: datetime | None = None,
) -> list[Finding]:
    """Read rule files and look at them: what cannot be read, unknown and duplicate names, and all of `lint_set`.

    Args: at: now, to find silences and windows that are over; None = do not look.
    """
    try:
        ruleset = load(paths, runbooks=runbooks.keys(), shipped=shipped)
    except RulesError as error:
        return [_from(each, "unreadable") for each in error.errors]
    ours = shipped / FILE_NAME if shipped.is_dir() else shipped
    policy = next((path / FILE_NAME for path in paths if (path / FILE_NAME).is_file()), ours)
    unknown = [_from(each, "unknown-chain") for each in unknown_chains(ruleset.policy, chains, policy)]
    allowed = [_from(each, "allowed", WARNING) for each in ruleset.warnings if "rules after it" not in each.message]
    over = [] if at is None else [_from(each, "over", WARNING) for each in ruleset.policy.outdated(at)]
    tests = [path / TESTS for path in paths if (path / TESTS).is_dir()]
    return [*unknown, *allowed, *over, *lint_set(ruleset, read_expectations(tests))]


def _sorted(found: Sequence[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: (finding.path, finding.line))


def _from(error: FileError, code: str, level: str = ERROR) -> Finding:
    """Turn a mistake of the reader into a finding: its message ends with the remedy where there is one."""
    reason, _, fix = error.message.partition("; ")
    return Finding(error.path, error.line, "", reason, fix or "correct it", code, level)


# --- one rule by itself ----------------------------------------------------------------------------------------------


def _matchers(rule: Rule) -> Iterator[Finding]:
    """Look for matchers that nothing meets, or that compare what their author did not mean to compare."""
    for label, matchers in _by_label(rule).items():
        if contradict(matchers):
            wanted = " and ".join(matcher.wanted() for matcher in matchers)
            fix = f"correct the matchers on {label}, or remove the rule"
            yield _finding(rule, f"{wanted} can never be met", fix, "contradiction")
        yield from _unsent(rule, label, matchers)
    for matcher in rule.matchers:
        if matcher.operator in ("=", "!=") and any(sign in matcher.value for sign in REGEX_SIGNS):
            fix = f"write {'=~' if matcher.positive else '!~'} if it is a regex"
            yield _finding(rule, f"{matcher.wanted()} is compared letter by letter", fix, "regex-as-text", WARNING)


def _unsent(rule: Rule, label: str, matchers: Sequence[Matcher]) -> Iterator[Finding]:
    """Look for labels that no sender sends, or not so."""
    wants_some = any(not matcher.test("") for matcher in matchers if matcher.positive)
    if label.startswith("__") and wants_some:
        reason = f"Prometheus removes labels that begin with __ before it sends an alert: {label} is never there"
        yield _finding(rule, reason, "match the label that it was copied to", "never-sent", WARNING)
    if label == "alertname" and any(matcher.words() == frozenset(("",)) for matcher in matchers):
        reason = "alertname is never empty: Prometheus gives each alert its rule's name"
        yield _finding(rule, reason, "name the alerts, or take the matcher out", "never-sent", WARNING)
    if label in ANNOTATIONS and wants_some:
        reason = f"{label} is usually an annotation, and matchers see labels only"
        yield _finding(rule, reason, "match a label", "annotation-matched", WARNING)


def _grouping(rule: Rule) -> Iterator[Finding]:
    """Look for groups that would hardly ever be quiet as a whole, and for those that never hold two alerts."""
    if not rule.group_by:
        reason = "group_by is empty: all its alerts are one incident, resolved only when none fires"
        yield _finding(rule, reason, "name labels", "one-group", WARNING)
        return
    by_label = _by_label(rule)
    for name in rule.group_by:
        if any(matcher.words() == frozenset(("",)) for matcher in by_label.get(name, ())):
            reason = f"group_by {name}, which its own matcher wants missing"
            yield _finding(rule, reason, f"take {name} out of group_by", "group-missing")
        elif name in CHANGING_LABELS:
            reason = f"group_by {name}, which changes by itself: each restart is a new incident and a new page"
            fix = f"take {name} out of group_by; as systems: it is still told"
            yield _finding(rule, reason, fix, "group-changes", WARNING)
    given = {name for name, matchers in by_label.items() if any(not matcher.test("") for matcher in matchers)}
    if not given.union(USUAL_LABELS, CHANGING_LABELS).intersection(rule.group_by):
        names = ", ".join(rule.group_by)
        reason = (
            f"group_by {names}: an alert may lack them, and all that do are one incident, which hardly ever resolves"
        )
        yield _finding(rule, reason, "add alertname, or a matcher that asks for the label", "group-absent", WARNING)


def _raises(rule: Rule) -> Iterator[Finding]:
    """Look for conditions that are never met, always met, or met only together with a worse one."""
    for condition in rule.raises:
        never = _never(rule, condition)
        if never:
            yield _finding(rule, f"raise to {condition.text()}: {never}", "correct it or remove it", "raise-unreached")
        elif condition.kind in ("distinct", "count") and condition.at_least <= 1:
            reason = f"raise to {condition.text()} is met by its first alert"
            yield _finding(rule, reason, f"write severity: {condition.to}", "raise-at-once", WARNING)
        if condition.kind == "value" and condition.where == "label":
            reason = f"a number in the label {condition.name} makes a new alert at each change"
            fix = f"put it into an annotation and write value: annotation:{condition.name}"
            yield _finding(rule, reason, fix, "value-in-label", WARNING)


def _never(rule: Rule, condition: Raise) -> str:
    """Say why a condition never raises, "" where it may."""
    least = _least(rule)
    if condition.to >= least:
        return f"the rule gives {least} or worse by itself"
    worse = [
        other
        for other in rule.raises
        if other is not condition
        and (other.kind, other.where, other.name) == (condition.kind, condition.where, condition.name)
        and other.to <= condition.to
        and (other.at_least, other.to) < (condition.at_least, condition.to)
    ]
    if worse:
        return f"raise to {worse[0].text()} is met before it"
    if condition.kind != "distinct":
        return ""
    if condition.at_least > MAX_FACTS:
        return f"no more than {MAX_FACTS} values are counted"
    if condition.name in rule.group_by and condition.at_least > 1:
        return f"an incident has one {condition.name}, because group_by names it"
    listed = [words for m in rule.matchers if m.name == condition.name and (words := m.words()) is not None]
    known = min((len(words - {""}) for words in listed), default=None)
    return (
        f"its matcher allows {known} {condition.name} only" if known is not None and known < condition.at_least else ""
    )


def _least(rule: Rule) -> Severity:
    """Give the least severity that a rule gives by itself."""
    if isinstance(rule.severity, Severity):
        return rule.severity
    return max(*rule.severity.map.values(), rule.severity.otherwise or UNMAPPED)


def _sources(rule: Rule) -> Iterator[Finding]:
    """Look for senders that say when a thing begins and never when it ends."""
    for matcher in rule.matchers:
        for word in sorted(matcher.words() or ()) if matcher.name in SOURCE_LABELS else ():
            said = NEVER_RESOLVES.get(word.casefold())
            if said:
                reason = f"{said} never say resolved: each incident stays open until a person resolves it"
                fix = "let the rule be a P3, or resolve by hand"
                yield _finding(rule, reason, fix, "never-resolves", WARNING)


# --- rules among each other ------------------------------------------------------------------------------------------


def _shadowed(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Say which rules, or words of rules, no alert reaches."""
    for shadow in shadows(rules):
        names = ", ".join(f"{taker.name!r} ({taker.path}:{taker.line})" for taker in shadow.takers)
        one = len(shadow.takers) == 1
        takers = f"rule{'' if one else 's'} {names} {'takes' if one else 'take'}"
        if shadow.words:
            words = ", ".join(show(word) for word in shadow.words)
            reason = f"{shadow.label} {words} never come here: {takers} them before"
            fix = f"take them out, or put this rule before {shadow.takers[0].name!r}"
            yield _finding(shadow.rule, reason, fix, "shadowed-in-part", WARNING)
        else:
            reason = f"never reached: {takers} every alert that it would match"
            fix = f"put it before {shadow.takers[0].name!r}, give that one continue: true, or remove it"
            yield _finding(shadow.rule, reason, fix, "shadowed")


def _always_firing(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Say which rule makes an incident of an alert that fires as long as all is well."""
    ruleset = RuleSet(rules)
    taken: dict[str, list[str]] = defaultdict(list)
    for name in ALWAYS_FIRING:
        labels = {"alertname": name, "severity": "none"}
        decision = ruleset.classify(Alert("prometheus", identify("lint", labels), labels, {}, True, _WHEN))
        if decision.severity < Severity.P3 and decision.rule != BACKSTOP.name:
            taken[decision.rule].append(name)
    for rule in rules:
        if rule.name in taken and rule.heartbeat_s is None:
            reason = f"takes {', '.join(taken[rule.name])}, which always fires: its incident never ends"
            fix = "a watchdog: write heartbeat: 10m, and its absence is the incident; else add a rule before it"
            yield _finding(rule, reason, fix, "always-firing", WARNING)


# --- rules with what they name ---------------------------------------------------------------------------------------


def _channels(ruleset: RuleSet) -> Iterator[Finding]:
    """Look at the channels that rules name: unknown ones where a list is declared, else those that look misspelt."""
    declared = ruleset.policy.channels
    used = Counter(rule.channel for rule in ruleset.rules if rule.channel)
    used.update(own.channel for own in ruleset.policy.severities.values() if own.channel)
    alike = {} if declared else lookalikes(used)
    for rule in ruleset.rules:
        if not rule.channel:
            continue
        bad = bad_name(rule.channel)
        if declared and rule.channel not in declared:
            reason = f"there is no channel {rule.channel!r}"
            yield _finding(rule, reason, f"known: {', '.join(sorted(declared))}", "unknown-channel")
        elif bad:
            yield _finding(
                rule, f"channel {rule.channel!r}: {bad}", "write it as the chat does", "bad-channel", WARNING
            )
        elif rule.channel in alike:
            reason = f"channel {rule.channel!r} is nearly {alike[rule.channel]!r}, which others name"
            yield _finding(rule, reason, "is it misspelt?", "lookalike-channel", WARNING)


def _roads(ruleset: RuleSet) -> Iterator[Finding]:
    """Say which rules give a P0 that has no second road. Where the policy knows no roads, nobody can mend it."""
    worst = ruleset.policy.of(Severity.P0)
    giving = [rule for rule in ruleset.rules if _gives_p0(rule)]
    if worst.roads or not giving:
        return
    names = ", ".join(rule.name for rule in giving[:5]) + (f" and {len(giving) - 5} more" if len(giving) > 5 else "")  # noqa: PLR2004
    reason = f"gives a P0, which has no second road: when the chat is down nobody hears of it (P0 by {names})"
    yield _finding(giving[0], reason, "name a road under P0 in policy.yaml", "no-road", WARNING)


def _gives_p0(rule: Rule) -> bool:
    given = rule.severity
    own = {given} if isinstance(given, Severity) else {*given.map.values(), given.otherwise}
    return Severity.P0 in own or any(condition.to is Severity.P0 for condition in rule.raises)


def _expectations(ruleset: RuleSet, expectations: Expectations) -> Iterator[Finding]:
    """Look for expectations of rules that are not there."""
    known = {rule.name for rule in ruleset.rules} | RESERVED_NAMES
    for path, line, name in expectations.rules():
        if name not in known:
            reason = f"expects rule {name!r}, which is not there"
            yield Finding(path, line, name, reason, "name a rule of these files", "unknown-rule")


def _unheld(ruleset: RuleSet, expectations: Expectations) -> Iterator[Finding]:
    """Note the rules that no expectation holds, where there are expectations at all."""
    named = {name for _, _, name in expectations.rules()}
    for rule in ruleset.rules if named else ():
        if rule.name not in named:
            yield _finding(rule, "no expectation names it", "add one under tests/", "no-expectation", NOTE)


def _default_runbooks(ruleset: RuleSet) -> Iterator[Finding]:
    """Note the rules that know an alert by name and no runbook for it."""
    for rule in ruleset.rules:
        if rule.runbook or rule.matched_by != "rule":
            continue
        given = rule.severity
        base = (given.otherwise or UNMAPPED) if isinstance(given, SeverityFrom) else given
        reason = f"names no runbook: {ruleset.policy.of(base).runbook!r} serves"
        yield _finding(rule, reason, "write one, or leave it so", "default-runbook", NOTE)


def _by_label(rule: Rule) -> dict[str, list[Matcher]]:
    found: dict[str, list[Matcher]] = defaultdict(list)
    for matcher in rule.matchers:
        found[matcher.name].append(matcher)
    return found


def _finding(rule: Rule, reason: str, fix: str, code: str, level: str = ERROR) -> Finding:
    return Finding(rule.path, rule.line, rule.name, reason, fix, code, level)
