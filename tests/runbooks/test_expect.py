"""What a check's expectation says of a number."""

from __future__ import annotations

import math

import pytest

from responder.runbooks.expect import parse_expect


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("< 1", 0.99, True),
        ("< 1", 1, False),
        ("<= 0.5", 0.5, True),
        ("> 3", 3, False),
        (">= 1", 1, True),
        ("== 0", 0, True),
        ("== 0", 1e-9, False),
        ("!= 0", 0, False),
        (">-1", 0, True),
        ("< 1e3", 999, True),
        ("between 1 and 2", 1, True),
        ("between 1 and 2", 2, True),
        ("Between 1 and 2", 2.01, False),
        ("< 1", math.inf, False),
        ("no data", 0, False),
        ("any", -7, True),
    ],
)
def test_a_number_is_judged(text: str, value: float, holds: bool) -> None:
    assert parse_expect(text).holds(value) is holds


@pytest.mark.parametrize("value", [None, math.nan], ids=["nothing", "nan"])
@pytest.mark.parametrize(
    ("text", "holds"), [("< 1", None), ("!= 0", None), ("between 1 and 2", None), ("any", None), ("no data", True)]
)
def test_nothing_is_neither_good_nor_bad_unless_expected(text: str, holds: bool | None, value: float | None) -> None:
    assert parse_expect(text).holds(value) is holds


@pytest.mark.parametrize(
    "text", ["", "1", "=< 1", "= 1", "< x", "< 1 or no data", "between 2 and 1", "between 1", "~ 1", 0, None, "< 1%"]
)
def test_what_is_no_expectation_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"not an expectation|holds for no number"):
        parse_expect(text)


def test_text_is_kept_for_people_and_any_does_not_judge() -> None:
    assert parse_expect("<   1").text == "< 1"
    assert [parse_expect(text).judges for text in ("any", "no data", "< 1")] == [False, True, True]
