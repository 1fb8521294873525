"""Each transition of an incident, alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from responder import incidents
from responder.model import Incident, Move, Status
from tests.given import NOW, P0, P1, P2, P3, RULES, after, alert


def incident(**more: object) -> Incident:
    base = incidents.new(RULES.classify(alert()), alert(), "#api", {}, NOW)
    return replace(base, **{"id": 7, "firing": 1, "episodes": 1, **more})  # type: ignore[arg-type]


def kinds(move: Move) -> list[str]:
    return [post.kind for post in move.posts]


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ({"summary": "a", "title": "b"}, "a"),
        ({"title": "b"}, "b"),
        ({}, "Api"),
        ({"summary": " much \n space\t"}, "much space"),
        ({"summary": "x" * 900}, "x" * 399 + "…"),
    ],
    ids=["summary", "title", "name", "one line", "cut"],
)
def test_the_title_is_the_best_that_the_alert_says(said: dict[str, str], title: str) -> None:
    first = alert(annotations=said)
    assert incidents.new(RULES.classify(first), first, "#api", {}, NOW).title == title


@pytest.mark.parametrize("status", [each for each in Status if not each.ended])
def test_acknowledging_stops_the_clock_and_names_who_is_on_it(status: Status) -> None:
    move = Move()
    taken = incidents.acknowledged(move, incident(status=status), "anna", after(60))
    assert (taken.acknowledged_by, taken.acknowledged_at, taken.commander) == ("anna", after(60), "anna")
    assert taken.status is (Status.INVESTIGATING if status is Status.DETECTING else status)
    assert [topic for _, topic, _ in move.signals] == ["acknowledged"]


def test_a_second_acknowledgement_changes_nothing() -> None:
    move = Move()
    taken = incident(acknowledged_at=NOW, acknowledged_by="anna")
    assert incidents.acknowledged(move, taken, "bert", after(60)) is taken
    assert move == Move()


@pytest.mark.parametrize(
    "act",
    [
        lambda move, one: incidents.acknowledged(move, one, "anna", NOW),
        lambda move, one: incidents.resolved(move, one, "anna", "", NOW),
        lambda move, one: incidents.investigating(move, one, "why", NOW),
        lambda move, one: incidents.watching(move, one, "why", NOW),
    ],
    ids=["acknowledged", "resolved", "investigating", "watching"],
)
@pytest.mark.parametrize("status", [Status.RESOLVED, Status.REVIEWED])
def test_what_has_ended_stays_ended(act: Callable[[Move, Incident], Incident], status: Status) -> None:
    move, over = Move(), incident(status=status, resolved_at=NOW)
    assert act(move, over) is over
    assert move == Move()


def test_resolving_keeps_how_many_still_fire() -> None:
    move = Move()
    over = incidents.resolved(move, incident(firing=3), "anna", "false alarm", after(minutes=20))
    assert (over.status, over.resolved_by, over.firing) == (Status.RESOLVED, "anna", 3)
    assert "after 20 min" in (move.posts[0].message.body if move.posts[0].message else "")
    assert [topic for _, topic, _ in move.signals] == ["resolved"]


@pytest.mark.parametrize("to", [P1, P2], ids=["the same", "milder"])
def test_a_raise_to_nothing_worse_is_no_raise(to: object) -> None:
    move, one = Move(), incident(severity=P1)
    assert incidents.raised(move, one, to, "why", "here", "#major", NOW) is one  # type: ignore[arg-type]
    assert move == Move()


def test_a_raise_pages_and_starts_the_acknowledge_clock_again() -> None:
    move = Move()
    one = incident(acknowledged_at=NOW, acknowledged_by="anna", commander="anna", page_at=NOW)
    worse = incidents.raised(move, one, P0, "why", "here", "#major", after(60))
    assert (worse.severity, worse.acknowledged_at, worse.page_at, worse.raised_at) == (P0, None, after(60), after(60))
    assert kinds(move) == ["page", "head", "notice"]
    assert move.posts[0].message is not None
    assert move.posts[0].message.mention == "here"


def test_a_minor_incident_that_is_raised_gets_runs_that_look_into_it() -> None:
    minor, move = incident(severity=P3), Move()
    worse = incidents.raised(move, minor, P1, "grown", "here", "", NOW)
    assert worse.run_n == minor.run_n + 1
    assert [(kind, n) for _, kind, n in move.runs] == [("watch", worse.run_n), ("chain", worse.run_n)]


def test_a_raise_in_the_incidents_own_channel_needs_no_notice() -> None:
    move = Move()
    incidents.raised(move, incident(), P0, "why", "here", "#api", NOW)
    assert kinds(move) == ["page", "head"]


def test_reopening_forgets_how_it_ended_and_begins_new_runs() -> None:
    move = Move()
    over = incident(status=Status.RESOLVED, resolved_at=NOW, resolved_by="anna", phase="verify", acknowledged_at=NOW)
    again = incidents.reopened(move, over, "fires", "here", after(60))
    assert (again.status, again.resolved_at, again.resolved_by, again.phase) == (Status.INVESTIGATING, None, "", "")
    assert move.runs == [(7, "watch", 2), (7, "chain", 2)]
    assert kinds(move) == ["page", "head"]


def test_monitoring_begins_only_when_the_last_has_ended() -> None:
    some = incidents.calmed(Move(), incident(firing=2), [alert()], after(1))
    assert (some.status, some.firing) == (Status.DETECTING, 1)
    move = Move()
    none = incidents.calmed(move, some, [alert()], after(2))
    assert (none.status, none.monitoring_at, none.firing) == (Status.MONITORING, after(2), 0)
    assert [topic for _, topic, _ in move.signals] == ["episodes"]


def test_alerts_that_end_under_a_resolved_incident_do_not_wake_it() -> None:
    move = Move()
    over = incidents.calmed(move, incident(status=Status.RESOLVED, resolved_at=NOW), [alert()], NOW)
    assert (over.status, over.firing) == (Status.RESOLVED, 0)
    assert not move.posts


def test_growing_in_monitoring_goes_back_to_investigating_without_a_page() -> None:
    move = Move()
    again = incidents.grew(move, incident(status=Status.MONITORING, monitoring_at=NOW, firing=0), [alert()], NOW)
    assert (again.status, again.monitoring_at, again.firing) == (Status.INVESTIGATING, None, 1)
    assert kinds(move) == ["joined", "head"]
    assert [topic for _, topic, _ in move.signals] == ["episodes"]


def test_facts_are_distinct_cut_and_at_most_so_many() -> None:
    one = incidents.with_facts(incident(), [("pod", "a"), ("pod", "x" * 500)])
    again = incidents.with_facts(one, [("pod", "x" * 500)])
    assert [len(value) for value in again.facts["pod"]] == [1, incidents.MAX_VALUE]
    full = incidents.with_facts(again, [("pod", str(n)) for n in range(1000)])
    assert len(full.facts["pod"]) == incidents.MAX_FACTS
    assert one.facts is not again.facts or again is one


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-5, "0 s"), (89, "89 s"), (90, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_a_duration_is_said_as_people_do(seconds: float, said: str) -> None:
    assert incidents.duration(seconds) == said


def test_few_alerts_are_named_and_the_rest_is_counted() -> None:
    said = incidents.listed([alert(instance=f"i{n}") for n in range(8)])
    assert said == "Api i0, Api i1, Api i2, Api i3, Api i4 and 3 more"
    assert "\n" not in incidents.listed([alert("a\nb", instance="c\nd")])


def test_how_long_a_person_holds_and_how_long_a_group_may_come_back() -> None:
    by_person = incident(status=Status.RESOLVED, resolved_at=NOW, resolved_by="anna")
    assert incidents.stays_resolved(by_person, NOW + timedelta(minutes=59))
    assert not incidents.stays_resolved(by_person, NOW + timedelta(minutes=60))
    assert not incidents.stays_resolved(replace(by_person, resolved_by=""), NOW)
    assert incidents.may_reopen(by_person, NOW + timedelta(minutes=30))
    assert not incidents.may_reopen(by_person, NOW + timedelta(minutes=30, seconds=1))
