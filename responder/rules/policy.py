"""What each severity means for people: whom to mention, how often to tell, whom to page next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from responder.errors import FileError
from responder.model import Incident, Severity
from responder.rules.calendar import Calendar
from responder.rules.inhibit import Inhibition
from responder.rules.quiet import Quiet, QuietHours, quiet
from responder.rules.suppress import Maintenance, Silence

DEFAULT_HOLD_S = 300.0


@dataclass(frozen=True, slots=True)
class SeverityPolicy:
    """One severity's part of `policy.yaml`. Mentions are "" | here | channel | user:ID | group:ID."""

    mention: str = ""
    cadence_s: float | None = None  # how often the thread hears how it stands; None = never unasked
    acknowledge_within_s: float | None = None  # then `next` is paged; None = nobody waits
    next: tuple[str, ...] = ()  # mentions, paged one after the other
    channel: str = ""  # "" = the rule's, else the chat's default
    chain: str = "minor"  # when the runbook names none
    runbook: str = "default"  # when the rule names none
    audience: str = "normal hours"
    timeboxes_s: Mapping[str, float] = field(default_factory=dict)  # phase -> seconds
    budget_usd: float | None = None  # of one incident; None = the configuration's
    hold_s: float | None = None  # None = the policy's
    roads: tuple[str, ...] = ()  # names of integrations: second ways to reach people
    channels: tuple[str, ...] = ()  # more channels that get a notice


DEFAULTS: Mapping[Severity, SeverityPolicy] = {
    Severity.P0: SeverityPolicy("here", 900, 300, chain="outage", audience="all hands and executives"),
    Severity.P1: SeverityPolicy("here", 1800, 900, chain="outage", audience="core team and stakeholders"),
    Severity.P2: SeverityPolicy("", 3600, 3600, chain="degraded"),
    Severity.P3: SeverityPolicy("", None, None, chain="minor"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of `policy.yaml`, or what holds without one."""

    severities: Mapping[Severity, SeverityPolicy] = field(default_factory=lambda: DEFAULTS)
    default_hold_s: float = DEFAULT_HOLD_S
    contacts: Mapping[str, str] = field(default_factory=dict)  # name -> mention
    channels: tuple[str, ...] = ()  # all that are known, for lint; () = nobody says
    business_hours: Calendar | None = None
    quiet_hours: tuple[QuietHours, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    silences: tuple[Silence, ...] = ()
    inhibitions: tuple[Inhibition, ...] = ()

    def of(self, severity: Severity) -> SeverityPolicy:
        """Give one severity's part."""
        return self.severities.get(severity) or DEFAULTS[severity]

    def hold_s(self, severity: Severity) -> float:
        """Say how long recovery must hold before an incident of this severity resolves."""
        own = self.of(severity).hold_s
        return self.default_hold_s if own is None else own

    def quiet(self, severity: Severity, labels: Mapping[str, str], at: datetime) -> Quiet | None:
        """Say whether an incident is to wake nobody now. Args: labels: of the alert that opened it."""
        if not self.quiet_hours:
            return None
        return quiet([each for each in self.quiet_hours if each.concern(severity, labels)], at)

    def quiet_for(self, incident: Incident, at: datetime, severity: Severity | None = None) -> Quiet | None:
        """Say whether this incident is to wake nobody now. Args: severity: the one that it is about to have."""
        return self.quiet(severity or incident.severity, incident.opened_by, at)

    def mention_for(self, incident: Incident, at: datetime, severity: Severity | None = None) -> str:
        """Say whom a page of this incident mentions now: nobody in quiet hours."""
        quiet = self.quiet_for(incident, at, severity)
        return "" if quiet is not None else self.of(severity or incident.severity).mention

    def outdated(self, at: datetime) -> Iterator[FileError]:
        """Name what stands in the file and will do nothing any more: warnings, never errors."""
        found = [each.outdated(at) for each in self.silences]
        found += [each.outdated(at) for each in self.maintenance]
        found += [each.outdated(at) for each in self.quiet_hours]
        yield from (each for each in found if each is not None)
