"""An alert that says its status twice fires: when unsure, it pages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from responder.integrations.alertmanager import Alertmanager, Settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ('"status":"firing","status":"resolved"', True),
        ('"status":"resolved","status":"firing"', True),
        ('"status":"resolved","status":"resolved"', False),
        ('"status":"resolved","labels":{"status":"firing"}', False),
    ],
    ids=["resolved last", "firing last", "resolved twice", "a label of that name"],
)
def test_firing_wins(said: str, fires: bool) -> None:
    body = f'{{"version":"4","status":"firing","alerts":[{{{said},"endsAt":"2026-11-20T11:00:00Z"}}]}}'
    [alert] = Alertmanager(Settings()).decode(body.encode(), NOW).alerts
    assert alert.firing is fires
