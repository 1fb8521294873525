"""What `deploy/` ships is accepted by the programs that it is for, and fits the daemon as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from responder import llm
from responder.app import shipped
from responder.config import Settings, load, read_section
from responder.files import read_yaml
from responder.integrations import slack
from responder.integrations.alertmanager import Alertmanager
from responder.integrations.alertmanager import Settings as AlertmanagerSettings
from responder.integrations.datadog import PAYLOAD
from responder.mapping import StatusTable, Table
from responder.metrics import Metrics
from responder.plugins import ALWAYS, choose

DEPLOY = shipped("deploy")
ENVIRONMENT = {
    name: f"secret of {name.lower()}"
    for name in (
        *("GRAFANA_HMAC_SECRET", "SENTRY_CLIENT_SECRET", "DATADOG_TOKEN", "OPSGENIE_TOKEN", "UPTIME_TOKEN"),
        *("ALERTMANAGER_TOKEN", "PAGERDUTY_SECRET", "PAGERDUTY_API_TOKEN"),
        *("SLACK_BOT_TOKEN", "ANTHROPIC_API_KEY", "RESPONDER_API_TOKEN"),
    )
}
SCOPES = {  # Slack method -> the scopes that it may need: https://docs.slack.dev/reference/methods
    "auth.test": (),
    "chat.getPermalink": (),
    "chat.postMessage": ("chat:write", "chat:write.public"),
    "chat.update": ("chat:write",),
    "conversations.history": ("channels:history", "groups:history"),
    "conversations.list": ("channels:read", "groups:read"),
    "conversations.replies": ("channels:history", "groups:history"),
}


def run(program: str, *arguments: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on PATH")
    done = subprocess.run([found, *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def example() -> Settings:
    return load(DEPLOY / "responder.example.yaml", ENVIRONMENT)


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    assert "SUCCESS" in run("amtool", "check-config", "alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        pytest.param(["alertname=ApiDown"], "responder,people", id="everybody who was told is told still"),
        pytest.param(["alertname=Watchdog"], "responder,people", id="the heartbeat, which has one route to us"),
        pytest.param(["alertname=ResponderDown", "about=responder"], "people", id="about responder, not through it"),
    ],
)
def test_alertmanager_routes_an_alert(labels: list[str], receivers: str) -> None:
    said = run("amtool", "config", "routes", "test", "--config.file", "alertmanager.yml", *labels)
    assert said.strip() == receivers


def test_the_receiver_block_loses_nothing() -> None:
    found = read_yaml(DEPLOY / "alertmanager.yml")
    [receiver] = [each for each in found["receivers"] if each["name"] == "responder"]
    [hook] = receiver["webhook_configs"]
    watchdog, route = [each for each in found["route"]["routes"] if each["receiver"] == "responder"]
    assert (hook["send_resolved"], hook["max_alerts"]) == (True, 0)
    assert "timeout" not in hook, "Alertmanager 0.25 refuses it"
    assert hook["http_config"]["follow_redirects"] is False
    assert hook["http_config"]["authorization"]["credentials_file"]
    assert hook["url"] == f"http://{Settings().listen}/webhooks/{Alertmanager.name}"
    assert (route["continue"], route["group_interval"]) == (True, "1m")
    assert (watchdog["continue"], watchdog["repeat_interval"]) == (True, "5m"), "half of what a heartbeat has"


def test_promtool_accepts_the_scrape_block_and_the_rules() -> None:
    run("promtool", "check", "config", "prometheus.yml")
    assert "rules found" in run("promtool", "check", "rules", "prometheus-rules.yml")


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    run("promtool", "test", "rules", "prometheus-rules.test.yml")


def test_every_rule_is_tried_and_goes_past_responder() -> None:
    [group] = read_yaml(DEPLOY / "prometheus-rules.yml")["groups"]
    tried = (DEPLOY / "prometheus-rules.test.yml").read_text("utf-8")
    for rule in group["rules"]:
        assert rule["alert"] in tried
        assert rule["labels"]["about"] == "responder"
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Give every series of a fresh daemon: name and labels."""
    metrics = Metrics(
        receivers=["alertmanager"], chats=["slack"], tools=["t"], models=["m"], rules=["r"], version="0"
    )  # fmt: skip
    from_registry = metrics.registry.collect()
    return {(each.name, frozenset(each.labels.items())) for family in from_registry for each in family.samples}


@pytest.mark.parametrize("name", ["prometheus-rules.yml", "prometheus-rules.test.yml"])
def test_every_series_that_the_rules_name_is_there(name: str) -> None:
    there = series()
    used = re.findall(r"\b(responder_\w+)(?:\{([^}]*)\})?", (DEPLOY / name).read_text("utf-8"))
    assert used
    for metric, selectors in used:
        assert metric in {each for each, _ in there}, metric
        for values in re.findall(r'outcome=~?"([^"]*)"', selectors):
            for outcome in values.split("|"):
                assert any(each == metric and ("outcome", outcome) in labels for each, labels in there), (
                    metric,
                    outcome,
                )


def test_the_slack_manifest_has_the_scopes_that_our_calls_need_and_no_other() -> None:
    manifest = read_yaml(DEPLOY / "slack-manifest.yaml")
    source = "".join(path.read_text("utf-8") for path in Path(str(slack.__file__)).parent.glob("*.py"))
    methods = set(re.findall(r'"((?:auth|chat|conversations|files|reactions|users|views)\.\w+)"', source))
    needed = {scope for method in methods for scope in SCOPES[method]}
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == needed
    assert manifest["features"]["bot_user"]["display_name"]


def test_the_unit_is_hardened() -> None:
    unit = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[method-assign,assignment]  # keys keep their case
    unit.read(DEPLOY / "responder.service")
    service = unit["Service"]
    wanted = {
        "Type": "exec", "Restart": "always", "DynamicUser": "yes", "StateDirectory": "responder",
        "LimitNOFILE": "65536", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "CapabilityBoundingSet": "", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
        "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native",
    }  # fmt: skip
    assert {key: service.get(key) for key in wanted} == wanted
    assert service["MemoryMax"]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert "SystemCallFilter=~@privileged @resources" in (DEPLOY / "responder.service").read_text("utf-8")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert float(service["TimeoutStopSec"]) > example().drain_s


def test_systemd_rates_the_unit_below_two(tmp_path: Path) -> None:
    unit = shutil.copy(DEPLOY / "responder.service", tmp_path)
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit))


def test_the_example_configuration_loads_with_every_integration_in_it() -> None:
    settings = example()
    chosen = {(each.section, each.name) for each in choose(settings)}
    assert {("receivers", "alertmanager"), ("chat", "slack"), ("tools", "prometheus"), ("tools", "http")} <= chosen
    read_section(llm.Settings, "llm", settings.llm)


def test_the_example_configuration_holds_every_key() -> None:
    found = read_yaml(DEPLOY / "responder.example.yaml")
    assert set(found) == set(Settings.model_fields)
    assert set(found["llm"]) == set(llm.Settings.model_fields)
    assert set(found["receivers"]["alertmanager"]) == set(AlertmanagerSettings.model_fields)
    for each in choose(example()):
        if each.name not in ALWAYS:
            keys = {field.alias or name for name, field in type(each.settings).model_fields.items()}
            assert set(found[each.section][each.name]) == keys, each.name
    mapping = found["receivers"]["generic-uptime"]["mapping"]
    assert set(mapping) == set(Table.model_fields)
    assert set(mapping["status"]) == set(StatusTable.model_fields)


def test_the_payload_to_paste_into_datadog_is_the_one_that_is_read() -> None:
    assert (DEPLOY / "datadog-payload.json").read_text("utf-8").strip() == PAYLOAD


def test_the_example_configuration_says_the_defaults() -> None:
    settings, default = example(), Settings()
    for name in ("listen", "base_url", "rules", "runbooks", "drain_s", "keep_bodies_s", "watch_s", "log_level"):
        assert getattr(settings, name) == getattr(default, name), name
    written = {key: value for key, value in settings.llm.items() if key != "api_key"}
    assert llm.Settings.model_validate(written) == llm.Settings()
