"""What the chain works with: its parts, its budget, and what it keeps in memory between calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from responder.metrics import Metrics
from responder.model import Incident
from responder.ports import Clock, Ids, Model, Tool
from responder.redact import Redactor
from responder.rules import RuleSet
from responder.runbooks import Library

Record = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Budget:
    """USD for one incident, for one UTC day, and what a P0 may use on top of the day's."""

    incident_usd: float = 2.0
    day_usd: float = 50.0
    p0_reserve_usd: float = 20.0


class Breaker:
    """Stops asking a model that fails: 5 failures in a row open it for 60 s, then one call is let through to try."""

    FAILURES, REST_S = 5, 60.0

    def __init__(self) -> None:
        """Start closed."""
        self._failures = 0
        self._rests_until = 0.0

    def is_open(self, now_s: float) -> bool:
        """Whether calls are held back now; `now_s` is monotonic."""
        return self._failures >= self.FAILURES and now_s < self._rests_until

    def enters(self, now_s: float) -> bool:
        """Ask to make a call. After a rest the first who asks tries for all; the others rest on."""
        if self.is_open(now_s):
            return False
        if self._failures >= self.FAILURES:
            self._rests_until = now_s + self.REST_S
        return True

    def succeeded(self) -> None:
        """Close it."""
        self._failures = 0

    def failed(self, now_s: float) -> None:
        """Count a failure."""
        self._failures += 1
        if self._failures >= self.FAILURES:
            self._rests_until = now_s + self.REST_S


class Purse:
    """Money promised to calls under way: what several agents ask for at once counts before it is spent."""

    def __init__(self) -> None:
        """Start with nothing promised."""
        self._held: dict[int, float] = {}

    def held_usd(self, incident: int | None = None) -> float:
        """Give what is promised to an incident, or to all."""
        return sum(self._held.values()) if incident is None else self._held.get(incident, 0.0)

    @contextmanager
    def holding(self, incident: int, usd: float) -> Iterator[None]:
        """Promise an amount while a call lasts."""
        self._held[incident] = self._held.get(incident, 0.0) + usd
        try:
            yield
        finally:
            self._held[incident] -= usd
            if self._held[incident] <= 1e-9:  # noqa: PLR2004 - what floats leave of nothing
                del self._held[incident]


class Numbers:
    """Evidence ids, E1, E2 ... of each incident, over all its runs."""

    def __init__(self) -> None:
        """Know no incident yet."""
        self._last: dict[int, int] = {}

    def learn(self, incident: int, record: Record) -> None:
        """Go on behind what is stored."""
        ids = (str(each.get("id", "")) for each in record.get("evidence", ()))
        stored = [int(found[1:]) for found in ids if found[:1] == "E" and found[1:].isdecimal()]
        self._last[incident] = max([self._last.get(incident, 0), *stored])

    def take(self, incident: int) -> str:
        """Give an id that nobody has."""
        self._last[incident] = self._last.get(incident, 0) + 1
        return f"E{self._last[incident]}"


@dataclass(frozen=True, slots=True)
class ChainParts:
    """Everything that a chain uses. `no_model` says why `model` is None.

    `record` gives all that is kept of an incident; `spent_today` USD of this UTC day; `hold_s` how long a recovery must
    hold. `tiers` names each tier's model for the metrics; `prices` are (input, output) USD per million tokens by tier.
    """

    model: Model | None
    no_model: str
    tools: Mapping[str, Tool]
    library: Callable[[], Library]
    rules: Callable[[], RuleSet]
    record: Callable[[int], Awaitable[Record]]
    spent_today: Callable[[], Awaitable[float]]
    budget: Budget
    breaker: Breaker
    clock: Clock
    ids: Ids
    metrics: Metrics
    redactor: Redactor
    hold_s: Callable[[Incident], float]
    tiers: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    purse: Purse = field(default_factory=Purse)
    numbers: Numbers = field(default_factory=Numbers)
