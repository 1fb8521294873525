"""`responder run`, `demo`, `fire`: what needs a daemon, or is one."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from responder import app, config, llm, logs, plugins
from responder import demo as recorded
from responder.cli import show as draw
from responder.cli.client import Client
from responder.errors import FileError, PermanentError
from responder.redact import Redactor

FIRE_WAITS_S = 15.0
GC_AFTER = 20_000  # new objects; Python's 700 is a collection every few requests in a burst
SWITCH_S = 0.0001  # Python's default of 5 ms makes the writer thread wait that long for each of its turns
log = structlog.stdlib.get_logger("run")


def run(parsed: Namespace) -> int:
    """Run the daemon until SIGTERM or SIGINT; what is under way is finished, what is not is in rows."""
    settings = config.load(parsed.config)
    thinking = config.read_section(llm.Settings, "llm", settings.llm)
    known = app.secrets_of(plugins.choose(settings), thinking, settings)
    logs.configure(terminal=sys.stderr.isatty(), level=settings.log_level, redactor=Redactor(known))
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what was imported lives as long as we do: no need to look through it again
    gc.set_threshold(GC_AFTER)
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: config.Settings) -> None:
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)  # from the first moment on: unheard it would end us

    def ready(daemon: app.Daemon) -> None:
        log.info("ready", listen=f"{settings.host}:{daemon.port}", store=settings.store)

    await app.run(settings, stop, ready=ready, hangup=hangup)
    log.info("stopped")


def reload(parsed: Namespace) -> int:
    """Have the daemon take the files on disk into force; prints its answer, or what is wrong with them."""
    found = Client(parsed).reload()
    if parsed.json:
        draw.as_json(found)
    elif "errors" in found:
        for each in found["errors"]:
            draw.say(f"error: {FileError(each['file'], each['line'], each['reason'])}", "red")
        draw.say(found["error"], "bold red")
    else:
        for warning in found["warnings"]:
            draw.say(f"warning: {warning}", "yellow")
        said = "reloaded" if found["changed"] else "nothing has changed"
        draw.say(f"{said}: {found['rules']} rules, {found['runbooks']} runbooks, revision {found['revision']}")
    return 1 if "errors" in found else 0


def demo(parsed: Namespace) -> int:
    """Play the recorded outage."""
    return asyncio.run(recorded.play(speed=parsed.speed, as_json=parsed.json, keep=parsed.keep))


def fire(parsed: Namespace) -> int:
    """Send a marked test alert as Alertmanager would, and follow it until it is an incident."""
    client = Client(parsed)
    token = _receiver_token(client.settings)
    body = _test_alert(parsed.severity, ended=parsed.resolve)
    client.post("/webhooks/alertmanager", body, token=token)
    deadline = time.monotonic() + FIRE_WAITS_S
    while time.monotonic() < deadline:
        found = _fired(client, parsed.severity, ended=parsed.resolve)
        if found is not None:
            return _tell(parsed, client, found)
        time.sleep(0.2)
    raise PermanentError(f"accepted, but no incident within {FIRE_WAITS_S:.0f} s; look at the daemon's log")


def _test_alert(severity: str, *, ended: bool) -> dict[str, Any]:
    now = datetime.now(UTC)
    labels = {"alertname": "ResponderTest", "severity": severity}
    alert = {
        "status": "resolved" if ended else "firing",
        "labels": labels,
        "annotations": {"summary": f"Test alert ({severity}): nothing is broken"},
        "startsAt": (now - timedelta(seconds=1)).isoformat(),
        "endsAt": now.isoformat() if ended else "0001-01-01T00:00:00Z",
    }
    return {"version": "4", "groupKey": f"fire/{severity}", "truncatedAlerts": 0, "alerts": [alert]}


def _fired(client: Client, severity: str, *, ended: bool) -> dict[str, Any] | None:
    listed = client.get("/api/incidents", severity=severity, limit="20")["incidents"]
    wanted = ("monitoring", "resolved") if ended else ("detecting", "investigating", "mitigating")
    return next((each for each in listed if each["rule"] == "responder-test" and each["status"] in wanted), None)


def _tell(parsed: Namespace, client: Client, found: dict[str, Any]) -> int:
    whole = client.get(f"/api/incidents/{found['id']}")
    if parsed.json:
        draw.as_json(whole)
        return 0
    draw.say(
        f"accepted (202), {found['id']} is {found['severity']} and {found['status']}", draw.COLOURS[found["severity"]]
    )
    for post in whole["posts"][:3]:
        draw.say(f"  {post['chat']}: {post['kind']} {post['state']} {post['error']}")
    if found["status"] not in ("monitoring", "resolved"):
        draw.say(f"end it: responder fire --severity {found['severity']} --resolve")
    return 0


def _receiver_token(settings: config.Settings) -> str:
    values = settings.receivers.get("alertmanager", {})
    return str(values.get("token") or next(iter(values.get("tokens", [])), ""))
