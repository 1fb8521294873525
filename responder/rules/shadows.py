"""Finds rules that no alert reaches, because earlier rules take all of theirs; also when they take it word by word.

What is said here is proved from the matchers' texts. Where it cannot be proved, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from responder.rules.index import Index
from responder.rules.matchers import Matcher
from responder.rules.regexes import ANYTHING, disjoint, example, includes
from responder.rules.rule import Rule


@dataclass(frozen=True, slots=True)
class Shadow:
    """A rule and who takes its alerts. `words` are those of `label` that are taken; "" and (): all of it."""

    rule: Rule
    takers: tuple[Rule, ...]
    label: str = ""
    words: tuple[str, ...] = ()


def shadows(rules: Sequence[Rule]) -> Iterator[Shadow]:
    """Give each rule that is never reached, wholly or for some of the words that it lists."""
    index = Index([rule.matchers for rule in rules])
    for at, rule in enumerate(rules):
        if matches_nothing(rule):
            continue  # whoever comes before it takes nothing from it
        taker = _taker(rules, index, at, rule)
        if taker is not None:
            yield Shadow(rule, (taker,))
            continue
        for label, words in _lists(rule):
            taken = {word: found for word in words if (found := _taker(rules, index, at, _only(rule, label, word)))}
            if not taken:
                continue
            takers = tuple({found.name: found for found in taken.values()}.values())
            whole = len(taken) == len(words)
            yield Shadow(rule, takers, "" if whole else label, () if whole else tuple(taken))
            if whole:
                break


def contradict(matchers: Sequence[Matcher]) -> bool:
    """Say whether no value can pass all these matchers of one label; False when that cannot be proved."""
    listed = [words for matcher in matchers if (words := matcher.words()) is not None]
    if listed:
        return not any(all(matcher.test(word) for matcher in matchers) for word in min(listed, key=len))
    wanted = [matcher.value for matcher in matchers if matcher.operator == "=~"]
    if any(disjoint(one, other) for at, one in enumerate(wanted) for other in wanted[at + 1 :]):
        return True
    refusing = [matcher for matcher in matchers if matcher.operator == "!~"]
    return any(
        includes(r.value, _refused(r), each) for r in refusing for each in (*wanted, *(() if wanted else (".*",)))
    )


def matches_nothing(rule: Rule) -> bool:
    """Say whether its matchers contradict each other; False when that cannot be proved."""
    labels = {matcher.name for matcher in rule.matchers}
    return any(contradict([each for each in rule.matchers if each.name == label]) for label in labels)


def implied(wanted: Matcher, given: Sequence[Matcher]) -> bool:
    """Say whether each value that passes all of `given` (matchers of the same label) passes `wanted` too."""
    if any((matcher.operator, matcher.value) == (wanted.operator, wanted.value) for matcher in given):
        return True
    listed = [words for matcher in given if (words := matcher.words()) is not None]
    if listed:
        return all(wanted.test(word) for word in min(listed, key=len) if all(m.test(word) for m in given))
    if wanted.positive:
        patterns = [matcher.value for matcher in given if matcher.operator == "=~"] or [".*"]
        return wanted.operator == "=~" and any(includes(wanted.value, wanted.test, each) for each in patterns)
    refused = frozenset((wanted.value,)) if wanted.operator == "!=" else _words(wanted)
    if refused is not None:
        return all(any(not matcher.test(word) for matcher in given) for word in refused)
    wider = [matcher for matcher in given if matcher.operator == "!~"]
    return any(includes(matcher.value, _refused(matcher), wanted.value) for matcher in wider)


def takes(earlier: Rule, later: Rule) -> bool:
    """Say whether the earlier rule takes every alert of the later one; False when that cannot be proved."""
    if earlier.goes_on_to(later):
        return False
    return all(implied(m, [given for given in later.matchers if given.name == m.name]) for m in earlier.matchers)


def sample(rule: Rule) -> dict[str, str] | None:
    """Give labels that the rule matches; None when none come to mind."""
    found: dict[str, str] = {}
    for name in {matcher.name: None for matcher in rule.matchers}:
        value = _value([matcher for matcher in rule.matchers if matcher.name == name])
        if value is None:
            return None
        found[name] = value
    return found


def _value(matchers: Sequence[Matcher]) -> str | None:
    def passes(value: str) -> bool:
        return all(matcher.test(value) for matcher in matchers)

    listed = [words for matcher in matchers if (words := matcher.words()) is not None]
    if listed:
        return next((word for word in sorted(frozenset.intersection(*listed)) if passes(word)), None)
    for pattern in (matcher.value for matcher in matchers if matcher.operator == "=~"):
        if (found := example(pattern, passes)) is not None:
            return found
    return next((value for value in ("", ANYTHING) if passes(value)), None)


def _taker(rules: Sequence[Rule], index: Index, at: int, rule: Rule) -> Rule | None:
    """Find the earlier rule that takes all of this one. It must take any one alert of it, so one is tried first."""
    tried = sample(rule)
    earlier = range(at) if tried is None else index.matches(tried)
    for position in earlier:
        if position >= at:
            break
        if takes(rules[position], rule):
            return rules[position]
    return None


def _lists(rule: Rule) -> Iterator[tuple[str, Sequence[str]]]:
    """Give the labels for which a rule lists several words, and those that its other matchers leave."""
    for matcher in rule.matchers:
        words = matcher.words()
        if words is None or len(words) == 1:
            continue
        same = [each for each in rule.matchers if each.name == matcher.name]
        left = sorted(word for word in words if all(each.test(word) for each in same))
        if left:
            yield matcher.name, left


def _only(rule: Rule, label: str, word: str) -> Rule:
    """Narrow a rule to one word of a label."""
    others = tuple(matcher for matcher in rule.matchers if matcher.name != label)
    return replace(rule, matchers=(*others, Matcher(label, "=", word, word.__eq__)))


def _words(matcher: Matcher) -> frozenset[str] | None:
    """Give the only values that a !~ matcher refuses, None when they cannot be listed."""
    return Matcher(matcher.name, "=~", matcher.value, matcher.test).words()


def _refused(matcher: Matcher) -> Callable[[str], bool]:
    """Give what a !~ matcher's pattern accepts: all that the matcher refuses."""
    return lambda value: not matcher.test(value)
