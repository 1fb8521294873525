"""A label enters an argument as one value, whatever it holds."""

from __future__ import annotations

import ast
from typing import Any

import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from responder.runbooks.placeholders import MAX_LABEL_CHARS, complain, placeholders, substitute

LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
HOSTILE = ['"} or vector(1) #', "\\", '\\"', "\n", ".*", "a|b", "$job", "${job}", "\\E.*", "x\x00y", "-^]", "Ω ß"]


def query(text: str, **labels: str) -> str:
    args, missing = substitute({"query": text}, labels)
    assert missing == []
    return str(args["query"])


def spoken(literal: str) -> str:
    """Read a PromQL string as Prometheus does; its escapes are a subset of Python's, where raw newlines may stand."""
    body = literal[1:-1].replace("\r", "\\r").replace("\n", "\\n").replace("\x00", "\\x00")
    return str(ast.literal_eval(f'"{body}"'))


@given(LABELS)
@example('"} or vector(1) #')
@example("\\")
def test_any_label_stays_inside_its_string(label: str) -> None:
    written = query('up{a="$a"}', a=label)
    assert written.startswith('up{a="')
    assert written.endswith('"}')
    assert "\n" not in written
    assert spoken(written[len("up{a=") : -1]) == label


@given(LABELS)
@example(".*")
@example("\\E.*")
@example("a-z")
def test_any_label_in_a_regex_matches_itself_alone(label: str) -> None:
    pattern = spoken(query('up{a=~"$a"}', a=label)[len("up{a=~") : -1])
    assert re2.fullmatch(pattern, label)
    assert not re2.fullmatch(pattern, label + "x")
    assert not re2.fullmatch(pattern, "x" + label)


@pytest.mark.parametrize("label", HOSTILE)
def test_what_a_label_brings_is_not_filled_again(label: str) -> None:
    assert query('{a="$a",b="$b"}', a=label, b="two").endswith(',b="two"}')


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ('up{a="$a"}', 'up{a="x.y"}'),
        ('up{a="${a}-canary"}', 'up{a="x.y-canary"}'),
        ('up{a=~"$a"}', 'up{a=~"x\\\\.y"}'),
        ('up{a!~"$a.*"}', 'up{a!~"x\\\\.y.*"}'),
        ('up{a=~ # why\n "$a"}', 'up{a=~ # why\n "x\\\\.y"}'),
        ('up{b=~"$a",a="$a"}', 'up{b=~"x\\\\.y",a="x.y"}'),
        ('up{a="$$a"}', 'up{a="$a"}'),
        ('up{a=~"x$"}', 'up{a=~"x$"}'),
        ('label_replace(up,"a","$1","b","(.*)")', 'label_replace(up,"a","$1","b","(.*)")'),
        ("up{a=\"'$a'\"}", "up{a=\"'x.y'\"}"),
    ],
)
def test_placeholders_are_filled(text: str, filled: str) -> None:
    assert query(text, a="x.y") == filled


@pytest.mark.parametrize("labels", [{}, {"a": ""}, {"a": "\ud800"}, {"a": "x" * (MAX_LABEL_CHARS + 1)}])
def test_a_label_that_is_no_value_is_missing(labels: dict[str, str]) -> None:
    args, missing = substitute({"query": 'up{a="$a",b="$a"}'}, labels)
    assert missing == ["a"]
    assert args == {"query": 'up{a="$a",b="$a"}'}


@pytest.mark.parametrize(
    "text",
    [
        "up{a=$a}",
        "up{a='$a'}",
        "up{a=`$a`}",
        "up # $a",
        'up{a="x"} > $a',
        'up{a="$a',
        'up{a="\\$a"}',
        'up{a=~"\\\\$a"}',
    ],
)
def test_a_placeholder_that_could_escape_is_refused_and_never_filled_outside_of_quotes(text: str) -> None:
    (complaint,) = complain({"query": text}, "prometheus.query")
    assert "$a" in complaint
    if "backslash" not in complaint:
        assert substitute({"query": text}, {"a": "1"}) == ({"query": text}, ["a"])


@pytest.mark.parametrize("value", ["shop", "10.0.0.1:9100", "a-b_c", "x" * 253])
def test_a_plain_value_enters_other_arguments(value: str) -> None:
    args: dict[str, Any] = {"url": "http://$a/healthz", "headers": {"X": ["${a}", 1]}, "n": 3}
    filled = {"url": f"http://{value}/healthz", "headers": {"X": [value, 1]}, "n": 3}
    assert substitute(args, {"a": value}, tool="http.probe") == (filled, [])


@pytest.mark.parametrize("value", ["a/b", "a b", "a@b", "a\n", "..", "é", "a?b", "x" * 254, "[::1]", "-\x00"])
def test_any_other_value_is_missing_there(value: str) -> None:
    assert substitute({"url": "http://$a/"}, {"a": value}, tool="http.probe")[1] == ["a"]


def test_a_query_in_another_language_takes_plain_values_only() -> None:
    sql = {"query": 'select "$a"'}
    assert substitute(sql, {"a": 'x";--'}, tool="postgres.query")[1] == ["a"]


def test_placeholders_are_listed_however_deep_they_stand() -> None:
    assert placeholders({"a": ['$x "$$no"', {"b": "${y} $1"}], "c": 1}) == {"x", "y"}
