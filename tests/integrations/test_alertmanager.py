"""What Alertmanager sends, and what somebody could send in its name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from responder.bodies import MAX_LABELS
from responder.integrations.alertmanager import Alertmanager, Settings, plugin
from responder.model import Alert, Decoded, identify
from tests.given import NOW, after, body, entry

BODIES = Path(__file__).parent / "bodies"
AM = Alertmanager(Settings())
DEEP = 990  # levels: orjson reads them, and others give up on the way


def decode(raw: bytes) -> Decoded:
    """Decode, and demand what must hold of every body: no exception, and nothing that the store could not keep."""
    found = AM.decode(raw, NOW)
    for each in found.alerts:
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in each.labels.items())
        orjson.dumps([each.labels, each.annotations, each.generator_url, each.identity])
        for at in (each.started_at, each.ended_at):
            assert at is None or at.utcoffset() == timedelta(0)
            assert at is None or isinstance(at.timestamp(), float)
    assert isinstance(found.group_key, str)
    (found.group_key + found.sender).encode()
    return found


def one(element: object) -> Alert:
    found = decode(json.dumps({"alerts": [element]}).encode())
    assert len(found.alerts) == 1, found.bad
    return found.alerts[0]


def recorded(name: str) -> bytes:
    return (BODIES / f"alertmanager_{name}.json").read_bytes()


# --- recorded bodies ---


@pytest.mark.parametrize(
    ("name", "firing", "resolved"),
    [("firing", 2, 0), ("mixed", 1, 1), ("resolved", 0, 1), ("truncated", 0, 1), ("before_0_32", 1, 0)],
)
def test_recorded_bodies_are_read(name: str, firing: int, resolved: int) -> None:
    found = decode(recorded(name))
    assert not found.bad
    assert [sum(each.firing for each in found.alerts), sum(not each.firing for each in found.alerts)] == [
        firing,
        resolved,
    ]
    assert found.group_key.startswith("{}")
    assert found.sender.startswith("http")


def test_a_truncated_body_says_how_many_are_missing() -> None:
    assert decode(recorded("truncated")).truncated == 37


def test_times_are_utc_and_the_zero_time_is_none() -> None:
    first = decode(recorded("mixed")).alerts[0]
    assert first.started_at == datetime(2026, 11, 20, 9, 13, 30, 123000, tzinfo=UTC)
    assert first.ended_at is None


def test_the_identity_is_made_of_labels_alone() -> None:
    first = one(entry(a="1") | {"fingerprint": "x", "startsAt": "2026-01-01T00:00:00Z"})
    assert first.identity == one(entry(a="1", annotations={"s": "t"}) | {"fingerprint": 7}).identity
    assert first.identity != one(entry(a="2")).identity
    assert first.identity == identify("alertmanager", first.labels)


@pytest.mark.parametrize(
    ("one_set", "other"),
    [
        ({"a": "b,c=d"}, {"a": "b", "c": "d"}),
        ({"ab": "c"}, {"a": "bc"}),
        ({"a": ""}, {}),
        ({"a": "x", "b": "y"}, {"a": "y", "b": "x"}),
        ({"a": "é"}, {"a": "e\u0301"}),
    ],
    ids=["separators", "shifted", "empty", "swapped", "composed"],
)
def test_no_two_label_sets_pass_for_each_other(one_set: dict[str, str], other: dict[str, str]) -> None:
    assert identify("am", one_set) != identify("am", other)
    assert identify("am", one_set) != identify("pd", one_set)


# --- no JSON, or not this JSON ---

GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "space": b" \n",
    "cut": body(entry())[:-9],
    "noise": bytes(range(256)),
    "two documents": body(entry()) + body(entry()),
    "a list": b"[]",
    "a text": b'"alerts"',
    "a number": b"1e999",
    "null": b"null",
    "true": b"true",
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and cut": b'{"alerts":' + b"[" * 500_000,
    "no alerts": b"{}",
    "alerts null": b'{"alerts": null}',
    "alerts an object": b'{"alerts": {"0": {}}}',
    "alerts a text": b'{"alerts": "many"}',
    "a payload of its own": b'{"text": "{{ .CommonLabels }}", "version": "4"}',
    "single quotes": b"{'alerts': []}",
    "a form": b"payload=%7B%7D",
    "xml": b"<?xml version='1.0'?><alerts/>",
    "utf-32": '{"alerts": []}'.encode("utf-32"),
    "half a utf-16": "{".encode("utf-16")[:-1],
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "nul": b"\0" * 1000,
    "a comment": b'/* x */ {"alerts": []}',
    "trailing comma": b'{"alerts": [],}',
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_body_that_is_none_is_kept_whole_and_counts_nothing(raw: bytes) -> None:
    found = decode(raw)
    assert found.alerts == ()
    assert [(bad.raw, bad.entries) for bad in found.bad] == [(raw, 0)]
    assert 0 < len(found.bad[0].reason) < 300


def test_an_empty_list_of_alerts_is_a_body_like_any_other() -> None:
    assert decode(b'{"alerts": []}') == Decoded(())


FORGIVEN: dict[str, bytes] = {
    "a byte order mark": b"\xef\xbb\xbf" + body(entry()),
    "utf-16 little": json.dumps({"alerts": [entry()]}).encode("utf-16"),
    "utf-16 big": b"\xfe\xff" + json.dumps({"alerts": [entry()]}).encode("utf-16-be"),
    "bad utf-8": body(entry(annotations={"summary": "MARK"})).replace(b"MARK", b"\xff\xfe\xc3"),
    "overlong utf-8": body(entry(annotations={"summary": "MARK"})).replace(b"MARK", b"\xc0\xaf"),
    "a lone surrogate": body(entry(annotations={"summary": "MARK"})).replace(b"MARK", rb"\ud800"),
    "NaN": body(entry() | {"value": float("nan")}),
    "infinity": body(entry() | {"value": float("inf")}),
    "too large a float": body(entry()).replace(b'"truncatedAlerts": 0', b'"truncatedAlerts": 1e999'),
    "2^64": body(entry() | {"value": 2**64}),
    "5 000 digits": body(entry()).replace(b'"truncatedAlerts": 0', b'"truncatedAlerts": ' + b"9" * 5000),
    "no version": json.dumps({"alerts": [entry()]}).encode(),
    "version 5": body(entry()).replace(b'"version": "4"', b'"version": {"major": 5}'),
    "group key a number": body(entry()).replace(b'"groupKey": "{}:{}"', b'"groupKey": 7'),
    "group key deep": body(entry()).replace(b'"groupKey": "{}:{}"', b'"groupKey": ' + b"[" * DEEP + b"]" * DEEP),
    "group key surrogate": body(entry()).replace(b'"groupKey": "{}:{}"', rb'"groupKey": "\udfff"'),
    "group key of 1 MiB": body(entry(), group="x" * (1 << 20)),
    "external url a list": body(entry()).replace(b'"externalURL": "http://am-0:9093"', b'"externalURL": ["x"]'),
    "truncated negative": body(entry(), truncated=-5),
    "duplicate keys": body(entry()).replace(b'"alerts": [', b'"alerts": null, "alerts": ['),
    "unknown keys": body(entry()).replace(b'"version"', b'"\\u0000": 1, "__proto__": {}, "version"'),
}


@pytest.mark.parametrize("raw", FORGIVEN.values(), ids=FORGIVEN.keys())
def test_what_can_be_read_is_read(raw: bytes) -> None:
    found = decode(raw)
    assert [(each.name, each.firing) for each in found.alerts] == [("Api", True)]
    assert not found.bad
    assert len(found.group_key) <= 2000


# --- one element among others ---

UNREADABLE: dict[str, object] = {
    "null": None,
    "a number": 7,
    "a text": "alert",
    "a list": [],
    "labels a text": {"labels": "alertname"},
    "labels a list": {"labels": [["a", "b"]]},
    "annotations a number": {"labels": {}, "annotations": 3},
    "too many labels": {"labels": {f"l{n}": "" for n in range(MAX_LABELS + 1)}},
}


@pytest.mark.parametrize("element", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_kept_and_its_neighbours_too(element: object) -> None:
    raw = body(entry(instance="a"), element, entry(instance="b"))
    found = decode(raw)
    assert [each.labels["instance"] for each in found.alerts] == ["a", "b"]
    assert [bad.entries for bad in found.bad] == [1]
    assert json.loads(found.bad[0].raw) == element


@pytest.mark.parametrize("shape", ["list", "object"])
@pytest.mark.parametrize(
    "where", ["labels", "annotations", "in a label", "element", "status", "generatorURL", "startsAt"]
)
def test_an_element_nested_too_deep_never_loses_its_neighbours(where: str, shape: str) -> None:
    deep = b"[" * DEEP + b"]" * DEEP if shape == "list" else b'{"a":' * DEEP + b"1" + b"}" * DEEP
    element = {"element": "MARK", "in a label": {"labels": {"a": "MARK"}}}.get(where, {where: "MARK"})
    raw = body(entry(instance="a"), element, entry(instance="b")).replace(b'"MARK"', deep)
    found = decode(raw)
    assert [each.labels.get("instance") for each in found.alerts if each.labels.get("instance")] == ["a", "b"]
    assert len(found.alerts) + sum(bad.entries for bad in found.bad) == 3


READABLE: dict[str, dict[str, Any]] = {
    "empty": {},
    "labels null": {"labels": None},
    "labels empty": {"labels": {}},
    "a label null": {"labels": {"alertname": None}},
    "a label a number": {"labels": {"alertname": "A", "n": 5}},
    "a label a bool": {"labels": {"alertname": "A", "n": True}},
    "a label a list": {"labels": {"alertname": "A", "n": ["x", {"y": None}]}},
    "nul in a label": {"labels": {"alertname": "A\0B", "\0": "\0"}},
    "control characters": {"labels": {"alertname": "A\n\x1b[31m\u202e\u0085"}},
    "1 MiB in a label": {"labels": {"alertname": "A", "n": "x" * (1 << 20)}},
    "many labels": {"labels": {f"l{n}": "v" for n in range(5000)}},
    "emoji and tags": {"labels": {"alertname": "🔥\U000e0041", "ключ": "значение"}},
    "hostile fingerprint": {"labels": {}, "fingerprint": ["'; DROP"]},
    "generator a number": {"labels": {}, "generatorURL": 5},
    "generator of 1 MiB": {"labels": {}, "generatorURL": "http://" + "x" * (1 << 20)},
    "exposition break": {"labels": {"alertname": 'a"} 1\n# HELP'}},
}


@pytest.mark.parametrize("element", READABLE.values(), ids=READABLE.keys())
def test_odd_elements_are_alerts_that_fire(element: dict[str, Any]) -> None:
    found = one(element)
    assert found.firing
    assert "\0" not in "".join([*found.labels, *found.labels.values()])
    assert found.name
    assert len(found.generator_url) <= 2000


def test_a_lone_surrogate_in_any_text_is_replaced() -> None:
    for encoding in ("utf-8", "utf-16"):
        text = json.dumps({"alerts": [entry(x="MARK", annotations={"s": "MARK"})]}).replace("MARK", r"\ud83d")
        found = decode(text.encode(encoding))
        assert found.alerts[0].labels["x"] == "\ufffd"
        assert found.alerts[0].annotations["s"] == "\ufffd"


def test_huge_numbers_and_nan_in_utf_16_lose_nobody() -> None:
    text = json.dumps({"alerts": [entry(instance="a"), {"labels": {"n": float("nan")}}]})
    found = decode(text.replace('"version"', '"v": ' + "9" * 5000 + ', "version"').encode("utf-16"))
    assert len(found.alerts) == 2


# --- status and times ---


@pytest.mark.parametrize(
    ("status", "ended", "firing"),
    [
        pytest.param("firing", None, True, id="firing"),
        pytest.param("resolved", after(-60), False, id="resolved"),
        pytest.param("resolved", None, False, id="resolved without an end"),
        pytest.param("RESOLVED", after(-60), True, id="not quite the word"),
        pytest.param("suppressed", after(-60), True, id="another word"),
        pytest.param("", after(-60), True, id="empty"),
        pytest.param(5, after(-60), True, id="a number"),
        pytest.param(["resolved"], after(-60), True, id="a list"),
        pytest.param(None, None, True, id="none and no end"),
        pytest.param(None, after(-60), False, id="none and an end behind us"),
        pytest.param(None, after(60), True, id="none and an end before us"),
        pytest.param("firing", after(-60), True, id="firing with an end"),
    ],
)
def test_when_unsure_it_fires(status: object, ended: datetime | None, firing: bool) -> None:
    assert one(entry(ended=ended) | {"status": status}).firing is firing


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-20T09:00:00Z", NOW),
        ("2026-11-20T10:00:00+01:00", NOW),
        ("2026-11-20T09:00:00.123456789Z", NOW + timedelta(microseconds=123456)),
        ("2026-11-20T09:00:00", NOW),
        ("2026-11-20 09:00:00Z", NOW),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00-23:59", None),
        ("0001-01-02T00:00:00+14:00", None),
        ("1969-07-20T20:17:00Z", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("10000-01-01T00:00:00Z", None),
        ("-0044-03-15T00:00:00Z", None),
        ("2016-12-31T23:59:60Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-11-20T25:00:00Z", None),
        ("2026-11-20T09:00:00+99:99", None),
        ("yesterday", None),
        ("", None),
        ("٢٠٢٦-11-20T09:00:00Z", None),
        (1763629200, None),
        (None, None),
        ({"$date": 0}, None),
        (float("1e300"), None),
    ],
    ids=repr,
)
def test_odd_times_are_none_and_never_stop_an_alert(text: object, read: datetime | None) -> None:
    found = one(entry() | {"startsAt": text, "endsAt": text})
    assert (found.started_at, found.ended_at) == (read, read)
    assert found.firing


# --- any bytes, any JSON ---

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ELEMENTS = st.lists(
    ANY_JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["firing", "resolved", None, "x"]) | ANY_JSON,
            "labels": st.dictionaries(st.text(max_size=6), ANY_JSON, max_size=5) | ANY_JSON,
            "annotations": ANY_JSON,
            "startsAt": st.datetimes().map(lambda at: at.isoformat() + "Z") | ANY_JSON,
            "endsAt": st.text(max_size=30) | ANY_JSON,
            "generatorURL": ANY_JSON,
            "fingerprint": ANY_JSON,
        },
    ),
    max_size=6,
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=400))
@example(b'{"alerts":[{"labels":{"a":"\\ud800"}}]}')
@example("\ufeff[]".encode("utf-16"))
def test_no_bytes_stop_the_decoder(raw: bytes) -> None:
    found = decode(raw)
    assert found.alerts or found.bad or b"alerts" in raw


@settings(derandomize=True, deadline=None, max_examples=300)
@given(ELEMENTS, ANY_JSON, ANY_JSON)
def test_every_element_is_counted_once_as_an_alert_or_as_bad(elements: list[object], key: object, more: object) -> None:
    found = decode(
        json.dumps({"alerts": elements, "groupKey": key, "truncatedAlerts": more, "externalURL": more}).encode()
    )
    assert sum(each.entries for each in found.alerts) + sum(bad.entries for bad in found.bad) == len(elements)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.binary(min_size=1, max_size=30), st.integers(0, 2000))
def test_damage_anywhere_in_a_good_body_stops_nothing(damage: bytes, at: int) -> None:
    good = body(entry(instance="a"), entry(instance="b"))
    found = decode(good[: at % len(good)] + damage + good[at % len(good) :])
    assert found.alerts or found.bad


# --- who may send ---


def holding(*tokens: str) -> Alertmanager:
    return Alertmanager(Settings(token=SecretStr(tokens[0]), tokens=tuple(SecretStr(each) for each in tokens[1:])))


@pytest.mark.parametrize(
    ("header", "may"),
    [
        ("Bearer right", True),
        ("bearer right", True),
        ("Bearer  right ", True),
        ("Bearer older", True),
        ("Bearer wrong", False),
        ("Bearer right2", False),
        ("Bearer righ", False),
        ("Bearer ", False),
        ("Bearer", False),
        ("", False),
        ("right", False),
        ("Basic right", False),
        ("Bearer right, Bearer wrong", False),
        ("Bearer rïght", False),
        ("Bearer \udcff", False),
        ("Bearer " + "x" * 100_000, False),
    ],
)
def test_only_a_known_token_may_send(header: str, may: bool) -> None:
    assert holding("right", "older").authorize({"Authorization": header}) is may


def test_without_a_token_anybody_may_and_we_say_that_we_are_not_guarded() -> None:
    assert AM.authorize({})
    assert not AM.guarded
    assert holding("x").guarded
    assert not holding("x").authorize({})


def test_an_empty_token_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="empty"):
        Settings(token=SecretStr(""))
    with pytest.raises(ValidationError, match="empty"):
        Settings(tokens=(SecretStr(""),))


def test_the_snippet_sends_resolves_and_follows_no_redirect() -> None:
    assert plugin.snippet is not None
    open_door = plugin.snippet(Settings(), "http://r:8080")
    assert "url: http://r:8080/webhooks/alertmanager" in open_door
    assert "send_resolved: true" in open_door
    assert "follow_redirects: false" in open_door
    assert "credentials_file" in plugin.snippet(Settings(token=SecretStr("s3cret")), "http://r:8080")
    assert "s3cret" not in plugin.snippet(Settings(token=SecretStr("s3cret")), "http://r:8080")
