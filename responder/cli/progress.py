"""Says how far a long work is: a moving line on a terminal, else a plain line now and then; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")
EVERY_S = 2.0  # between two plain lines
LOOK_EVERY = 500  # items between two looks at the clock


def counted(items: Iterable[T], what: str) -> Iterator[T]:
    """Pass items on and say how many went by; a short work says nothing."""
    return _drawn(items, what) if sys.stderr.isatty() else lines(items, what, clock=time.monotonic)


def _drawn(items: Iterable[T], what: str) -> Iterator[T]:
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(what)
        for count, item in enumerate(items, 1):
            if count % LOOK_EVERY == 0:
                progress.update(task, completed=count)
            yield item


def lines(items: Iterable[T], what: str, *, clock: Callable[[], float]) -> Iterator[T]:
    """Pass items on and write a line every two seconds."""
    began = said = clock()
    for count, item in enumerate(items, 1):
        if count % LOOK_EVERY == 0 and (now := clock()) - said >= EVERY_S:
            said = now
            sys.stderr.write(f"{count} {what}, {count / (said - began):.0f}/s\n")
            sys.stderr.flush()
        yield item
