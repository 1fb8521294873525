"""What a check expects of its one number."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_COMPARED = re.compile(rf"(<=|>=|==|!=|<|>)\s*({_NUMBER})")
_BETWEEN = re.compile(rf"between\s+({_NUMBER})\s+and\s+({_NUMBER})", re.IGNORECASE)
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
GRAMMAR = '"< 1", "<= 0.5", "> 3", ">= 1", "== 0", "!= 0", "between 1 and 2", "no data" or "any"'


@dataclass(frozen=True, slots=True)
class Expect:
    """An expectation; `text` is how people read it. `low` and `high` are the bounds of `between`, both included."""

    text: str
    sign: str = "any"  # one of the comparisons, or between | no data | any
    low: float = 0.0
    high: float = 0.0

    @property
    def judges(self) -> bool:
        """Whether a number can fail it: `any` only reads."""
        return self.sign != "any"

    def holds(self, value: float | None) -> bool | None:
        """Say whether a number is as expected; None when there is none to judge. NaN, a rate of nothing, is none."""
        absent = value is None or math.isnan(value)
        if self.sign == "no data":
            return absent
        if value is None or absent:
            return None
        if self.sign == "between":
            return self.low <= value <= self.high
        return self.sign == "any" or _OPERATORS[self.sign](value, self.low)


def parse_expect(value: object) -> Expect:
    """Read an expectation.

    Raises: ValueError: not one; the message shows the grammar.
    """
    if isinstance(value, Expect):
        return value
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if text.lower() in ("any", "no data"):
        return Expect(text.lower(), text.lower())
    if match := _COMPARED.fullmatch(text):
        return Expect(text, match[1], float(match[2]))
    if match := _BETWEEN.fullmatch(text):
        low, high = float(match[1]), float(match[2])
        if low > high:
            raise ValueError(f"{text!r} holds for no number; write the smaller one first")
        return Expect(text, "between", low, high)
    raise ValueError(f"{value!r} is not an expectation; write one of {GRAMMAR}, in quotes")
