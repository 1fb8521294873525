"""The index gives what trying each rule in turn gives, whatever the rules are; it only gives it sooner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.rules.index import MANY, Index
from responder.rules.matchers import Matcher, parse
from responder.rules.prefilter import Prefilter

NAMES = ("alertname", "team", "env")
VALUES = (
    "",
    "Api",
    "ApiDown",
    "api down",
    "K",
    "k",
    "\u017f",
    "s",
    "İst",
    "i",
    "ist",
    "x1",
    "x2",
    "a\nb",
    "\x02\x03",
    "é",
)
PATTERNS = (
    *("Api.*", "(?i)api[ _-]?down", ".*", "", ".+", "Api|ApiDown", "|Api", "x[12]", "(?i)k", "(?i)S", "İst", "(?i)İST"),
    *(
        "[^A].*",
        "(Api|x)(Down|1)?",
        r"\x41pi",
        r"\pL+",
        "(?s)a.b",
        "a.b",
        "é",
        "(?i)É",
        r"\QApi\E",
        ".*Down$",
        "K",
        "\u017f",
    ),
)
matcher = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(("=", "!=", "=~", "!~")), st.sampled_from(VALUES), st.sampled_from(PATTERNS)
)


def made(parts: tuple[str, str, str, str]) -> Matcher:
    name, operator, value, pattern = parts
    text = pattern.replace("\\", "\\\\") if "~" in operator else value.replace("\n", "\\n")
    [found] = parse(f'{name}{operator}"{text}"')
    return found


rules = st.lists(st.lists(matcher.map(made), max_size=3), max_size=60)
labels = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3)


@given(rules, st.lists(labels, min_size=1, max_size=5))
def test_the_index_gives_what_each_rule_in_turn_gives(rules: list[list[Matcher]], alerts: list[dict[str, str]]) -> None:
    index = Index(rules)
    for alert in [*alerts, *alerts]:  # the second time from memory
        wanted = [at for at, matchers in enumerate(rules) if all(m.matches(alert) for m in matchers)]
        assert list(index.matches(alert)) == wanted


def test_rules_that_share_all_their_words_are_divided_word_by_word() -> None:
    rules = [
        [*parse("alertname=Api"), *parse(f"team=t{n % 20}"), *parse(f"zone=z{n // 20}"), *parse('env!~"dev.*"')]
        for n in range(MANY * 50)
    ]
    index = Index([*rules, parse("alertname=Api"), []])
    for n in range(MANY * 50):
        labels = {"alertname": "Api", "team": f"t{n % 20}", "zone": f"z{n // 20}"}
        assert list(index.matches(labels)) == [n, MANY * 50, MANY * 50 + 1]
        assert list(index.matches(labels | {"env": "dev1"})) == [MANY * 50, MANY * 50 + 1]


def test_rules_that_share_a_name_are_divided_by_what_else_they_ask_for() -> None:
    tried: list[str] = []

    def noting(text: str) -> Matcher:
        [plain] = parse(text)

        def test(value: str) -> bool:
            tried.append(text)
            return plain.test(value)

        return Matcher(plain.name, plain.operator, plain.value, test)

    rules = [[parse("alertname=Api")[0], noting(f"team=t{n}")] for n in range(MANY * 50)]
    index = Index(rules)
    assert [list(index.matches({"alertname": "Api", "team": f"t{n}"})) for n in range(len(rules))] == [
        [n] for n in range(len(rules))
    ]
    tried.clear()
    assert list(index.matches({"alertname": "Api", "team": "t7"})) == [7]
    assert len(tried) <= MANY


@pytest.mark.parametrize("count", [3, 50, 2500])
def test_a_prefilter_leaves_few_and_never_one_too_few(count: int) -> None:
    some = Prefilter()
    for n in range(count):
        some.add(f"(?i).*word{n}[ _-]?down.*")
    some.add(None)
    some.close()
    found = some.possible("Big WORD2 Down")
    assert {2, count} <= set(found)
    assert len(found) < 10


@pytest.mark.parametrize("pattern", ["İstanbul.*", r"\x{130}stanbul.*", r"\x{0130}stanbul.*"])
def test_a_letter_that_folds_one_way_only_is_never_screened_out(pattern: str) -> None:
    some = Prefilter()
    for n in range(50):
        some.add(f"word{n}x.*")
    some.add(pattern)
    some.close()
    assert 50 in some.possible("İstanbul")


def test_patterns_that_are_too_much_for_one_filter_are_divided() -> None:
    some = Prefilter()
    for n in range(500):
        some.add(f"{'abcdefghij' * 40}{n}x.*")
    some.close()
    found = some.possible("abcdefghij" * 40 + "17x and more")
    assert 17 in found
    assert len(found) < 10


def test_a_filter_that_finds_nothing_at_all_is_not_believed() -> None:
    some = Prefilter(end_pattern="never there")
    for n in range(50):
        some.add(f"word{n}x.*")
    some.close()
    assert some.possible("word2x") == list(range(50))
