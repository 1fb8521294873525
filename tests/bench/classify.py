"""How many alerts a second the rules decide, with few rules and with many, beside trying each rule in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from responder.model import Alert, Severity, identify
from responder.rules import RuleSet
from responder.rules.matchers import parse
from responder.rules.rule import Rule, SeverityFrom

SIZES = (10, 100, 1_000, 10_000)
ALERTS = 2_000
LINEAR_TESTS = 2_000_000  # rules tried in one round of the scan, however many there are
LEAST_S = 0.5  # of each measurement; the fastest of its rounds counts, for what disturbs only ever adds
AT = datetime(2026, 11, 20, tzinfo=UTC)
WORDS = (
    *("Api", "Cache", "Queue", "Disk", "Node", "Pod", "Ingress", "Broker", "Replica", "Certificate"),
    *("Latency", "Backup", "Shard", "Volume", "Proxy", "Worker", "Gateway", "Session", "Billing", "Search"),
)
ENDS = ("Down", "Slow", "Full", "Failing", "Missing", "Lagging", "Restarting", "Unreachable", "Saturated", "Expired")
BY_LABEL = SeverityFrom("severity", {"critical": Severity.P1, "warning": Severity.P2}, Severity.P3)
Labels = Mapping[str, str]


def classify(sizes: Sequence[int] = SIZES) -> dict[str, float]:
    """Measure each size in alerts a second.

    hit: each alert meets a rule; miss: none does; new: a name never seen before; linear: the same, each rule in turn.
    """
    found: dict[str, float] = {}
    for size in sizes:
        mixed = list(rule_mix(size))
        rules = [rule for rule, _ in mixed]
        decide = RuleSet(rules).classify
        chance = random.Random(size)
        hits = [alert(chance.choice(mixed)[1]) for _ in range(ALERTS)]
        misses = [alert({"alertname": f"Unheard{chance.randrange(500)}", "team": "nobody"}) for _ in range(ALERTS)]
        few = max(10, LINEAR_TESTS // size)
        found[f"{size}_rules_hit_per_s"] = rate(decide, always(hits))
        found[f"{size}_rules_miss_per_s"] = rate(decide, always(misses))
        found[f"{size}_rules_new_per_s"] = rate(decide, new_names)
        found[f"{size}_rules_linear_hit_per_s"] = rate(scan(rules), always(hits[:few]))
        found[f"{size}_rules_linear_miss_per_s"] = rate(scan(rules), always(misses[:few]))
    for kind in ("hit", "miss", "new"):
        name = f"{kind}_cost_of_{sizes[-1]}_to_100"
        found[name] = found[f"100_rules_{kind}_per_s"] / found[f"{sizes[-1]}_rules_{kind}_per_s"]
    return found


def scan(rules: Sequence[Rule]) -> Callable[[Alert], Rule | None]:
    """Give a decision by trying each rule in turn: what an index must never differ from."""

    def first(alert: Alert) -> Rule | None:
        return next((rule for rule in rules if all(m.matches(alert.labels) for m in rule.matchers)), None)

    return first


def always(alerts: list[Alert]) -> Callable[[], list[Alert]]:
    """Give the same alerts each time."""
    return lambda: alerts


def rate(decide: Callable[[Alert], object], make: Callable[[], Sequence[Alert]]) -> float:
    """Measure decisions a second; making the alerts does not count."""
    best, until = 0.0, time.perf_counter() + LEAST_S
    while time.perf_counter() < until or not best:
        alerts = make()
        began = time.perf_counter()
        for each in alerts:
            decide(each)
        best = max(best, len(alerts) / (time.perf_counter() - began))
    return best


def new_names() -> list[Alert]:
    """Make alerts whose names no rule set has seen, of words that its families know."""
    return [
        alert({"alertname": f"{random.choice(WORDS)}{random.randrange(10**12)}{random.choice(ENDS)}", "team": "x"})
        for _ in range(200)
    ]


def rule_mix(size: int) -> Iterator[tuple[Rule, Labels]]:
    """Make rules as users have them (names, lists of names, families by regex, labels alone), and what meets each."""
    chance = random.Random(size)
    for n in range(size):
        word, end = chance.choice(WORDS), chance.choice(ENDS)
        name = f"{word}{end}{n}"
        listed = "|".join(f"{name}{letter}" for letter in "ABCDE")
        families: tuple[tuple[tuple[str, ...], Labels], ...] = (
            ((f'alertname=~"{word}Team{n}.*"', f'team="team-{n}"'), {"alertname": f"{word}Team{n}X"}),
            ((f'alertname=~"(?i).*({word}|svc)[ _-]?{n}[ _-]?({end}|gone).*"',), {"alertname": f"Big {word}-{n} gone"}),
            ((f'alertname=~"(?i)({word}|{end})s?[ _-]?(is)?of{n}x.*"',), {"alertname": f"{end}s-of{n}xY"}),
            ((f'alertname=~".*{word}.*"', f'service="service-{n}"'), {"alertname": f"My{word}Is{end}"}),
            ((f'alertname=~".*{end}{n}"', 'env!~"(?i)(dev|test|qa).*"'), {"alertname": f"{word}Is{end}{n}"}),
        )
        kinds: tuple[tuple[tuple[str, ...], Labels], ...] = (
            *[((f'alertname="{name}"', f'env="{env}"'), {"alertname": name}) for env in ("prod", "prod", "live")],
            *[((f'alertname="{name}"',), {"alertname": name})] * 5,
            *[((f'alertname=~"{listed}"',), {"alertname": f"{name}D"})] * 4,
            *families,
            *[((f'team="team-{n}"', 'severity="critical"'), {})] * 2,
            ((f'service=~"shop-{n}-.*"',), {"service": f"shop-{n}-web"}),
        )
        texts, labels = kinds[n % len(kinds)]
        matchers = tuple(matcher for text in texts for matcher in parse(text))
        exact = {matcher.name: matcher.value for matcher in matchers if matcher.operator == "="}
        yield Rule(f"r{n}", matchers, Severity.P2 if n % len(kinds) < 17 else BY_LABEL), exact | dict(labels)


def alert(labels: Labels) -> Alert:
    """Make an alert that holds these labels among the usual ones."""
    usual = {"alertname": "Something", "severity": "critical", "env": "prod", "cluster": "eu1", "instance": "host-1"}
    given = usual | dict(labels)
    return Alert("bench", identify("bench", given), given, {}, True, AT)
