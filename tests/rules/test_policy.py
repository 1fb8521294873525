"""What each severity means for people, as policy.yaml says it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from responder.model import Severity
from responder.rules.fields import RulesError
from responder.rules.loader import load, load_policy
from responder.rules.policy import DEFAULTS, Policy, SeverityPolicy
from responder.rules.read_policy import KEYS, SEVERITY_KEYS, mention_of

from .given import SHIPPED, write

P0, P1, P2, P3 = Severity
WHOLE = """\
hold: 10m
channels: ["#outages", "#status", "#outages"]
contacts: {anna: "<@U111>", databases: group:S222}
severities:
  P0:
    mention: "@channel"
    cadence: 5m
    acknowledge_within: 90s
    next: [anna, databases, "@here", U0123ABCD]
    channel: "#outages"
    channels: ["#status", "#support", "#status"]
    road: pagerduty
    chain: mine
    runbook: all
    audience: everybody
    timeboxes: {triage: 5m, investigate: 1h}
    budget: {incident_usd: 2.5}
    hold: 0
  P1: {cadence: null, acknowledge_within: null, mention: null}
P2: {mention: databases, roads: [sms, pagerduty, sms]}
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path / "policy.yaml", WHOLE))
    assert policy.of(P0) == SeverityPolicy(
        mention="channel",
        cadence_s=300,
        acknowledge_within_s=90,
        next=("user:U111", "group:S222", "here", "user:U0123ABCD"),
        channel="#outages",
        chain="mine",
        runbook="all",
        audience="everybody",
        timeboxes_s={"triage": 300, "investigate": 3600},
        budget_usd=2.5,
        hold_s=0,
        roads=("pagerduty",),
        channels=("#status", "#support"),
    )
    assert (policy.of(P1).mention, policy.of(P1).cadence_s, policy.of(P1).acknowledge_within_s) == ("", None, None)
    assert (policy.of(P2).mention, policy.of(P2).roads) == ("group:S222", ("sms", "pagerduty"))
    assert policy.channels == ("#outages", "#status")
    assert policy.of(P3) == DEFAULTS[P3]
    assert (policy.hold_s(P0), policy.hold_s(P1)) == (0, 600)


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path / "policy.yaml", "P0: {channel: '#outages'}\n"))
    assert (policy.of(P0).cadence_s, policy.of(P0).mention, policy.of(P0).chain) == (900, "here", "outage")


def test_an_empty_policy_is_the_defaults(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path / "policy.yaml", "")) == Policy()


def test_the_shipped_policy_is_the_defaults() -> None:
    assert load_policy(SHIPPED) == Policy()


def test_each_example_of_the_shipped_policy_can_be_taken_over(tmp_path: Path) -> None:
    """Examples are what follows `# key:` in the comments; all of them together are a policy."""
    lines = (SHIPPED / "policy.yaml").read_text("utf-8").splitlines()
    example = re.compile(rf"( *)# ((?:{'|'.join((*KEYS, *SEVERITY_KEYS))}):.*| {{2,}}.*)")
    shown = [match[1] + match[2] if (match := example.fullmatch(line)) else line for line in lines]
    write(tmp_path / "a.yaml", "rules: [{name: r, match: [a=b], severity: P2}]\n")
    write(tmp_path / "policy.yaml", "\n".join(shown))
    ruleset = load([tmp_path])
    assert ruleset.warnings == ()
    policy = ruleset.policy
    for key in ("contacts", "channels", "business_hours", "quiet_hours", "maintenance", "silences", "inhibitions"):
        assert getattr(policy, key), key
    assert (policy.of(P0).roads, policy.of(P0).channels) == (("pagerduty",), ("#status", "#support"))
    assert policy.of(P0).timeboxes_s


def test_a_revision_follows_the_policy_and_is_the_same_in_every_process(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "rules: [{name: r, match: [a=b], severity: P2}]\n")
    quiet = "quiet_hours: [{name: n, days: [sat, sun], timezone: UTC, severities: [P2, P3]}]\n"
    revisions = []
    for text in ("", quiet, "# a comment moves the lines\n" + quiet, quiet.replace("sun", "mon")):
        write(tmp_path / "policy.yaml", text)
        revisions.append(load([tmp_path]).revision)
    assert revisions[1] == revisions[2]
    assert len(set(revisions)) == 3
    write(tmp_path / "policy.yaml", quiet)
    ask = f"from pathlib import Path; from responder.rules import load; print(load([Path({str(tmp_path)!r})]).revision)"
    for seed in "12":
        asked = subprocess.run(
            [sys.executable, "-c", ask],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert asked.stdout.strip() == revisions[1]


MENTIONS = {
    "here": ("here", "here"),
    "@here": ("@here", "here"),
    "wire form of here": ("<!here>", "here"),
    "channel": ("@channel", "channel"),
    "our form of a user": ("user:anna@example.com", "user:anna@example.com"),
    "wire form of a user": ("<@U123|anna>", "user:U123"),
    "user's id": ("W0123ABCD", "user:W0123ABCD"),
    "our form of a group": ("group:S1", "group:S1"),
    "wire form of a group": ("<!subteam^S123|@db>", "group:S123"),
    "group's id": ("S0123ABCD", "group:S0123ABCD"),
}


@pytest.mark.parametrize(("text", "wanted"), MENTIONS.values(), ids=MENTIONS)
def test_a_mention_may_be_written_as_people_do(text: str, wanted: str) -> None:
    assert mention_of(text) == wanted


@pytest.mark.parametrize("text", ["@anna", "everyone", "<!everyone>", "user:<!channel>", "user:", "", "here now", "U1"])
def test_what_is_no_mention_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a mention"):
        mention_of(text)


MISTAKES = {
    "unknown key": ("holds: 5m\n", 1, "unknown key 'holds'"),
    "unknown key of a severity": ("P0:\n  cadense: 5m\n", 2, "unknown key 'cadense'"),
    "unknown severity": ("severities:\n  P0: {}\n  P4: {}\n", 3, "unknown key 'P4'"),
    "severity no mapping": ("severities:\n  P0: here\n", 2, "P0 must be a mapping"),
    "severities no mapping": ("severities: [P0]\n", 1, "severities must be a mapping"),
    "severity twice": ("P0: {}\nseverities:\n  P0: {}\n", 3, "stands twice"),
    "key of an earlier plan": ("maintenance_windows: []\n", 1, "unknown key 'maintenance_windows'"),
    "road and roads": ("P0:\n  road: pagerduty\n  roads: [sms]\n", 2, "keep one"),
    "road that is a channel": ("P0:\n  roads: ['#oncall']\n", 2, "no integration's name"),
    "channels of two words": ("P0:\n  channels: [my channel]\n", 2, "is not a channel"),
    "known channels of two words": ("channels: ['#a', 'a b']\n", 1, "is not a channel"),
    "business hours as a list": ("business_hours: []\n", 1, "business_hours must be a mapping"),
    "business hours of no place": ("business_hours:\n  days: [mon]\n", 2, "business_hours has no timezone"),
    "quiet hours as a mapping": ("hold: 5m\nquiet_hours: {}\n", 2, "quiet_hours must be a list"),
    "unknown contact": ("P0:\n  next: [bob]\n", 2, "a name from contacts"),
    "contact that mentions nobody": ("contacts:\n  bob: Bob\n", 2, "is not a mention"),
    "contact as a mapping": ("contacts:\n  bob: {phone: 1}\n", 2, "is not a mention"),
    "mention as a list": ("P0:\n  mention: [here]\n", 2, "is not a mention"),
    "cadence of nothing": ("P0:\n  cadence: 0\n", 2, "at least 1 s"),
    "cadence of no duration": ("P0:\n  cadence: often\n", 2, "not a duration"),
    "no hold": ("hold: null\n", 1, "0 resolves at once"),
    "negative budget": ("P0:\n  budget: {incident_usd: -1}\n", 2, "at least 0"),
    "unknown budget": ("P0:\n  budget: {day_usd: 1}\n", 2, "unknown key 'day_usd'"),
    "channel of two words": ("P0:\n  channel: my channel\n", 2, "is not a channel"),
    "no policy": ("- a\n", 1, "must be a mapping"),
    "alias": ("P0: &a {}\nP1: *a\n", 1, "aliases"),
}


@pytest.mark.parametrize(("text", "line", "part"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(text: str, line: int, part: str, tmp_path: Path) -> None:
    path = write(tmp_path / "policy.yaml", text)
    with pytest.raises(RulesError) as caught:
        load_policy(path)
    said = [str(error) for error in caught.value.errors]
    assert any(each.startswith(f"{path}:{line}: ") and part in each for each in said), said


def test_the_policys_runbook_must_exist(tmp_path: Path) -> None:
    write(tmp_path / "policy.yaml", "P0: {runbook: mine}\n")
    with pytest.raises(RulesError, match="there is no runbook 'mine'; known: default"):
        load([tmp_path], runbooks=["default"])
