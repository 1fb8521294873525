"""Silences, maintenance windows and inhibitions: what mutes an alert, until when, and by whose word."""

from datetime import UTC, datetime, timedelta

import pytest

from responder.rules.calendar import Calendar
from responder.rules.classify import RuleSet
from responder.rules.inhibit import Inhibition, Sources
from responder.rules.matchers import parse
from responder.rules.policy import Policy
from responder.rules.suppress import Maintenance, Silence, Suppression

from .given import alert

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # a Friday
HOUR = timedelta(hours=1)
DISK = alert(alertname="Disk", instance="a")
SILENCE = Silence(parse("alertname=Disk"), NOW + HOUR, "anna", "new disk on Monday")
ONCE = Maintenance("move", parse("alertname=Disk"), NOW - HOUR, NOW + 2 * HOUR, comment="OPS-1")
WEEKLY = Maintenance("reboot", parse("alertname=Disk"), calendar=Calendar(UTC, (4,), 8 * 60, 10 * 60))
INHIBITION = Inhibition("down", parse("alertname=Node"), parse("alertname=Disk"))


def suppressed(policy: Policy, at: datetime = NOW, *, node: str = "") -> Suppression | None:
    sources = Sources(policy.inhibitions)
    if node:
        sources.add("n", {"alertname": "Node"}, node)
    return RuleSet((), policy).suppressed(DISK, at, sources)


def test_nothing_suppresses_by_itself() -> None:
    assert suppressed(Policy(), node="Node") is None


def test_a_silence_says_until_when_by_whom_and_why() -> None:
    assert suppressed(Policy(silences=(SILENCE,))) == Suppression(
        kind="silence",
        name="silence by anna",
        why="silenced until 2026-11-20 10:00 UTC by anna: new disk on Monday",
        until=NOW + HOUR,
    )


def test_a_maintenance_window_says_its_name_and_its_end() -> None:
    assert suppressed(Policy(maintenance=(ONCE,))) == Suppression(
        "maintenance", "move", "maintenance move until 2026-11-20 11:00 UTC: OPS-1", NOW + 2 * HOUR
    )


def test_a_window_that_comes_again_ends_with_its_range() -> None:
    assert suppressed(Policy(maintenance=(WEEKLY,))) == Suppression(
        "maintenance", "reboot", "maintenance reboot until 2026-11-20 10:00 UTC", NOW + HOUR
    )


def test_an_inhibition_names_the_source_as_inert_text() -> None:
    found = suppressed(Policy(inhibitions=(INHIBITION,)), node="No\n<!here>\u202e")
    assert found is not None
    assert (found.kind, found.name, found.until) == ("inhibition", "down", None)
    assert found.why == 'inhibited by down while "No\\n<!here>\\u202e" fires'


def test_silence_comes_before_maintenance_before_inhibition() -> None:
    policy = Policy(silences=(SILENCE,), maintenance=(ONCE,), inhibitions=(INHIBITION,))
    kinds = [suppressed(policy, NOW + at * HOUR, node="Node") for at in (0, 1, 2)]
    assert [found and found.kind for found in kinds] == ["silence", "maintenance", "inhibition"]


def test_of_two_silences_one_that_is_over_hides_not_the_other() -> None:
    over = Silence(parse("alertname=Disk"), NOW, "bob", "over")
    found = suppressed(Policy(silences=(over, SILENCE)))
    assert found is not None
    assert found.name == "silence by anna"


TIMES = {
    "silence: before it begins": (Policy(silences=(Silence(SILENCE.matchers, NOW, "a", "b", NOW - HOUR),)), -61, False),
    "silence: as it begins": (Policy(silences=(Silence(SILENCE.matchers, NOW, "a", "b", NOW - HOUR),)), -60, True),
    "silence: its last minute": (Policy(silences=(SILENCE,)), 59, True),
    "silence: its end": (Policy(silences=(SILENCE,)), 60, False),
    "window: before": (Policy(maintenance=(ONCE,)), -61, False),
    "window: begins": (Policy(maintenance=(ONCE,)), -60, True),
    "window: its end": (Policy(maintenance=(ONCE,)), 120, False),
    "weekly: before": (Policy(maintenance=(WEEKLY,)), -61, False),
    "weekly: begins": (Policy(maintenance=(WEEKLY,)), -60, True),
    "weekly: its end": (Policy(maintenance=(WEEKLY,)), 60, False),
    "weekly: a week later": (Policy(maintenance=(WEEKLY,)), 7 * 1440, True),
}


@pytest.mark.parametrize(("policy", "minutes", "wanted"), TIMES.values(), ids=TIMES)
def test_each_holds_in_its_time_only(policy: Policy, minutes: int, wanted: bool) -> None:
    assert (suppressed(policy, NOW + timedelta(minutes=minutes)) is not None) is wanted


def test_other_alerts_are_not_muted() -> None:
    ruleset = RuleSet((), Policy(silences=(SILENCE,), maintenance=(ONCE, WEEKLY), inhibitions=(INHIBITION,)))
    assert ruleset.suppressed(alert(alertname="Disks"), NOW, Sources(ruleset.policy.inhibitions)) is None


def test_what_is_over_is_named_and_what_will_come_is_not() -> None:
    past = Maintenance("past", (), calendar=Calendar(UTC, dates=((NOW.date(), NOW.date()),)), path="p", line=3)
    silence = Silence(SILENCE.matchers, NOW + HOUR, "anna", "c", path="p", line=7)
    policy = Policy(silences=(silence,), maintenance=(ONCE, WEEKLY, past))
    assert list(policy.outdated(NOW)) == []
    assert [str(each) for each in policy.outdated(NOW + timedelta(days=1))] == [
        "p:7: the silence by anna ended 2026-11-20 10:00 UTC; remove it",
        ": maintenance 'move' is over; remove it",
        "p:3: maintenance 'past' is over; remove it",
    ]
