"""What is said of two regexes is proved: no text contradicts it."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from responder.rules.matchers import parse
from responder.rules.regexes import disjoint, example, includes, written_out


def included(narrower: str, wider: str) -> bool:
    [matcher] = parse(f'a=~"{wider}"'.replace("\\", "\\\\"))
    return includes(wider, matcher.test, narrower)


INCLUDED = [
    ("Api.*", "Api.*"), ("ApiDown.*", "Api.*"), ("Api.+", "Api.*"), ("Api.*Down", "Api.*"),
    ("Api(Down|Slow)?", "Api.*"),
    ("a|b", "[ab]"), ("x.+", ".+"), ("x.*", ".+"), ("(?i)api.*down", "(?i).*down"), ("api_down", "(?i)API[ _-]?DOWN"),
    ("x.*y.*z", "x.*z"), (r"a\.b.*", r"a\..*"), ("[a-c]x", "(a|b|c)x"), ("x", "x.*"), ("Kube(Pod|Node).*", "Kube.*"),
]  # fmt: skip
NOT_INCLUDED = [
    ("Api.*", "ApiDown.*"), (".*", ".+"), ("(?i)api", "api"), ("x.*", "x[^q]*"), ("x.*", r"x\W?"), ("x.*", "x.?"),
    ("x.*", r"x\pC*"), (".*", "(?i)[^a].*"), ("a{2}", "a{2,3}"), ("(?i)a", "(?i)(?-i:a)"), ("a b", r"a\bx?.*"),
]  # fmt: skip


@pytest.mark.parametrize(("narrower", "wider"), INCLUDED)
def test_what_is_included_is_seen(narrower: str, wider: str) -> None:
    assert included(narrower, wider)


@pytest.mark.parametrize(("narrower", "wider"), NOT_INCLUDED)
def test_what_is_not_included_or_not_known_is_not_claimed(narrower: str, wider: str) -> None:
    assert not included(narrower, wider)


def test_what_has_nothing_in_common_is_seen() -> None:
    assert disjoint("Api.*", "Db.*")
    assert disjoint(".*Up", ".*Down")
    assert disjoint("a|b", "c|d")
    assert not disjoint("Api.*", ".*Down")
    assert not disjoint("(?i)a.*", "A.*")
    assert not disjoint("a*", "b.*")


def test_an_example_is_one() -> None:
    assert example("Api(Down|Slow)", lambda text: text.endswith("Slow")) == "ApiSlow"
    assert example(r"\d+", lambda _: True) is None


def test_a_pattern_that_grows_is_given_up() -> None:
    assert written_out("[a-z][a-z]") is None
    assert written_out("(a|b)" * 8) is not None
    assert written_out("(a|b)" * 9) is None


piece = st.sampled_from(
    ("a", "b", "A", ".*", ".+", "(a|b)", "(ab|c)?", "[ab]", "b?", "[^a]", "\\W", ".", "a*", "|", "c")
)
pattern = st.tuples(st.sampled_from(("", "", "(?i)")), st.lists(piece, max_size=5)).map(lambda p: p[0] + "".join(p[1]))
text = st.text(st.sampled_from("abcAB é\ue000"), max_size=6)


def accepts(pattern: str, text: str) -> bool:
    return re2.fullmatch(pattern, text) is not None


@given(pattern, pattern, st.lists(text, max_size=30))
def test_no_text_contradicts_what_is_said(one: str, other: str, texts: list[str]) -> None:
    said = included(one, other), disjoint(one, other)
    if not any(said):
        return
    for each in [*texts, *(e.replace("\ue000", "a").replace("\ue001", "bA") for e in written_out(one) or ())]:
        if said[0]:
            assert not accepts(one, each) or accepts(other, each)
        if said[1]:
            assert not (accepts(one, each) and accepts(other, each))
