"""Draws on the terminal: tables and details, plain where it is no terminal. Text of alerts is made inert first."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from responder.redact import visible

COLOURS = {"P0": "bold white on red", "P1": "bold red", "P2": "yellow", "P3": "cyan"}


def as_json(value: object) -> None:
    """Print one JSON document; on a terminal in ASCII, which no text of an alert can drive or reorder."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()
    if sys.stdout.isatty():
        text = json.dumps(orjson.loads(text), indent=2)
    sys.stdout.write(text + "\n")


def say(text: str = "", style: str = "") -> None:
    """Print one line, markup never interpreted."""
    console().print(Text(visible(text), style=style), soft_wrap=True)


def console() -> Console:
    """Give a console on standard output; wide where nobody looks, so that nothing is cut."""
    terminal = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if terminal else 200, highlight=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns; a cell that names a severity has its colour."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*[Text(visible(str(cell)), style=COLOURS.get(str(cell), "")) for cell in row])
    console().print(drawn)


def decision(found: Mapping[str, Any]) -> None:
    """Print why something was judged as it was: first what decided, then the rules that did not match."""
    for key in ("because", "nearest", "revision"):
        if found.get(key):
            say(f"  {key}: {found[key]}")
    for line in found.get("policy", []):
        say(f"  {line}")
    tried = [f"{name}: {miss or 'matches'}" for name, miss in found.get("tried", [])]
    if found.get("untold"):
        tried.insert(-1, f"... {found['untold']} more rules that do not match")
    for line in ["rules tried, in order:"] * bool(tried) + tried:
        say(f"  {line}")


def incident(found: Mapping[str, Any]) -> None:
    """Print one incident for reading."""
    say(f"{found['id']}  {found['severity']}  {found['status']}  {found['title']}", COLOURS.get(found["severity"], ""))
    for label in ("rule", "runbook", "systems", "opened_at", "acknowledged_by", "resolved_at", "commander", "phase"):
        value = found.get(label)
        if value:
            say(f"  {label:<16}{', '.join(value) if isinstance(value, list) else value}")
    say(f"  {'cost':<16}{found['cost_usd']:.4f} USD")
    if found.get("summary"):
        say(f"\nWhat we know\n  {found['summary']}")
    _alerts(found["episodes"])
    if found["findings"]:
        say("\nFindings")
        for each in found["findings"]:
            evidence = ", ".join(each["evidence"])
            say(f"  {each['claim']}  [{each['confidence']}; {evidence}; {each['verified'] or 'not checked'}]")
    if found["evidence"]:
        say("\nEvidence")
        table(
            ("", "tool", "verdict", "says"),
            [(e["id"], e["tool"], e["verdict"], e["text"][:100]) for e in found["evidence"]],
        )
    say("\nTimeline")
    for each in found["timeline"]:
        say(f"  {each['at'][11:19]}  {each['kind']:<14}{each['text']}")


def _alerts(episodes: Sequence[Mapping[str, Any]]) -> None:
    say(f"\nAlerts ({len(episodes)})")
    rows = [
        (each["status"], each["labels"].get("alertname", ""), each["started_at"][:19], _rest(each["labels"]))
        for each in episodes[:20]
    ]
    table(("status", "alert", "since", "labels"), rows)
    if len(episodes) > len(rows):
        say(f"  and {len(episodes) - len(rows)} more: responder incidents export")


def _rest(labels: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels.items() if name != "alertname")[:160]
