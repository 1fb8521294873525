"""Sentry: webhooks of an internal integration (issues, issue alerts, metric alerts), and of the legacy plug-in.

Source: https://docs.sentry.io/organization/integrations/integration-platform/webhooks/. Sentry waits one second, tries
nothing again, and switches a webhook off that keeps failing. The signature is over the raw body alone. An issue alert
never says that it is over: the issue does, so both have the issue's id as their identity.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from responder.bodies import as_text, moment_or_epoch, read_json, word
from responder.credentials import Secret, Signatures
from responder.model import Alert, BadEntry, Decoded, News, identify
from responder.ports import Plugin, Receiver, Surroundings

MAX_BYTES = 4 << 20
OVER = ("resolved", "ignored", "archived")
AGAIN = ("created", "unresolved")
NOTHING_NEW = ("assigned",)
KEPT_TAGS = ("environment", "release", "server_name", "transaction", "level")
PAIR = 2

Json = Mapping[str, Any]


class Settings(BaseModel, frozen=True, extra="forbid"):
    """`secret`: the integration's client secret; `secrets`: more that are valid too, while it is being changed."""

    secret: Secret | None = None
    secrets: tuple[Secret, ...] = ()


class Sentry:
    """Decodes what says whether something fires; the rest is kept, and nobody hears of it."""

    max_bytes = MAX_BYTES
    alarms = True  # it is switched off when it keeps being refused
    methods = ("POST",)
    id_header = "Request-ID"
    guarded = True

    def __init__(self, settings: Settings, name: str) -> None:
        """Keep the secrets."""
        self.name = name
        self._signatures = Signatures([*settings.secrets, *([settings.secret] if settings.secret else [])])

    @property
    def unready(self) -> str:
        """Without the secret nothing can be judged."""
        return "" if self._signatures else f"receivers.{self.name}.secret is not set"

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Demand that there is a signature at all, before a byte is read."""
        return bool(headers.get("Sentry-Hook-Signature"))

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Compare the HMAC of the body."""
        return self._signatures.match(headers.get("Sentry-Hook-Signature", ""), body)

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn one webhook into an alert or a note.

        Args: body: JSON, {"action": str, "actor": {...}, "data": {"event" | "error" | "issue" | "metric_alert": {...}}}
          or the legacy plug-in's {"id": str, "project": str, "culprit": str, "level": str, "event": {...}}
        """
        try:
            found = read_json(body)
            if not isinstance(found, dict):
                raise TypeError(f"the body is {type(found).__name__}, not an object")  # noqa: TRY301 - one way out
            made = self._read(found, received_at)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            return Decoded((), (BadEntry(f"not readable: {str(error)[:200]}", body, 0),))
        if isinstance(made, News):
            return Decoded((), news=(made,))
        if made is None:
            said = f"{word(found.get('action'))[:40]} says nothing about whether something fires"
            return Decoded((), (BadEntry(said, body, 1, quiet=True),))
        return Decoded((made,))

    def _read(self, found: Json, received_at: datetime) -> Alert | News | None:
        data, action = _object(found.get("data")), word(found.get("action"))
        issue = _object(data.get("issue"))
        person = word(_object(found.get("actor")).get("name"))
        if issue and action in NOTHING_NEW:
            return self._note("issue", issue.get("id"), person, "assigned it in Sentry")
        if "comment" in data:
            written = action in ("created", "")
            return self._note("issue", data.get("issue_id"), person, as_text(data["comment"])) if written else None
        if "installation" in data:
            return None
        return _said(found, data, issue, action).alert(self.name, received_at)

    def _note(self, kind: str, number: object, person: str, text: str) -> News:
        return News(identify(self.name, {"kind": kind, "id": as_text(number)}), self.name, "note", person, text)


@dataclass(frozen=True, slots=True)
class _Said:
    """What one webhook says of one issue or metric alert; `ids`: the first that is known names it."""

    kind: str
    ids: tuple[object, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    firing: bool = True
    started_at: datetime | None = None
    ended_at: datetime | None = None
    url: object = ""

    def alert(self, source: str, received_at: datetime) -> Alert:
        """Make the alert."""
        labels = {**self.labels, "sentry": self.kind}
        known = next((as_text(each) for each in self.ids if each not in (None, "")), "")
        return Alert(
            source=source,
            identity=identify(source, {"kind": self.kind, "id": known} if known else labels),
            labels=labels,
            annotations=self.annotations,
            firing=self.firing,
            received_at=received_at,
            started_at=self.started_at,
            ended_at=None if self.firing else self.ended_at,
            generator_url=as_text(self.url)[:2000],
        )


def _said(found: Json, data: Json, issue: Json, action: str) -> _Said:
    """Raises: ValueError: it is none of the kinds that say whether something fires."""
    if isinstance(data.get("metric_alert"), dict):
        return _metric(data, data["metric_alert"], action)
    event = _object(data.get("event")) or _object(data.get("error"))
    if event:
        return _event(data, event)
    if issue:
        return _issue(issue, action)
    if isinstance(found.get("event"), dict) or ("culprit" in found and "project" in found):
        return _legacy(found)
    raise ValueError("neither an issue, an event, an error, a metric alert nor a comment")


def _metric(data: Json, alert: Json, action: str) -> _Said:
    rule, over = _object(alert.get("alert_rule")), action == "resolved"
    labels = _filled(
        alertname=rule.get("name") or alert.get("title") or data.get("description_title") or "Sentry metric alert",
        projects=_joined(alert.get("projects")),
        environment=rule.get("environment"),
        severity="" if over else action,
    )
    said = _filled(
        summary=data.get("description_title"),
        description=data.get("description_text"),
        query=rule.get("query"),
        aggregate=rule.get("aggregate"),
    )
    began, ended = (moment_or_epoch(alert.get(key)) for key in ("date_started", "date_closed"))
    return _Said("metric_alert", (alert.get("id"), rule.get("id")), labels, said, not over, began, ended,
                 data.get("web_url"))  # fmt: skip


def _event(data: Json, event: Json) -> _Said:
    labels = _tags(event.get("tags")) | _filled(
        alertname=event.get("title") or event.get("message") or "Sentry issue",
        project=event.get("project_slug") or event.get("project_name") or event.get("project"),
        rule=data.get("triggered_rule") or _object(data.get("issue_alert")).get("title"),
        level=event.get("level"),
        severity=event.get("level"),
        platform=event.get("platform"),
    )
    said = _filled(summary=event.get("title"), culprit=event.get("culprit") or event.get("location"))
    began = moment_or_epoch(event.get("datetime")) or moment_or_epoch(event.get("timestamp"))
    return _Said("issue", (event.get("issue_id"),), labels, said, started_at=began, url=event.get("web_url"))


def _issue(issue: Json, action: str) -> _Said:
    over = action in OVER or (action not in AGAIN and issue.get("status") in OVER)
    project = _object(issue.get("project"))
    labels = _filled(
        alertname=issue.get("title") or "Sentry issue",
        project=project.get("slug") or project.get("name"),
        level=issue.get("level"),
        severity=issue.get("level"),
        platform=issue.get("platform"),
    )
    said = _filled(
        summary=issue.get("title"),
        culprit=issue.get("culprit"),
        issue=issue.get("shortId"),
        status=issue.get("substatus") or issue.get("status"),
    )
    began = moment_or_epoch(issue.get("firstSeen")) if action == "created" else None
    url = issue.get("web_url") or issue.get("permalink")
    return _Said("issue", (issue.get("id"),), labels, said, not over, began, url=url)


def _legacy(found: Json) -> _Said:
    event = _object(found.get("event"))
    labels = _tags(event.get("tags")) | _filled(
        alertname=event.get("title") or found.get("message") or found.get("culprit") or "Sentry issue",
        project=found.get("project_slug") or found.get("project"),
        rule=_joined(found.get("triggering_rules")),
        level=found.get("level"),
        severity=found.get("level"),
    )
    said = _filled(summary=found.get("message") or event.get("title"), culprit=found.get("culprit"))
    began = moment_or_epoch(event.get("timestamp")) or moment_or_epoch(event.get("received"))
    return _Said(
        "issue", (found.get("id"), event.get("issue_id")), labels, said, started_at=began, url=found.get("url")
    )


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _filled(**values: object) -> dict[str, str]:
    return {name: as_text(value) for name, value in values.items() if value not in (None, "")}


def _joined(value: object) -> str:
    return ", ".join(map(as_text, value)) if isinstance(value, list) else as_text(value)


def _tags(value: object) -> dict[str, str]:
    """Read [[name, value], ...] or {name: value}, and keep the ones that say where it happens."""
    listed = [list(each) for each in value.items()] if isinstance(value, dict) else value
    pairs = (
        [each for each in listed if isinstance(each, list) and len(each) == PAIR] if isinstance(listed, list) else []
    )
    return {name: as_text(each) for name, each in pairs if isinstance(name, str) and name in KEPT_TAGS and each}


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Give what to fill in at Sentry: Settings, Developer Settings, New Internal Integration."""
    return f"""Webhook URL: {base_url}/webhooks/sentry
Alert Rule Action: on
Permissions: Issue & Event: Read
Webhooks: issue
The client secret, shown after saving, is receivers.sentry.secret.
"""


@asynccontextmanager
async def open_sentry(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    yield Sentry(settings, around.name or "sentry")


plugin = Plugin(
    Settings, receiver=open_sentry, snippet=_snippet, many=True, marks=(("action", "data", "installation"),)
)
