"""Rule files become rules, or every mistake in them is named with its file and line."""

from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.fields import RulesError
from responder.rules.loader import load, load_policy
from responder.rules.rule import Raise, SeverityFrom

from .given import alert, write

P0, P1, P2, P3 = Severity
WHOLE = """\
rules:
  - name: api-degraded
    match: ['alertname=~"ApiDown|HighErrorRate"', 'env="prod"']
    severity: {from_label: severity, map: {Critical: P1, warning: P2}, else: P3}
    raise:
      - {to: P1, when: {value: annotation:users_affected_percent, at_least: 25}}
      - {to: P1, when: {value: label:users, at_least: 2.5}}
      - {to: P0, when: {distinct: instance, at_least: 5}}
      - {to: P0, when: {count: true, at_least: 10}}
      - {to: P1, when: {open_for: 1h30m}}
    runbook: production-outage
    group_by: [cluster, service]
    systems: service
    channel: "#inc-api"
    continue: true
  - name: plain
    match: '{a="b",c!="d"}'
    severity: P3
"""


def refused(text: str, tmp_path: Path, **more: frozenset[str]) -> list[str]:
    """Give what is said of a rule file, without the folder."""
    with pytest.raises(RulesError) as caught:
        load([write(tmp_path / "a.yaml", text)], runbooks=more.get("runbooks"))
    return [str(error).replace(f"{tmp_path}/", "") for error in caught.value.errors]


def test_every_key_of_a_rule_is_read(tmp_path: Path) -> None:
    first, second = load([write(tmp_path / "a.yaml", WHOLE)], runbooks=["production-outage"]).rules
    assert [matcher.wanted() for matcher in first.matchers] == ['alertname=~"ApiDown|HighErrorRate"', 'env="prod"']
    assert first.severity == SeverityFrom("severity", {"critical": P1, "warning": P2}, P3)
    assert first.raises == (
        Raise(P1, "value", 25, "annotation", "users_affected_percent"),
        Raise(P1, "value", 2.5, "label", "users"),
        Raise(P0, "distinct", 5, name="instance"),
        Raise(P0, "count", 10),
        Raise(P1, "open_for", 5400),
    )
    assert (first.runbook, first.group_by, first.systems) == ("production-outage", ("cluster", "service"), ("service",))
    assert (first.channel, first.goes_on, first.line) == ("#inc-api", True, 2)
    assert [matcher.wanted() for matcher in second.matchers] == ['a="b"', 'c!="d"']
    assert (second.severity, second.group_by, second.goes_on, second.line) == (P3, ("alertname",), False, 16)


def one(more: str) -> str:
    """Give a file of one good rule with more lines."""
    return f"rules:\n  - name: r\n    match: a=b\n    severity: P2\n    {more}\n"


MISTAKES = {
    "unknown key": (one("severty: P1"), 5, "unknown key 'severty'"),
    "template key": (one("include: /etc/passwd"), 5, "unknown key 'include'"),
    "unknown key of the file": ("rules: []\nrule: []\n", 2, "unknown key 'rule'"),
    "no rules key": ("groups: []\n", 1, "unknown key 'groups'"),
    "not a mapping": ("- name: r\n", 1, "must be a mapping"),
    "rules no list": ("rules: {a: b}\n", 1, "must be a list"),
    "rule no mapping": ("rules:\n  - just text\n", 1, "a rule must be a mapping"),
    "no name": ("rules:\n  - severity: P1\n", 2, "has no name"),
    "empty name": ('rules:\n  - name: ""\n    severity: P1\n', 2, "one line of text"),
    "name of two lines": ('rules:\n  - name: "a\\nb"\n    severity: P1\n', 2, "one line of text"),
    "name of the backstop": ("rules:\n  - name: backstop\n    severity: P1\n", 2, "a name of our own"),
    "no severity": ("rules:\n  - name: r\n    match: a=b\n", 2, "has no severity"),
    "severity of another scale": (one("x: y").replace("P2", "SEV-2"), 4, "SEV-2 is P1 here"),
    "severity in short": (one("x: y").replace("P2", "sev1"), 4, "SEV-1 is P0 here"),
    "severity in lower case": (one("x: y").replace("P2", "p2"), 4, "write P2"),
    "severity beyond": (one("x: y").replace("P2", "P4"), 4, "P3 minor"),
    "severity as a number": (one("x: y").replace("P2", "1"), 4, "is not one of P0"),
    "severity of yes": (one("x: y").replace("P2", "yes"), 4, "is not one of P0"),
    "no from_label": (one("x: y").replace("P2", "{map: {a: P1}}"), 4, "has no from_label"),
    "no map": (one("x: y").replace("P2", "{from_label: severity}"), 4, "has no map"),
    "bad severity in the map": (
        one("x: y").replace("P2", "{from_label: s, map: {a: high}}"),
        4,
        "'high' is not one of",
    ),
    "value twice in the map": (one("x: y").replace("P2", "{from_label: s, map: {a: P1, A: P2}}"), 4, "stands twice"),
    "bad else": (one("x: y").replace("P2", "{from_label: s, map: {a: P1}, else: none}"), 4, "else 'none'"),
    "bad matcher": (one("x: y").replace("a=b", "a"), 3, "column 2"),
    "bad regex": (one("x: y").replace("a=b", "'a=~\"[\"'"), 3, "missing ]"),
    "matcher of nothing": (one("x: y").replace("a=b", '["{}"]'), 3, "asks for nothing"),
    "match as a mapping": (one("x: y").replace("a=b", "{a: b}"), 3, "must be a list of texts"),
    "group_by of numbers": (one("group_by: [1]"), 5, "must be a list of texts"),
    "group_by everything": (one("group_by: ['...']"), 5, "not supported"),
    "continue as text": (one("continue: yes"), 5, "true or false"),
    "template in the channel": (one('channel: "#inc-{{ $labels.team }}"'), 5, "nothing is filled in"),
    "channel that mentions": (one('channel: "<!channel>"'), 5, "is not a channel"),
    "raise no list": (one("raise: {to: P1, when: {open_for: 1h}}"), 5, "must be a list"),
    "raise of text": (one("raise: [P1]"), 5, "a raise must be a mapping"),
    "raise without to": (one("raise: [{when: {open_for: 1h}}]"), 5, "has no to"),
    "raise without when": (one("raise: [{to: P1}]"), 5, "when must be a mapping"),
    "raise that lowers": (one("raise: [{to: P3, when: {open_for: 1h}}]"), 5, "only a person lowers"),
    "raise to the same": (one("raise: [{to: P2, when: {open_for: 1h}}]"), 5, "never raises"),
    "raise on nothing": (one("raise: [{to: P1, when: {at_least: 1}}]"), 5, "one condition"),
    "raise on two things": (
        one("raise: [{to: P1, when: {distinct: a, count: true, at_least: 1}}]"),
        5,
        "one condition",
    ),
    "raise with unknown key": (
        one("raise: [{to: P1, when: {open_for: 1h, at_least: 1}}]"),
        5,
        "unknown key 'at_least'",
    ),
    "value of nowhere": (
        one("raise: [{to: P1, when: {value: users, at_least: 1}}]"),
        5,
        "annotation:NAME or label:NAME",
    ),
    "value of no name": (one('raise: [{to: P1, when: {value: "label:", at_least: 1}}]'), 5, "annotation:NAME"),
    "no bound": (one("raise: [{to: P1, when: {value: label:a}}]"), 5, "at_least must be a number"),
    "bound of text": (one("raise: [{to: P1, when: {value: label:a, at_least: many}}]"), 5, "at_least must be a number"),
    "half a count": (one("raise: [{to: P1, when: {count: true, at_least: 1.5}}]"), 5, "a whole number"),
    "count of none": (one("raise: [{to: P1, when: {distinct: a, at_least: 0}}]"), 5, "at least 1"),
    "count of false": (one("raise: [{to: P1, when: {count: false, at_least: 2}}]"), 5, "count must be true"),
    "open for no duration": (one("raise: [{to: P1, when: {open_for: soon}}]"), 5, "not a duration"),
    "open for nothing": (one("raise: [{to: P1, when: {open_for: null}}]"), 5, "must be a duration"),
    "open at once": (one("raise: [{to: P1, when: {open_for: 0}}]"), 5, "at least 1 s"),
    "business hours as text": (
        one("raise: [{to: P1, when: {business_hours: yes}}]"),
        5,
        "business_hours must be true (inside them) or false (outside), not 'yes'",
    ),
    "business hours of nothing": (
        one("raise: [{to: P1, when: {open_for: 1h, business_hours: null}}]"),
        5,
        "business_hours must be true",
    ),
    "business hours of a number": (
        one("raise: [{to: P1, when: {business_hours: true, at_least: 1}}]"),
        5,
        "unknown key 'at_least'",
    ),
    "business hours with two things": (
        one("raise: [{to: P1, when: {open_for: 1h, count: true, at_least: 2, business_hours: true}}]"),
        5,
        "one condition",
    ),
    "business hours that nobody told": (
        one("raise:\n      - to: P1\n        when: {business_hours: true}"),
        7,
        "the policy has none; add business_hours to policy.yaml",
    ),
    "heartbeat of no duration": (one("heartbeat: often"), 5, "not a duration"),
    "heartbeat of nothing": (one("heartbeat: null"), 5, "must be a duration such as 10m"),
    "heartbeat too quick": (one("heartbeat: 59s"), 5, "at least 60 s"),
    "heartbeat too slow": (one("heartbeat: 1d1s"), 5, "at most 24h"),
    "heartbeat that goes on": (one("heartbeat: 10m\n    continue: true"), 6, "continue does not go with heartbeat"),
    "heartbeat that goes on to labels": (one("heartbeat: 10m\n    continue: labels"), 6, "does not go with heartbeat"),
    "heartbeat that is raised": (
        one("heartbeat: 10m\n    raise: [{to: P1, when: {open_for: 1h}}]"),
        6,
        "raise does not go with heartbeat",
    ),
}


@pytest.mark.parametrize(("text", "line", "part"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(text: str, line: int, part: str, tmp_path: Path) -> None:
    said = refused(text, tmp_path)
    assert any(each.startswith(f"a.yaml:{line}: ") and part in each for each in said), said


HOSTILE = {
    "alias bomb": "a: &a [x,x]\nb: &b [*a,*a]\nrules: [*b,*b]\n",
    "merge bomb": "a: &a {x: y}\nrules: [{<<: *a}]\n",
    "recursion": "rules: &a [*a]\n",
    "python tag": 'rules: !!python/object/apply:os.system ["true"]\n',
    "own tag": "rules: !include other.yaml\n",
    "depth": "rules: " + "[" * 3000 + "]" * 3000,
    "deep blocks": "".join(" " * at + f"a{at}:\n" for at in range(500)),
    "key twice": one("severity: P1"),
    "two documents": "rules: []\n---\nrules: []\n",
    "NUL": "rules: []\n# \0\n",
    "control character": "rules: []\n# \x1b[31m\n",
    "too large": "# " + "x" * (1 << 20) + "\n",
    "not YAML": "rules: [\n",
    "tabs": "rules:\n\t- name: r\n",
    "lone surrogate": 'rules: [{name: "\\ud800", severity: P1}]\n',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused(text: str, tmp_path: Path) -> None:
    assert len(refused(text, tmp_path)) == 1


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"rules: []\n# \xff\xfe\n")
    with pytest.raises(RulesError, match="not UTF-8"):
        load([tmp_path])


def test_norway_and_dates_stay_text(tmp_path: Path) -> None:
    text = "rules:\n  - {name: no, match: [country=no, day=2026-01-01], severity: P2, systems: [on, yes]}\n"
    (rule,) = load([write(tmp_path / "a.yaml", text)]).rules
    assert (rule.name, rule.systems) == ("no", ("on", "yes"))
    assert rule.matchers[0].matches({"country": "no"})


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode())
    assert [rule.name for rule in load([tmp_path]).rules] == ["api-degraded", "plain"]


def test_the_mistakes_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one("severty: P1\n    continue: maybe"))
    write(tmp_path / "b.yaml", "rules: &a []\n")
    write(tmp_path / "c.yaml", one("x: y"))
    write(tmp_path / "policy.yaml", "P0: {cadense: 5m}\n")
    with pytest.raises(RulesError) as caught:
        load([tmp_path])
    assert [(Path(error.path).name, error.line) for error in caught.value.errors] == [
        *(("a.yaml", 5), ("a.yaml", 6), ("b.yaml", 1), ("c.yaml", 5), ("c.yaml", 2), ("policy.yaml", 1)),
    ]
    assert str(caught.value).count("\n") == 5


def test_a_name_that_stands_twice_names_both_places(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one("systems: a"))
    write(tmp_path / "b.yaml", "rules:\n" + one("systems: a").removeprefix("rules:\n"))
    with pytest.raises(RulesError, match=r"b.yaml:2: rule 'r' stands twice; the first is at .*a.yaml:2"):
        load([tmp_path])


def test_a_runbook_must_exist(tmp_path: Path) -> None:
    text = one("runbook: diskfull")
    assert refused(text, tmp_path, runbooks=frozenset(["disk-full"])) == [
        "a.yaml:5: there is no runbook 'diskfull'; known: disk-full"
    ]
    assert load([tmp_path / "a.yaml"]).rules[0].runbook == "diskfull"


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("20-b", "10-z", "9-a"):
        write(tmp_path / f"{name}.yaml", one("systems: a").replace("name: r", f"name: r{name}"))
    assert [rule.name for rule in load([tmp_path]).rules] == ["r10-z", "r20-b", "r9-a"]


def test_policy_tests_and_hidden_files_are_no_rules(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one("systems: a"))
    write(tmp_path / "policy.yaml", "hold: 1m\n")
    write(tmp_path / "tests" / "a.yaml", "tests: []\n")
    write(tmp_path / ".a.yaml.swp.yaml", "broken: [\n")
    write(tmp_path / "README.md", "# Rules\n")
    ruleset = load([tmp_path, tmp_path / "a.yaml"])
    assert (len(ruleset.rules), ruleset.policy.default_hold_s, ruleset.warnings) == (1, 60, ())


def test_without_a_policy_the_shipped_one_serves(tmp_path: Path) -> None:
    shipped = write(tmp_path / "shipped" / "policy.yaml", "hold: 7m\n")
    rules = write(tmp_path / "own" / "a.yaml", one("systems: a"))
    assert load([rules.parent], shipped=shipped).policy.default_hold_s == 420
    assert load([rules.parent], shipped=shipped.parent).policy == load_policy(shipped.parent)
    assert load([rules.parent]).policy.default_hold_s == 300
    write(rules.parent / "policy.yaml", "hold: 1m\n")
    assert load([rules.parent], shipped=shipped).policy.default_hold_s == 60


def test_two_policies_are_one_too_many(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "policy.yaml", "hold: 1m\n")
    with pytest.raises(RulesError, match="a second policy"):
        load([tmp_path / "a", tmp_path / "b"])


def test_a_path_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot be read"):
        load([tmp_path / "missing"])
    with pytest.raises(RulesError, match="holds no rule file"):
        load([tmp_path])


WARNED = {
    "empty file": ("", "the file is empty"),
    "comments only": ("# nothing yet\n", "the file is empty"),
    "no rules": ("rules:\n", "rules: is empty"),
    "empty list": ("rules: []\n", "rules: is empty"),
    "takes everything": (
        "rules:\n  - {name: r, severity: P3}\n",
        "a.yaml:2: rule 'r' has no match: it takes every alert",
    ),
    "hides what follows": (
        "rules:\n  - {name: r, severity: P3}\n  - {name: s, match: a=b, severity: P1}\n",
        "the 1 rules after it are never reached",
    ),
}


@pytest.mark.parametrize(("text", "part"), WARNED.values(), ids=WARNED)
def test_what_looks_wrong_is_a_warning_and_every_alert_still_pages(text: str, part: str, tmp_path: Path) -> None:
    ruleset = load([write(tmp_path / "a.yaml", text)])
    assert part in str(ruleset.warnings[0])
    assert ruleset.classify(alert(alertname="A")).severity in Severity


def test_a_folder_in_a_rules_folder_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one("systems: a"))
    write(tmp_path / "team" / "b.yaml", one("systems: a"))
    assert "are not read" in str(load([tmp_path]).warnings[0])


def test_ten_thousand_rules_load(tmp_path: Path) -> None:
    for file in range(4):
        rules = (
            f"  - {{name: r{file}-{at}, match: 'alertname=~\"A{file}x{at}y.*\"', severity: P2}}" for at in range(2500)
        )
        write(tmp_path / f"{file}.yaml", "\n".join(["rules:", *rules]))
    ruleset = load([tmp_path])
    assert len(ruleset.rules) == 10_000
    assert ruleset.classify(alert(alertname="A3x2499yz")).rule == "r3-2499"


OFFICE = 'business_hours: {days: [mon-fri], from: "09:00", to: "18:00", timezone: UTC}\n'
IN_HOURS = {
    "alone": ("{business_hours: true}", Raise(P1, "time", 0, in_hours=True)),
    "outside": ("{business_hours: false}", Raise(P1, "time", 0, in_hours=False)),
    "with open_for": ("{open_for: 30m, business_hours: true}", Raise(P1, "open_for", 1800, in_hours=True)),
    "with distinct": (
        "{distinct: pod, at_least: 3, business_hours: false}",
        Raise(P1, "distinct", 3, name="pod", in_hours=False),
    ),
    "with count": ("{count: true, at_least: 3, business_hours: true}", Raise(P1, "count", 3, in_hours=True)),
    "with a value": (
        "{value: label:n, at_least: 3, business_hours: true}",
        Raise(P1, "value", 3, "label", "n", in_hours=True),
    ),
}


@pytest.mark.parametrize(("when", "wanted"), IN_HOURS.values(), ids=IN_HOURS)
def test_business_hours_stand_alone_or_beside_one_condition(when: str, wanted: Raise, tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one(f"raise: [{{to: P1, when: {when}}}]"))
    write(tmp_path / "policy.yaml", OFFICE)
    assert load([tmp_path]).rules[0].raises == (wanted,)


def test_business_hours_told_wrongly_are_one_mistake(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one("raise: [{to: P1, when: {business_hours: true}}]"))
    write(tmp_path / "policy.yaml", OFFICE.replace("mon", "mo"))
    with pytest.raises(RulesError) as caught:
        load([tmp_path])
    assert [Path(error.path).name for error in caught.value.errors] == ["policy.yaml"]


def test_a_heartbeat_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", one("heartbeat: 10m"))
    assert load([tmp_path]).rules[0].heartbeat_s == 600
