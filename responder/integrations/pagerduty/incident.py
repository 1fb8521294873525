"""One PagerDuty incident as one of our alerts: by webhook, or as the REST API names the same things.

Source: https://developer.pagerduty.com/docs/webhooks-overview and the REST API's `Incident`. Any field may be null.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from responder.bodies import as_text, moment, word
from responder.errors import PayloadError
from responder.incidents import cut
from responder.integrations.pagerduty.details import COUNTED, Details, objects
from responder.model import Alert, identify

SOURCE = "pagerduty"
RESOLVED = "resolved"
EXACT = ("alertname", "service")  # labels that Alertmanager knows better than a title does
MAX_TITLE, MAX_LABEL, MAX_URL = 300, 200, 2000

Json = Mapping[str, Any]


def identity_of(incident_id: str) -> str:
    """Name the alert that a PagerDuty incident is to us: by its id alone, for everything else of it may change."""
    return identify(SOURCE, {"incident": incident_id})


def alert_of(
    found: Json, received_at: datetime, *, firing: bool, ended_at: datetime | None, said_at: datetime | None,
    restarted_at: datetime | None = None, details: Details | None = None,
) -> Alert:  # fmt: skip
    """Make the alert of an incident.

    Args: found: of a webhook's `data` or of the REST API; restarted_at: when this very news opened it again;
      said_at: when it was so. Raises: PayloadError: it has no id.
    """
    its_id = word(found.get("id"))
    if not its_id:
        raise PayloadError("an incident without an id")
    starts = [at for at in (moment(found.get("reopened_at")), restarted_at) if at is not None]
    started_at = max(starts, default=moment(found.get("created_at")) or (said_at if firing else None))
    url = link(found.get("html_url"))
    return Alert(
        source=SOURCE,
        identity=identity_of(its_id),
        labels=_labels(found, details or Details()),
        annotations=_annotations(found, url, details or Details()),
        firing=firing,
        received_at=received_at,
        started_at=started_at,
        ended_at=ended_at,
        generator_url=url,
        ref=its_id[:MAX_LABEL],
        alias=word(found.get("incident_key"))[:MAX_LABEL],
        said_at=max(said_at, started_at or said_at) if said_at else None,  # not before it began
        partial=True,
    )


def _labels(found: Json, details: Details) -> dict[str, str]:
    """Name it as rules read it: what PagerDuty itself says stands, but what Alertmanager's labels say is exact."""
    said = {
        "alertname": _title(found),
        "pagerduty_incident": as_text(found.get("number") or found.get("incident_number")) or "unnumbered",
        "service": name_of(found.get("service")),
        "urgency": word(found.get("urgency")),
        "priority": name_of(found.get("priority")),
        "team": next((name for name in map(name_of, objects(found.get("teams"))) if name), ""),
        "escalation_policy": name_of(found.get("escalation_policy")),
    }
    own = {name: cut(value, MAX_TITLE if name == "alertname" else MAX_LABEL) for name, value in said.items()}
    own = {name: value for name, value in own.items() if value or name == "priority"}  # "": it may have been taken away
    exact = {name: value for name, value in details.exact.items() if name in EXACT or not own.get(name)}
    return {name: as_text(value) for name, value in {**details.loose, **own, **exact}.items()}


def _annotations(found: Json, url: str, details: Details) -> dict[str, str]:
    said = {
        "summary": cut(word(found.get("title") or found.get("summary")), MAX_TITLE),
        "pagerduty_url": url,
        "assigned_to": ", ".join(people(found))[:MAX_TITLE],
        "conference_url": conference(found.get("conference_bridge")),
    }
    return {name: as_text(value) for name, value in {**details.annotations, **said}.items()}


def _title(found: Json) -> str:
    """Give the title without Alertmanager's count before it: `[FIRING:2] X` is the same alert as `[FIRING:3] X`."""
    title = cut(COUNTED.sub("", word(found.get("title") or found.get("summary")).strip(), count=1), MAX_TITLE)
    return title or "unnamed PagerDuty incident"


def people(found: Json) -> list[str]:
    """Name to whom it is assigned: `assignees` in a webhook, `assignments` in the REST API."""
    listed = objects(found.get("assignees")) or [
        each["assignee"] for each in objects(found.get("assignments")) if isinstance(each.get("assignee"), Mapping)
    ]
    return [name for name in map(name_of, listed) if name]


def conference(found: object) -> str:
    """Give the address of a conference bridge, or its number; "" when there is none."""
    bridge = found if isinstance(found, Mapping) else {}
    numbers = bridge.get("conference_numbers") or bridge.get("conference_number")
    first = numbers[0] if isinstance(numbers, list) and numbers else numbers
    number = first.get("number") if isinstance(first, Mapping) else first
    return link(bridge.get("conference_url")) or cut(word(number), MAX_LABEL)


def name_of(reference: object) -> str:
    """Give what people call a thing that is referred to; its id when nobody says."""
    if not isinstance(reference, Mapping):
        return ""
    return word(reference.get("summary")) or word(reference.get("name")) or word(reference.get("id"))


def link(value: object) -> str:
    """Give a web address; "" for anything else."""
    url = word(value).strip()
    return url[:MAX_URL] if url.startswith(("https://", "http://")) and url.isprintable() else ""
