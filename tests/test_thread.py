"""What the head of a thread shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from responder.model import Incident, Status
from responder.thread import FLAPPING, draw_head
from tests.given import NOW, P2

INCIDENT = Incident(
    7, 1, "g", P2, Status.INVESTIGATING, "API slow", "api", "default", "#api", NOW, firing=2, episodes=5
)


def test_updates_that_nobody_saw_are_counted_and_none_are_not_mentioned() -> None:
    assert "folded" not in repr(draw_head(INCIDENT, mention=""))
    assert draw_head(INCIDENT, mention="", folded=1).footer.startswith("1 update folded · since")
    assert draw_head(INCIDENT, mention="", folded=42).footer.startswith("42 updates folded · since")


@pytest.mark.parametrize(
    ("flaps", "shown"),
    [(FLAPPING - 1, "2 firing of 5 alerts"), (FLAPPING, f"2 firing of 5 alerts, flapping: {FLAPPING} times in 1 h")],
    ids=["it came again", "it flaps"],
)
def test_flapping_is_shown_from_the_third_time(flaps: int, shown: str) -> None:
    assert ("Scope", shown) in draw_head(INCIDENT, mention="", flaps=flaps).facts


def test_the_head_says_until_when_nobody_is_mentioned() -> None:
    until = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
    said = ("On it", "nobody yet; quiet hours until 2026-11-20 07:00 UTC")
    assert said in draw_head(INCIDENT, mention="", quiet_until=until).facts
    taken = replace(INCIDENT, acknowledged_by="ada")
    assert ("On it", "ada") in draw_head(taken, mention="", quiet_until=until).facts
