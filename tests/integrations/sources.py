"""The receivers that are tested side by side, as they are without a secret, and the bodies recorded for them."""

from __future__ import annotations

from pathlib import Path

from yarl import URL

from responder.integrations import datadog, grafana, opsgenie, sentry, sns
from responder.mapping import Mapper, table
from responder.mapping.door import Mapped, MappedSettings
from responder.ports import Receiver
from tests.given import FakeClock

BODIES = Path(__file__).parent / "bodies"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
UPTIME = table(
    items="checks",
    labels={"alertname": ["monitor.name", "name"], "env": "=prod", "region": "$.region"},
    labels_from=["tags"],
    annotations={"summary": "message"},
    status={
        "path": "state", "resolved": ["up", "true"], "acknowledged": "seen", "note": "comment", "ignored": "test",
    },
    severity={"path": "level", "map": {"high": "critical", "low": "info"}},
    started_at="since",
    ended_at="until",
    identity=["monitor.id"],
    url="link",
    person="who.name",
    note="text",
)  # fmt: skip


async def unreachable(url: URL) -> tuple[int, bytes]:
    """Fail the test: nothing may be asked for."""
    raise AssertionError(f"asked for {url}")


def receivers() -> dict[str, Receiver]:
    """Give one of each."""
    open_door = MappedSettings()
    return {
        "grafana": grafana.Grafana(grafana.Settings(), "grafana", FakeClock()),
        "sns": sns.Sns(sns.Settings(topics=(TOPIC,)), "sns", FakeClock(), unreachable),
        "sentry": sentry.Sentry(sentry.Settings(), "sentry"),
        "datadog": Mapped(open_door, "datadog", Mapper(datadog.TABLE, "datadog", datadog.mend)),
        "opsgenie": Mapped(open_door, "opsgenie", Mapper(opsgenie.TABLE, "opsgenie")),
        "generic-uptime": Mapped(open_door, "generic-uptime", Mapper(UPTIME, "generic-uptime")),
    }


def recorded(source: str, name: str) -> bytes:
    """Give the bytes of one recorded body."""
    return (BODIES / source / f"{name}.json").read_bytes()
