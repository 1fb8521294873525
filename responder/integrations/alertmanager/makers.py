"""Where Alertmanager's alerts are made: Prometheus says whether one fires still, and what fired while nobody looked.

Prometheus shows an alert without its external labels, and `alert_relabel_configs` may add, drop or rewrite some on the
way. So two label sets are taken for the same alert when they share the name and no label that both have differs: that
may take one alert for another, which only keeps an episode open.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/#rules; ALERTS is the series that it keeps of alerts.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from responder.errors import PermanentError, TransientError
from responder.integrations.alertmanager.server import Server
from responder.model import Episode
from responder.ports import Past

MAX_NAMES = 50  # rules asked for by name; beyond it all are asked for
LEAST_STEP_S, MAX_POINTS = 5.0, 2000
MAX_WINDOW_S = 86_400.0
NOBODY = "no Prometheus is named to ask (receivers.alertmanager.prometheus)"
SILENT = "Prometheus cannot be asked"
FIRES = "Prometheus says that it fires, or is about to"
SICK = "Prometheus does not evaluate its rule, or fails to"
log = structlog.stdlib.get_logger("reconcile")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One alerting rule: whether it is evaluated, and the label sets that fire or are about to."""

    healthy: bool
    alerts: tuple[Mapping[str, str], ...]


def same(made: Mapping[str, str], sent: Mapping[str, str]) -> bool:
    """Whether an alert as Prometheus shows it may be one that Alertmanager sent."""
    if made.get("alertname") != sent.get("alertname"):
        return False
    return all(sent.get(name, value) == value for name, value in made.items())


class Makers:
    """All Prometheuses behind the Alertmanagers: what fires at one fires, and only all together know that none does."""

    def __init__(self, servers: Sequence[Server]) -> None:
        """Keep the servers; none is a valid number, and then nobody can tell anything."""
        self._servers = servers

    async def doubts(self, episodes: Sequence[Episode]) -> dict[str, str]:
        """Give, by identity, why an episode may fire still."""
        if not episodes:
            return {}
        if not self._servers:
            return {each.identity: NOBODY for each in episodes}
        try:
            rules = await self._rules({each.labels.get("alertname", "") for each in episodes})
        except (TransientError, PermanentError) as error:
            log.warning("nobody can tell what fires", error=str(error))
            return {each.identity: SILENT for each in episodes}
        found = {each.identity: _doubt(each.labels, rules) for each in episodes}
        return {identity: why for identity, why in found.items() if why}

    async def made(self, episode: Episode) -> bool:
        """Whether one of them had this alert firing when it began."""
        at = f"{episode.started_at.timestamp() + 1:.3f}"
        params = [("query", _firing(episode.labels.get("alertname", ""))), ("time", at)]
        try:
            answers = await asyncio.gather(*(each.get("api/v1/query", params, post=True) for each in self._servers))
        except (TransientError, PermanentError) as error:
            log.warning("nobody can tell where an alert was made", error=str(error))
            return False
        return any(same(_labels(series), episode.labels) for answer in answers for series in _series(answer.value))

    async def passed(self, since: datetime, until: datetime) -> Sequence[Past] | None:
        """Give what began after `since` and had ended before `until`; a day back at most."""
        end = until.timestamp()
        start = max(since.timestamp(), end - MAX_WINDOW_S)
        if not self._servers or end - start < LEAST_STEP_S:
            return None
        step_s = max(LEAST_STEP_S, math.ceil((end - start) / MAX_POINTS))
        params = [("query", _firing()), ("start", f"{start:.3f}"), ("end", f"{end:.3f}"), ("step", f"{step_s:g}")]
        try:
            answers = await asyncio.gather(
                *(each.get("api/v1/query_range", params, post=True) for each in self._servers)
            )
        except (TransientError, PermanentError) as error:
            log.warning("nobody can tell what fired meanwhile", error=str(error))
            return None
        found = [past for answer in answers for past in map(_past, _series(answer.value)) if past is not None]
        return [
            past
            for past in found
            if past.began_at.timestamp() > start + step_s / 2 and past.ended_at.timestamp() <= end - step_s
        ]

    async def _rules(self, names: set[str]) -> dict[str, list[_Rule]]:
        params = [("type", "alert")]
        if len(names) <= MAX_NAMES:  # older ones do not know the parameter, and give all
            params += [("rule_name[]", name) for name in sorted(names)]
        answers = await asyncio.gather(*(each.get("api/v1/rules", params) for each in self._servers))
        rules: dict[str, list[_Rule]] = {}
        for server, answer in zip(self._servers, answers, strict=True):
            try:
                for rule in (rule for group in answer.value["data"]["groups"] for rule in group["rules"]):
                    if rule["name"] in names and rule.get("type") == "alerting":
                        rules.setdefault(rule["name"], []).append(_rule(rule))
            except (KeyError, TypeError, AttributeError) as error:
                raise TransientError(f"{server.where}: api/v1/rules: the answer is not of its API") from error
        return rules


def _doubt(labels: Mapping[str, str], rules: Mapping[str, list[_Rule]]) -> str:
    known = rules.get(labels.get("alertname", ""), [])
    if not known:
        return "no Prometheus that is asked has a rule of this name"
    if any(same(made, labels) for rule in known for made in rule.alerts):
        return FIRES
    return "" if all(rule.healthy for rule in known) else SICK


def _rule(rule: Mapping[str, Any]) -> _Rule:
    """Read one; not evaluated yet is `unknown`. What is pending counts: after a restart it may have been firing."""
    alerts = tuple(dict(alert["labels"]) for alert in rule.get("alerts") or [])
    return _Rule(rule.get("health") == "ok", alerts)


def _firing(name: str = "") -> str:
    also = f",alertname={json.dumps(name, ensure_ascii=False)}" if name else ""
    return f'ALERTS{{alertstate="firing"{also}}}'


def _series(value: Any) -> list[Mapping[str, Any]]:
    data = value.get("data") if isinstance(value, dict) else None
    found = data.get("result") if isinstance(data, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _labels(series: Mapping[str, Any]) -> Mapping[str, str]:
    own = series.get("metric")
    named = own.items() if isinstance(own, dict) else ()
    return {name: value for name, value in named if name not in ("__name__", "alertstate")}


def _past(series: Mapping[str, Any]) -> Past | None:
    try:
        times = [datetime.fromtimestamp(float(point[0]), UTC) for point in series["values"]]
        return Past(_labels(series), times[0], times[-1])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None
