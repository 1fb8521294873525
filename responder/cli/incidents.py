"""`responder incidents ...`, `postmortem`, `ledger`."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from responder.cli import show as draw
from responder.cli.client import Client
from responder.errors import Misuse
from responder.record import number


def listing(parsed: Namespace) -> int:
    """List incidents, newest first."""
    found = Client(parsed).incidents(
        statuses=parsed.status or [], severities=parsed.severity or [], limit=max(1, min(200, parsed.limit))
    )
    if parsed.json:
        draw.as_json(found)
    elif not found["incidents"]:
        draw.say("no incidents")
    else:
        columns = ("incident", "severity", "status", "opened", "firing", "title")
        draw.table(columns, [_row(each) for each in found["incidents"]])
        if found["next"]:
            draw.say("there are more: --limit 200, or the API's cursor")
    return 0


def _row(each: dict[str, Any]) -> tuple[object, ...]:
    opened = each["opened_at"][:16].replace("T", " ")
    return each["id"], each["severity"], each["status"], opened, each["firing"], each["title"]


def show(parsed: Namespace) -> int:
    """Print one incident for reading."""
    found = Client(parsed).incident(_number(parsed))
    if parsed.json:
        draw.as_json(found)
    else:
        draw.incident(found)
    return 0


def export(parsed: Namespace) -> int:
    """Print one incident as JSON."""
    draw.as_json(Client(parsed).incident(_number(parsed)))
    return 0


def acknowledge(parsed: Namespace) -> int:
    """Take an incident."""
    return _act(parsed, "ack", {})


def resolve(parsed: Namespace) -> int:
    """End an incident."""
    return _act(parsed, "resolve", {"why": parsed.why})


def _act(parsed: Namespace, verb: str, body: dict[str, str]) -> int:
    found = Client(parsed).post(f"/api/incidents/INC-{_number(parsed)}/{verb}", body)
    if parsed.json:
        draw.as_json(found)
    else:
        draw.say(f"{found['id']} is {found['status']}, acknowledged by {found['acknowledged_by'] or 'nobody'}")
    return 0


def postmortem(parsed: Namespace) -> int:
    """Print the draft; exit 1 while there is none."""
    found = Client(parsed).incident(_number(parsed))
    text = found["postmortem"]
    if parsed.json:
        draw.as_json({"id": found["id"], "postmortem": text})
    elif text:
        sys.stdout.write(text.rstrip() + "\n")
    else:
        sys.stderr.write(f"{found['id']} is {found['status']}; the draft comes after it is resolved\n")
    return 0 if text else 1


def alerts(parsed: Namespace) -> int:
    """List stored alerts, newest first."""
    found = Client(parsed).newest_alerts(parsed.limit, muted=parsed.muted)
    if parsed.json:
        draw.as_json({"alerts": found})
    elif not found:
        draw.say("nothing is muted now" if parsed.muted else "no alerts")
    else:
        columns = ("alert", "severity", "status", "since", "name", "where")
        draw.table(columns, [_alert_row(each) for each in found])
    return 0


def _alert_row(each: dict[str, Any]) -> tuple[object, ...]:
    muted = each["muted"]
    where = f"muted by {muted['kind']}: {muted['why']}" if muted else each["incident"] or "-"
    since = each["started_at"][:16].replace("T", " ")
    name = each["labels"].get("alertname", "")
    return f"ALERT-{each['id']}", each["severity"] or "-", each["status"], since, name, where


def ledger(parsed: Namespace) -> int:
    """Print both sides of the sum; exit 1 when an entry is unaccounted for."""
    found = Client(parsed).ledger()
    if parsed.json:
        draw.as_json(found)
    else:
        held = [found[name] for name in ("in_open_episodes", "in_ended_episodes", "suppressed", "quarantined")]
        draw.say(
            f"entries  {found['entries']} received = {held[0]} in open + {held[1]} in ended episodes"
            f" + {held[2]} suppressed + {held[3]} quarantined"
            + (f"   UNACCOUNTED {found['unaccounted']}" if found["unaccounted"] else "")
        )
        if found["muted_now"]:
            draw.say("muted    " + ", ".join(f"{n} by {kind}" for kind, n in found["muted_now"].items()) + " now")
        bodies = found["bodies"]
        draw.say(
            f"bodies   {bodies['received']} received = {bodies['decoded']} decoded"
            f" + {bodies['quarantined']} quarantined + {bodies['waiting']} waiting"
        )
    return 1 if found["unaccounted"] else 0


def _number(parsed: Namespace) -> int:
    try:
        return number(parsed.incident)
    except ValueError as error:
        raise Misuse(str(error)) from error
