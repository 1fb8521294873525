"""From `policy.yaml` to a Policy."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import read_yaml
from responder.model import Severity
from responder.rules.fields import Fields
from responder.rules.policy import DEFAULT_HOLD_S, DEFAULTS, Policy, SeverityPolicy

FILE_NAME = "policy.yaml"
KEYS = ("hold", "severities", "contacts", *Severity)
SEVERITY_KEYS = (
    *("mention", "cadence", "acknowledge_within", "next", "channel", "chain", "runbook"),
    *("audience", "timeboxes", "budget", "hold"),
)
NOT_YET = frozenset(("quiet_hours", "maintenance", "maintenance_windows", "inhibitions", "road", "roads", "channels"))
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


def read_policy(path: Path, errors: list[FileError], *, runbooks: Collection[str] | None = None) -> Policy:
    """Read the file; what is wrong with it is added to `errors`. An empty file is the defaults.

    Raises: FileError: it is no YAML that we accept.
    """
    found = read_yaml(path)
    top = Fields(path, {} if found is None else found, errors, what=FILE_NAME, line=1)
    _keys(top, KEYS)
    contacts = _contacts(top)
    parts = _parts(top)
    return Policy(
        severities={
            s: _severity(parts[s], DEFAULTS[s], contacts, runbooks) if s in parts else DEFAULTS[s] for s in Severity
        },
        default_hold_s=_hold_s(top, DEFAULT_HOLD_S) or 0.0,
        contacts=contacts,
    )


def _keys(fields: Fields, known: Collection[str]) -> None:
    """Refuse unknown keys; those of later versions by name, so that nobody believes in a silent inhibition."""
    later = [key for key in fields.found if key in NOT_YET]
    for key in later:
        fields.wrong(key, f"{key} is not supported yet in this version; remove it")
    fields.known((*known, *later))


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
    _keys(fields, SEVERITY_KEYS)
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
    )


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
