"""What is said together: lines in one message, a storm in one digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from responder.model import Message, OutboxPost, Severity
from responder.ports import Line, Waiting
from responder.workers.digest import MAX_MERGED_CHARS, NAMED_OVER, SHOWN_INCIDENTS, SHOWN_LINES, draw_digest, merge
from tests.given import NOW, P2, P3


def carrier(kind: str, text: str = "first") -> OutboxPost:
    message = None if kind == "head" else Message("", body=text)
    return OutboxPost(1, 1, "c", kind, P2, "", message, "queued", NOW, 0, "", "C1", "1.0")


def line(number: int, text: str = "", kind: str = "reply", **more: Any) -> Line:
    return Line(number, kind, False, replace(Message("", body=text or str(number)), **more))


def joined(*numbers: int) -> list[Line]:
    return [line(n, kind="joined") for n in numbers]


def test_replies_that_wait_behind_each_other_go_in_one_message_in_order() -> None:
    load = merge(carrier("reply"), [line(2), line(3, kind="joined"), line(4)], replies=True)
    assert load.message is not None
    assert load.message.body == "first\n2\n3\n4"
    assert (load.told, load.folded) == ((2, 3, 4), ())


def test_who_joined_is_counted_where_too_many_did() -> None:
    load = merge(carrier("joined"), joined(*range(2, 22)), replies=True)
    assert load.message is not None
    assert load.message.body.splitlines() == [
        "first", *(str(n) for n in range(2, SHOWN_LINES + 1)), "… and 13 more updates of this kind"
    ]  # fmt: skip
    assert load.folded == tuple(range(SHOWN_LINES + 1, 22))


def test_into_a_head_who_joined_is_only_counted() -> None:
    assert merge(carrier("head"), joined(2, 3), replies=True).folded == (2, 3)
    assert merge(carrier("head"), joined(2, 3), replies=False).riders == ()


@pytest.mark.parametrize(
    "rich",
    [{"facts": (("a", "b"),)}, {"code": "x"}, {"mention": "here"}, {"body": "x" * MAX_MERGED_CHARS}],
    ids=["facts", "code", "a mention", "long"],
)
def test_what_is_more_than_a_line_goes_by_itself_and_nothing_passes_it(rich: dict[str, Any]) -> None:
    lines = [line(2), line(3, **rich), line(4)]
    assert merge(carrier("reply"), lines, replies=True).told == (2,)
    alone = replace(carrier("reply"), message=lines[1].message)
    assert merge(alone, [line(4)], replies=True).riders == ()


def test_a_chat_without_a_budget_gets_each_reply_and_who_joined_together() -> None:
    assert merge(carrier("reply"), [line(2)], replies=False).riders == ()
    assert merge(carrier("joined"), joined(2), replies=False).told == (2,)


def test_titles_and_footers_are_not_lost_in_a_merge() -> None:
    load = merge(carrier("reply"), [line(2, "b", title="t", footer="f")], replies=True)
    assert load.message is not None
    assert load.message.body == "first\n\nt\nb\nf"


def test_the_same_lines_give_the_same_message_again() -> None:
    lines = [line(2), *joined(*range(3, 20)), line(20, "x" * MAX_MERGED_CHARS), line(21)]
    first = merge(carrier("reply"), lines, replies=True)
    riding = [replace(each, riding=True) for each in lines if each.id in first.riders]
    assert merge(carrier("reply"), riding, replies=True) == first


def waits(number: int, severity: Severity = P2, *, over: bool = False, title: str = "t") -> Waiting:
    return Waiting(1000 + number, number, severity, title, 0 if over else 2, 3, over)


def test_a_digest_counts_by_severity_names_the_worst_and_says_what_follows() -> None:
    digest = draw_digest([*(waits(n) for n in range(1, 13)), waits(13, P3)], told=0)
    assert digest is not None
    assert digest.message.title == "Storm: 13 incidents opened here: 12 P2, 1 P3"
    lines = digest.message.body.splitlines()
    assert lines[0] == "INC-1 P2 · 2 firing of 3 · t"
    assert lines[SHOWN_INCIDENTS] == f"… and {13 - SHOWN_INCIDENTS} more"
    assert lines[-1].startswith("13 still to come")
    assert (digest.upto, digest.over) == (1013, ())


def test_a_digest_tells_only_what_is_new_and_nothing_when_nothing_is() -> None:
    waiting = [waits(1), waits(2)]
    assert draw_digest(waiting, told=1002) is None
    digest = draw_digest([*waiting, waits(3)], told=1002)
    assert digest is not None
    assert digest.message.title == "Storm: 1 incident opened here: 1 P2"
    assert "INC-1 " not in digest.message.body


def test_a_digest_names_each_incident_that_it_tells_to_be_over() -> None:
    waiting = [waits(n, over=True) for n in range(1, NAMED_OVER + 6)]
    digest = draw_digest(waiting, told=5000)
    assert digest is not None
    assert len(digest.over) == NAMED_OVER
    assert all(f"INC-{n}" in digest.message.body for n in digest.over)
    assert digest.message.body.endswith("5 still to come: each follows in its own thread as the chat allows.")


def test_a_long_title_takes_one_short_line() -> None:
    digest = draw_digest([waits(1, title="a\nb " * 400)], told=0)
    assert digest is not None
    assert max(map(len, digest.message.body.splitlines())) < 250
