"""What a value must begin with to pass a regex: never too much."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from responder.rules.index import MAX_PREFIX_CHARS, Index, beginning, landmarks
from responder.rules.matchers import parse

PIECES = [
    "Api",
    "Ap",
    "i",
    "x",
    "|",
    "(a|b)",
    "(?:Down)",
    "?",
    "*",
    "+",
    "{2}",
    ".*",
    "[|]",
    "(?i)",
    "\\|",
    ")|(",
    "^",
    "$",
]


@pytest.mark.parametrize(
    ("pattern", "begins"),
    [
        ("ApiDown.*", "ApiDown"),
        ("Api(Down|Up).*", "Api"),
        ("Api+", "Api"),
        ("Apis?", "Api"),
        ("Api*", "Ap"),
        ("Api{0}", "Ap"),
        ("Api|Db.*", ""),
        ("Api(a|b)|Db", ""),
        ("(?i)api.*", ""),
        ("(Api).*", ""),
        (".*Api", ""),
        ("", ""),
        ("x" * 99 + ".*", "x" * MAX_PREFIX_CHARS),
    ],
    ids=repr,
)
def test_what_a_value_must_begin_with(pattern: str, begins: str) -> None:
    assert beginning(pattern) == begins


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.text("ApixDown|ab", max_size=12))
def test_no_value_is_passed_over(pieces: list[str], value: str) -> None:
    pattern = "".join(pieces)
    try:
        matches = re2.fullmatch(pattern, value) is not None
    except re2.error:
        return
    assert not matches or value.startswith(beginning(pattern))
    place, texts = landmarks(pattern)
    if matches and texts:
        assert any(value.startswith(text) if place == "start" else text in value for text in texts)


@pytest.mark.parametrize(
    ("pattern", "marks"),
    [
        ("Foo1.*|Bar1", ("start", ("Foo1", "Bar1"))),
        ("Foo|.*Bar", ("", ())),
        ("Foo(a|b).*", ("start", ("Foo",))),
        (".*Disk.*", ("inside", ("isk",))),
        (".*Disks?", ("inside", ("isk",))),
        (".*ab?", ("", ())),
        (".*Disk.*|.*Node.*", ("", ())),
        ("[|]Foo", ("", ())),
        ("(?i).*disk.*", ("", ())),
    ],
)
def test_what_a_value_must_hold(pattern: str, marks: tuple[str, tuple[str, ...]]) -> None:
    assert landmarks(pattern) == marks


def test_rules_of_all_beginnings_are_found_in_order() -> None:
    texts = ['a=~".*"', 'a=~"Api.*"', 'a=~"A(x|p).*"', 'a=~"Db.*"', 'a!~"x.*"', 'a=~"ApiDown.*"']
    index = Index([parse(text) for text in texts])
    assert list(index.matches({"a": "ApiDown1"})) == [0, 1, 2, 4, 5]
    assert list(index.matches({"a": "Ap"})) == [0, 2, 4]
    assert list(index.matches({})) == [0, 4]
