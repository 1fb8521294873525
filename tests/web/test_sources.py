"""The real door with every source behind it: who is let in, who not, and what an answer makes the sender do."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import aiohttp

from tests.daemon import daemon
from tests.integrations.sources import TOPIC, recorded

SIGNED_BY_GRAFANA = "17ff0281c5b8f761a249f8b60812325a2d5117b585fd0c1c7db0d570e209b21b"
SIGNED_BY_SENTRY = "178d3228b8ce277ad036d109f15c8bb5b97e15a2def349b964c52db76a003918"
RECEIVERS = {
    "grafana": {"secret": "grafana-secret"},
    "grafana-eu": {"token": "t"},
    "sns": {"topics": [TOPIC]},
    "sns-bare": {},
    "sentry": {"secret": "sentry-client-secret"},
    "sentry-bare": {},
    "datadog": {"token": "t", "header": "X-Key"},
    "opsgenie": {"token": "t"},
    "generic-uptime": {"token": "t", "id_header": "X-Delivery", "mapping": {"labels": {"alertname": "name"}}},
}
ONE = b'{"name": "Xyzzy"}'
BASIC = "Basic " + b64encode(b"grafana:t").decode()
KNOCKS: list[tuple[str, str, bytes, dict[str, str], int]] = [
    ("POST", "grafana", recorded("grafana", "firing"), {"X-Grafana-Alerting-Signature": SIGNED_BY_GRAFANA}, 202),
    ("PUT", "grafana", recorded("grafana", "firing"), {"X-Grafana-Alerting-Signature": SIGNED_BY_GRAFANA}, 202),
    ("POST", "grafana", recorded("grafana", "legacy"), {"X-Grafana-Alerting-Signature": SIGNED_BY_GRAFANA}, 403),
    ("POST", "grafana", recorded("grafana", "firing"), {}, 403),
    ("DELETE", "grafana", b"", {}, 405),
    ("POST", "grafana-eu", b"garbage", {"Authorization": BASIC}, 202),
    ("POST", "grafana-eu", recorded("grafana", "firing"), {"Authorization": "Bearer x"}, 401),
    ("POST", "grafana-us", recorded("grafana", "firing"), {}, 404),
    ("POST", "sns", recorded("sns", "alarm").replace(b"amazonaws", b"example"), {}, 403),
    ("POST", "sns", recorded("sns", "records"), {}, 403),
    ("POST", "sns-bare", recorded("sns", "alarm"), {}, 503),
    ("POST", "sentry", recorded("sentry", "metric_alert"), {"Sentry-Hook-Signature": SIGNED_BY_SENTRY}, 202),
    ("POST", "sentry", recorded("sentry", "metric_alert"), {"Sentry-Hook-Signature": "0" * 64}, 403),
    ("POST", "sentry", recorded("sentry", "metric_alert"), {}, 401),
    ("POST", "sentry-bare", recorded("sentry", "metric_alert"), {"Sentry-Hook-Signature": SIGNED_BY_SENTRY}, 503),
    ("POST", "datadog", recorded("datadog", "triggered"), {"X-Key": "t"}, 202),
    ("POST", "datadog", recorded("datadog", "triggered"), {"Authorization": "Bearer t"}, 401),
    ("POST", "opsgenie", recorded("opsgenie", "create"), {"Authorization": "Bearer t"}, 202),
    ("POST", "generic-uptime", ONE, {"Authorization": "Bearer t", "X-Delivery": "1"}, 202),
    ("POST", "generic-uptime", ONE, {"Authorization": "Bearer t", "X-Delivery": "1"}, 202),
]


async def test_each_source_is_let_in_by_its_own_proof_and_all_is_accounted_for(tmp_path: Path) -> None:
    async with daemon(tmp_path, receivers=RECEIVERS) as at, aiohttp.ClientSession() as http:
        for method, name, raw, headers, status in KNOCKS:
            url = f"{at.url}/webhooks/{name}"
            async with http.request(method, url, data=raw, headers=headers) as answer:
                assert answer.status == status, (method, name, headers, await answer.text())
        ledger = await at.settled()
        assert ledger["unaccounted"] == 0
        assert await at.metric('responder_webhooks_total{outcome="duplicate",receiver="generic-uptime"}') == 1
        found = (await at.get("/api/incidents"))["incidents"]
        assert sorted(each["severity"] for each in found if each["rule"] != "responder-webhook-refused") == [
            *("P1", "P1", "P1"),  # Datadog's, Opsgenie's and Sentry's highest
            *("P2", "P2", "P2"),  # Grafana's latency, what nobody could read, what nobody knows
        ]
