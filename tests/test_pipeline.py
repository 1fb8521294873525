"""From alerts to a Move, without a store: what is new, what joins, what pages."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from responder import incidents
from responder.model import Alert, Episode, Incident, Move, Muted, NewEpisode, News, Severity, Status
from responder.rules import RuleSet
from responder.rules.rule import Raise
from tests.given import NOW, P0, P1, P2, P3, POLICY, RULES, after, alert, moved, pages, rule


def episode(of: Alert, *, firing: bool = True, number: int = 1, home: int | None = 1, ended: datetime | None = None,
            received: datetime | None = None) -> Episode:  # fmt: skip
    start = of.started_at or of.received_at
    return Episode(
        number,
        of.identity,
        of.source,
        of.labels,
        of.annotations,
        firing,
        start,
        ended,
        received or of.received_at,
        home,
    )


def incident(number: int = 1, **more: object) -> Incident:
    decided = RULES.classify(alert())
    base = incidents.new(decided, alert(), "#api", {}, NOW)
    fields = {"id": number, "firing": 1, "episodes": 1, "status": Status.INVESTIGATING, **more}
    return replace(base, **fields)  # type: ignore[arg-type]  # the tests name the fields themselves


def resolved(number: int = 1, **more: object) -> Incident:
    return incident(number, **{"status": Status.RESOLVED, "resolved_at": after(minutes=10), "firing": 0, **more})


def only_new(move: Move) -> NewEpisode:
    assert len(move.episodes) == 1
    return move.episodes[0]


# --- new and joined ---


def test_a_first_alert_opens_an_incident_with_one_page_and_both_runs() -> None:
    move = moved(alert())
    assert [each.severity for each in move.opened] == [P2]
    assert pages(move) == 1
    assert [(kind, n) for _, kind, n in move.runs] == [("watch", 1), ("chain", 1)]
    assert only_new(move).incident == move.opened[0].group_key


def test_nothing_gives_nothing() -> None:
    move = moved()
    assert move == Move()


def test_a_firing_alert_whose_episode_is_open_joins_it_and_says_nothing() -> None:
    move = moved(alert(received=after(300)), episodes=[episode(alert())], incidents=[incident()])
    assert not move.opened
    assert not move.changed
    assert not move.posts
    assert [(each.id, each.entries) for each in move.joined] == [(1, 1)]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param(after(-60), after(-60), id="an earlier start is kept"),
        pytest.param(after(60), None, id="a later start is not"),
        pytest.param(NOW, None, id="the same start changes nothing"),
        pytest.param(None, None, id="no start changes nothing"),
    ],
)
def test_of_two_starts_the_earliest_stands(sent: datetime | None, kept: datetime | None) -> None:
    move = moved(alert(started=sent, received=after(300)), episodes=[episode(alert())], incidents=[incident()])
    assert move.joined[0].started_at == kept


def test_a_start_that_moved_silently_is_the_same_episode_and_it_closes() -> None:
    again = alert(started=after(120), received=after(300))
    assert not moved(again, episodes=[episode(alert())], incidents=[incident()]).episodes
    over = alert(firing=False, started=after(120), ended=after(400), received=after(400))
    move = moved(over, episodes=[episode(alert())], incidents=[incident()], now=after(400))
    assert move.joined[0].ended_at == after(400)
    assert move.changed[0].status is Status.MONITORING


def test_another_instance_of_an_open_group_joins_without_a_page() -> None:
    move = moved(alert(instance="b"), episodes=[episode(alert(instance="a"))], incidents=[incident()])
    assert pages(move) == 0
    assert (move.changed[0].firing, move.changed[0].episodes) == (2, 2)
    assert only_new(move).incident == 1
    assert {post.kind for post in move.posts} == {"joined", "head"}


def test_two_groups_in_one_body_are_two_incidents_with_a_page_each() -> None:
    move = moved(alert(cluster="eu"), alert(cluster="us"))
    assert len(move.opened) == 2
    assert pages(move) == 2
    assert len({each.group_key for each in move.opened}) == 2


def test_five_thousand_alerts_of_one_group_are_one_incident_and_one_page() -> None:
    move = moved(*[alert(instance=f"i{n}") for n in range(5000)])
    assert [each.firing for each in move.opened] == [5000]
    assert len(move.episodes) == 5000
    assert pages(move) == 1
    assert move.counts["entries", ""] == 5000
    assert len(move.opened[0].facts["instance"]) == incidents.MAX_FACTS


# --- ended ---


def test_the_last_alert_that_ends_puts_the_incident_into_monitoring() -> None:
    over = alert(firing=False, ended=after(60), received=after(61))
    move = moved(over, episodes=[episode(alert())], incidents=[incident()], now=after(61))
    assert (move.changed[0].status, move.changed[0].firing) == (Status.MONITORING, 0)
    assert move.changed[0].monitoring_at == after(61)
    assert pages(move) == 0


def test_one_of_two_that_ends_leaves_the_incident_as_it_is() -> None:
    over = alert(firing=False, ended=after(60), received=after(61))
    move = moved(over, episodes=[episode(alert())], incidents=[incident(firing=2)])
    assert (move.changed[0].status, move.changed[0].firing) == (Status.INVESTIGATING, 1)
    assert {post.kind for post in move.posts} == {"head"}


def test_an_end_before_the_start_ends_nothing() -> None:
    over = alert(firing=False, ended=after(-1), received=after(60))
    move = moved(over, episodes=[episode(alert())], incidents=[incident()])
    assert move.joined[0].ended_at is None
    assert not move.changed
    assert move.counts["stale", ""] == 1


def test_an_end_in_the_future_is_taken_as_now() -> None:
    over = alert(firing=False, ended=after(hours=9), received=after(60))
    move = moved(over, episodes=[episode(alert())], incidents=[incident()])
    assert move.joined[0].ended_at == after(60)


@pytest.mark.parametrize("before", [None, after(-60)], ids=["never seen", "ended before"])
def test_resolved_with_none_open_makes_an_ended_episode_that_pages_nobody(before: datetime | None) -> None:
    known = [episode(alert(), firing=False, ended=before, home=None)] if before else []
    move = moved(alert(firing=False, ended=after(30), received=after(31)), episodes=known)
    assert only_new(move).ended_at == after(30)
    assert only_new(move).incident is None
    assert not move.opened
    assert not move.posts


def test_a_resolve_that_is_repeated_is_only_counted() -> None:
    over = alert(firing=False, ended=after(30), received=after(300))
    move = moved(over, episodes=[episode(alert(), firing=False, ended=after(30))], incidents=[incident()])
    assert not move.episodes
    assert [(each.entries, each.ended_at) for each in move.joined] == [(1, None)]


# --- late copies and resolves that were none ---


@pytest.mark.parametrize(
    ("since_s", "says"),
    [
        pytest.param(1, "stale", id="a second after the resolve"),
        pytest.param(60, "stale", id="just within the minute"),
        pytest.param(61, "still firing", id="after the minute it is firing still"),
    ],
)
def test_a_start_not_after_the_last_end_is_stale_for_a_minute_then_still_firing(since_s: int, says: str) -> None:
    ended = episode(alert(), firing=False, ended=after(30), received=after(30))
    late = alert(received=after(30 + since_s))
    calm = incident(status=Status.MONITORING, firing=0, monitoring_at=after(30))
    move = moved(late, episodes=[ended], incidents=[calm], now=after(30 + since_s))
    assert not move.episodes
    assert move.joined[0].reopen is (says == "still firing")
    assert bool(move.changed) is (says == "still firing")
    assert pages(move) == 0


def test_what_fires_still_brings_monitoring_back_to_investigating() -> None:
    ended = episode(alert(), firing=False, ended=after(30), received=after(30))
    calm = incident(status=Status.MONITORING, firing=0, monitoring_at=after(30))
    move = moved(alert(received=after(100)), episodes=[ended], incidents=[calm], now=after(100))
    assert (move.changed[0].status, move.changed[0].firing, move.changed[0].episodes) == (Status.INVESTIGATING, 1, 1)


def test_a_start_after_the_last_end_is_a_new_episode_even_within_the_minute() -> None:
    ended = episode(alert(), firing=False, ended=after(30), received=after(30))
    move = moved(alert(started=after(31), received=after(32)), episodes=[ended], incidents=[incident(firing=0)])
    assert only_new(move).started_at == after(31)


def test_an_alert_without_a_start_begins_when_it_came() -> None:
    ended = episode(alert(), firing=False, ended=after(30), received=after(30))
    move = moved(alert(started=None, received=after(32)), episodes=[ended], incidents=[incident(firing=0)])
    assert only_new(move).started_at == after(32)


# --- a group that comes back ---


@pytest.mark.parametrize(
    ("minutes", "opens"),
    [
        pytest.param(29, False, id="within 30 min the same incident again"),
        pytest.param(30, False, id="at 30 min still the same"),
        pytest.param(31, True, id="after 30 min a new one"),
    ],
)
def test_a_group_that_fires_after_it_was_resolved(minutes: int, opens: bool) -> None:
    then = after(minutes=10 + minutes)
    move = moved(alert(instance="new", started=then, received=then), incidents=[resolved()], now=then)
    assert bool(move.opened) is opens
    assert pages(move) == 1
    if not opens:
        assert (move.changed[0].status, move.changed[0].run_n) == (Status.INVESTIGATING, 2)
        assert move.changed[0].acknowledged_at is None
        assert [(kind, n) for _, kind, n in move.runs] == [("watch", 2), ("chain", 2)]


@pytest.mark.parametrize(
    ("minutes", "wakes"),
    [pytest.param(59, False, id="sleeps within the hour"), pytest.param(60, True, id="wakes when the hour is over")],
)
def test_what_a_person_resolved_while_it_fires_stays_so_for_an_hour(minutes: int, wakes: bool) -> None:
    then = after(minutes=10 + minutes)
    home = resolved(resolved_by="anna", firing=1)
    move = moved(alert(received=then), episodes=[episode(alert())], incidents=[home], now=then)
    assert not move.opened
    assert bool(move.changed) is wakes
    assert pages(move) == int(wakes)
    if wakes:
        assert move.changed[0].firing == 1


def test_what_a_person_resolved_wakes_at_once_when_it_had_ended() -> None:
    home = resolved(resolved_by="anna", firing=0)
    ended = episode(alert(), firing=False, ended=after(minutes=11), received=after(minutes=11))
    again = alert(started=after(minutes=12), received=after(minutes=12))
    move = moved(again, episodes=[ended], incidents=[home], now=after(minutes=12))
    assert (move.changed[0].status, pages(move)) == (Status.INVESTIGATING, 1)


def test_a_new_instance_wakes_a_group_that_a_person_resolved() -> None:
    home = resolved(resolved_by="anna", firing=1)
    then = after(minutes=12)
    move = moved(
        alert(instance="new", started=then, received=then), episodes=[episode(alert())], incidents=[home], now=then
    )
    assert (move.changed[0].status, move.changed[0].firing, pages(move)) == (Status.INVESTIGATING, 2, 1)


def test_an_alert_that_moves_to_another_incident_leaves_its_old_one() -> None:
    old = resolved(1, resolved_by="anna", firing=1)
    new = incident(2, opened_at=after(minutes=50))
    then = after(minutes=80)
    move = moved(alert(received=then), episodes=[episode(alert(), home=1)], incidents=[old, new], now=then)
    firing = {each.id: each.firing for each in move.changed}
    assert firing == {1: 0, 2: 2}
    assert move.joined[0].incident == 2
    assert pages(move) == 0


def test_one_move_never_opens_a_second_incident_beside_the_one_that_it_reopens() -> None:
    old = resolved(1, resolved_by="anna", resolved_at=NOW, firing=1)
    newer = resolved(2, resolved_at=after(minutes=20))
    then = after(minutes=70)
    move = moved(
        alert(received=then), alert(instance="other", started=then, received=then),
        episodes=[episode(alert(), home=1)], incidents=[old, newer], now=then,
    )  # fmt: skip
    assert not move.opened
    assert [(each.id, each.firing) for each in move.changed] == [(1, 2)]


def test_a_group_that_the_rules_name_anew_is_not_reopened_under_its_old_name() -> None:
    old = resolved(1, resolved_by="anna", resolved_at=NOW, firing=1, group_key="a rule of last week")
    then = after(minutes=70)
    move = moved(alert(received=then), episodes=[episode(alert(), home=1)], incidents=[old], now=then)
    assert [each.group_key for each in move.opened] == [RULES.classify(alert()).group_key]
    assert {each.id: (each.firing, each.status) for each in move.changed} == {1: (0, Status.RESOLVED)}


# --- raising ---


def test_a_joining_alert_with_a_worse_label_raises_and_pages_once() -> None:
    worse = alert(instance="b", severity="critical")
    move = moved(worse, episodes=[episode(alert())], incidents=[incident(acknowledged_at=NOW, acknowledged_by="anna")])
    assert (move.changed[0].severity, pages(move)) == (P1, 1)
    assert move.changed[0].acknowledged_at is None
    assert move.changed[0].page_at == NOW


def test_a_milder_alert_never_lowers() -> None:
    move = moved(alert(instance="b", severity="info"), incidents=[incident(severity=P1)])
    assert (move.changed[0].severity, pages(move)) == (P1, 0)


def test_an_open_alert_that_is_worse_now_raises_by_its_annotation() -> None:
    worse = alert(annotations={"users": "30%"}, received=after(60))
    move = moved(worse, episodes=[episode(alert())], incidents=[incident()])
    assert (move.changed[0].severity, pages(move)) == (P1, 1)


def test_a_third_distinct_instance_raises_once() -> None:
    home = incident(firing=2, facts={"instance": ["a", "b"]})
    move = moved(alert(instance="c"), incidents=[home])
    assert (move.changed[0].severity, pages(move)) == (P1, 1)
    calm = moved(alert(instance="d"), incidents=[replace(move.changed[0], version=2)])
    assert pages(calm) == 0


def test_ten_firing_raise_to_the_channel_of_the_worst() -> None:
    move = moved(alert(instance="j"), incidents=[incident(firing=9, facts={"instance": ["a", "b", "c"]}, severity=P1)])
    assert (move.changed[0].severity, pages(move)) == (P0, 1)
    assert [(post.kind, post.channel) for post in move.posts if post.kind == "notice"] == [("notice", "#major")]


def test_alerts_that_end_in_the_same_move_do_not_count_towards_a_raise() -> None:
    over = [alert(instance=f"old{n}", firing=False, ended=after(9), received=after(9)) for n in range(5)]
    known = [episode(alert(instance=f"old{n}"), number=n + 1) for n in range(5)]
    fresh = [alert(instance=f"new{n}", started=after(9), received=after(9)) for n in range(5)]
    home = incident(firing=5, severity=P1)
    move = moved(*over, *fresh, episodes=known, incidents=[home], now=after(9))
    assert (move.changed[0].firing, move.changed[0].severity) == (5, P1)
    assert pages(move) == 0


def test_a_body_that_is_bad_enough_opens_at_the_worst_with_one_page() -> None:
    move = moved(
        alert(instance="a"), alert(instance="b", severity="critical"), *[alert(instance=f"{n}") for n in range(9)]
    )
    assert ([each.severity for each in move.opened], pages(move)) == ([P0], 1)


def test_several_worse_alerts_in_one_move_are_one_raise_and_one_page() -> None:
    move = moved(
        alert(instance="b", severity="critical"),
        alert(instance="c", severity="outage"),
        incidents=[incident(severity=P3)],
    )
    assert (move.changed[0].severity, pages(move)) == (P0, 1)


@pytest.mark.parametrize("severity", [P1, P0], ids=["P1", "P0"])
def test_a_rule_that_goes_on_adds_channels_and_may_only_raise(severity: Severity) -> None:
    labels: dict[str, Any] = {"page": "yes", "team": "db"} | ({"severity": "outage"} if severity is P0 else {})
    move = moved(alert("Wide", **labels))
    assert move.opened[0].rule == "wide"
    assert move.opened[0].severity is P1  # the first later match without `continue` ends the search
    assert move.opened[0].channel == "#wide"
    assert [post.channel for post in move.posts if post.kind == "notice"] == ["#pagers", "#db"]
    assert pages(move) == 1


def test_an_incident_that_starts_higher_tells_the_channel_of_that_severity() -> None:
    rules = RuleSet((rule("plain", 'alertname="Api"', raises=(Raise(P0, "count", 2),), group_by=("cluster",)),), POLICY)
    move = moved(alert(instance="a"), alert(instance="b"), rules=rules)
    told = {move.opened[0].channel} | {post.channel for post in move.posts if post.kind == "notice"}
    assert move.opened[0].severity is P0
    assert "#major" in told


def test_an_alert_that_no_rule_matches_is_a_p2_by_the_backstop_and_pages() -> None:
    move = moved(alert("Nameless"))
    assert (move.opened[0].rule, move.opened[0].severity, pages(move)) == ("backstop", P2, 1)
    assert move.counts["rule_hits", "backstop"] == 1


def test_all_entries_are_counted_by_status_and_by_rule() -> None:
    move = moved(alert(), alert(firing=False, instance="b", ended=NOW), alert("Nameless"))
    assert move.counts["entries", ""] == 3
    assert move.counts["alerts", "alertmanager/firing"] == 2
    assert move.counts["alerts", "alertmanager/resolved"] == 1
    taken = sum(each.entries for each in move.episodes) + sum(each.entries for each in move.joined)
    assert taken == 3


# --- muted, heartbeats ---

SILENCED = Muted("silence", "until noon, by ada: the switch is replaced")


def test_a_muted_alert_is_an_episode_with_its_reason_and_opens_nothing() -> None:
    move = moved(alert(), muted={"Api": SILENCED})
    assert (move.opened, move.posts, move.runs) == ([], [], [])
    kept = only_new(move)
    assert (kept.incident, kept.entries, kept.muted) == (None, 1, SILENCED)
    assert kept.why["muted"] == {"kind": "silence", "why": SILENCED.why}
    assert move.counts["muted", "silence"] == 1


def test_a_muted_alert_that_is_heard_again_opens_its_incident_with_one_page() -> None:
    was = replace(episode(alert(), home=None), muted=SILENCED)
    move = moved(alert(), episodes=[was])
    assert len(move.opened) == pages(move) == 1
    [change] = move.joined
    assert (change.incident, change.muted) == (move.opened[0].group_key, Muted())


def test_a_muted_alert_that_repeats_is_only_counted() -> None:
    was = replace(episode(alert(), home=None), muted=SILENCED)
    move = moved(alert(), episodes=[was], muted={"Api": SILENCED})
    [change] = move.joined
    assert (change.incident, change.muted, change.entries) == (None, None, 1)
    assert (move.opened, move.posts) == ([], [])


def test_a_silence_does_not_take_an_alert_out_of_its_open_incident() -> None:
    move = moved(alert(), episodes=[episode(alert())], incidents=[incident()], muted={"Api": SILENCED})
    [change] = move.joined
    assert (change.incident, change.muted) == (None, None)


def test_a_muted_instance_does_not_join_the_incident_of_its_group() -> None:
    move = moved(alert(instance="b"), incidents=[incident()], muted={"Api": SILENCED})
    assert only_new(move).incident is None
    assert move.changed == []


def test_a_muted_alert_whose_incident_is_over_does_not_open_it_again() -> None:
    was = episode(alert(), firing=False, ended=after(minutes=9))
    fires = alert(started=after(minutes=12), received=after(minutes=12))
    move = moved(fires, episodes=[was], incidents=[resolved()], now=after(minutes=12), muted={"Api": SILENCED})
    assert (move.changed, move.posts) == ([], [])
    assert only_new(move).muted == SILENCED


def test_an_end_that_was_none_goes_on_in_its_open_incident_whatever_mutes_it_by_now() -> None:
    was = episode(alert(), firing=False, ended=after(60), received=after(60))
    still, calm = alert(received=after(300)), incident(status=Status.MONITORING, monitoring_at=after(60), firing=0)
    move = moved(still, episodes=[was], incidents=[calm], now=after(300), muted={"Api": SILENCED})
    [change], [home] = move.joined, move.changed
    assert (change.reopen, change.incident, change.muted) == (True, 1, None)
    assert (home.status, home.firing, home.episodes) == (Status.INVESTIGATING, 1, 1)


def test_a_muted_alert_never_fires_in_an_incident_that_is_over() -> None:
    was = episode(alert(), firing=False, ended=after(60), received=after(60))
    move = moved(
        alert(received=after(900)), episodes=[was], incidents=[resolved()], now=after(900), muted={"Api": SILENCED}
    )
    assert (move.joined, move.changed, move.posts) == ([], [], [])
    assert (only_new(move).incident, only_new(move).muted, only_new(move).entries) == (None, SILENCED, 1)


def test_a_muted_episode_without_an_incident_whose_end_was_none_opens_again_as_it_was() -> None:
    was = replace(episode(alert(), firing=False, ended=after(60), received=after(60), home=None), muted=SILENCED)
    move = moved(alert(received=after(300)), episodes=[was], now=after(300), muted={"Api": SILENCED})
    assert [(each.reopen, each.incident, each.muted) for each in move.joined] == [(True, None, None)]


def test_an_episode_keeps_why_it_was_judged_as_it_was() -> None:
    why = only_new(moved(alert())).why
    assert (why["rule"], why["severity"], why["revision"]) == ("api", "P2", RULES.revision)


def test_a_heartbeat_is_noted_each_time_that_it_comes() -> None:
    mute = {"Api": Muted("heartbeat", "")}
    move = moved(alert(), alert(instance="b"), heartbeat_s=600.0, muted=mute)
    assert [(each.rule, each.within_s) for each in move.beats] == [("api", 600.0)] * 2
    assert move.opened == []


# --- what is known elsewhere ---


def from_elsewhere(name: str = "Paged", **more: Any) -> Alert:
    return replace(alert(name), source="pagerduty", identity=f"pd-{name}", **more)


def test_what_was_unmuted_without_its_name_elsewhere_is_linked_by_its_next_word() -> None:
    said = from_elsewhere("Api", ref="PABC")
    move = moved(said, episodes=[episode(said)], incidents=[incident()])
    assert [each.links for each in move.changed] == [(("pagerduty", "PABC"),)]
    assert [(post.kind, post.channel) for post in move.posts] == [("linked", "PABC")]
    again = moved(said, episodes=[episode(said)], incidents=[incident(links=(("pagerduty", "PABC"),))])
    assert (again.changed, again.posts) == ([], [])


def test_an_incident_with_a_name_elsewhere_is_told_there_once() -> None:
    first = moved(from_elsewhere(ref="PABC"))
    assert first.opened[0].links == (("pagerduty", "PABC"),)
    assert [(post.kind, post.chat, post.channel) for post in first.posts if post.chat] == [
        ("linked", "pagerduty", "PABC")
    ]
    again = moved(
        from_elsewhere("Other", ref="PABC"),
        incidents=[
            replace(incident(), group_key=RULES.classify(alert("Other")).group_key, links=first.opened[0].links)
        ],
    )
    assert [post for post in again.posts if post.chat] == []


@pytest.mark.parametrize("origin", ["", "pagerduty"])
def test_what_people_do_is_told_elsewhere_but_not_where_it_comes_from(origin: str) -> None:
    linked = incident(links=(("pagerduty", "PABC"), ("other", "7")))
    move = Move()
    incidents.acknowledged(move, linked, "ada", NOW, origin=origin)
    incidents.noted(move, linked, "ada", "looking", NOW, origin=origin)
    told = [(post.kind, post.chat) for post in move.posts if post.chat]
    expected = [(kind, chat) for kind in ("acknowledged", "note") for chat in ("pagerduty", "other")]
    assert told == [each for each in expected if each[1] != origin]


def test_news_acknowledges_the_incident_of_its_alert() -> None:
    news = News("pd-Paged", "pagerduty", "acknowledged", "Ada")
    paged = from_elsewhere()
    move = moved(episodes=[episode(paged)], incidents=[incident()], news=[news])
    [changed] = move.changed
    assert changed.acknowledged_by == "Ada in pagerduty"
    assert changed.acknowledged_at == NOW


def test_news_of_an_alert_that_nobody_knows_changes_nothing() -> None:
    move = moved(news=[News("pd-x", "pagerduty", "note", "Ada", "hello")])
    assert (move.changed, move.posts, move.timeline) == ([], [], [])


def test_a_note_from_elsewhere_is_a_line_in_the_thread_and_in_the_record() -> None:
    news = News("pd-Paged", "pagerduty", "note", "Ada", "restarted it")
    move = moved(episodes=[episode(from_elsewhere())], incidents=[incident()], news=[news])
    assert [(line.kind, line.text) for line in move.timeline] == [("note", "Ada in pagerduty: restarted it")]
    assert move.changed == []


def test_two_sources_that_report_the_same_group_make_one_incident() -> None:
    opened = incident(detected_by="pagerduty")
    move = moved(alert("Slow", received=NOW), incidents=[opened], twins={("k", "pagerduty"): 1})
    assert len(move.opened) == 1, "without the name that both give it, it is another incident"
    move = moved(replace(alert("Slow"), alias="k"), incidents=[opened], twins={("k", "pagerduty"): 1})
    assert move.opened == []
    assert only_new(move).incident == 1
    assert ("k", "alertmanager", 1) in move.aliases


@pytest.mark.parametrize(
    ("twins", "known"),
    [
        ({("k", "alertmanager"): 1}, incident()),  # our own source: its rules decide what belongs together
        ({("other", "pagerduty"): 1}, incident()),
        ({("k", "pagerduty"): 1}, resolved(resolved_at=after(hours=-2))),
    ],
    ids=["same-source", "other-name", "long-over"],
)
def test_what_is_no_twin_opens_its_own(twins: dict[tuple[str, str], int], known: Incident) -> None:
    move = moved(replace(alert("Slow"), alias="k"), incidents=[known], twins=twins)
    assert len(move.opened) == 1


def test_two_alerts_of_one_source_are_no_twins_in_one_move_either() -> None:
    one, other = replace(alert("Slow"), alias="k"), replace(alert("Wide1"), alias="k")
    assert [each.rule for each in moved(one, other).opened] == ["slow", "wide"]
    assert len(moved(one, replace(other, source="pagerduty")).opened) == 1
