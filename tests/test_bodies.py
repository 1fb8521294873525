"""Times, texts and JSON from strangers become values that every store takes, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from responder.bodies import (
    MAX_LABELS,
    as_text,
    as_texts,
    moment,
    moment_or_epoch,
    raw_of,
    read_alerts,
    read_json,
    word,
)

AT = datetime(2026, 11, 20, 9, 14, 2, tzinfo=UTC)
SECONDS = 1795166042
DEEP = 990


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param(SECONDS, AT, id="seconds"),
        pytest.param(SECONDS + 0.5, AT + timedelta(seconds=0.5), id="parts of a second"),
        pytest.param(SECONDS * 10**3, AT, id="milliseconds"),
        pytest.param(SECONDS * 10**6, AT, id="microseconds"),
        pytest.param(SECONDS * 10**9, AT, id="nanoseconds"),
        pytest.param(f"{SECONDS}000", AT, id="milliseconds as text"),
        pytest.param("2026-11-20T09:14:02Z", AT, id="RFC 3339"),
        pytest.param("2026-11-20T09:14:02.000+0000", AT, id="an offset without a colon"),
        pytest.param(0, None, id="zero"),
        pytest.param(-1, None, id="below zero"),
        pytest.param(1, None, id="1970"),
        pytest.param(10**20, None, id="beyond nanoseconds"),
        pytest.param("9" * 5000, None, id="5000 digits"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(float("inf"), None, id="infinite"),
        pytest.param(True, None, id="a bool"),
        pytest.param("²", None, id="a digit that is none"),
        pytest.param(".", None, id="a point"),
        pytest.param("0001-01-01T00:00:00Z", None, id="the year 1"),
        pytest.param({"$date": 1}, None, id="an object"),
    ],
)
def test_the_size_of_a_number_tells_its_unit(value: object, read: datetime | None) -> None:
    assert moment_or_epoch(value) == read


def test_a_bare_number_is_no_moment_where_only_text_is_expected() -> None:
    assert moment(SECONDS) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lone_surrogates_are_replaced_also_in_keys(encoding: str) -> None:
    assert read_json(r'{"\ud83d": ["\udc00", 1]}'.encode(encoding)) == {"\ufffd": ["\ufffd", 1]}


def test_an_element_that_says_its_status_twice_is_clean_too() -> None:
    body = rb'{"alerts": [{"status": "firing", "status": "resolved", "labels": {"a": "\ud800"}}]}'
    [element] = read_alerts(body, read_json(body))
    assert element == {"status": "firing", "labels": {"a": "\ufffd"}}


def test_texts_are_texts_without_nul() -> None:
    assert as_texts({"a\0": "b\0", "n": 1, "o": {"x": None}, "z": None}, "labels") == {
        "a\ufffd": "b\ufffd", "n": "1", "o": '{"x": null}', "z": "",
    }  # fmt: skip
    assert as_texts(None, "labels") == {}
    assert [as_text(value) for value in (None, True, 1.5, "a")] == ["", "true", "1.5", "a"]
    assert [word(value) for value in ("a", 1, None)] == ["a", "", ""]


def test_what_is_no_mapping_is_named() -> None:
    with pytest.raises(TypeError, match="labels is list"):
        as_texts([], "labels")
    with pytest.raises(ValueError, match="10001 labels"):
        as_texts({str(n): "" for n in range(MAX_LABELS + 1)}, "labels")


def test_what_is_too_deep_to_be_written_says_so() -> None:
    deep: object = None
    for _ in range(100_000):
        deep = [deep]
    assert b"too deep" in raw_of(deep)
    assert raw_of({"a": 1}) == b'{"a": 1}'
