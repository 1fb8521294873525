"""`responder doctor`: what a running daemon has found out about who sends to it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from responder.cli import show as draw
from responder.cli.client import Client


def doctor(parsed: Namespace) -> int:
    """List the problems of senders, each with its figures and the lines to change; exit 1 if there is any."""
    found = Client(parsed).get("/api/senders")
    if parsed.json:
        draw.as_json(found)
    else:
        _tell(found)
    return 1 if found["problems"] else 0


def _tell(found: Mapping[str, Any]) -> None:
    rows = [(each["receiver"], each["sender"], each["bodies"], each["alerts"], _at(each)) for each in found["senders"]]
    if rows:
        draw.table(("receiver", "sender", "bodies", "alerts", "last"), rows)
    else:
        draw.say("nobody has sent anything since the daemon started")
    for each in found["missed"]:
        names = sorted({str(one["labels"].get("alertname", "")) for one in each["alerts"]})
        window = f"{each['since'][:19]} to {each['until'][:19]}"
        draw.say(f"\n{each['count']} alerts fired and ended while nobody looked, {window}: {', '.join(names[:10])}")
    for each in found["problems"]:
        where = " ".join(part for part in (each["receiver"], each["sender"]) if part)
        draw.say(f"\n{each['problem']}  {where}", "bold")
        draw.say(f"  seen: {each['seen']} ({each['times']} times, last {_at(each)})")
        draw.say(f"  {each['why']}")
        for line in each["change"].splitlines():
            draw.say(f"    {line}")
    if not found["problems"]:
        draw.say("\nno problems seen")


def _at(each: Mapping[str, Any]) -> str:
    return str(each["last_at"] or "")[:19].replace("T", " ")
