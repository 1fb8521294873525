"""Reading a report, whatever a model called the tool with; and the tool's schema against what the API allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.agent import report
from responder.agent.tools import complaints
from responder.doubles.anthropic_tools import check_tools
from responder.model import Severity

WHOLE: dict[str, Any] = {
    "summary": "s",
    "affected": ["a"],
    "healthy": ["b"],
    "not_checked": ["c"],
    "hypotheses": [{"claim": "h", "supported_by": ["E1"], "refuted_by": [], "verdict": "supported"}],
    "findings": [{"claim": "f", "evidence": ["e1", "[E2]"], "confidence": "high"}],
    "suggestions": ["d"],
    "hand_off": "e",
    "dont_know": True,
    "raise_severity": {"to": "P1", "reason": "r"},
}


def test_the_tool_is_strict_and_the_api_takes_it() -> None:
    check_tools([report.TOOL])
    assert report.TOOL["strict"] is True
    assert list(complaints(report.TOOL["input_schema"], WHOLE)) == []  # type: ignore[arg-type]


def test_a_whole_report_is_read_whole() -> None:
    found = report.parse(WHOLE)
    assert found is not None
    assert found.findings == (report.Claim("f", ("E1", "E2"), "high"),)
    assert (found.raise_to, found.raise_reason, found.dont_know) == (Severity.P1, "r", True)
    assert found.notes == ()
    assert "Finding (high) [E1, E2]: f" in report.as_text(found)


@pytest.mark.parametrize("found", [None, [], "text", {}, {"summary": 3}, {"summary": " "}, {"findings": "x"}])
def test_what_holds_nothing_is_no_report(found: object) -> None:
    assert report.parse(found) is None


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"affected": "a"}, "affected was not readable"),
        ({"affected": ["a", 3]}, "a part of affected was not readable"),
        ({"findings": [{"claim": 3}]}, "a part of findings was not readable"),
        ({"hypotheses": {"a": 1}}, "a part of hypotheses was not readable"),
        ({"hand_off": ["x"]}, "hand_off was not readable"),
    ],
)
def test_parts_of_a_wrong_type_are_dropped_and_noted(changes: dict[str, Any], note: str) -> None:
    found = report.parse({**WHOLE, **changes})
    assert found is not None
    assert found.notes == (note,)


@pytest.mark.parametrize("wish", [None, "P0", {"to": "P3"}, {"to": "none"}, {"to": ["P0"]}, {"to": "p0"}, []])
def test_a_raise_that_is_none_is_none(wish: object) -> None:
    found = report.parse({**WHOLE, "raise_severity": wish})
    assert found is not None
    assert found.raise_to is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*WHOLE, "claim"]), inner, max_size=8),
    max_leaves=20,
)


@given(JSON)
def test_no_value_breaks_the_reading(value: Any) -> None:
    found = report.parse(value)
    if found is not None:
        assert report.as_text(found)


@given(JSON)
def test_no_value_breaks_the_schema_check(value: Any) -> None:
    assert all(isinstance(each, str) for each in complaints(report.TOOL["input_schema"], value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "object", "required": ["q"]}, {}, ["q is missing"]),
        ({"type": "object"}, [], ["the arguments must be of type object"]),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": True}, ["n must be of type integer"]),
        ({"type": "object", "properties": {"n": {"type": "number"}}}, {"n": 1}, []),
        ({"type": "object", "properties": {"e": {"enum": ["a"]}}}, {"e": "b"}, ["e must be one of a"]),
        (
            {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}}},
            {"l": ["a", 1]},
            ["l[1] must be of type string"],
        ),
        (
            {"type": "object", "additionalProperties": False},
            {"\x1b": 1},
            ["\u2039U+001B\u203a is not known; there are: none"],
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(schema: dict[str, Any], value: object, said: list[str]) -> None:
    assert list(complaints(schema, value)) == said
