"""What is wrong at a sender is seen from its traffic alone, and what is healthy is left in peace."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from responder.integrations.alertmanager import Alertmanager, Settings
from responder.metrics import SENDER_PROBLEMS
from responder.model import InboxRow
from responder.ports import Past
from responder.workers.doctor import KEPT, MAX_GROUPS, MAX_PEERS, MAX_PROBLEMS, MAX_SENDERS, Doctor
from responder.workers.remedies import REMEDIES
from tests.given import NOW, FakeClock, after, body, entry, new_metrics

ONE, TWO = "http://am-0:9093", "http://am-1:9093"
COMPACT = b'{"receiver":"responder","status":"resolved",'


class Traffic:
    """A doctor and the bodies that it sees, each a minute after the one before."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = new_metrics()
        self.doctor = Doctor(self.clock, self.metrics)
        self.receiver = Alertmanager(Settings())

    def see(self, *elements: Any, later_s: float = 60.0, raw: bytes | None = None, **more: Any) -> None:
        at = self.clock.turn(later_s)
        raw = body(*elements, **more) if raw is None else raw
        self.doctor.body(InboxRow(1, "alertmanager", raw, at), self.receiver.decode(raw, at))

    def kinds(self) -> list[str]:
        return [each.kind for each in self.doctor.problems()]


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def ended(**labels: Any) -> dict[str, Any]:
    return entry(firing=False, ended=after(1), **labels)


def ended_of(name: str, **labels: Any) -> dict[str, Any]:
    return entry(name, firing=False, ended=after(1), **labels)


def truncated(seen: Traffic) -> None:
    seen.see(entry(instance="a"), truncated=3)


def lying(seen: Traffic) -> None:
    raw = body(ended(instance="a"), status="resolved", truncated=3).replace(b": ", b":").replace(b", ", b",")
    assert COMPACT in raw
    seen.see(raw=raw)


def other_replica(seen: Traffic) -> None:
    for group in ("g1", "g2", "g3"):
        seen.see(entry(replica="0", instance=group), sender=ONE, group=group)
        seen.see(entry(replica="1", instance=group), sender=TWO, group=group)


def other_routes(seen: Traffic) -> None:
    seen.see(entry(), sender=ONE, group="{}:{a}")
    seen.see(entry(), sender=TWO, group="{}/{b}:{a}")


def both_send(seen: Traffic) -> None:
    for group in ("g1", "g2", "g3"):
        seen.see(entry(instance=group), sender=ONE, group=group)
        seen.see(entry(instance=group), sender=TWO, group=group, later_s=1)


def hurried(seen: Traffic) -> None:
    for count in range(1, 8):
        seen.see(*[entry(instance=str(n)) for n in range(count)], later_s=3)


def churning(seen: Traffic) -> None:
    for count in range(12):
        seen.see(ended(value=str(count)), entry(value=str(count + 1)))


def reloaded(seen: Traffic) -> None:
    seen.see(entry(), group="{}:{a}")
    seen.see(entry(), group="{}/{team=x}:{a}")


def two_routes(seen: Traffic) -> None:
    for _ in range(3):
        seen.see(entry(), group="{}:{a}")
        seen.see(entry(), group="{}/{team=x}:{a}")


def ahead(seen: Traffic) -> None:
    seen.see(entry(started=after(600)))


def silent_ends(seen: Traffic) -> None:
    for name in ("a", "b", "c", "d"):
        seen.see(entry(instance=name))


def own_payload(seen: Traffic) -> None:
    seen.see(raw=b'{"text": "something fires"}')


def redirected(seen: Traffic) -> None:
    seen.doctor.knocked("alertmanager", "GET", "Alertmanager/0.34.0")


SICK: list[tuple[str, Callable[[Traffic], None], str, str]] = [
    ("a group is cut off", truncated, "truncated", "3 alerts cut off beside 1 sent"),
    ("and calls itself resolved", lying, "truncated", "calls itself resolved"),
    ("peers whose alerts differ by a label", other_replica, "unequal_peers", "label replica"),
    ("peers whose routes differ", other_routes, "unequal_peers", "routes differ"),
    ("peers that do not hear each other", both_send, "peers_duplicate", "3 bodies came from two peers at once"),
    ("a short group_interval", hurried, "short_group_interval", "within 10 s"),
    ("a label that changes", churning, "churning_label", "label value of Api had 13 values"),
    ("a changed route", reloaded, "group_key_churn", "{}:{a} and {}/{team=x}:{a}"),
    ("two routes to us", two_routes, "double_route", "in two groups"),
    ("a clock ahead of ours", ahead, "clock_skew", "540 s from now"),
    ("no resolved bodies", silent_ends, "no_resolved", "of 4 received none was resolved"),
    ("a payload of its own", own_payload, "custom_payload", 'without the list "alerts"'),
    ("a redirect on the way", redirected, "redirected", "Alertmanager/0.34.0"),
]


@pytest.mark.parametrize(("sick", "kind", "figure"), [pytest.param(*case, id=name) for name, *case in SICK])
def test_it_is_seen(traffic: Traffic, sick: Callable[[Traffic], None], kind: str, figure: str) -> None:
    sick(traffic)
    assert traffic.kinds() == [kind]
    assert figure in traffic.doctor.problems()[0].seen
    assert traffic.metrics.registry.get_sample_value("responder_sender_problems", {"problem": kind}) == 1


def healthy_pair(seen: Traffic) -> None:
    """One sends, and the other after the first was restarted."""
    for sender in (ONE, ONE, TWO, ONE):
        seen.see(entry(instance="a"), sender=sender)
        seen.see(ended(instance="a"), sender=sender)


def many_instances(seen: Traffic) -> None:
    """Alerts of one group come and go, one after the other, by the book."""
    seen.see(entry(instance="a"))
    seen.see(entry(instance="a"), entry(instance="b"))
    seen.see(ended(instance="a"), entry(instance="b"))
    seen.see(ended(instance="b"))


def repeats(seen: Traffic) -> None:
    for _ in range(20):
        seen.see(entry(), later_s=2)


def cut_off(seen: Traffic) -> None:
    """What is cut off has not vanished."""
    for name in ("a", "b", "c", "d"):
        seen.see(entry(instance=name), truncated=1)


def a_browser(seen: Traffic) -> None:
    seen.doctor.knocked("alertmanager", "GET", "Mozilla/5.0")


WELL: list[tuple[str, Callable[[Traffic], None], list[str]]] = [
    ("a healthy pair", healthy_pair, []),
    ("alerts of one group that come and go", many_instances, []),
    ("repeats, however quick", repeats, []),
    ("alerts that were cut off have not vanished", cut_off, ["truncated"]),
    ("a person who looks", a_browser, []),
]


@pytest.mark.parametrize(("well", "kinds"), [pytest.param(*case, id=name) for name, *case in WELL])
def test_it_is_left_in_peace(traffic: Traffic, well: Callable[[Traffic], None], kinds: list[str]) -> None:
    well(traffic)
    assert traffic.kinds() == kinds


def test_every_problem_has_its_remedy_and_its_series() -> None:
    assert set(REMEDIES) == set(SENDER_PROBLEMS)
    assert all(each.why and each.change for each in REMEDIES.values())


def test_a_problem_that_is_mended_is_gone_after_a_day(traffic: Traffic) -> None:
    truncated(traffic)
    truncated(traffic)
    [problem] = traffic.doctor.problems()
    assert (problem.times, problem.last_at - problem.first_at) == (2, timedelta(seconds=60))
    traffic.clock.turn(KEPT.total_seconds() + 1)
    assert traffic.kinds() == []


def test_what_it_remembers_is_bounded(traffic: Traffic) -> None:
    for count in range(3 * MAX_GROUPS):
        traffic.see(entry(instance=str(count)), group=f"g{count}", sender=f"http://am-{count}", truncated=1)
    assert len(traffic.doctor.problems()) == MAX_PROBLEMS
    assert len(traffic.doctor.as_dict()["senders"]) == 64


def test_text_of_an_alert_cannot_drive_a_terminal(traffic: Traffic) -> None:
    reloaded_by = "{}:{\x1b[2J\u202e}"
    traffic.see(entry(), group=reloaded_by)
    traffic.see(entry(), group="other")
    assert "\x1b" not in traffic.doctor.problems()[0].seen


def test_a_fault_of_its_own_stops_nothing(traffic: Traffic) -> None:
    decoded = traffic.receiver.decode(body(entry()), NOW)
    broken = InboxRow(1, "alertmanager", b"", None)  # type: ignore[arg-type]  # a fault of ours: there is no time
    traffic.doctor.body(broken, decoded)
    truncated(traffic)
    assert traffic.kinds() == ["truncated"]


def test_what_was_missed_is_kept_for_who_asks(traffic: Traffic) -> None:
    traffic.doctor.missed("alertmanager", NOW, after(600), [Past({"alertname": "Short"}, after(60), after(120))])
    [missed] = traffic.doctor.as_dict()["missed"]
    assert (missed["count"], missed["alerts"][0]["labels"]) == (1, {"alertname": "Short"})


def test_labels_of_any_length_do_not_fill_the_memory(traffic: Traffic) -> None:
    long = "x" * 100_000
    tracemalloc.start()
    try:
        for n in range(100):
            value = f"{n}{long}"
            traffic.see(entry(pod=value), ended(pod=f"{value}-"), group=f"g{n}")
            traffic.see(entry(f"A{value}", pod="a"), ended_of(f"A{value}", pod="b"), group=f"h{n}")
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 5 << 20


def test_of_many_peers_of_one_group_few_are_kept(traffic: Traffic) -> None:
    for n in range(MAX_SENDERS):
        traffic.see(entry(), sender=f"http://am-{n}:9093")
    [peers] = traffic.doctor._groups.values()
    assert len(peers) == MAX_PEERS
