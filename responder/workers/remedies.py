"""What each problem of a sender means, and the exact lines that mend it: texts only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remedy:
    """Why a problem matters, and what to change: YAML with comments, or the one thing to do."""

    why: str
    change: str


REMEDIES: Mapping[str, Remedy] = {
    "truncated": Remedy(
        "Alertmanager cuts alerts off before it says how the group is: what still fires may be cut off, and the body"
        " may call itself resolved. Alerts that were cut off are not here.",
        "# alertmanager.yml\nreceivers:\n  - name: responder\n    webhook_configs:\n      - url: ...\n"
        "        max_alerts: 0",
    ),
    "unequal_peers": Remedy(
        "The peers of one cluster must be alike and get the same alerts; else each alert is two, here and in silences.",
        "# prometheus.yml: the label that tells replicas apart must not reach Alertmanager\nalerting:\n"
        "  alert_relabel_configs:\n    - {action: labeldrop, regex: <label>}\n"
        "# and give all peers the same alertmanager.yml",
    ),
    "peers_duplicate": Remedy(
        "In a healthy cluster one peer sends and the others stay silent. Both sending means that they do not hear each"
        " other, or that our answer came later than --cluster.peer-timeout. Nothing is paged twice, but a partition"
        " also splits silences.",
        "# each Alertmanager's command line; the port must be open both ways, TCP and UDP\n"
        "--cluster.listen-address=0.0.0.0:9094\n--cluster.peer=<the other one>:9094\n--cluster.peer-timeout=15s",
    ),
    "short_group_interval": Remedy(
        "A delivery may only be tried again for as long as group_interval, at least 10 s: with a short one a slow"
        " moment of ours ends as a failed delivery, and each change of the group is a body of its own.",
        "# alertmanager.yml\nroute:\n  routes:\n    - receiver: responder\n      group_wait: 5s\n"
        "      group_interval: 1m",
    ),
    "churning_label": Remedy(
        "An alert is its labels: each new value ends one alert and begins another, with a new start and a new page"
        " where a rule groups by it.",
        "# the rule file: what changes while the alert fires belongs into an annotation\n- alert: <alert>\n"
        "  expr: sum without (<label>) (...)      # or drop it from `labels:`\n"
        "  annotations: {summary: '... {{ $value }}'}",
    ),
    "group_key_churn": Remedy(
        "A changed route gives the same alerts a new group: Alertmanager sends them again, and the old group never"
        " ends. Here they stay one alert each, but what ended just then may be told by nobody.",
        "# after a reload this passes by itself; to have what ended meanwhile found, name both in responder.yaml\n"
        "receivers:\n  alertmanager: {url: http://alertmanager:9093, prometheus: http://prometheus:9090}",
    ),
    "double_route": Remedy(
        "Two routes lead here, so each alert arrives twice, in two groups. Nothing pages twice; it is double work.",
        "# alertmanager.yml: one route to responder, before all others\nroute:\n  routes:\n"
        "    - {receiver: responder, continue: true, group_wait: 5s, group_interval: 1m}",
    ),
    "redirected": Remedy(
        "Something between Alertmanager and us answers with a redirect. Alertmanager then asks with GET and no body,"
        " and where that is answered 200 the alert counts as delivered and is lost.",
        "# alertmanager.yml: the final address, and no redirects\nreceivers:\n  - name: responder\n"
        "    webhook_configs:\n      - url: <where the redirect leads>\n        http_config: {follow_redirects: false}",
    ),
    "clock_skew": Remedy(
        "Alerts begin in our future: either clock is wrong. Starts and ends of alerts decide what is new and what is a"
        " late copy.",
        "# on both machines\ntimedatectl set-ntp true && chronyc tracking",
    ),
    "slow_heartbeat": Remedy(
        "The heartbeat comes later than it is waited for, or nearly: its absence would be paged although all is well.",
        "# alertmanager.yml: a route of its own, before the others\nroute:\n  routes:\n"
        "    - matchers: ['alertname=\"Watchdog\"']\n      receiver: responder\n      group_wait: 0s\n"
        "      group_interval: 1m\n      repeat_interval: 5m",
    ),
    "no_resolved": Remedy(
        "Alerts vanish from their groups and nothing says that they have ended: their incidents stay open.",
        "# alertmanager.yml\nreceivers:\n  - name: responder\n    webhook_configs:\n      - url: ...\n"
        "        send_resolved: true",
    ),
    "custom_payload": Remedy(
        "The body is not Alertmanager's own: a `payload:` replaces it, and what we do not know we cannot read. It is"
        " kept in quarantine and pages once, as unreadable.",
        "# alertmanager.yml: take `payload:` out\nreceivers:\n  - name: responder\n    webhook_configs:\n"
        "      - url: ...        # no payload:",
    ),
}  # fmt: skip
