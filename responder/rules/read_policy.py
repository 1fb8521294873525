"""From `policy.yaml` to a Policy."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import Located, line_of, read_yaml
from responder.model import Severity
from responder.rules.calendar import Calendar
from responder.rules.fields import Fields
from responder.rules.policy import DEFAULT_HOLD_S, DEFAULTS, Policy, SeverityPolicy
from responder.rules.read_calendar import KEYS as CALENDAR_KEYS
from responder.rules.read_calendar import read_calendar
from responder.rules.read_suppress import read_inhibitions, read_maintenance, read_quiet_hours, read_silences

FILE_NAME = "policy.yaml"
KEYS = (
    *("hold", "severities", "contacts", "channels", "business_hours", "quiet_hours"),
    *("maintenance", "silences", "inhibitions", *Severity),
)
SEVERITY_KEYS = (
    *("mention", "cadence", "acknowledge_within", "next", "channel", "chain", "runbook"),
    *("audience", "timeboxes", "budget", "hold", "road", "roads", "channels"),
)
_ROAD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ID = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,79}"
_MENTIONS = (  # what people write -> ours
    (re.compile(r"@?(here|channel)|<!(here|channel)>"), ""),
    (re.compile(rf"user:({_ID})|<@([UW][A-Z0-9]+)(?:\|[^>]*)?>|@?([UW][A-Z0-9]{{6,}})"), "user:"),
    (re.compile(rf"group:({_ID})|<!subteam\^(S[A-Z0-9]+)(?:\|[^>]*)?>|@?(S[A-Z0-9]{{6,}})"), "group:"),
)


def mention_of(text: str) -> str:
    """Turn `@here`, `<@U123>`, a member's or a group's id into our own form: here | channel | user:ID | group:ID.

    Raises: ValueError: it is none of them.
    """
    for pattern, prefix in _MENTIONS:
        match = pattern.fullmatch(text.strip())
        if match:
            return prefix + next(part for part in match.groups() if part)
    raise ValueError(f"{text!r:.60} is not a mention; write here, channel, user:ID, group:ID or a name from contacts")


def read_policy(
    path: Path,
    errors: list[FileError],
    *,
    runbooks: Collection[str] | None = None,
    warnings: list[FileError] | None = None,
) -> Policy:
    """Read the file; what is wrong with it is added to `errors`, what looks wrong to `warnings`. Empty = the defaults.

    Raises: FileError: it is no YAML that we accept.
    """
    found = read_yaml(path)
    top = Fields(path, {} if found is None else found, errors, what=FILE_NAME, line=1)
    top.known(KEYS)
    odd: list[FileError] = [] if warnings is None else warnings
    contacts = _contacts(top)
    parts = _parts(top)
    return Policy(
        severities={
            s: _severity(parts[s], DEFAULTS[s], contacts, runbooks) if s in parts else DEFAULTS[s] for s in Severity
        },
        default_hold_s=_hold_s(top, DEFAULT_HOLD_S) or 0.0,
        contacts=contacts,
        channels=top.channels("channels"),
        business_hours=_business_hours(top),
        quiet_hours=read_quiet_hours(top, odd),
        maintenance=read_maintenance(top, odd),
        silences=read_silences(top, odd),
        inhibitions=read_inhibitions(top, odd),
    )


def _business_hours(top: Fields) -> Calendar | None:
    if top.found.get("business_hours") is None:
        return None
    fields = Fields(top.path, top.found["business_hours"], top.errors, what="business_hours", line=top.line)
    fields.known(CALENDAR_KEYS)
    return read_calendar(fields) if fields.found else None


def _parts(top: Fields) -> dict[Severity, Fields]:
    """Find each severity's mapping: under `severities`, or at the top."""
    found: dict[Severity, Fields] = {}
    holders = [top]
    if top.found.get("severities") is not None:
        nested = Fields(top.path, top.found["severities"], top.errors, what="severities", line=top.line)
        nested.known(list(Severity))
        holders.append(nested)
    for holder in holders:
        for severity in Severity:
            if severity not in holder.found:
                continue
            if severity in found:
                holder.wrong(severity, f"{severity} stands twice: at the top and under severities")
            found[severity] = Fields(top.path, holder.found[severity], top.errors, what=severity, line=holder.line)
    return found


def _severity(
    fields: Fields, default: SeverityPolicy, contacts: Mapping[str, str], runbooks: Collection[str] | None
) -> SeverityPolicy:
    fields.known(SEVERITY_KEYS)
    runbook = fields.text("runbook") or default.runbook
    if runbooks is not None and "runbook" in fields.found and runbook not in runbooks:
        fields.wrong("runbook", f"there is no runbook {runbook!r}; known: {', '.join(sorted(runbooks)) or 'none'}")
    pages = () if "next" in fields.found and fields.found["next"] is None else fields.texts("next", default.next)
    return SeverityPolicy(
        mention=_mention(fields, "mention", fields.found["mention"], contacts)
        if "mention" in fields.found
        else default.mention,
        cadence_s=fields.duration_s("cadence", default.cadence_s),
        acknowledge_within_s=fields.duration_s("acknowledge_within", default.acknowledge_within_s),
        next=tuple(_mention(fields, "next", text, contacts) for text in pages),
        channel=fields.channel("channel") or default.channel,
        chain=fields.text("chain") or default.chain,
        runbook=runbook,
        audience=fields.text("audience") or default.audience,
        timeboxes_s=_timeboxes(fields),
        budget_usd=_budget(fields),
        hold_s=_hold_s(fields, None),
        roads=_roads(fields),
        channels=fields.channels("channels"),
    )


def _roads(fields: Fields) -> tuple[str, ...]:
    """Read `road` or `roads`: names of integrations, which only the configuration knows."""
    given = [key for key in ("road", "roads") if fields.found.get(key) is not None]
    if len(given) > 1:
        fields.wrong("road", "road and roads say the same; keep one")
    names = fields.texts(given[0]) if given else ()
    for name in names:
        if not _ROAD.fullmatch(name):
            fields.wrong(
                given[0], f"{given[0]} {name!r:.60} is no integration's name; write it as in the configuration"
            )
    return tuple(dict.fromkeys(names))


def _hold_s(fields: Fields, default: float | None) -> float | None:
    if "hold" in fields.found and fields.found["hold"] is None:
        fields.wrong("hold", "hold must be a duration such as 5m; 0 resolves at once")
    return fields.duration_s("hold", default, least=0.0)


def _mention(fields: Fields, key: str, value: Any, contacts: Mapping[str, str]) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, str) and value in contacts:
        return contacts[value]
    try:
        return mention_of(str(value))
    except ValueError as error:
        fields.wrong(key, f"{key}: {error}")
        return ""


def _contacts(top: Fields) -> dict[str, str]:
    if top.found.get("contacts") is None:
        return {}
    fields = Fields(top.path, top.found["contacts"], top.errors, what="contacts", line=top.line)
    return {name: _mention(fields, name, value, {}) for name, value in fields.found.items()}


def _timeboxes(fields: Fields) -> dict[str, float]:
    if fields.found.get("timeboxes") is None:
        return {}
    boxes = Fields(fields.path, fields.found["timeboxes"], fields.errors, what="timeboxes", line=fields.line)
    read = {phase: boxes.duration_s(phase) for phase in boxes.found}
    return {phase: box for phase, box in read.items() if box is not None}


def _budget(fields: Fields) -> float | None:
    if fields.found.get("budget") is None:
        return None
    budget = Fields(fields.path, fields.found["budget"], fields.errors, what="budget", line=fields.line)
    budget.known(("incident_usd",))
    return budget.number("incident_usd", least=0)


def unknown_chains(policy: Policy, chains: Collection[str], path: Path) -> Iterator[FileError]:
    """Name the severities whose chain does not exist, with their lines in the policy's file. Raises: FileError."""
    missing = {each: name for each in Severity if (name := policy.of(each).chain) not in chains}
    if not missing:
        return
    found = read_yaml(path)  # again, for the lines
    top = found if isinstance(found, Located) else Located(0)
    known = ", ".join(sorted(chains))
    for severity, name in missing.items():
        parts = (top.get(severity), (top.get("severities") or {}).get(severity))
        line = max(line_of(part, "chain") for part in parts)
        yield FileError(str(path), line, f"{severity}: there is no chain {name!r}; known: {known}")
