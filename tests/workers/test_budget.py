"""Token buckets by a clock that is only a number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from responder.model import OutboxPost, Severity
from responder.ports import Budget, Rest
from responder.workers.budget import CHANNEL_DEBT, MAX_PLACES, MOVES_AFTER_S, Bucket, Purse
from tests.given import NOW, P0, P2

BUDGET = Budget(channel_per_s=1, channel_burst=3, chat_per_s=4, chat_burst=10, edits_per_s=0.5, edits_burst=2)


def post(kind: str = "head", severity: Severity = P2, place: str = "#a", thread_ts: str = "") -> OutboxPost:
    return OutboxPost(1, 1, "c", kind, severity, "", None, "queued", NOW, 0, "", "", thread_ts, place=place)


def purse(budget: Budget | None = BUDGET) -> Purse:
    return Purse("c", "#home", budget)


def spend(given: Purse, what: OutboxPost, at_s: float) -> int:
    """Send as many as may go; gives how many."""
    for n in range(1000):
        if given.wait_s(what, at_s):
            return n
        given.take(what.lane, what.place, at_s)
    return 1000


def test_a_burst_goes_at_once_and_then_one_a_token() -> None:
    given = purse()
    assert [spend(given, post(), at_s) for at_s in (0.0, 0.5, 1.0, 1.5, 2.0, 60.0)] == [3, 0, 1, 0, 1, 3]


def test_it_says_how_long_the_next_token_takes() -> None:
    given = purse()
    spend(given, post(), 0.0)
    assert given.wait_s(post(), 0.25) == pytest.approx(0.75)
    assert given.soon_s(0.25) == pytest.approx(0.75)
    assert given.soon_s(10.0) == float("inf")


def test_channels_have_their_own_tokens_and_share_those_of_the_chat() -> None:
    given = purse()
    assert [spend(given, post(place=f"#{n}"), 0.0) for n in range(5)] == [3, 3, 3, 1, 0]


def test_edits_have_tokens_of_their_own() -> None:
    given, edit = purse(), post(thread_ts="1.0")
    spend(given, post(), 0.0)
    assert [spend(given, edit, at_s) for at_s in (0.0, 1.0, 2.0)] == [2, 0, 1]


def test_the_urgent_go_at_once_into_a_debt_with_a_bottom_that_the_others_pay_off() -> None:
    given, page = purse(), post(severity=P0)
    assert spend(given, page, 0.0) == 3 + CHANNEL_DEBT
    assert given.wait_s(page, 0.0) == pytest.approx(1.0)
    assert given.wait_s(post(), 0.0) == pytest.approx(1 + CHANNEL_DEBT)
    assert spend(given, post(), CHANNEL_DEBT) == 0
    assert spend(given, post(), CHANNEL_DEBT + 1) == 1


def test_an_edit_is_never_urgent() -> None:
    given, edit = purse(), post(severity=P0, thread_ts="1.0")
    assert spend(given, edit, 0.0) == 2


def test_after_a_rest_one_goes_and_not_all_that_would_have_come_meanwhile() -> None:
    given = purse()
    given.refused("head", "#a", 0.0, 30.0, urgent=False)
    assert given.wait_s(post(), 0.0) == 30.0
    assert [spend(given, post(), at_s) for at_s in (29.9, 30.0, 30.5, 31.0)] == [0, 1, 0, 1]


def test_a_rest_pays_off_what_was_spent_before_it() -> None:
    given = purse()
    spend(given, post(severity=P0), 0.0)
    given.refused("head", "#a", 0.0, 30.0, urgent=False)
    assert [spend(given, post(), at_s) for at_s in (29.9, 30.0, 31.0)] == [0, 1, 1]


def test_a_rest_asked_of_minor_posts_lets_the_urgent_try_and_one_asked_of_them_does_not() -> None:
    given, page = purse(), post(severity=P0)
    given.refused("head", "#a", 0.0, 30.0, urgent=False)
    assert given.wait_s(page, 1.0) == 0
    given.refused("head", "#a", 1.0, 20.0, urgent=True)
    assert (given.wait_s(page, 1.0), given.wait_s(page, 21.0)) == (20.0, 0.0)
    assert given.wait_s(replace(page, place="#b"), 1.0) == 0


def test_a_rest_of_edits_holds_no_message() -> None:
    given = purse()
    given.refused("edit", "#a", 0.0, 30.0, urgent=False)
    assert given.wait_s(post(thread_ts="1.0"), 0.0) == 30.0
    assert given.wait_s(post(), 0.0) == 0


def test_without_a_budget_only_a_refusal_makes_anybody_wait() -> None:
    given = purse(None)
    assert spend(given, post(), 0.0) == 1000
    given.refused("head", "#a", 0.0, 5.0, urgent=False)
    assert given.wait_s(post(), 0.0) == 5.0


@pytest.mark.parametrize(
    ("what", "muted", "moves"),
    [
        (post(severity=P0), {"#a": 30.0}, True),
        (post(severity=P0), {"#a": MOVES_AFTER_S}, False),
        (post(severity=P0), {"#a": 30.0, "#home": 1.0}, False),
        (post(severity=P0, place="#home"), {"#home": 30.0}, False),
        (post("reply", P0, thread_ts="1.0"), {"#a": 30.0}, False),
        (post(), {"#a": 30.0}, False),
    ],
    ids=["a P0 head", "not for so short", "home rests too", "it is home", "its thread is there", "minor"],
)
def test_a_head_moves_home_when_its_channel_refuses_even_the_worst(
    what: OutboxPost, muted: dict[str, float], moves: bool
) -> None:
    given = purse()
    for place, for_s in muted.items():
        given.refused("head", place, 0.0, for_s, urgent=True)
    assert given.moves(what, 0.0) is moves


def test_it_says_what_rests_so_that_a_read_goes_past_it() -> None:
    given = purse()
    assert list(given.resting(0.0)) == []
    spend(given, post(), 0.0)
    assert list(given.resting(0.0)) == [Rest("c", "line", "#a"), Rest("c", "head", "#a")]
    given.refused("head", "#a", 0.0, 30.0, urgent=True)  # a P0 head may still move home: it is read
    assert list(given.resting(0.0)) == [Rest("c", "line", "#a", urgent_too=True), Rest("c", "head", "#a")]
    spend(given, post(thread_ts="1.0"), 0.0)
    assert Rest("c", "edit", None, urgent_too=True) in list(given.resting(0.0))


def test_a_chat_without_tokens_rests_as_a_whole() -> None:
    given = purse()
    for n in range(4):
        spend(given, post(place=f"#{n}"), 0.0)
    assert Rest("c", "head", None) in list(given.resting(0.0))


def test_places_are_not_remembered_for_ever() -> None:
    given = purse(None)
    for n in range(MAX_PLACES + 100):
        given.take("head", f"#{n}", float(n))
    assert list(given.resting(1e6)) == []
    assert len(given._places) <= MAX_PLACES


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(per_s=1.0, burst=2)
    assert bucket.level_at(1e9) == 2
    bucket.take(1e9)
    assert bucket.level_at(1e9) == 1
    assert bucket.level_at(0.0) == 1  # a clock that seems to run back gives nothing and takes nothing
