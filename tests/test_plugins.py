"""Integrations are found by their file's name; a receiver may be set up several times."""

from __future__ import annotations

from typing import Any

import pytest

from responder.config import Settings
from responder.errors import ConfigError
from responder.plugins import choose, open_parts, recognised
from responder.ports import Surroundings
from tests.given import NOW, FakeClock, FakeIds

MAPPING = {"mapping": {"labels": {"alertname": "name"}}}


def settings(**receivers: Any) -> Settings:
    return Settings(receivers={name.replace("_", "-"): values for name, values in receivers.items()})


async def test_each_has_the_name_that_its_path_has() -> None:
    chosen = choose(settings(generic=MAPPING, generic_uptime=MAPPING, grafana_eu={}))
    async with open_parts(chosen, Surroundings(FakeClock(), FakeIds())) as parts:
        assert {name: each.name for name, each in parts.receivers.items()} == {
            name: name for name in ("generic", "generic-uptime", "grafana-eu", "responder")
        }
        body = b'{"name": "A"}'
        [first], [second] = (parts.receivers[name].decode(body, NOW).alerts for name in ("generic", "generic-uptime"))
        assert (first.source, second.source) == ("generic", "generic-uptime")
        assert first.identity != second.identity


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "no such integration; known: .*grafana"),
        ("nothing-more", "no such integration"),
        ("generic-", "a word of small letters"),
        ("generic-A", "a word of small letters"),
        ("generic-a/b", "a word of small letters"),
        ("generic-" + "x" * 41, "a word of small letters"),
        ("alertmanager-eu", "there can be only one alertmanager"),
    ],
)
def test_a_wrong_name_says_which_are_known(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"receivers.{name}: .*{said}"):
        choose(Settings(receivers={name: MAPPING}))


def test_a_chat_has_no_second_name() -> None:
    with pytest.raises(ConfigError, match=r"chat\.console-2: no such integration"):
        choose(Settings(chat={"console-2": {}}))


async def test_a_mapping_is_read_when_it_is_chosen() -> None:
    with pytest.raises(ConfigError, match=r"receivers\.generic-x\.mapping\.labels\.alertname"):
        choose(settings(generic_x={"mapping": {"labels": {"alertname": "a["}}}))


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("alerts groupKey version", "alertmanager"),
        ("alerts groupKey orgId", "grafana"),
        ("event", "pagerduty"),
        ("Type MessageId TopicArn", "sns"),
        ("AlarmName NewStateValue", "sns"),
        ("action data installation", "sentry"),
        ("action alert integrationId", "opsgenie"),
        ("cycle_key transition", "datadog"),
        ("labels", ""),
        ("", ""),
    ],
)
def test_a_body_is_known_by_what_stands_at_its_top(keys: str, name: str) -> None:
    assert recognised(dict.fromkeys(keys.split(), "x")) == name
