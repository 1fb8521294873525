"""A table makes alerts of any JSON; a wrong one stops the start with the key that is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from responder.config import read_section
from responder.errors import ConfigError
from responder.integrations.generic import Settings
from responder.mapping import Mapper, table
from responder.model import Alert, Decoded
from tests.given import NOW

LABELS = {"alertname": "name"}


def decode(body: object, **keys: Any) -> Decoded:
    return Mapper(table(**({"labels": LABELS} | keys)), "generic").decode(json.dumps(body).encode(), NOW)


def one(body: object, **keys: Any) -> Alert:
    [alert] = decode(body, **keys).alerts
    return alert


# --- elements ---


@pytest.mark.parametrize(
    ("items", "body", "names"),
    [
        pytest.param(None, {"name": "a"}, ["a"], id="the body itself"),
        pytest.param(None, [{"name": "a"}, {"name": "b"}], ["a", "b"], id="a list"),
        pytest.param("d.alerts", {"d": {"alerts": [{"name": "a"}, {"name": "b"}]}}, ["a", "b"], id="a list inside"),
        pytest.param("d.alert", {"d": {"alert": {"name": "a"}}}, ["a"], id="one inside"),
        pytest.param("g[*].on", {"g": [{"on": [{"name": "a"}]}, {"on": [{"name": "b"}]}]}, ["a", "b"], id="lists"),
        pytest.param("alerts", {"alerts": []}, [], id="an empty list"),
    ],
)
def test_each_element_is_an_alert(items: str | None, body: object, names: list[str]) -> None:
    assert [each.name for each in decode(body, items=items).alerts] == names


def test_a_body_without_the_list_says_so() -> None:
    [bad] = decode({"name": "a"}, items="alerts").bad
    assert "nothing at items: alerts" in bad.reason
    assert bad.entries == 0


def test_one_bad_element_never_loses_its_neighbours() -> None:
    found = decode([{"name": "a"}, 5, {"other": 1}, {"name": "b"}])
    assert [each.name for each in found.alerts] == ["a", "b"]
    assert [bad.entries for bad in found.bad] == [1, 1]
    assert "nothing at labels.alertname: name" in found.bad[0].reason


# --- labels ---


def test_the_first_path_that_holds_something_counts() -> None:
    labels = {"alertname": ["title", "name", "=unnamed"], "env": "=prod", "void": "nowhere", "region": "$.region"}
    body = {"region": "eu", "on": [{"title": "", "name": "n"}, {"title": None}]}
    found = decode(body, items="on", labels=labels).alerts
    assert [dict(each.labels) for each in found] == [
        {"alertname": "n", "env": "prod", "region": "eu"},
        {"alertname": "unnamed", "env": "prod", "region": "eu"},
    ]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (5, "5"),
        (0, "0"),
        (True, "true"),
        (False, "false"),
        (["a", "b"], "a, b"),
        ({"a": 1}, '{"a": 1}'),
        ("a\0b", "a\ufffdb"),
        ("$5 left", "$5 left"),
        ("$HOSTNAME", None),
        ("$ORG_ID", None),
        ("n/a", None),
        ("", None),
        (None, None),
        ([], None),
    ],
)
def test_values_become_texts_and_empty_ones_nothing(value: object, label: str | None) -> None:
    alert = one({"name": "A", "v": value}, labels=LABELS | {"v": "v"}, missing=["N/A"])
    assert alert.labels.get("v") == label


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ({"env": "prod", "n": 1}, {"env": "prod", "n": "1"}),
        (["env:prod", "team=db", "plain", "more"], {"env": "prod", "team": "db", "tags": "plain, more"}),
        ("env:prod, url:http://x:1", {"env": "prod", "url": "http://x:1"}),
        ([["env", "prod"], ["team", None]], {"env": "prod"}),
        ([{"key": "env", "value": "prod"}, {"name": "team", "value": "db"}], {"env": "prod", "team": "db"}),
        (["name:other", ":x"], {"name": "other", "tags": ":x"}),
        (5, {}),
        (None, {}),
    ],
)
def test_tags_in_every_form_are_labels(tags: object, labels: dict[str, str]) -> None:
    assert one({"name": "A", "t": tags}, labels_from="t").labels == {"alertname": "A"} | labels


def test_a_label_that_is_named_wins_over_a_tag() -> None:
    assert one({"name": "A", "t": ["alertname:B", "severity:low"]}, labels_from="t").labels == {
        "alertname": "A",
        "severity": "low",
    }


@pytest.mark.parametrize(
    ("word", "severity"), [("HIGH", "critical"), (1, "critical"), ("odd", "warning"), (None, "warning")]
)
def test_a_severity_is_mapped(word: object, severity: str) -> None:
    rules = {"path": "level", "map": {"high": "critical", 1: "critical"}, "else": "warning"}
    assert one({"name": "A", "level": word}, severity=rules).labels["severity"] == severity


def test_a_severity_that_is_not_mapped_is_the_word_itself_or_none() -> None:
    assert one({"name": "A", "level": "odd"}, severity={"path": "level"}).labels["severity"] == "odd"
    assert "severity" not in one({"name": "A"}, severity={"path": "level"}).labels


# --- status, times, identity ---


@pytest.mark.parametrize(
    ("state", "firing"), [("up", False), ("UP ", False), (True, False), (1, False), ("down", True), (None, True)]
)
def test_what_is_in_no_list_fires(state: object, firing: bool) -> None:
    assert one({"name": "A", "s": state}, status={"path": "s", "resolved": ["up", True, 1]}).firing is firing


def test_without_a_status_everything_fires() -> None:
    assert one({"name": "A", "status": "resolved"}).firing


def test_a_start_counts_always_and_an_end_only_when_it_has_ended() -> None:
    keys: dict[str, Any] = {"started_at": "a", "ended_at": "b", "status": {"path": "s", "resolved": "up"}}
    body = {"name": "A", "a": 1795166042, "b": "2026-11-20T09:24:02Z"}
    began, ended = datetime(2026, 11, 20, 9, 14, 2, tzinfo=UTC), datetime(2026, 11, 20, 9, 24, 2, tzinfo=UTC)
    assert [one(body | {"s": state}, **keys).ended_at for state in ("down", "up")] == [None, ended]
    assert one(body, **keys).started_at == began
    assert one(body | {"a": "soon"}, **keys).started_at is None


def test_an_identity_is_what_the_table_says() -> None:
    keys: dict[str, Any] = {"identity": ["m.id", ["region", "=eu"]]}
    first = one({"name": "A", "m": {"id": 7}}, **keys)
    assert first.identity == one({"name": "B", "m": {"id": "7"}, "region": "eu"}, **keys).identity
    assert first.identity != one({"name": "A", "m": {"id": 7}, "region": "us"}, **keys).identity


def test_half_an_identity_joins_no_strangers() -> None:
    keys: dict[str, Any] = {"identity": ["m.id", "region"]}
    assert one({"name": "A", "region": "eu"}, **keys).identity != one({"name": "B", "region": "eu"}, **keys).identity


def test_what_is_ignored_is_kept_quietly() -> None:
    [bad] = decode({"name": "A", "s": "Test"}, status={"path": "s", "ignored": "test"}).bad
    assert (bad.quiet, bad.entries) == (True, 1)


def test_news_are_of_the_alert_that_they_name() -> None:
    keys: dict[str, Any] = {
        "status": {"path": "s", "acknowledged": "ack", "note": "say"},
        "identity": "id", "person": "who", "note": "text",
    }  # fmt: skip
    [ack] = decode({"id": 1, "s": "ack", "who": "ann"}, **keys).news
    [note] = decode({"id": 1, "s": "say", "who": "bob", "text": "hm"}, **keys).news
    assert (ack.kind, ack.person, note.kind, note.text) == ("acknowledged", "ann", "note", "hm")
    assert ack.identity == note.identity == one({"id": 1, "name": "A"}, **keys).identity


# --- wrong tables ---


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({}, "receivers.generic-x.mapping.labels: Field required"),
        ({"labels": {"env": "=prod"}}, "labels.alertname is missing"),
        ({"labels": {"alertname": "a..b"}}, "receivers.generic-x.mapping.labels.alertname: .*column 3"),
        ({"labels": {"alertname": []}}, "labels.alertname: .*empty list"),
        ({"labels": {"alertname": 5}}, "labels.alertname: .*5 is not a path"),
        ({"labels": LABELS, "itmes": "a"}, "receivers.generic-x.mapping.itmes: unknown key"),
        ({"labels": LABELS, "items": "a["}, "mapping.items: .*column 3"),
        ({"labels": LABELS, "labels_from": ["ok", "a["]}, "mapping.labels_from: .*column 3"),
        ({"labels": LABELS, "status": {"resolved": "up"}}, "mapping.status.path: Field required"),
        ({"labels": LABELS, "status": {"path": "s", "ok": "up"}}, "mapping.status.ok: unknown key"),
        (
            {"labels": LABELS, "status": {"path": "s", "firing": "up", "resolved": "UP"}},
            "'up' stands under firing and under resolved",
        ),
        ({"labels": LABELS, "severity": {"path": "s", "map": ["x"]}}, "mapping.severity.map"),
    ],
)
def test_a_wrong_table_stops_the_start_and_names_the_key(mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_section(Settings, "receivers.generic-x", {"mapping": mapping})


def test_a_generic_receiver_needs_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"receivers\.generic\.mapping: Field required"):
        read_section(Settings, "receivers.generic", {})
