"""Takes changed rules and runbooks into force: all that can fail comes first, then one assignment.

On any mistake the old ones stay, and it is said: in the log, in the answer, in the metrics, and by an incident of our
own. Three things ask for it: SIGHUP, `POST /-/reload`, and files that have changed and then stood still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import orjson
import structlog

from responder.errors import FileError, StoreError
from responder.handbook import Handbook, Picture, Places, picture, read_handbook
from responder.metrics import Metrics
from responder.model import identify
from responder.ports import Clock, Ids, Store
from responder.rules import RuleSet
from responder.runbooks import Library
from responder.workers.inbox import wait_any

LABELS = {"alertname": "ConfigReloadFailed"}
IDLE_S = 60.0  # between two looks at what is still to be said, where no files are watched
LOGGED = 20  # mistakes and warnings in one line of the log
SHOWN = 5  # mistakes in the incident
MAX_CHARS = 300  # of one of them
P = ParamSpec("P")
T = TypeVar("T")
log = structlog.stdlib.get_logger("reload")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to: what is in force now, and why it is still the old, or () when it is the new."""

    handbook: Handbook
    changed: bool
    errors: Sequence[FileError] = ()


class Reload:
    """Holds the handbook in force, and takes new ones.

    Files are read and looked at on a thread of its own: a slow disk, or ten thousand rules, keep no request waiting.
    """

    def __init__(
        self, places: Places, first: Handbook, store: Store, clock: Clock, ids: Ids, metrics: Metrics,
        *, watch_s: float, hangup: asyncio.Event | None = None,
    ) -> None:  # fmt: skip
        """Begin with what was read at the start. Args: watch_s: between two looks, 0 = none; hangup: set by SIGHUP."""
        self.handbook = first
        self._places, self._store, self._clock, self._ids, self._metrics = places, store, clock, ids, metrics
        self._watch_s, self._hangup = watch_s, hangup or asyncio.Event()
        self._seen = first.picture  # of the files as they were last read, good or not
        self._lock = asyncio.Lock()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="handbook")
        self._to_say: bytes | None = None  # a body of our own that the store has not taken yet
        self._firing = False  # what was said last
        self._in_force(first)

    def rules(self) -> RuleSet:
        """Give the rules in force."""
        return self.handbook.rules

    def library(self) -> Library:
        """Give the runbooks in force."""
        return self.handbook.library

    async def reload(self, why: str) -> Outcome:
        """Read all files and take them into force if all are good. One after the other: the last one wins."""
        async with self._lock:
            found, changed = await self._read()
            self._seen = found.picture
            if found.errors:
                self._refuse(found, why)
            else:
                self._take(found, why, changed)
            await self._say()
            return Outcome(self.handbook, changed and not found.errors, found.errors)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve SIGHUP and watch the files until `stop`."""
        last, begun = self._seen, False
        while not stop.is_set():
            try:
                begun = begun or await self._begin()
                await self._say()
                await wait_any(self._hangup, stop, seconds=self._watch_s or IDLE_S)
                last = await self._look(last)
            except Exception:
                log.exception("files not looked at; it is tried again")
                await self._clock.sleep(1.0)

    async def _look(self, last: Picture) -> Picture:
        """Reload if somebody asked, or if the files have changed since they were read and stood still since `last`."""
        if self._hangup.is_set():
            self._hangup.clear()
            await self.reload("SIGHUP")
        if not self._watch_s:
            return last
        now = await self._beside(picture, self._places)
        if now == last != self._seen:
            await self.reload("the files have changed")
        return now

    def close(self) -> None:
        """Let the thread end."""
        self._aside.shutdown(wait=False, cancel_futures=True)

    async def _read(self) -> tuple[Handbook, bool]:
        try:
            return await self._beside(_read_and_compare, self._places, self.handbook)
        except Exception as error:
            log.exception("the reader of rules and runbooks failed")
            fault = FileError("rules", 0, f"our reader failed ({type(error).__name__}); the log says where, report it")
            return replace(self.handbook, errors=(fault,), picture=self._seen), False

    async def _beside(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._aside, lambda: work(*args, **named))

    def _take(self, found: Handbook, why: str, changed: bool) -> None:
        self.handbook = found
        self._in_force(found)
        self._metrics.reloads.labels("ok").inc()
        log.info(
            "rules and runbooks reloaded", why=why, changed=changed, revision=found.rules.revision,
            rules=len(found.rules.rules), runbooks=len(found.library.runbooks), warnings=found.warnings[:LOGGED],
        )  # fmt: skip
        if self._firing:
            self._owe(firing=False, summary="The rules and runbooks on disk are in force again.")

    def _refuse(self, found: Handbook, why: str) -> None:
        self._metrics.config_ok.set(0)
        self._metrics.reloads.labels("refused").inc()
        said = list(map(str, found.errors[:LOGGED]))
        log.error("reload refused; the old rules stay", why=why, mistakes=len(found.errors), errors=said)
        self._alarm(found.errors)

    def _in_force(self, handbook: Handbook) -> None:
        rules = handbook.rules
        self._metrics.use_rules([*(rule.name for rule in rules.rules), rules.backstop.name], rules.revision)
        self._metrics.config_ok.set(0 if handbook.errors else 1)

    def _alarm(self, errors: Sequence[FileError]) -> None:
        if self.handbook.rules.degraded:
            force = "every alert pages as P1"
        elif self.handbook.errors:
            force = "only the good ones are in force"
        else:
            force = "the old ones stay in force"
        named = "\n".join(str(each)[:MAX_CHARS] for each in errors[:SHOWN])
        more = f"\nand {len(errors) - SHOWN} more; `responder check` names them" if len(errors) > SHOWN else ""
        self._owe(firing=True, summary=f"Rules or runbooks on disk cannot be used; {force}", description=named + more)

    def _owe(self, *, firing: bool, summary: str, description: str = "") -> None:
        said = {"summary": summary, "description": description}
        self._firing = firing
        self._to_say = orjson.dumps({"alerts": [{"labels": LABELS, "annotations": said, "resolved": not firing}]})

    async def _say(self) -> None:
        """Hand over what is still to be said; a store that does not take it is asked again."""
        body = self._to_say
        if body is None:
            return
        try:
            await self._store.accept(
                "responder", body, at=self._clock.now(), request_id=self._ids.token(), webhook_id=""
            )
        except StoreError as error:
            log.error("own alert not stored; it is tried again", error=str(error))
            return
        if self._to_say is body:
            self._to_say = None

    async def _begin(self) -> bool:
        """Say what the start was like; an alarm of an earlier life of ours is ended when all is good now."""
        if self._firing or self._to_say:  # somebody has reloaded already
            return True
        if self.handbook.errors:
            self._alarm(self.handbook.errors)
            return True
        identity = identify("responder", LABELS)
        try:
            known = await self._store.episodes([identity])
            cursor = await self._store.cursor()
            waiting = await self._store.waiting(cursor.seq, 1)
        except StoreError as error:
            log.error("whether an old alarm stands is not known yet", error=str(error))
            return False
        if waiting or (identity in known and known[identity].firing):  # it may be among what waits
            self._owe(firing=False, summary="The rules and runbooks on disk are in force.")
        return True


def _read_and_compare(places: Places, old: Handbook) -> tuple[Handbook, bool]:
    found = read_handbook(places)
    return found, old.differs(found)
