"""What is allowed in rule files and yet looks wrong: rules nobody reaches, matchers that nothing meets, odd groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from responder.errors import FileError
from responder.rules.fields import RulesError
from responder.rules.loader import load
from responder.rules.matchers import Matcher
from responder.rules.read_policy import FILE_NAME
from responder.rules.rule import Rule

# Labels that most senders set, or that a whole convention gives: a group by them is no surprise.
USUAL_LABELS = frozenset(
    ("alertname", "cluster", "namespace", "job", "instance", "service", "app", "env", "environment", "region")
) | frozenset(("node", "pod", "receiver", "severity", "team"))
EVERYTHING = frozenset((".*", "(?i).*", "(?s).*", "(.*)", "^.*$", ".*?"))
REGEX_SIGNS = (".*", ".+", "|", "(?", "^", "[")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong. `serious`: the rule cannot do what it says; else it may be meant so."""

    path: str
    line: int
    rule: str
    reason: str
    fix: str
    serious: bool = True

    def text(self) -> str:
        """Give it in one line, as compilers do."""
        rule = f"rule {self.rule!r}: " if self.rule else ""
        return f"{self.path}:{self.line}: {rule}{self.reason}; {self.fix}"


def lint(rules: Sequence[Rule]) -> list[Finding]:
    """Look at all rules, in the order in which they are tried."""
    found = [finding for rule in rules for finding in _alone(rule)]
    found += _shadowed(rules)
    return sorted(found, key=lambda finding: (finding.path, finding.line))


def lint_paths(
    paths: Sequence[Path],
    *,
    runbooks: Mapping[str, object],
    chains: Mapping[str, object],
    shipped: Path,
    at: datetime | None = None,
) -> list[Finding]:
    """Read rule files and look at them: what cannot be read, unknown names, duplicate names, and all of `lint`.

    Args: at: now, to find what is over; None = do not look.
    """
    try:
        ruleset = load(paths, runbooks=runbooks.keys(), shipped=shipped)
    except RulesError as error:
        return [_from(each) for each in error.errors]
    unknown = [
        Finding(
            str(shipped), 0, "", f"{severity} names the chain {own.chain!r}, which is not there", "name a known one"
        )
        for severity, own in ruleset.policy.severities.items()
        if own.chain not in chains
    ]
    everything = [
        replace(_from(each), serious=Path(each.path).name != FILE_NAME)  # of a policy: odd, and may be meant so
        for each in ruleset.warnings
        if "rules after it" not in each.message
    ]
    over = [] if at is None else [replace(_from(each), serious=False) for each in ruleset.policy.outdated(at)]
    return [*unknown, *everything, *over, *lint(ruleset.rules)]


def _from(error: FileError) -> Finding:
    """Turn a mistake of the reader into a finding: its message ends with the remedy where there is one."""
    reason, _, fix = error.message.partition("; ")
    return Finding(error.path, error.line, "", reason, fix or "correct it")


def _alone(rule: Rule) -> Iterator[Finding]:
    """Look at one rule by itself."""
    by_label: dict[str, list[Matcher]] = defaultdict(list)
    for matcher in rule.matchers:
        by_label[matcher.name].append(matcher)
    for label, matchers in by_label.items():
        wanted = " and ".join(matcher.wanted() for matcher in matchers)
        if _contradict(matchers):
            yield _finding(rule, f"{wanted} can never be met", f"correct the matchers on {label}, or remove the rule")
    for matcher in rule.matchers:
        if matcher.operator in ("=", "!=") and any(sign in matcher.value for sign in REGEX_SIGNS):
            regex = "=~" if matcher.positive else "!~"
            yield _finding(
                rule,
                f"{matcher.wanted()} is compared letter by letter",
                f"write {regex} if it is a regex",
                serious=False,
            )
    yield from _grouping(rule, by_label)
    for condition in rule.raises:
        if condition.kind == "value" and condition.where == "label":
            yield _finding(
                rule,
                f"a number in the label {condition.name} makes a new alert at each change",
                f"put it into an annotation and write value: annotation:{condition.name}",
                serious=False,
            )


def _grouping(rule: Rule, by_label: Mapping[str, Sequence[Matcher]]) -> Iterator[Finding]:
    """Look for groups that would hardly ever be quiet as a whole, and so never resolve."""
    if not rule.group_by:
        yield _finding(
            rule,
            "group_by is empty: all its alerts are one incident, resolved only when none fires",
            "name labels",
            serious=False,
        )
        return
    absent = [name for name in rule.group_by if any(m.words() == frozenset(("",)) for m in by_label.get(name, ()))]
    for name in absent:
        yield _finding(rule, f"group_by {name}, which its own matcher wants missing", f"take {name} out of group_by")
    given = {name for name, matchers in by_label.items() if any(not m.test("") for m in matchers)}
    if rule.group_by and not given.union(USUAL_LABELS).intersection(rule.group_by):
        names = ", ".join(rule.group_by)
        yield _finding(
            rule,
            f"group_by {names}: an alert may lack them, and all that do are one incident, which hardly ever resolves",
            "add alertname, or a matcher that asks for the label",
            serious=False,
        )


def _contradict(matchers: Sequence[Matcher]) -> bool:
    """Say whether no value can pass all matchers on one label, as far as their texts show."""
    listed = [words for matcher in matchers if (words := matcher.words()) is not None]
    if listed:
        return not any(all(matcher.test(word) for matcher in matchers) for word in min(listed, key=len))
    refused = {matcher.value for matcher in matchers if matcher.operator == "!~"}
    return bool(refused & EVERYTHING) or any(m.operator == "=~" and m.value in refused for m in matchers)


def _shadowed(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Find rules whose every alert an earlier rule without `continue` takes."""
    earlier: list[Rule] = []
    by_condition: dict[tuple[str, str, str], list[int]] = defaultdict(list)  # first matcher -> positions in `earlier`
    open_ended: list[int] = []  # positions of rules that a word of another rule may meet
    for rule in rules:
        near = {at for m in rule.matchers for at in by_condition.get((m.name, m.operator, m.value), ())}
        candidates = sorted(near.union(open_ended)) if _words_of(rule) else sorted(near)
        taker = next((earlier[at] for at in candidates if _takes(earlier[at], rule)), None)
        taker = taker or next((each for each in earlier if not each.matchers and _ends(each, rule)), None)
        if taker is not None:
            yield _finding(
                rule,
                f"never reached: rule {taker.name!r} ({taker.path}:{taker.line}) takes every alert that it would match",
                f"put it before {taker.name!r}, give that one continue: true, or remove it",
            )
        if not rule.goes_on or rule.labels_only:
            for m in rule.matchers:
                by_condition[m.name, m.operator, m.value].append(len(earlier))
            open_ended.append(len(earlier))
            earlier.append(rule)


def _words_of(rule: Rule) -> bool:
    return any(matcher.words() is not None for matcher in rule.matchers)


def _takes(earlier: Rule, later: Rule) -> bool:
    """Say whether each condition of the earlier rule is implied by the later rule's own."""
    return _ends(earlier, later) and all(_implied(matcher, later.matchers) for matcher in earlier.matchers)


def _ends(earlier: Rule, later: Rule) -> bool:
    """Say whether what the earlier rule matches never comes to the later one."""
    return not earlier.goes_on_to(later)


def _implied(wanted: Matcher, given: Sequence[Matcher]) -> bool:
    same = [matcher for matcher in given if matcher.name == wanted.name]
    if any((m.operator, m.value) == (wanted.operator, wanted.value) for m in same):
        return True
    listed = [words for matcher in same if (words := matcher.words()) is not None]
    if listed:
        return all(wanted.test(word) for word in min(listed, key=len) if all(m.test(word) for m in same))
    return wanted.operator == "=~" and wanted.value in EVERYTHING


def _finding(rule: Rule, reason: str, fix: str, *, serious: bool = True) -> Finding:
    return Finding(rule.path, rule.line, rule.name, reason, fix, serious)
