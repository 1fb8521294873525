"""The same text selects the same alerts as in Alertmanager."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.rules.matchers import MAX_SHOWN_CHARS, MatcherError, parse, show

READ = {
    "equal": ('env="prod"', [("env", "=", "prod")]),
    "not equal": ('env!="prod"', [("env", "!=", "prod")]),
    "regex": ('env=~"pr.*"', [("env", "=~", "pr.*")]),
    "not regex": ('env!~"pr.*"', [("env", "!~", "pr.*")]),
    "unquoted": ("env=prod", [("env", "=", "prod")]),
    "unquoted regex": ("env=~pr.*", [("env", "=~", "pr.*")]),
    "unquoted with spaces inside": ("team = on call ", [("team", "=", "on call")]),
    "spaces around": (' env =~ "prod" ', [("env", "=~", "prod")]),
    "list": ('env="prod", job!~"no+de"', [("env", "=", "prod"), ("job", "!~", "no+de")]),
    "list in braces": ('{a="b",c="d"}', [("a", "=", "b"), ("c", "=", "d")]),
    "last comma": ('{env = "prod", job != "node", }', [("env", "=", "prod"), ("job", "!=", "node")]),
    "comma in quotes": ('{env="a,b", job="node"}', [("env", "=", "a,b"), ("job", "=", "node")]),
    "empty value": ('env=""', [("env", "=", "")]),
    "empty value unquoted": ("env=", [("env", "=", "")]),
    "nothing": ("", []),
    "empty braces": ("{}", []),
    "escaped quote": (r'note="the \"big, red\" one"', [("note", "=", 'the "big, red" one')]),
    "escaped backslash": (r'path="C:\\tmp"', [("path", "=", r"C:\tmp")]),
    "line feed": (r'note="a\nb"', [("note", "=", "a\nb")]),
    "other escapes stand as they are": (r'code=~"\d+\.\d"', [("code", "=~", r"\d+\.\d")]),
    "tab is no escape": (r'note="a\tb"', [("note", "=", r"a\tb")]),
    "operator ends where it can": ("x=~~", [("x", "=~", "~")]),
    "equals sign in the value": (r"x==\=\"", [("x", "=", '=\\="')]),
    "value with a brace": ("{env=prod}}", [("env", "=", "prod}")]),
    "colon in the name": ("a:b=c", [("a:b", "=", "c")]),
    "quoted name": ('"data center"="x"', [("data center", "=", "x")]),
    "quoted names in a list": ('{"data center"="x", "b.c"=~"y"}', [("data center", "=", "x"), ("b.c", "=~", "y")]),
    "name beyond ASCII": ("größe=x", [("größe", "=", "x")]),
    "name with dashes": ('{data-center = "x"}', [("data-center", "=", "x")]),
    "Go's escapes in the newer grammar": (r'"a b"="\t\u00e9\x41\101"', [("a b", "=", "\té" + "AA")]),
    "emoji": ('mood="🙂"', [("mood", "=", "🙂")]),
    "name with a dot": ('"my.label"="x"', [("my.label", "=", "x")]),
    "name with a dot, unquoted": ("my.label!=x", [("my.label", "!=", "x")]),
    "name beyond ASCII in quotes and braces": ('{"äöü"=~".*"}', [("äöü", "=~", ".*")]),
    "name of an emoji": ("🙂!~b.d", [("🙂", "!~", "b.d")]),
    "name with an operator in it": ('"a=~b"="x"', [("a=~b", "=", "x")]),
    "name with a comma and braces": ('{"{a,b}"="x"}', [("{a,b}", "=", "x")]),
    "name with a quote": (r'"a\"b"=x', [('a"b', "=", "x")]),
    "name with a line feed": (r'"a\nb"=x', [("a\nb", "=", "x")]),
    "classic and quoted names in one list": ('a="b", "c.d"=e', [("a", "=", "b"), ("c.d", "=", "e")]),
    "last comma after a quoted name": ('{"a.b"="c",}', [("a.b", "=", "c")]),
    "spaces around a quoted name": (' { "a.b" =~ "c" , } ', [("a.b", "=~", "c")]),
    "empty value of a quoted name": ('"a.b"=""', [("a.b", "=", "")]),
    "emoji as bytes": (r'{"foo"="\xf0\x9f\x99\x82"}', [("foo", "=", "🙂")]),
    "emoji as a code point": (r'{"foo"="\U0001f642"}', [("foo", "=", "🙂")]),
    "emoji as a code point, classic": (r'foo="\U0001f642"', [("foo", "=", r"\U0001f642")]),
    "escapes that only the classic grammar takes": (r'{foo="bar\w"}', [("foo", "=", r"bar\w")]),
    "unquoted backslash, classic": (r"{foo=bar\n}", [("foo", "=", "bar\n")]),
    "brace not opened, classic": ("foo=bar}", [("foo", "=", "bar")]),
    "brace not closed, classic": ("{foo=bar", [("foo", "=", "bar")]),
}


@pytest.mark.parametrize(("text", "wanted"), READ.values(), ids=READ)
def test_a_matcher_reads_as_in_alertmanager(text: str, wanted: list[tuple[str, str, str]]) -> None:
    assert [(m.name, m.operator, m.value) for m in parse(text)] == wanted


REFUSED = {
    "no operator": ("foo", "column 4"),
    "operator of another language": ("a.b ~ c", "column 5"),
    "comma alone": ("{,}", "column 2"),
    "quote not closed": ('job="value', "column 5"),
    "quote not opened": ('job=value"', "column 10"),
    "quote inside": ('team = on"call', "column 10"),
    "two quotes": ('"env=\\"x"', "column 10"),
    "double brace": ("{{foo=", "column 2"),
    "brace not closed": ('{"a b"=c', "column 9"),
    "bad escape in the newer grammar": (r'"a b"=~"\d"', "column 9"),
    "escape that is no UTF-8": (r'"a b"="\xff"', "not UTF-8"),
    "empty name": ('""=x', "is empty"),
    "half an emoji": (r'{"foo"="\xf0\x9f"}', "not UTF-8"),
    "half a pair of surrogates": (r'"foo"="\ud83d"', "not UTF-8"),
    "quote of one stroke": ("\"foo\"='bar'", "column 7"),
    "quote after a word": ('"foo"=:"bar"', "column 8"),
    "line feed in quotes": ('"foo"="a\nb"', "not closed"),
    "two commas": ('"foo"=a,,b=c', "column 9"),
    "comma first": (',"foo"=a', "column 1"),
    "brace not opened after a quoted name": ('"foo"=a}', "column 8"),
    "operator twice": ('"foo"==a', "column 7"),
    "unquoted backslash after a quoted name": (r'"foo"=a\d', "column 8"),
    "quoted name alone": ('"foo"', "column 6"),
    "byte": (r'foo=~"\C"', "column 6"),
    "regex not closed": ('foo=~"a[b"', "column 6"),
    "second regex": ('a="b", foo=~"a("', "column 13"),
    "look-ahead": ('foo=~"(?!a)b"', "no look-around"),
    "back-reference": (r'foo=~"(a)\\1"', "no look-around"),
    "regex too large": ('foo=~"((((a{100}){100}){100}){100})"', "repetition"),
    "half a regex": ('foo=~"a)(b"', "not a regex"),
}


@pytest.mark.parametrize(("text", "part"), REFUSED.values(), ids=REFUSED)
def test_a_bad_matcher_is_refused_with_its_column(text: str, part: str) -> None:
    with pytest.raises(MatcherError, match=r"^column \d+: ") as caught:
        parse(text)
    assert part in str(caught.value)


MATCHED = {
    "equal": ('a="b"', {"a": "b"}, True),
    "not equal": ('a="b"', {"a": "c"}, False),
    "missing is empty": ('a=""', {}, True),
    "missing is not something": ('a!=""', {}, False),
    "missing is unequal": ('a!="b"', {}, True),
    "regex of nothing meets missing": ('a=~".*"', {}, True),
    "regex of something does not": ('a=~".+"', {}, False),
    "negative regex meets missing": ('a!~"b"', {}, True),
    "whole value, not its start": ('a=~"ab"', {"a": "abc"}, False),
    "whole value, not its end": ('a=~"bc"', {"a": "abc"}, False),
    "alternatives are anchored together": ('a=~"foo|bar"', {"a": "foobar"}, False),
    "each alternative is anchored": ('a=~"foo|bar.*"', {"a": "xfoo"}, False),
    "alternative": ('a=~"foo|bar"', {"a": "bar"}, True),
    "negative alternatives": ('a!~"foo|bar"', {"a": "foobar"}, True),
    "empty alternative": ('a=~"foo|"', {}, True),
    "own anchors do no harm": ('a=~"^foo$"', {"a": "foo"}, True),
    "dot is no line feed": ('a=~"a.b"', {"a": "a\nb"}, False),
    "last line feed counts": ('a=~"foo"', {"a": "foo\n"}, False),
    "case counts": ('a=~"foo.?"', {"a": "FOO"}, False),
    "unless told": ('a=~"(?i)foo"', {"a": "FOO"}, True),
    "a list of words is no less exact": ('a=~"x-1|y z"', {"a": "y z"}, True),
    "a dot in a list is still a dot": ('a=~"x.1|y"', {"a": "xa1"}, True),
    "beyond ASCII": ('a=~"gr.ße"', {"a": "größe"}, True),
    "a name beyond ASCII": ('{"äöü"=~".*x"}', {"äöü": "yx"}, True),
    "a name with a dot is one label": ('"my.label"="x"', {"my": "x", "label": "x"}, False),
    "a name with a dot": ('"my.label"="x"', {"my.label": "x"}, True),
    "a dot stands for one letter, not one byte": ('a=~"."', {"a": "é"}, True),
    "letters of all scripts": (r'a=~"\pL+"', {"a": "éα"}, True),
    "words are ASCII": (r'a=~"\w+"', {"a": "é"}, False),
    "an escaped backslash before a C": (r'a=~"\\\\C"', {"a": "\\C"}, True),
}


@pytest.mark.parametrize(("text", "labels", "wanted"), MATCHED.values(), ids=MATCHED)
def test_a_matcher_selects_as_in_alertmanager(text: str, labels: dict[str, str], wanted: bool) -> None:
    assert all(matcher.matches(labels) for matcher in parse(text)) is wanted


def test_a_regex_that_blows_up_elsewhere_is_fast() -> None:
    (matcher,) = parse('a=~"(a+)+$"')
    began = time.process_time()
    assert not matcher.matches({"a": "a" * 100_000 + "!"})
    assert time.process_time() - began < 2


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_any_name_and_value_can_be_quoted(name: str, value: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    (matcher,) = parse(f"{quoted(name + 'x')}={quoted(value)}")
    assert (matcher.name, matcher.value) == (name + "x", value)


@given(st.text(alphabet="ab\"\\{},=!~ \n'é", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(MatcherError):
        for matcher in parse(text):
            matcher.matches({matcher.name: text})


@given(st.text(max_size=2 * MAX_SHOWN_CHARS))
def test_what_is_shown_is_one_line_that_obeys_nothing(text: str) -> None:
    assert show(text).isprintable()


def test_a_lone_surrogate_does_not_stop_matching() -> None:
    (matcher,) = parse('a=~"b.*"')
    assert not matcher.matches({"a": "\ud800"})


def test_a_miss_says_what_was_wanted_and_what_is_there() -> None:
    (matcher,) = parse("env=prod")
    assert matcher.miss({"env": "staging"}) == 'env="prod" wanted, env is "staging"'
    assert matcher.miss({}) == 'env="prod" wanted, env is missing'
