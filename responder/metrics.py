"""Our own metrics: closed label sets, every series at zero from the start, figures read from the store at scrape time.

Text of an alert is never a label value. What is not a counter of this process comes out of the store's figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from responder.model import Severity

SEVERITIES = tuple(Severity)
WEBHOOK_OUTCOMES = (
    "accepted", "duplicate", "unauthorized", "forbidden", "method", "unready",
    "closing", "overload", "timeout", "broken", "too_large", "store",
)  # fmt: skip
MUTED_BY = ("silence", "maintenance", "inhibition", "heartbeat")
RELOADS = ("ok", "refused")
MAX_RULES = 1000  # series of rule_hits, of rules that are gone too; rules behind that are summed as "other"
# sent: messages that arrived; edited: heads changed in place; merged: lines told inside another's message; folded:
# lines only counted in the head; digest: storms told at once; retried, rate_limited: put off; failed: given up.
POST_OUTCOMES = ("sent", "edited", "merged", "folded", "digest", "retried", "rate_limited", "failed")
RECONCILE_OUTCOMES = ("opened", "closed", "unconfirmed", "missed", "agreed", "unreachable")
SENDER_PROBLEMS = (
    "truncated", "unequal_peers", "peers_duplicate", "short_group_interval", "churning_label", "group_key_churn",
    "double_route", "redirected", "clock_skew", "slow_heartbeat", "no_resolved", "custom_payload",
)  # fmt: skip
_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400)
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class Metrics:
    """Everything that is measured in this process, and the figures last read from the store."""

    def __init__(
        self, *, receivers: Sequence[str], chats: Sequence[str], tools: Sequence[str], models: Sequence[str],
        rules: Sequence[str], version: str,
    ) -> None:  # fmt: skip
        """Make every series at zero; the label sets are closed from here on. `models` are the configured names."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotation there
        self.registry = CollectorRegistry()
        self.figures: dict[tuple[str, str], float] = {}
        self.now = 0.0
        self._chats, self._receivers = tuple(chats), tuple(receivers)
        self._revision = ""
        self._rules: dict[str, float] = {}  # name -> its hits before it had a series: those stay with "other"
        reg = self.registry
        self._webhooks = Counter(
            "responder_webhooks", "Requests at the webhook door.", ["receiver", "outcome"], registry=reg
        )
        self.first_message = _by_severity(
            "first_message_seconds", "From an incident's opening to its first message.", reg
        )
        self.ack = _by_severity("ack_seconds", "From the last page to a person's acknowledgement.", reg)
        self.resolve = _by_severity("resolve_seconds", "From opening to resolved.", reg)
        self.phases = Histogram(
            "responder_chain_phase_seconds",
            "Phases of the chain.",
            ["phase", "outcome"],
            buckets=_SECONDS,
            registry=reg,
        )
        self.steps = Histogram("responder_step_seconds", "Journaled steps.", ["kind"], buckets=_FAST, registry=reg)
        self.llm_requests = Counter(
            "responder_llm_requests", "Turns asked of a model.", ["model", "outcome"], registry=reg
        )
        self.llm_tokens = Counter("responder_llm_tokens", "Tokens, by price class.", ["model", "kind"], registry=reg)
        self.llm_cost = Counter("responder_llm_cost_usd", "What the model has cost.", ["model"], registry=reg)
        self.tool_calls = Counter("responder_tool_calls", "Tool calls.", ["tool", "outcome"], registry=reg)
        self.commit = Histogram("responder_store_commit_seconds", "Group commits.", buckets=_FAST, registry=reg)
        self.reconciled = Counter(
            "responder_reconcile",
            "Asking senders what fires: alerts opened, closed, not confirmed or missed; reads that agreed or failed.",
            ["outcome"],
            registry=reg,
        )
        self.sender_problems = Gauge(
            "responder_sender_problems", "Senders that have a problem now; `responder doctor` says which.", ["problem"],
            registry=reg,
        )  # fmt: skip
        self.loop_lag = Gauge("responder_loop_lag_seconds", "How late the event loop runs.", registry=reg)
        self.config_ok = Gauge("responder_config_ok", "1 while the files in use are the ones on disk.", registry=reg)
        self.reloads = Counter("responder_config_reloads", "Reloads, by outcome.", ["outcome"], registry=reg)
        Gauge("responder_build_info", "Always 1.", ["version"], registry=reg).labels(version).set(1)
        self._doors: dict[tuple[str, str], Counter] = {}  # series by label values: a look-up each request would show
        self._zero(receivers, tools, models)
        self.use_rules(rules)
        reg.register(_Figures(self))

    def _zero(self, receivers: Sequence[str], tools: Sequence[str], models: Sequence[str]) -> None:
        """Make each series that may ever come, so that a rate is right from the first scrape."""
        phases = ("first-look", "triage", "investigate", "verify", "postmortem")
        tokens = ("input", "output", "cache_read", "cache_write")
        made = (
            (self._webhooks, product(receivers, WEBHOOK_OUTCOMES)),
            (self.tool_calls, product(tools, ("ok", "no_data", "unavailable", "refused"))),
            (self.phases, product(phases, ("done", "timeout", "failed", "skipped"))),
            (self.reloads, product(RELOADS)),
            (self.reconciled, product(RECONCILE_OUTCOMES)),
            (self.sender_problems, product(SENDER_PROBLEMS)),
            (self.steps, product(("turn", "tool", "check", "phase", "other"))),
            (self.llm_requests, product(models, ("ok", "transient", "permanent", "budget"))),
            (self.llm_tokens, product(models, tokens)),
            (self.llm_cost, product(models)),
        )
        for metric, label_sets in made:
            for labels in label_sets:
                metric.labels(*labels)

    def use_rules(self, names: Sequence[str], revision: str = "") -> None:
        """Give each rule of a new rule set a series; those of rules that are gone stay, because counters never end."""
        self._revision = revision
        for name in names:
            if name not in self._rules and name != "other" and len(self._rules) < MAX_RULES:
                self._rules[name] = self.figures.get(("rule_hits", name), 0.0)

    def webhook(self, receiver: str, outcome: str) -> None:
        """Count one request at the door."""
        series = self._doors.get((receiver, outcome))
        if series is None:
            series = self._doors[receiver, outcome] = self._webhooks.labels(receiver, outcome)
        series.inc()

    def families(self) -> Iterator[Metric]:
        """Give the metrics that come out of the store's figures."""
        figure = self.figures.get
        yield _gauge("unaccounted_alerts", "Entries received and in no episode; must be 0.", unaccounted(self.figures))
        alerts = CounterMetricFamily("responder_alerts", "Entries of bodies.", labels=["receiver", "status"])
        for receiver in self._receivers:
            for status in ("firing", "resolved"):
                alerts.add_metric([receiver, status], figure(("alerts", f"{receiver}/{status}"), 0.0))
        yield alerts
        muted = CounterMetricFamily(
            "responder_alerts_muted", "Alerts that opened no incident, and why.", labels=["kind"]
        )
        now = GaugeMetricFamily("responder_muted_alerts", "Alerts that fire now and are muted.", labels=["kind"])
        for kind in MUTED_BY:
            muted.add_metric([kind], figure(("muted", kind), 0.0))
            now.add_metric([kind], figure(("muted_now", kind), 0.0))
        yield from (muted, now)
        hits = CounterMetricFamily("responder_rule_hits", "Alerts that a rule decided.", labels=["rule"])
        known = {rule: figure(("rule_hits", rule), 0.0) - before for rule, before in self._rules.items()}
        for rule, n in known.items():
            hits.add_metric([rule], n)
        total = sum(n for (name, _), n in self.figures.items() if name == "rule_hits")
        hits.add_metric(["other"], total - sum(known.values()))
        yield hits
        if self._revision:
            info = GaugeMetricFamily("responder_rules_info", "Always 1: the rules in force.", labels=["revision"])
            info.add_metric([self._revision], 1)
            yield info
        yield from self._incidents()
        posts = CounterMetricFamily("responder_posts", "Messages to chats.", labels=["chat", "outcome"])
        for chat in self._chats:
            for outcome in POST_OUTCOMES:
                posts.add_metric([chat, outcome], figure(("posts", f"{chat}/{outcome}"), 0.0))
        yield posts
        yield _gauge("outbox_age_seconds", "Age of the oldest message not yet sent.", self._age("posts_since"))
        yield _gauge("inbox_age_seconds", "Age of the oldest body not yet moved.", self._age("waiting_since"))
        yield _gauge("heartbeat_age_seconds", "Age of the oldest heartbeat waited for.", self._age("heartbeat_since"))
        yield _gauge("quarantined", "Bodies and entries kept unread.", figure(("quarantined", ""), 0.0))

    def _incidents(self) -> Iterator[Metric]:
        opened = GaugeMetricFamily("responder_incidents_open", "Incidents not resolved.", labels=["severity"])
        total = CounterMetricFamily("responder_incidents", "Incidents opened.", labels=["severity"])
        for severity in SEVERITIES:
            opened.add_metric([severity], self.figures.get(("open", severity), 0.0))
            total.add_metric([severity], self.figures.get(("incidents", severity), 0.0))
        yield opened
        yield total

    def _age(self, name: str) -> float:
        since = self.figures.get((name, ""), 0.0)
        return max(0.0, self.now - since) if since else 0.0


def unaccounted(figures: dict[tuple[str, str], float]) -> float:
    """Entries in moved chunks, less those that episodes took in (muted ones are episodes too) and quarantine holds."""
    figure = figures.get
    held = figure(("taken", ""), 0.0) + figure(("quarantined_entries", ""), 0.0)
    return figure(("entries", ""), 0.0) - held


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"responder_{name}", text, value=value)


def _by_severity(name: str, text: str, registry: CollectorRegistry) -> Histogram:
    histogram = Histogram(f"responder_{name}", text, ["severity"], buckets=_SECONDS, registry=registry)
    for severity in SEVERITIES:
        histogram.labels(severity)
    return histogram


class _Figures(Collector):
    """Hands the store's figures to the registry at scrape time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families()
