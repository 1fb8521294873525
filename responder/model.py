"""The nouns of the on-call world, as values: no behaviour beyond what their own fields decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b

Ref = int | str  # an incident's number, or the group key of one that the same Move opens


class Severity(StrEnum):
    """P0 complete outage, P1 major function broken, P2 degraded, P3 minor. Smaller sorts as worse."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Status(StrEnum):
    """Where an incident stands; what leads from one to the next is in `incidents.py`."""

    DETECTING = "detecting"
    INVESTIGATING = "investigating"
    MITIGATING = "mitigating"
    MONITORING = "monitoring"
    RESOLVED = "resolved"
    REVIEWED = "reviewed"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (Status.RESOLVED, Status.REVIEWED)


def identify(source: str, labels: Mapping[str, str]) -> str:
    """Name one series of alerts: 32 hex digits over the source and the label set, in any order.

    The sender's fingerprint is never used: half of the bodies met have none, and a hostile one would join strangers.
    """
    digest = blake2b(source.encode(), digest_size=16)
    for name in sorted(labels):
        digest.update(b"\xff" + name.encode() + b"\xfe" + labels[name].encode())  # bytes that UTF-8 never holds
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Alert:
    """One entry of a body. Times are aware UTC; `entries` is 0 for an alert that we raise ourselves."""

    source: str
    identity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    firing: bool
    received_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    generator_url: str = ""
    entries: int = 1
    ref: str = ""  # the sender's own name of its incident, where it can be told what becomes of it
    alias: str = ""  # equal for two sources that report the same group: PagerDuty's incident_key of Alertmanager's
    said_at: datetime | None = None  # when it was so, where the sender says: what is older than an end is not news
    partial: bool = False  # labels and annotations that it leaves out are still true

    @property
    def name(self) -> str:
        """The alert's name, or a word in its place: a body posted through an API may have none."""
        return self.labels.get("alertname") or "unnamed alert"


@dataclass(frozen=True, slots=True)
class BadEntry:
    """One element that could not be read, or a whole body: kept as bytes, never dropped."""

    reason: str
    raw: bytes
    entries: int  # 1 for an element, 0 for a body whose entries nobody can count
    quiet: bool = False  # kept, but nobody is paged: an event of a kind that says nothing about alerts


@dataclass(frozen=True, slots=True)
class News:
    """What was said elsewhere about an alert's incident.

    kind: acknowledged | note | told (a note of no person) | own (what we wrote ourselves and came back: only counted).
    """

    identity: str  # of the alert whose incident it is about
    source: str
    kind: str
    person: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a receiver makes of one body. `group_key` joins repeats of one group; "" when the source has none."""

    alerts: tuple[Alert, ...]
    bad: tuple[BadEntry, ...] = ()
    group_key: str = ""
    truncated: int = 0  # alerts that the sender says it left out
    sender: str = ""  # which peer sent it, for messages about the sender
    news: tuple[News, ...] = ()


@dataclass(frozen=True, slots=True)
class Muted:
    """Why an alert opens no incident: silence | maintenance | inhibition | heartbeat, and one line for people."""

    kind: str = ""
    why: str = ""

    def __bool__(self) -> bool:
        """Whether it is muted at all."""
        return self.kind != ""


HEARD = Muted()


@dataclass(frozen=True, slots=True)
class Episode:
    """One stretch of firing of one identity. At most one is open per identity."""

    id: int
    identity: str
    source: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    firing: bool
    started_at: datetime
    ended_at: datetime | None
    received_at: datetime  # when its last news came
    incident: int | None
    generator_url: str = ""
    muted: Muted = HEARD
    ref: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules made of one alert, and why. `tried` is [(rule, None | first failing condition)], capped."""

    rule: str
    severity: Severity
    runbook: str
    group_key: str
    systems: tuple[str, ...]
    channel: str
    extra_channels: tuple[str, ...] = ()
    matched_by: str = "rule"
    tried: tuple[tuple[str, str | None], ...] = ()
    revision: str = ""
    distinct: tuple[tuple[str, str], ...] = ()  # (label, value) that the rule's `raise` counts
    muted: Muted = HEARD
    heartbeat_s: float | None = None  # its absence for so long is the incident


@dataclass(frozen=True, slots=True)
class Incident:
    """One row of the incident table; `version` rises with each change (compare-and-set)."""

    id: int
    version: int
    group_key: str
    severity: Severity
    status: Status
    title: str
    rule: str
    runbook: str
    channel: str
    opened_at: datetime
    systems: tuple[str, ...] = ()
    extra_channels: tuple[str, ...] = ()
    firing: int = 0  # open episodes
    episodes: int = 0  # all episodes so far
    detected_by: str = ""
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    monitoring_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str = ""  # a person, or "" when it resolved by itself
    commander: str = ""
    phase: str = ""
    summary: str = ""  # what we know, one paragraph, for the head
    raised_at: datetime | None = None
    page_at: datetime | None = None  # the last page: the acknowledge clock counts from here
    run_n: int = 1
    cost_usd: float = 0.0
    decision: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, list[str]] = field(default_factory=dict)  # label -> distinct values, for `raise`
    impact: Mapping[str, object] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()  # (system, its name of the incident there): told what becomes of it

    @property
    def opened_by(self) -> Mapping[str, str]:
        """The labels of the alert that opened it, as its decision keeps them."""
        labels = self.decision.get("labels")
        return labels if isinstance(labels, dict) else {}

    @property
    def name(self) -> str:
        """INC-n, as people say it."""
        return f"INC-{self.id}"


@dataclass(frozen=True, slots=True)
class Message:
    """What a chat shows, in plain text throughout: structure is in the fields, never in the text, so text stays inert.

    `mention`: "" | "here" | "channel" | "user:ID" | "group:ID". `facts` are (label, value); `code` is preformatted.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    body: str = ""
    code: str = ""
    footer: str = ""
    mention: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """What we write into a message's metadata, to find it again before a repeat."""

    incident: str
    kind: str
    post: int


@dataclass(frozen=True, slots=True)
class Post:
    """A message to be written into the outbox. A head carries no message: it is drawn from the incident when sent.

    kind: head (the thread's first message, edited in place later) | reply | joined (a reply that may be told together
    with others of its kind) | page (a reply that mentions and is also
    shown in the channel) | notice (a message of its own in `channel`).

    To a mirror (`chat` names it, `channel` is its name of the incident): linked | note | acknowledged | resolved.
    """

    incident: Ref
    kind: str
    severity: Severity
    message: Message | None = None
    channel: str = ""  # "" = the incident's
    chat: str = ""  # "" = every chat


@dataclass(frozen=True, slots=True)
class OutboxPost:
    """One row of the outbox as the sender sees it. `thread_ts` is the head's, "" while there is none.

    `place` is the channel it goes to, by the name that rules use: budgets and holds are kept by it.
    """

    id: int
    incident: int
    chat: str
    kind: str
    severity: Severity
    channel: str
    message: Message | None
    state: str
    created_at: datetime
    attempts: int
    ts: str
    thread_channel: str
    thread_ts: str
    looking_since: datetime | None = None
    place: str = ""

    @property
    def lane(self) -> str:
        """`head`: a thread's first message; `edit`: a change of it, for which nothing waits; `line`: all else."""
        if self.kind != "head":
            return "line"
        return "edit" if self.thread_ts else "head"

    @property
    def urgent(self) -> bool:
        """Whether it may overtake what others have to wait for."""
        return self.severity <= Severity.P1 and self.lane != "edit"


@dataclass(frozen=True, slots=True)
class NewEpisode:
    """An episode to insert. `entries` counts towards the ledger; `why` is its decision as JSON, {} for none."""

    alert: Alert
    incident: Ref | None
    started_at: datetime
    ended_at: datetime | None
    entries: int
    why: Mapping[str, object] = field(default_factory=dict)
    muted: Muted = HEARD


@dataclass(frozen=True, slots=True)
class EpisodeChange:
    """An episode to update; None leaves a field as it is. `reopen` clears its end."""

    id: int
    received_at: datetime
    entries: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    annotations: Mapping[str, str] | None = None
    incident: Ref | None = None
    reopen: bool = False
    muted: Muted | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat that has come: `key` names what beats, and its absence for `within_s` is an incident."""

    key: str
    rule: str
    within_s: float
    labels: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of an incident's record."""

    incident: Ref
    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the inbox is moved: all bodies up to `seq`, and `entries` elements of body `seq + 1`."""

    seq: int = 0
    entries: int = 0


@dataclass(slots=True)
class Move:
    """Everything that one T2 transaction writes, together or not at all.

    `opened` and `changed` are whole incidents (their id is 0 when new; a change holds only if `version` still stands).
    `runs` are (incident, kind, n); `signals` are (incident, topic, value); `counts` are ledger counters.
    """

    opened: list[Incident] = field(default_factory=list)
    changed: list[Incident] = field(default_factory=list)
    episodes: list[NewEpisode] = field(default_factory=list)
    joined: list[EpisodeChange] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    runs: list[tuple[Ref, str, int]] = field(default_factory=list)
    signals: list[tuple[Ref, str, object]] = field(default_factory=list)
    timeline: list[TimelineEntry] = field(default_factory=list)
    quarantined: list[tuple[str, BadEntry, datetime]] = field(default_factory=list)
    internal: list[tuple[str, bytes]] = field(
        default_factory=list
    )  # (receiver, body) of alerts that we raise ourselves
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    beats: list[Beat] = field(default_factory=list)
    aliases: list[tuple[str, str, Ref]] = field(default_factory=list)  # (alias, source, incident)
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One accepted body, as it came."""

    seq: int
    receiver: str
    body: bytes
    received_at: datetime
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One durable run of an incident: `watch` or `chain`. `text` is the pinned chain, runbook and agents."""

    id: int
    incident: int
    kind: str
    n: int
    epoch: int
    text: Mapping[str, object] | None
    severity: Severity = Severity.P2


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stored tool result. `verdict` is ok | failing | no_data | unavailable | refused | "" (read, not judged)."""

    id: str  # E1, E2 ... within its incident; "" before it is stored
    tool: str
    args: Mapping[str, object]
    text: str
    verdict: str
    at: datetime
    step: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim with the evidence that carries it. `verified` is "n of m" of its numbers and names found there."""

    claim: str
    evidence: tuple[str, ...]
    confidence: str
    agent: str
    phase: str
    verified: str = ""


@dataclass(slots=True)
class Done:
    """What a step's function returns: T3 writes all of it with the step, or none of it.

    `value` must be JSON. `incident` holds fields of the incident's row to set: `phase`, `summary`, `commander`.
    """

    value: object = None
    evidence: list[Evidence] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    timeline: list[tuple[str, str]] = field(default_factory=list)  # (kind, text)
    cost_usd: float = 0.0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    incident: dict[str, object] = field(default_factory=dict)
    postmortem: str = ""  # the draft, Markdown; replaces an earlier one
    move: Move | None = None  # a change of the incident's state that belongs to this step
