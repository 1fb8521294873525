"""What fires at Alertmanager for us, read-only. A restart makes it forget: Prometheus tells it again within minutes.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml. Alerts that have ended are not listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import re2

from responder.errors import PermanentError, TransientError
from responder.integrations.alertmanager.makers import Makers
from responder.integrations.alertmanager.server import Answer, Server
from responder.model import Alert, Episode
from responder.ports import Clock, Past, Standing

FRESH_S = 180.0  # Prometheus tells what fires again every minute
MAX_SEEN = 200_000  # identities remembered
YIELD_EVERY = 500  # elements read between two turns of the loop
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: no end
STRANGER = "the Alertmanagers that are asked have not had it while we looked, nor another alert of its Prometheus"

Read = Callable[[Any, datetime], Alert]


@dataclass(slots=True)
class _Peer:
    """What one Alertmanager says."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    muted: dict[str, str] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    up_s: float | None = None


class AlertmanagerTruth:
    """`ports.Truth` over one Alertmanager or the peers of a cluster. `read` decodes an element as the webhook does."""

    name = "alertmanager"

    def __init__(
        self, peers: Sequence[Server], makers: Makers, read: Read, clock: Clock,
        *, receiver: str, every_s: float, missed_after_s: float, gone_after_s: float,
    ) -> None:  # fmt: skip
        """Keep the parts; what was seen is remembered to know which Prometheus these Alertmanagers hear."""
        self._peers, self._makers, self._read, self._clock = peers, makers, read, clock
        self._receiver = receiver
        self.every_s, self.missed_after_s, self.gone_after_s = every_s, missed_after_s, gone_after_s
        self._seen: set[str] = set()
        self._homes: set[str] = set()  # Prometheuses, by the addresses in their alerts

    async def standing(self) -> Standing:
        """Ask all peers: what fires at one of them fires; it is whole only when each has answered."""
        asked = await asyncio.gather(*map(self._ask, self._peers), return_exceptions=True)
        heard = [each for each in asked if isinstance(each, _Peer)]
        for each in asked:
            silent = isinstance(each, TransientError | PermanentError)
            if isinstance(each, BaseException) and not (silent and heard):
                raise each
        alerts = {identity: alert for peer in heard for identity, alert in peer.alerts.items()}
        muted = {key: why for peer in heard for key, why in peer.muted.items() if key not in alerts}
        self._remember(alerts, muted)
        ages = [peer.up_s for peer in heard]
        return Standing(
            list(alerts.values()), muted,
            fresh=frozenset().union(*(peer.fresh for peer in heard)),
            up_s=None if None in ages else min(age for age in ages if age is not None),
            whole=len(heard) == len(self._peers),
        )  # fmt: skip

    async def doubts(self, episodes: Sequence[Episode]) -> Mapping[str, str]:
        """Doubt what other Alertmanagers may have sent; of the rest ask where it is made."""
        strangers = [each for each in episodes if not await self._ours(each)]
        known = [each for each in episodes if each not in strangers]
        return {each.identity: STRANGER for each in strangers} | await self._makers.doubts(known)

    async def passed(self, since: datetime, until: datetime) -> Sequence[Past] | None:
        """Give what began and ended between two times, as Prometheus has it."""
        return await self._makers.passed(since, until)

    def body(self, alerts: Sequence[Alert], why: str) -> bytes:
        """Write a webhook of version 4: an alert in it is the same as from Alertmanager's own."""
        whole = {
            "version": "4", "groupKey": "", "receiver": self._receiver, "externalURL": "", "truncatedAlerts": 0,
            "status": "firing", "notification_reason": why, "alerts": [_element(alert) for alert in alerts],
        }  # fmt: skip
        return orjson.dumps(whole)

    async def _ask(self, server: Server) -> _Peer:
        """Read alerts first and the age after: had it restarted in between, the age says so."""
        wanted = [(name, "true") for name in ("active", "silenced", "inhibited", "unprocessed")]
        params = [*wanted, ("receiver", re2.escape(self._receiver))]
        listed = await server.get("api/v2/alerts", params)
        status = await server.get("api/v2/status")
        if not isinstance(listed.value, list) or not isinstance(status.value, dict):
            raise TransientError(f"{server.where}: the answer is not of its API")
        peer = _Peer(up_s=self._age_s(status))
        for count, element in enumerate(listed.value):
            self._sort(peer, element, listed.at or self._clock.now())
            if count % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return peer

    def _sort(self, peer: _Peer, element: Any, at: datetime) -> None:
        """Put one alert where it belongs. What cannot be read has no episode either: its webhook was not read."""
        try:
            alert = replace(self._read(element, at), firing=True, ended_at=None)
            status = element.get("status") or {}
            updated_at = datetime.fromisoformat(str(element["updatedAt"]))
            if (at - updated_at).total_seconds() < FRESH_S:
                peer.fresh.add(alert.identity)
            why = _held_back(status)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return
        if why:
            peer.muted[alert.identity] = why
        else:
            peer.alerts[alert.identity] = alert
        if alert.generator_url:
            self._homes.add(_home(alert.generator_url))

    def _age_s(self, status: Answer) -> float | None:
        """Give how long it is up. `uptime` is the time of its start."""
        try:
            since = datetime.fromisoformat(str(status.value["uptime"]))
            return max(0.0, ((status.at or self._clock.now()) - since).total_seconds())
        except (KeyError, ValueError, TypeError):
            return None

    def _remember(self, *listed: Iterable[str]) -> None:
        if len(self._seen) > MAX_SEEN:
            self._seen.clear()
        self._seen.update(*listed)

    async def _ours(self, episode: Episode) -> bool:
        """Whether these Alertmanagers would have it: they had it, or have others of its Prometheus, or it made it."""
        if episode.identity in self._seen or _home(episode.generator_url) in self._homes:
            return True
        return not self._homes and await self._makers.made(episode)


def _held_back(status: Mapping[str, Any]) -> str:
    """Say why Alertmanager notifies nobody of an alert, "" when it does."""
    if status.get("silencedBy"):
        return f"silenced in Alertmanager ({', '.join(map(str, status['silencedBy']))[:200]})"
    if status.get("inhibitedBy"):
        return "inhibited in Alertmanager by another alert"
    if status.get("mutedBy"):
        return f"muted in Alertmanager ({', '.join(map(str, status['mutedBy']))[:200]})"
    return "" if status.get("state") in ("active", None) else "not yet processed by Alertmanager"


def _home(generator_url: str) -> str:
    """Give the address of the Prometheus that an alert links to."""
    return generator_url.partition("/graph?")[0].rstrip("/")


def _element(alert: Alert) -> dict[str, object]:
    return {
        "status": "firing" if alert.firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": alert.started_at.isoformat() if alert.started_at else NEVER,
        "endsAt": NEVER if alert.firing or alert.ended_at is None else alert.ended_at.isoformat(),
        "generatorURL": alert.generator_url,
        "fingerprint": "",
    }
