"""Quiet hours, maintenance, silences and inhibitions as policy.yaml writes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.calendar import Calendar
from responder.rules.fields import RulesError
from responder.rules.inhibit import Inhibition
from responder.rules.loader import load, load_policy
from responder.rules.matchers import parse
from responder.rules.policy import Policy
from responder.rules.quiet import QuietHours
from responder.rules.suppress import Maintenance, Silence

from .given import write

P0, P1, P2, P3 = Severity
WHOLE = """\
quiet_hours:
  - name: nights
    from: "22:00"
    to: "07:00"
    timezone: UTC
    severities: [P3, P2, P2]
    match: ['env="staging"', 'team=~"a|b"']
maintenance:
  - {name: once, match: [a=b], starts_at: 2026-12-01T22:00:00+01:00, ends_at: "2026-12-02T00:00:00Z", comment: why}
  - {name: again, match: [a=b, c!=d], days: [sun], timezone: UTC}
  - {name: all, everything: true, starts_at: 2026-12-01T22:00:00Z, ends_at: 2026-12-01T22:30:00Z}
silences:
  - match: [a=b]
    from: 2026-12-01t00:00:00.5z
    until: 2026-12-02T00:00:00-00:30
    by: anna
    comment: the new disk comes on Monday
inhibitions:
  - name: down
    source: [alertname=Node]
    target: ['alertname=~"Pod.*"']
    equal: [cluster, node, node]
"""


def test_all_of_it_is_read(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path / "policy.yaml", WHOLE))
    began, hour = datetime(2026, 12, 1, 22, tzinfo=UTC), timedelta(hours=1)
    nights = Calendar(UTC, from_minute=1320, to_minute=420)
    assert policy.quiet_hours == (QuietHours("nights", nights, (P2, P3), parse('env="staging",team=~"a|b"')),)
    assert policy.maintenance == (
        Maintenance("once", parse("a=b"), began - hour, began + 2 * hour, comment="why"),
        Maintenance("again", parse("a=b,c!=d"), calendar=Calendar(UTC, (6,))),
        Maintenance("all", (), began, began + hour / 2),
    )
    starts_at, until = datetime(2026, 12, 1, 0, 0, 0, 500_000, UTC), datetime(2026, 12, 2, 0, 30, tzinfo=UTC)
    assert policy.silences == (Silence(parse("a=b"), until, "anna", "the new disk comes on Monday", starts_at),)
    target = parse('alertname=~"Pod.*"')
    assert policy.inhibitions == (Inhibition("down", parse("alertname=Node"), target, ("cluster", "node")),)


def test_what_is_read_knows_its_line(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path / "policy.yaml", WHOLE))
    late = datetime(2027, 1, 1, tzinfo=UTC)
    assert [(error.line, error.message.split(";")[-1]) for error in policy.outdated(late)] == [
        (13, " remove it"),
        (9, " remove it"),
        (11, " remove it"),
    ]


def test_quiet_hours_hold_back_p2_and_p3_unless_told(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path / "policy.yaml", "quiet_hours: [{name: n, days: [sun], timezone: UTC}]\n"))
    assert policy.quiet_hours == (QuietHours("n", Calendar(UTC, (6,)), (P2, P3)),)


def test_empty_lists_are_nothing(tmp_path: Path) -> None:
    text = "quiet_hours: []\nmaintenance: []\nsilences: null\ninhibitions: []\nbusiness_hours: null\nchannels: []\n"
    assert load_policy(write(tmp_path / "policy.yaml", text)) == Policy()


def quiet(more: str) -> str:
    return f"quiet_hours:\n  - name: n\n    timezone: UTC\n    days: [sun]\n    {more}\n"


def window(more: str) -> str:
    return f"maintenance:\n  - name: n\n    match: [a=b]\n    {more}\n"


def silence(more: str, without: str = "") -> str:
    lines = ["match: [a=b]", "until: 2026-12-02T00:00:00Z", "by: anna", "comment: c", more]
    kept = [line for line in lines if line and not (without and line.startswith(without))]
    return "silences:\n  - " + "\n    ".join(kept) + "\n"


ONCE = "starts_at: 2026-12-01T00:00:00Z\n    ends_at: 2026-12-02T00:00:00Z"
WRONG = {
    "quiet hours as a mapping": ("quiet_hours: {name: n}\n", 1, "quiet_hours must be a list; begin each entry with -"),
    "quiet hours of text": ("quiet_hours: [nights]\n", 1, "an entry of quiet_hours must be a mapping"),
    "quiet hours without a name": ("quiet_hours:\n  - {days: [sun], timezone: UTC}\n", 2, "has no name"),
    "the same name twice": (quiet("") + "  - {name: n, days: [mon], timezone: UTC}\n", 6, "the first is on line 2"),
    "quiet P0": (quiet("severities: [P0, P2]"), 5, "P0 cannot be quiet: a complete outage wakes people"),
    "quiet for nobody": (quiet("severities: []"), 5, "severities must be a list of P1, P2, P3"),
    "quiet severity in words": (quiet("severities: [minor]"), 5, "severities must be a list of P1, P2, P3"),
    "quiet where": (quiet("match: ['a']"), 5, "match 'a': column 2"),
    "quiet unknown key": (quiet("severity: P2"), 5, "unknown key 'severity'"),
    "quiet without a zone": ("quiet_hours:\n  - name: n\n    days: [sun]\n", 2, "quiet_hours 'n' has no timezone"),
    "quiet always": ("quiet_hours:\n  - name: n\n    timezone: UTC\n", 2, "quiet_hours 'n' never ends"),
    "window without match": (f"maintenance:\n  - name: n\n    {ONCE}\n", 2, "maintenance 'n' has no match"),
    "window of everything": (window(ONCE).replace("a=b", "'a=~\".*\"'"), 3, "matches every alert; narrow match"),
    "window of every name": (window(ONCE).replace("a=b", "'alertname!=\"\"'"), 3, "matches every alert"),
    "window of every name by a regex": (window(ONCE).replace("a=b", "'alertname=~\".+\"'"), 3, "matches every alert"),
    "window without time": (window(""), 2, "does not say from when to when; write starts_at and ends_at for once"),
    "window without end": (window("starts_at: 2026-12-01T00:00:00Z"), 4, "does not say from when to when"),
    "window both once and again": (window(f"{ONCE}\n    days: [sun]"), 6, "days does not go with starts_at"),
    "window that ends before": (
        window("starts_at: 2026-12-02T00:00:00Z\n    ends_at: 2026-12-02T00:00:00Z"),
        5,
        "ends_at must lie after starts_at",
    ),
    "window of two months": (
        window("starts_at: 2026-12-01T00:00:00Z\n    ends_at: 2026-12-31T00:00:01Z"),
        5,
        "longer than 30 days is forgotten",
    ),
    "window without an offset": (
        window("starts_at: 2026-12-01T00:00:00\n    ends_at: 2026-12-02T00:00:00Z"),
        4,
        "starts_at must be a time with its offset, such as 2026-12-01T22:00:00+01:00",
    ),
    "window on no date": (
        window("starts_at: 2026-02-30T00:00:00Z\n    ends_at: 2026-12-02T00:00:00Z"),
        4,
        "starts_at must be a time",
    ),
    "window beyond the calendar": (
        window("starts_at: 2026-12-01T00:00:00Z\n    ends_at: 9999-12-31T23:59:59-01:00"),
        5,
        "ends_at must be a time",
    ),
    "window for ever": (window("timezone: UTC"), 2, "never ends"),
    "window unknown key": (window(f"{ONCE}\n    until: x"), 6, "unknown key 'until'"),
    "silence without match": (silence("", without="match"), 2, "a silence has no match"),
    "silence without end": (silence("", without="until"), 2, "a silence has no until; say when it ends"),
    "silence by nobody": (silence("", without="by"), 2, "a silence has no by; say who silences"),
    "silence for no reason": (silence("", without="comment"), 2, "a silence has no comment; say why"),
    "silence that ends before it begins": (silence("from: 2026-12-02T00:00:00Z"), 3, "until must lie after from"),
    "silence that ends some day": (silence("").replace("2026-12-02T00:00:00Z", "tomorrow"), 3, "until must be a time"),
    "silence with a name": (silence("name: s"), 6, "unknown key 'name'"),
    "inhibition without source": ("inhibitions:\n  - {name: i, target: [a=b]}\n", 2, "has no source"),
    "inhibition without target": ("inhibitions:\n  - {name: i, source: [a=b], target: []}\n", 2, "has no target"),
    "inhibition without name": ("inhibitions:\n  - {source: [a=b], target: [c=d]}\n", 2, "has no name"),
    "inhibition of text": ("inhibitions:\n  - {name: i, source: [a], target: [c=d]}\n", 2, "source 'a': column 2"),
    "equal of numbers": ("inhibitions:\n  - {name: i, source: [a=b], target: [c=d], equal: [1]}\n", 2, "equal must be"),
    "inhibition unknown key": (
        "inhibitions:\n  - {name: i, source: [a=b], target: [c=d], source_match: {}}\n",
        2,
        "unknown key 'source_match'",
    ),
}


@pytest.mark.parametrize(("text", "line", "part"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_with_its_line(text: str, line: int, part: str, tmp_path: Path) -> None:
    path = write(tmp_path / "policy.yaml", text)
    with pytest.raises(RulesError) as caught:
        load_policy(path)
    said = [str(error) for error in caught.value.errors]
    assert any(each.startswith(f"{path}:{line}: ") and part in each for each in said), said


ODD = {
    "quiet P1": (quiet("severities: [P1]"), 2, "quiet_hours 'n' holds back P1 too"),
    "inhibition of itself": (
        "inhibitions:\n  - {name: i, source: [a=b, c=d], target: [c=d, a=b]}\n",
        2,
        "inhibitions 'i' mutes nothing",
    ),
    "window of what has no label": (
        window(ONCE).replace("a=b", "'env!=\"prod\"'"),
        2,
        "maintenance 'n' mutes also what has no label env",
    ),
}


@pytest.mark.parametrize(("text", "line", "part"), ODD.values(), ids=ODD)
def test_what_looks_wrong_is_a_warning(text: str, line: int, part: str, tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "rules: [{name: r, match: [a=b], severity: P2}]\n")
    path = write(tmp_path / "policy.yaml", text)
    (warning,) = load([tmp_path]).warnings
    assert str(warning).startswith(f"{path}:{line}: ")
    assert part in str(warning)


FINE = {
    "window of a word": window(ONCE),
    "window until midnight of its thirtieth day": window(
        "starts_at: 2026-12-01T00:00:00Z\n    ends_at: 2026-12-31T00:00:00Z"
    ),
    "window of everything, said": window(f"{ONCE}\n    everything: true").replace("a=b", "'a=~\".*\"'"),
    "silence of everything, said": silence("everything: true", without="match"),
    "silence of all that have a label": silence("").replace("a=b", "'a!=\"\"'"),
    "silence long over": silence("").replace("2026", "2016"),
    "times without seconds": silence("").replace("T00:00:00Z", " 00:00+01:00"),
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_what_is_fine_is_read_without_a_word(text: str, tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "rules: [{name: r, match: [a=b], severity: P2}]\n")
    write(tmp_path / "policy.yaml", text)
    assert load([tmp_path]).warnings == ()
