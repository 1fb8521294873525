"""`responder init`, `check`, `explain`, `agents ...`: what is in files, without a daemon."""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from responder import config, plugins
from responder.app import SystemClock, SystemIds, guarded, places, shipped
from responder.cli import show as draw
from responder.cli.client import Client
from responder.errors import ConfigError, FileError, Misuse, PayloadError
from responder.handbook import read_handbook
from responder.integrations.alertmanager import Alertmanager, Settings
from responder.llm import Settings as LlmSettings
from responder.model import Alert, identify
from responder.ports import Surroundings
from responder.record import number
from responder.rules import Explanation
from responder.rules.matchers import MatcherError, parse
from responder.runbooks import Library, load_library

MAX_OTHERS = 10  # other decisions of one incident's alerts
_STORED = re.compile(r"(?i)ALERT-(\d{1,15})")
_WRITTEN = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(\{.*\})?\s*", re.DOTALL)


def check(parsed: Namespace) -> int:
    """Read everything that `run` would read, and say what is wrong with it."""
    try:
        settings = config.load(parsed.config)
        asyncio.run(_doors(settings, plugins.choose(settings)))
        config.read_section(LlmSettings, "llm", settings.llm)
    except ConfigError as error:
        return _report([str(config.placed(parsed.config, error))], [], parsed.json)
    except FileError as error:
        return _report([str(error)], [], parsed.json)
    found = read_handbook(places(settings))
    over = map(str, found.rules.policy.outdated(datetime.now(UTC)))
    return _report([str(error) for error in found.errors], [*found.warnings, *over], parsed.json)


async def _doors(settings: config.Settings, chosen: list[plugins.Chosen]) -> None:
    """Refuse what `run` would refuse: a door without a secret that strangers can reach."""
    receivers = [each for each in chosen if each.section == "receivers"]
    async with plugins.open_parts(receivers, Surroundings(SystemClock(), SystemIds())) as parts:
        guarded(settings, parts.receivers)


def _report(errors: list[str], warnings: list[str], as_json: bool) -> int:
    if as_json:
        draw.as_json({"errors": errors, "warnings": warnings})
    else:
        for error in errors:
            draw.say(f"error: {error}", "red")
        for warning in warnings:
            draw.say(f"warning: {warning}", "yellow")
        draw.say("good" if not errors else f"{len(errors)} to mend", "" if not errors else "bold red")
    return 1 if errors else 0


def explain(parsed: Namespace) -> int:
    """Say how a body's alerts, one alert, or an incident are decided."""
    if parsed.what.upper().startswith("INC-"):
        return _explain_incident(parsed)
    if _STORED.fullmatch(parsed.what):
        return _explain_stored(parsed)
    book = read_handbook(places(config.load(parsed.config)))
    for error in book.errors:
        sys.stderr.write(f"error: {error}\n")
    rules = book.rules
    written = written_alert(parsed.what)
    receiver = parsed.receiver or ("" if written else _sender(parsed.what))
    if receiver:
        alerts, beside = asyncio.run(_received(parsed, receiver))
    else:
        alerts, beside = [written] if written else read_alerts(parsed.what), []
    if not alerts and not beside:
        raise PayloadError(f"{parsed.what} holds no alert")
    explained = [(alert, rules.explain(alert)) for alert in alerts]
    if parsed.json:
        told = {"alerts": [_explained_json(alert, each) for alert, each in explained]}
        draw.as_json(told | ({"receiver": receiver, "beside": beside} if receiver else {}))
        return 0
    for line in beside:
        draw.say(line)
    for alert, each in explained:
        decided = each.decision
        by = f"rule {decided.rule} ({decided.matched_by}), runbook {decided.runbook}"
        where = "".join(
            f", {word} {said}"
            for word, said in (("channel", decided.channel), ("systems", ", ".join(decided.systems)))
            if said
        )
        draw.say(f"{alert.name}: {decided.severity} by {by}{where}", draw.COLOURS[decided.severity])
        for line in each.lines():
            draw.say(f"  {line}")
    return 0


def _explained_json(alert: Alert, explained: Explanation) -> dict[str, object]:
    decided = explained.decision
    told = {"alert": alert.name, "labels": dict(alert.labels), "firing": alert.firing} | explained.as_dict()
    return told | {"runbook": decided.runbook, "channel": decided.channel, "systems": decided.systems}


def _explain_incident(parsed: Namespace) -> int:
    """Say how an incident was decided, and its alerts where they were judged otherwise."""
    try:
        found = Client(parsed).incident(number(parsed.what))
    except ValueError as error:
        raise Misuse(str(error)) from error
    reasons = Counter(each["reason"] for each in found["episodes"] if each["reason"])
    others = [(found["reasons"][name], n) for name, n in reasons.most_common() if name in found["reasons"]]
    if parsed.json:
        told = [{"alerts": n, "decision": each} for each, n in others]
        draw.as_json({"id": found["id"], "severity": found["severity"], "decision": found["decision"], "alerts": told})
        return 0
    draw.say(f"{found['id']}: {found['severity']} by rule {found['rule']}", draw.COLOURS[found["severity"]])
    draw.decision(found["decision"])
    opened = (found["decision"].get("rule"), found["decision"].get("because"))
    for each, n in others[:MAX_OTHERS]:
        if (each.get("rule"), each.get("because")) != opened:
            draw.say(f"{n} of its alerts: {each['severity']} by rule {each['rule']}: {each['because']}")
    return 0


def _explain_stored(parsed: Namespace) -> int:
    """Say how an alert was judged when it came."""
    match = _STORED.fullmatch(parsed.what)
    assert match is not None
    found = Client(parsed).alert(int(match[1]))
    if parsed.json:
        draw.as_json(found)
        return 0
    name, labels = found["labels"].get("alertname", "unnamed alert"), found["labels"]
    where = found["incident"] or ("muted" if found["muted"] else "no incident")
    severity = found["severity"] or "not judged: it had ended when it came"
    draw.say(f"ALERT-{found['id']} {name}: {severity}, {found['status']}, {where}", draw.COLOURS.get(severity, ""))
    draw.say("  " + ", ".join(f"{key}={value}" for key, value in sorted(labels.items())))
    if found["muted"]:
        draw.say(f"  muted by {found['muted']['kind']}: {found['muted']['why']}")
    draw.decision(found["decision"] or {})
    return 0


def written_alert(what: str) -> Alert | None:
    """Read an alert as people write one: `HighErrorRate`, `HighErrorRate{env="prod"}`, `{alertname="x"}`.

    Returns: None when it is a file, or looks like one. Raises: PayloadError: its labels cannot be read.
    """
    match = _WRITTEN.fullmatch(what)
    if match is None or Path(what).exists():
        return None
    try:
        matchers = parse(match[2] or "{}")
    except MatcherError as error:
        raise PayloadError(f"{what}: {error}") from error
    wrong = [matcher.wanted() for matcher in matchers if matcher.operator != "="]
    if wrong:
        raise PayloadError(f'{what}: {wrong[0]} is a question; an alert has values, as in Name{{env="prod"}}')
    labels = {matcher.name: matcher.value for matcher in matchers} | ({"alertname": match[1]} if match[1] else {})
    return Alert("alertmanager", identify("alertmanager", labels), labels, {}, True, datetime.now(UTC))


def _sender(what: str) -> str:
    """Name the receiver whose body a file looks like; "" for alerts as people write them, and for standard input."""
    if what == "-":
        return ""
    try:
        found = orjson.loads(_read_file(what))
    except orjson.JSONDecodeError:
        return ""
    return plugins.recognised(found) if isinstance(found, Mapping) else ""


async def _received(parsed: Namespace, name: str) -> tuple[list[Alert], list[str]]:
    """Read a body as a receiver does -> its alerts, and a line for all else. Raises: ConfigError, PayloadError."""
    raw, settings = _read_file(parsed.what), config.load(parsed.config)
    only = settings.model_copy(update={"receivers": {name: settings.receivers.get(name, {})}, "tools": {}, "chat": {}})
    chosen = [each for each in plugins.choose(only) if each.name == name and each.section == "receivers"]
    async with plugins.open_parts(chosen, Surroundings(SystemClock(), SystemIds())) as parts:
        decoded = parts.receivers[name].decode(raw, datetime.now(UTC))
    beside = [f"{'kept, nobody is told' if bad.quiet else 'not read'}: {bad.reason}" for bad in decoded.bad]
    beside += [f"{said.kind} by {said.person or 'somebody'}: told in its incident" for said in decoded.news]
    return list(decoded.alerts), beside


def _read_file(what: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if what == "-" else Path(what).read_bytes()
    except OSError as error:
        raise PayloadError(f"{what} cannot be read: {error.strerror}") from error


def read_alerts(what: str) -> list[Alert]:
    """Read a webhook body, one alert, or a list of alerts. Raises: PayloadError."""
    raw = _read_file(what)
    now = datetime.now(UTC)
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise PayloadError(f"{what} is not JSON: {error}") from error
    if isinstance(found, Mapping) and "alerts" in found:
        return list(Alertmanager(Settings()).decode(raw, now).alerts)
    listed: list[Any] = found if isinstance(found, list) else [found]
    return [_alert(what, each, now) for each in listed]


def _alert(what: str, found: Any, now: datetime) -> Alert:
    labels = found.get("labels") if isinstance(found, Mapping) else None
    if not isinstance(labels, Mapping):
        raise PayloadError(f"{what}: neither a webhook body nor an alert with labels")
    texts = {str(name): str(value) for name, value in labels.items()}
    said = found.get("annotations") or {}
    if not isinstance(said, Mapping):
        raise PayloadError(f"{what}: annotations is {type(said).__name__}, not an object")
    annotations = {str(name): str(value) for name, value in said.items()}
    return Alert("alertmanager", identify("alertmanager", texts), texts, annotations, True, now)


def init(parsed: Namespace) -> int:
    """Write a configuration with fresh tokens, and the blocks to paste into the neighbours."""
    token, person = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    deploy = shipped("deploy")
    wanted = {
        "responder.yaml": _CONFIG.format(token="responder.token", person=person),
        "responder.token": token + "\n",
        "alertmanager-receiver.yml": _RECEIVER,
        "prometheus-scrape.yml": _SCRAPE,
        "slack-manifest.yaml": (deploy / "slack-manifest.yaml").read_text("utf-8"),
    }
    folder: Path = parsed.dir
    there = [name for name in wanted if (folder / name).exists()]
    if there and not parsed.force:
        raise ConfigError(f"{folder / there[0]} is already there; --force writes over it")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text.replace("file:responder.token", f"file:{(folder / 'responder.token').resolve()}"), "utf-8")
        draw.say(f"wrote {path}")
    draw.say("\nnext: responder check, then responder run, then responder fire")
    return 0


_CONFIG = """# What every key means: deploy/responder.example.yaml
listen: 127.0.0.1:8080
store: sqlite:responder.db
receivers:
  alertmanager: {{token: "file:{token}"}}
chat:
  console: {{}}
  # slack: {{bot_token: "${{SLACK_BOT_TOKEN}}", channel: "#incidents"}}
# llm: {{api_key: "${{ANTHROPIC_API_KEY}}"}}
# tools: {{prometheus: {{url: "http://127.0.0.1:9090"}}}}
api:
  tokens:
    - {{person: you@example.com, token: {person}, may: [read, ack, resolve, approve, reload]}}
"""
_RECEIVER = """# Into alertmanager.yml: our route first, with `continue`; the last one for whom the root alone
# has served until now, because the root hears only what no route took.
route:
  receiver: people # yours, as before
  routes:
    # The alert that always fires: its absence for 10 minutes is a P1, so it must be told oftener than that.
    - receiver: responder
      matchers: ['alertname=~"Watchdog|DeadMansSwitch"']
      continue: true
      group_interval: 1m
      repeat_interval: 5m
    - receiver: responder
      matchers: ['alertname!~"Watchdog|DeadMansSwitch"']
      continue: true
      group_interval: 1m
    # your own routes
    - receiver: people
receivers:
  - name: people # yours, as before
  - name: responder
    webhook_configs:
      - url: http://127.0.0.1:8080/webhooks/alertmanager
        send_resolved: true
        max_alerts: 0
        http_config:
          follow_redirects: false
          authorization:
            type: Bearer
            credentials_file: /etc/alertmanager/responder.token # a copy of responder.token
"""
_SCRAPE = """# Into prometheus.yml.
scrape_configs:
  - job_name: responder
    static_configs:
      - targets: [127.0.0.1:8080]
"""


def agents_list(parsed: Namespace) -> int:
    """List agents: name, model, what for."""
    found = _library(config.load(parsed.config)).agents
    if parsed.json:
        draw.as_json(
            [{"name": a.name, "model": a.model, "description": a.description, "tools": a.tools} for a in found.values()]
        )
        return 0
    draw.table(("agent", "model", "what for"), [(a.name, a.model or "the phase's", a.headline) for a in found.values()])
    return 0


def agents_show(parsed: Namespace) -> int:
    """Print one agent."""
    library = _library(config.load(parsed.config))
    agent = library.agent(parsed.name)
    if agent is None:
        raise ConfigError(f"no agent {parsed.name!r}; known: {', '.join(sorted(library.agents))}")
    draw.say(f"{agent.name}: {agent.headline}", "bold")
    draw.say(f"model: {agent.model or 'that of the phase'}; tools: {', '.join(agent.tools) or 'all'}\n")
    draw.say(agent.body)
    return 0


def agents_check(parsed: Namespace) -> int:
    """Read agent files and say what is wrong; a folder of bare agent files will do."""
    if parsed.path is None:
        library = _library(config.load(parsed.config))
    else:
        if not parsed.path.is_dir():
            raise ConfigError(f"{parsed.path} is not a folder")
        library = load_library([shipped("runbooks"), parsed.path])
    return _report([str(error) for error in library.errors], list(library.warnings), False)


def _library(settings: config.Settings) -> Library:
    return load_library([shipped("runbooks"), *settings.runbooks])
