"""Paths read what is there, and say where they are wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responder.mapping.path import Path, read_path

BODY = {
    "name": "api", "a.b": {"c": 1}, "Event Message": "text", "tags": ["x", "y", "z"], "version": 2,
    "items": [{"id": 1, "on": [{"n": "p"}]}, {"id": 2}, "stray", {"id": 3, "on": [{"n": "q"}, {"n": "r"}]}],
    "map": {"k": "v", "l": "w"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name", ["api"]),
        ("missing", []),
        ("name.more", []),
        ("tags", [["x", "y", "z"]]),
        ("tags[0]", ["x"]),
        ("tags[-1]", ["z"]),
        ("tags[3]", []),
        ("tags[-4]", []),
        ("name[0]", []),
        ("tags[*]", ["x", "y", "z"]),
        ("items[*].id", [1, 2, 3]),
        ("items[*].on[*].n", ["p", "q", "r"]),
        ("map[*]", ["v", "w"]),
        ("Event Message", ["text"]),
        ('"a.b".c', [1]),
        ("['a.b']['c']", [1]),
        ('["a.b"].c', [1]),
        (".", [{"inner": 1}]),
        ("$", [BODY]),
        ("$.name", ["api"]),
        ("$[0]", []),
    ],
)
def test_a_path_gives_all_that_is_there(text: str, found: list[object]) -> None:
    element: object = {"inner": 1} if text == "." else BODY
    assert read_path(text).find(BODY, element) == found


def test_a_path_from_the_top_does_not_begin_at_the_element() -> None:
    assert read_path("$.version").find(BODY, {"version": 9}) == [2]
    assert read_path("version").find(BODY, {"version": 9}) == [9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1 to 300 characters"),
        ("  ", "1 to 300 characters"),
        ("x" * 301, "1 to 300 characters"),
        ("a..b", "column 3: expected a name"),
        ("a.", "column 3: expected a name"),
        (".a", "column 1: expected a name"),
        ("a[", "column 3: expected a number"),
        ("a[x]", "column 3: expected a number"),
        ("a[1", "column 3: expected a number"),
        ("a[²]", "column 3: expected a number"),
        ("a[--1]", "column 3: expected a number"),
        ("a[]", "column 3: expected a number"),
        ("a['b", "column 3: the ' is never closed"),
        ("a['b'", "column 6: expected ]"),
        ('"a"b', "column 4: expected . or ["),
        ("a]b", "column 2: expected . or ["),
        ("$a", "column 2: expected . or ["),
        (".".join("a" * 21), "21 steps; 20 at most"),
        ("a[" + "9" * 5000 + "]", "1 to 300 characters"),
    ],
)
def test_a_wrong_path_says_where(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_path(text)


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet="ab.[]*'\"$0-1 ", max_size=12))
def test_any_text_is_a_path_or_a_reason(text: str) -> None:
    try:
        path = read_path(text)
    except ValueError:
        return
    assert isinstance(path, Path)
    path.find(BODY, BODY)
