"""Retries happen for passing errors only, through the ports, and no longer than promised."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from responder.errors import PermanentError, TransientError
from responder.retry import retrying


@dataclass
class StoppedClock:
    """Sleeps in no time and remembers how long."""

    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class FixedIds:
    """Randomness that is none."""

    value: float = 0.0

    def token(self) -> str:
        return "token"

    def fraction(self) -> float:
        return self.value


@dataclass
class Script:
    """Raises the given errors in turn, then answers."""

    errors: list[BaseException]
    calls: int = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def test_the_first_answer_needs_no_second_call() -> None:
    """And no wait."""
    clock, script = StoppedClock(), Script([])
    assert await retrying(script, clock=clock, ids=FixedIds()) == "answer"
    assert (script.calls, clock.slept) == (1, [])


async def test_waits_double_and_half_of_each_is_random() -> None:
    """At least half, so that nobody hammers; at most `max_wait_s`."""
    clock = StoppedClock()
    script = Script([TransientError("x") for _ in range(5)])
    assert await retrying(script, attempts=6, first_wait_s=1, max_wait_s=4, clock=clock, ids=FixedIds(0.0)) == "answer"
    assert clock.slept == [0.5, 1.0, 2.0, 2.0, 2.0]


async def test_jitter_comes_from_the_port() -> None:
    """Tests and replays decide it."""
    clock = StoppedClock()
    await retrying(Script([TransientError("x")]), first_wait_s=1, clock=clock, ids=FixedIds(0.5))
    assert clock.slept == [0.75]


async def test_the_last_error_is_raised_as_it_is() -> None:
    """Not wrapped: callers read its class and its wish."""
    last = TransientError("third")
    script = Script([TransientError("first"), TransientError("second"), last])
    with pytest.raises(TransientError) as caught:
        await retrying(script, clock=StoppedClock(), ids=FixedIds())
    assert caught.value is last
    assert script.calls == 3


@pytest.mark.parametrize(
    "error",
    [
        PermanentError("bad token"),
        ValueError("a bug"),
        asyncio.CancelledError(),
        TransientError("x", retry_after_s=8.1),
    ],
    ids=["permanent", "bug", "cancelled", "asks for longer than we may wait"],
)
async def test_what_a_second_call_cannot_mend_is_raised_at_once(error: BaseException) -> None:
    """One call, no wait, the same object."""
    clock, script = StoppedClock(), Script([error])
    with pytest.raises(type(error)) as caught:
        await retrying(script, clock=clock, ids=FixedIds())
    assert caught.value is error
    assert (script.calls, clock.slept) == (1, [])


@pytest.mark.parametrize(("wish", "waited"), [(3.0, 3.0), (0.0, 0.0), (8.0, 8.0), (-1.0, 0.0)])
async def test_the_other_sides_wish_is_obeyed(wish: float, waited: float) -> None:
    """Without jitter: it knows best."""
    clock = StoppedClock()
    await retrying(Script([TransientError("x", retry_after_s=wish)]), clock=clock, ids=FixedIds())
    assert clock.slept == [waited]
