"""Calls a thing again when that may help: the only place that retries; integrations only classify."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from responder.errors import TransientError
from responder.ports import Clock, Ids

T = TypeVar("T")


async def retrying(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int = 3,
    first_wait_s: float = 0.5,
    max_wait_s: float = 8.0,
    clock: Clock,
    ids: Ids,
) -> T:
    """Give what `call` gives; try again after a TransientError, at most `attempts` calls in all.

    The wait is what the other side asked for, else it doubles from `first_wait_s`, the upper half of it random. A wish
    beyond `max_wait_s` is not sat out here: the caller gets the error at once and can plan for it.

    Raises: TransientError: the last one. Any other error passes through on its first appearance.
    """

    def worth_it(error: BaseException) -> bool:
        return isinstance(error, TransientError) and (error.retry_after_s or 0.0) <= max_wait_s

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            return max(0.0, error.retry_after_s)
        longest_s = min(max_wait_s, first_wait_s * 2.0 ** (state.attempt_number - 1))
        return longest_s * (1 + ids.fraction()) / 2

    retry = AsyncRetrying(
        retry=retry_if_exception(worth_it),
        wait=wait_s,
        stop=stop_after_attempt(attempts),
        sleep=clock.sleep,
        reraise=True,
    )
    return await retry(call)
