"""Finds out from the traffic alone what is wrong at the senders: bounded memory, a few look-ups a body, no I/O.

Fed by the inbox worker with each body that it decodes, by the door with what knocks with the wrong method, and by the
heartbeat worker. All of it is forgotten at a restart, and a problem that is not seen for a day is gone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

import structlog

from responder.metrics import SENDER_PROBLEMS, Metrics
from responder.model import Alert, Beat, Decoded, InboxRow
from responder.ports import Clock, Past
from responder.redact import visible
from responder.workers.remedies import REMEDIES

MAX_SENDERS, MAX_GROUPS, MAX_ALERTS, MAX_PROBLEMS, MAX_MISSED = 64, 2048, 20_000, 256, 20
LOOKED_AT = 200  # alerts of a body
MAX_PEERS = 8  # of one group
MAX_LABELS, MAX_CHARS = 64, 200  # kept of an alert: strangers write any number of any length
KEPT = timedelta(days=1)
SHORT_S, SHORT_TIMES = 10.0, 5  # between two different bodies of a group
SKEW_S = 60.0
TOGETHER_S = 60.0  # two peers that send the same within it did not hear each other
DUPLICATES = UNLIKE = 3
VALUES = 10  # of one label, one after the other
VANISHED = 3
LATE = 0.8  # of the time that a heartbeat has
WORD_CHARS = 80
RENEWED = timedelta(minutes=10)  # one body of a group and the next under another key: not a reload any more
log = structlog.stdlib.get_logger("doctor")

K = TypeVar("K")
V = TypeVar("V")


class Recent(OrderedDict[K, V], Generic[K, V]):
    """A dict that holds the newest `most` keys."""

    def __init__(self, most: int) -> None:
        """Start empty."""
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> V:
        """Set a key, and forget the oldest one when there are too many."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
        return value


@dataclass(slots=True)
class Problem:
    """One thing that is wrong with one sender. `seen` holds the figures."""

    kind: str
    receiver: str
    sender: str
    seen: str
    first_at: datetime
    last_at: datetime
    times: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Give it with why it matters and what to change."""
        remedy = REMEDIES[self.kind]
        return {
            "problem": self.kind, "receiver": self.receiver, "sender": self.sender, "seen": self.seen,
            "why": remedy.why, "change": remedy.change, "times": self.times, "first_at": self.first_at,
            "last_at": self.last_at,
        }  # fmt: skip


@dataclass(slots=True)
class _Sender:
    """One peer's traffic in all."""

    bodies: int = 0
    alerts: int = 0
    resolved: int = 0
    vanished: int = 0
    last_at: datetime | None = None


@dataclass(slots=True)
class _Group:
    """A group as one peer last sent it."""

    at: datetime
    firing: frozenset[str]
    ended: frozenset[str]
    example: Mapping[str, str]
    hurried: int = 0


class Doctor:
    """What is known of all senders."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        """Start knowing nothing."""
        self._clock = clock
        self._senders: Recent[tuple[str, str], _Sender] = Recent(MAX_SENDERS)
        self._groups: Recent[tuple[str, str], dict[str, _Group]] = Recent(MAX_GROUPS)  # (receiver, key) -> by sender
        self._keys: Recent[str, tuple[str, str, datetime]] = Recent(MAX_ALERTS)  # alert -> (group key, sender, when)
        self._moved: Recent[tuple[str, str], str] = Recent(
            MAX_GROUPS
        )  # (sender, old key) -> the key that came after it
        self._values: Recent[tuple[str, str, str], deque[str]] = Recent(
            MAX_GROUPS
        )  # (receiver, alert, label) -> values
        self._duplicates: Counter[str] = Counter()
        self._unlike: Recent[str, int] = Recent(MAX_PROBLEMS)  # label -> times that peers differed in it
        self._problems: Recent[tuple[str, str, str], Problem] = Recent(MAX_PROBLEMS)
        self._missed: deque[dict[str, Any]] = deque(maxlen=MAX_MISSED)

        for kind in SENDER_PROBLEMS:
            metrics.sender_problems.labels(kind).set_function(partial(self._count, kind))

    # --- what it is told ---

    def body(self, row: InboxRow, decoded: Decoded) -> None:
        """Learn from one body. A fault in here is logged: it must not hold up what it only watches."""
        try:
            self._learn(row, decoded)
        except Exception:
            log.exception("nothing learned of a sender", receiver=row.receiver)

    def _learn(self, row: InboxRow, decoded: Decoded) -> None:
        """Learn from one body. Bodies that we write ourselves name no sender."""
        if any('no list "alerts"' in bad.reason for bad in decoded.bad) and row.receiver == "alertmanager":
            self._found("custom_payload", row.receiver, "", 'a body without the list "alerts"')
        if not decoded.sender:
            return
        sender = self._senders.get((row.receiver, decoded.sender)) or _Sender()
        self._senders.put((row.receiver, decoded.sender), sender)
        sender.bodies, sender.last_at = sender.bodies + 1, row.received_at
        sender.alerts += len(decoded.alerts)
        if decoded.truncated:
            self._truncated(row, decoded)
        alerts = decoded.alerts[:LOOKED_AT]
        if alerts:
            self._clocks(row, decoded, alerts)
        if alerts and decoded.group_key:
            self._group(row, decoded, alerts, sender)

    def knocked(self, receiver: str, method: str, agent: str) -> None:
        """Learn from a request with the wrong method: Alertmanager only ever sends GET after a redirect."""
        if method == "GET" and agent.startswith("Alertmanager/"):
            self._found("redirected", receiver, "", f"a GET of {_word(agent)} at /webhooks/{receiver}")

    def beat(self, beat: Beat, gap_s: float) -> None:
        """Learn how far apart two beats were."""
        if gap_s > LATE * beat.within_s:
            name = _word(beat.labels.get("alertname", "a heartbeat"))
            seen = f"{name} came {gap_s:.0f} s after the one before; within {beat.within_s:.0f} s it counts as missing"
            self._found("slow_heartbeat", "", beat.key, seen)

    def missed(self, receiver: str, since: datetime, until: datetime, past: Sequence[Past]) -> None:
        """Keep what fired and ended while nobody looked, for who asks."""
        alerts = [{"labels": each.labels, "began_at": each.began_at, "ended_at": each.ended_at} for each in past[:100]]
        self._missed.append(
            {"receiver": receiver, "since": since, "until": until, "count": len(past), "alerts": alerts}
        )

    # --- what it says ---

    def problems(self) -> list[Problem]:
        """Give what was seen within the last day, newest first."""
        now = self._clock.now()
        for key in [key for key, each in self._problems.items() if now - each.last_at > KEPT]:
            del self._problems[key]
        return sorted(self._problems.values(), key=lambda each: each.last_at, reverse=True)

    def as_dict(self) -> dict[str, Any]:
        """Give `{senders: [...], problems: [...], missed: [...]}`."""
        senders = [
            {"receiver": receiver, "sender": name, "bodies": one.bodies, "alerts": one.alerts, "last_at": one.last_at}
            for (receiver, name), one in self._senders.items()
        ]
        problems = [each.as_dict() for each in self.problems()]
        return {"senders": senders, "problems": problems, "missed": list(self._missed)}

    def _count(self, kind: str) -> int:
        return sum(1 for each in self.problems() if each.kind == kind)

    # --- what it looks for ---

    def _truncated(self, row: InboxRow, decoded: Decoded) -> None:
        lied = not any(each.firing for each in decoded.alerts) and b'"status":"resolved"' in row.body[:500]
        said = ", in a body that calls itself resolved" if lied else ""
        self._found("truncated", row.receiver, decoded.sender,
                    f"{decoded.truncated} alerts cut off beside {len(decoded.alerts)} sent{said}")  # fmt: skip

    def _clocks(self, row: InboxRow, decoded: Decoded, alerts: Sequence[Alert]) -> None:
        latest = max(
            (
                at
                for each in alerts
                for at in (each.started_at, None if each.firing else each.ended_at)
                if at is not None
            ),
            default=row.received_at,
        )
        skew_s = (latest - row.received_at).total_seconds()
        if skew_s > SKEW_S:
            self._found("clock_skew", row.receiver, decoded.sender, f"an alert began or ended {skew_s:.0f} s from now")

    def _group(self, row: InboxRow, decoded: Decoded, alerts: Sequence[Alert], sender: _Sender) -> None:
        firing = frozenset(each.identity for each in alerts if each.firing)
        ended = frozenset(each.identity for each in alerts if not each.firing)
        peers = self._groups.get((row.receiver, decoded.group_key))
        if peers is None:
            peers = self._groups.put((row.receiver, decoded.group_key), {})
        before = peers.get(decoded.sender)
        now = _Group(row.received_at, firing, ended, _short(alerts[0].labels), before.hurried if before else 0)
        sender.resolved += len(ended)
        whole = not decoded.truncated and len(alerts) == len(decoded.alerts)
        if before is not None and (before.firing, before.ended) != (firing, ended):
            self._hurry(row, decoded, before, now)
            if whole:
                self._vanished(row, decoded, before, now, sender)
        if ended:
            self._churn(row, decoded, alerts)
        self._again(row, decoded, firing)
        if before is None or firing - before.firing:
            self._routes(row, decoded, firing)
        for other, theirs in peers.items():
            if other != decoded.sender:
                self._peers(row, decoded, now, (other, theirs))
        if decoded.sender in peers or len(peers) < MAX_PEERS:
            peers[decoded.sender] = now

    def _hurry(self, row: InboxRow, decoded: Decoded, before: _Group, now: _Group) -> None:
        gap_s = (now.at - before.at).total_seconds()
        if 0 <= gap_s < SHORT_S:
            now.hurried += 1
            if now.hurried >= SHORT_TIMES:
                seen = f"{now.hurried} times two different bodies of a group within {SHORT_S:.0f} s, last {gap_s:.1f} s"
                self._found("short_group_interval", row.receiver, decoded.sender, f"{seen}: {_word(decoded.group_key)}")

    def _vanished(self, row: InboxRow, decoded: Decoded, before: _Group, now: _Group, sender: _Sender) -> None:
        sender.vanished += len(before.firing - now.firing - now.ended)
        if sender.vanished >= VANISHED and not sender.resolved:
            seen = f"{sender.vanished} alerts left their groups, and of {sender.alerts} received none was resolved"
            self._found("no_resolved", row.receiver, decoded.sender, seen)

    def _churn(self, row: InboxRow, decoded: Decoded, alerts: Sequence[Alert]) -> None:
        """Look for alerts that ended while one fires that differs by one value of one label."""
        firing = [each for each in alerts if each.firing][:20]
        for old in [each for each in alerts if not each.firing][:20]:
            for new in firing:
                label = _only_difference(old.labels, new.labels)
                if label and label != "alertname":
                    self._value(row, decoded, new, label, (old.labels.get(label, ""), new.labels.get(label, "")))

    def _value(self, row: InboxRow, decoded: Decoded, alert: Alert, label: str, values: Iterable[str]) -> None:
        key = (row.receiver, alert.name[:MAX_CHARS], label[:MAX_CHARS])
        known = self._values.get(key)
        if known is None:
            known = self._values.put(key, deque(maxlen=4 * VALUES))
        known.extend(value for value in (each[:MAX_CHARS] for each in values) if value not in known)
        if len(known) > VALUES:
            seen = f"label {_word(label)} of {_word(alert.name)} had {len(known)} values, one ending as the next began"
            self._found("churning_label", row.receiver, decoded.sender, seen)

    def _routes(self, row: InboxRow, decoded: Decoded, firing: Iterable[str]) -> None:
        """Look whether an alert that we know comes in another group than before."""
        mine = (decoded.group_key, decoded.sender, row.received_at)
        moved: tuple[str, str, datetime] | None = None
        for identity in firing:
            known = self._keys.get(identity)
            if known is not None and known[0] != decoded.group_key:
                moved = known
            self._keys.put(identity, mine)
        if moved is None or row.received_at - moved[2] > KEPT:
            return
        old, sender, _ = moved
        keys = f"{_word(old)} and {_word(decoded.group_key)}"
        if sender != decoded.sender:
            seen = f"the same alerts come as {keys} from {_word(sender)} and this one: their routes differ"
            self._found("unequal_peers", row.receiver, decoded.sender, seen)
        elif ("double_route", row.receiver, sender) not in self._problems:
            self._moved.put((sender, old), decoded.group_key)
            self._found("group_key_churn", row.receiver, sender, f"the same alerts came as {keys}")

    def _again(self, row: InboxRow, decoded: Decoded, firing: Collection[str]) -> None:
        """A group whose alerts came in another one since is still there: two routes, for a reload ends the old one."""
        other = self._moved.pop((decoded.sender, decoded.group_key), None) if firing else None
        if other is not None:
            self._problems.pop(("group_key_churn", row.receiver, decoded.sender), None)
            keys = f"{_word(decoded.group_key)} and {_word(other)}"
            self._found("double_route", row.receiver, decoded.sender, f"the same alerts come in two groups, {keys}")

    def _peers(self, row: InboxRow, decoded: Decoded, now: _Group, other: tuple[str, _Group]) -> None:
        name, theirs = other
        near = abs((now.at - theirs.at).total_seconds()) < TOGETHER_S
        if near and (theirs.firing, theirs.ended) == (now.firing, now.ended):
            self._duplicates[row.receiver] += 1
            if self._duplicates[row.receiver] >= DUPLICATES:
                seen = (
                    f"{self._duplicates[row.receiver]} bodies came from two peers at once, last from {_word(name)} too"
                )
                self._found("peers_duplicate", row.receiver, decoded.sender, seen)
        elif now.firing and theirs.firing and now.at - theirs.at < RENEWED and now.firing.isdisjoint(theirs.firing):
            label = _only_difference(theirs.example, now.example)
            times = self._unlike.put(label, self._unlike.get(label, 0) + 1)
            if label and times >= UNLIKE:  # once may be chance: one alert ended, another began
                seen = f"{_word(name)} sends the same groups with another value of the label {_word(label)}"
                self._found("unequal_peers", row.receiver, decoded.sender, seen)

    def _found(self, kind: str, receiver: str, sender: str, seen: str) -> None:
        """Keep a problem; it is logged when it is first seen."""
        now, key = self._clock.now(), (kind, receiver, sender)
        known = self._problems.get(key)
        if known is not None and now - known.last_at <= KEPT:
            known.seen, known.last_at, known.times = seen, now, known.times + 1
            return
        self._problems.put(key, Problem(kind, receiver, sender[:500], seen, now, now))
        log.info("a sender has a problem; `responder doctor` says what to change", problem=kind, receiver=receiver,
                 sender=sender[:200], seen=seen)  # fmt: skip


def _only_difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Name the one label in which two alerts differ, or that one of them lacks; "" when there are more, or none."""
    differing = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    return differing[0] if len(differing) == 1 else ""


def _short(labels: Mapping[str, str]) -> dict[str, str]:
    return {name[:MAX_CHARS]: value[:MAX_CHARS] for name, value in islice(labels.items(), MAX_LABELS)}


def _word(text: str) -> str:
    return visible(text)[:WORD_CHARS]
