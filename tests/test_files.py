"""Users' YAML: what is read, and what is refused with its line."""

from pathlib import Path
from typing import Any

import pytest

from responder.errors import FileError
from responder.files import MAX_BYTES, Located, line_of, read_yaml, seconds, unknown_keys

HERE = Path("some.yaml")


def read(text: str) -> Any:
    return read_yaml(HERE, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("NO", "NO"),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("5", 5),
        ("-5", -5),
        ("007", "007"),
        ("0x1f", "0x1f"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2026-11-20", "2026-11-20"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("9" * 30, "9" * 30),
        ("|\n  a\n  b", "a\nb"),
    ],
    ids=repr,
)
def test_a_value_means_what_it_looks_like(text: str, value: object) -> None:
    assert read(f"key: {text}") == {"key": value}


def test_a_mapping_knows_where_it_stood() -> None:
    found = read("a: 1\nb:\n  c: 2\n  d: [1, {e: 3}]\n")
    assert isinstance(found, Located)
    assert [line_of(found), line_of(found, "b"), line_of(found["b"], "d"), line_of(found["b"]["d"][1], "e")] == [
        1,
        2,
        4,
        4,
    ]
    assert line_of(found, "nowhere") == 1
    assert line_of("text") == 0


def test_a_part_of_a_file_counts_its_lines_from_where_it_begins() -> None:
    assert line_of(read_yaml(HERE, "a: 1\nb: 2\n", first_line=10), "b") == 11
    with pytest.raises(FileError) as caught:
        read_yaml(HERE, "a: 1\na: 2\n", first_line=10)
    assert caught.value.line == 11


def test_nothing_is_none() -> None:
    assert read("") is None
    assert read("# only a comment\n") is None


REFUSED: dict[str, tuple[str, int, str]] = {
    "an anchor": ("a: &x 1\n", 1, "anchors"),
    "an alias": ("a: 1\nb: *x\n", 2, "anchors"),
    "an alias bomb": ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", 1, "anchors"),
    "a merge": ("a: &a {b: 1}\nc:\n  <<: *a\n", 1, "anchors"),
    "a python tag": ("a: 1\nb: !!python/object/apply:os.system ['true']\n", 2, "tag"),
    "a local tag": ("a: !secret x\n", 1, "tag"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", 3, "twice"),
    "a key twice inside": ("a:\n  b: 1\n  b: 2\n", 3, "twice"),
    "a list as key": ("? [a, b]\n: 1\n", 1, "plain text"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, "document"),
    "too deep": ("[" * 30 + "]" * 30, 1, "deeper"),
    "a tab": ("a:\n\tb: 1\n", 2, "not YAML"),
    "unbalanced": ("a: [1, 2\n", 2, "not YAML"),
    "a nul": ("x: y\na: b\0c\n", 2, "control character 0x00"),
    "a control character": ("a: \x07\n", 1, "control character 0x07"),
    "a colon too many": ("a: b: c\n", 1, "not YAML"),
}


@pytest.mark.parametrize(("text", "line", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_harm_us_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        read(text)
    assert (caught.value.path, caught.value.line) == ("some.yaml", line)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"# " + b"x" * MAX_BYTES)
    with pytest.raises(FileError, match="larger"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"\xff\xfea", "not UTF-8: byte 0 is 0xff")],
    ids=["missing", "not text"],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=says):
        read_yaml(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(path) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1d2h3m4s", 93784),
        ("1.5s", 1.5),
        (0, 0),
        (7, 7),
        (0.5, 0.5),
    ],
    ids=repr,
)
def test_a_duration_is_read(value: object, found: float) -> None:
    assert seconds(value) == found


@pytest.mark.parametrize(
    "value", ["", "x", "5", "1.5h", "-5m", "5 m", "m", "5m5h", -1, None, True, [], float("nan")], ids=repr
)
def test_what_is_no_duration_is_said_so(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(value)


def test_a_misspelt_key_is_found_with_its_line() -> None:
    found = read("name: a\nsevrity: P1\n")
    errors = list(unknown_keys(HERE, found, {"name", "severity"}))
    assert [(error.line, error.message) for error in errors] == [(2, "unknown key 'sevrity'; known: name, severity")]


@pytest.mark.parametrize("value", ["99999999999999999d", "36526d", 1e300, float("inf")])
def test_a_duration_that_nobody_lives_to_see_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="more than a hundred years"):
        seconds(value)
