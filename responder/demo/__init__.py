"""`responder demo`: one recorded outage through the real door, with the real store, rules, chain and outbox.

The tools' answers and the model's turns come from `outage.json`; the model is asked over HTTP by the real SDK.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import structlog
from rich.console import Console
from rich.text import Text

from responder import app, logs
from responder.config import Settings
from responder.demo.recorded import JsonChat, RecordedTool, turn
from responder.doubles.anthropic import AnthropicDouble
from responder.redact import Redactor
from responder.runbooks import load_library
from responder.turns import ToolSpec

HOLD_S = 3
FINISHED_WITHIN_S = 120.0
TOKEN = "demo-person"
SAYS = (
    "A recorded outage: {title}.\n"
    "The alerts, the tools' answers and the model's turns are a recording;"
    " the door, the store, the rules, the chain and the outbox are the real ones.\n"
)
_QUERY = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "minutes": {"type": "integer"}},
    "required": ["query"],
    "additionalProperties": False,
}
log = structlog.stdlib.get_logger("demo")


async def play(*, speed: float, as_json: bool, keep: Path | None) -> int:
    """Play it to its end; 0 when the incident resolved and the post-mortem is written, 1 otherwise."""
    recording = orjson.loads(files("responder.demo").joinpath("outage.json").read_bytes())
    logs.configure(terminal=False, level="error", redactor=Redactor(()))
    folder = keep or Path(tempfile.mkdtemp(prefix="responder-demo-"))
    if not as_json:
        Console(highlight=False).print(Text(SAYS.format(title=recording["title"])))
    async with AsyncExitStack() as opened:
        agents = {name: agent.body for name, agent in load_library([app.shipped("runbooks")]).agents.items()}
        script = AnthropicDouble(turns=lambda request: turn(recording, request, speed, agents))
        model = await opened.enter_async_context(script)
        began = asyncio.get_running_loop().time()
        specs = [ToolSpec(f"prometheus.{name}", "Recorded.", _QUERY) for name in ("query", "query_range")]
        tools = {spec.name: RecordedTool(spec, recording["tools"], began, speed) for spec in specs}
        overrides = app.Overrides(tools=tools, tick_s=0.2, chats={"json": JsonChat(sys.stdout)} if as_json else None)
        daemon = await opened.enter_async_context(app.running(_settings(folder, model.base_url, speed), overrides))
        url = f"http://127.0.0.1:{daemon.port}"
        http = await opened.enter_async_context(aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}))
        await _events(recording, http, url, speed)
        return await _end(http, url, folder, as_json=as_json)


def _settings(folder: Path, model_url: str, speed: float) -> Settings:
    """Everything default but for what the recording needs: a short hold, a free port, the recorded model."""
    rules = folder / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    for path in app.shipped("rules").glob("*.yaml"):
        text = path.read_text("utf-8").replace("hold: 5m", f"hold: {max(0.2, HOLD_S / speed):.1f}s")
        (rules / path.name).write_text(text, "utf-8")
    return Settings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "store": f"sqlite:{folder / 'demo.db'}",
            "rules": [str(rules)],
            "llm": {"api_key": "sk-test", "base_url": model_url},
            "api": {"tokens": [{"person": "anna@example.com", "token": TOKEN, "may": ["read", "ack", "resolve"]}]},
        }
    )


async def _events(recording: dict[str, Any], http: aiohttp.ClientSession, url: str, speed: float) -> None:
    """Let alerts and people arrive when they did."""
    clock, began = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
    events = sorted([*recording["alerts"], *recording["people"]], key=lambda event: float(event["at_s"]))
    started = datetime.now(UTC).isoformat()
    for event in events:
        await asyncio.sleep(max(0.0, event["at_s"] / speed - (clock() - began)))
        if "do" in event:
            body = {"text": event.get("text", "")}
            await _post(http, f"{url}/api/incidents/INC-1/{event['do']}", body)
        else:
            await _post(http, f"{url}/webhooks/alertmanager", _webhook(event, started))


def _webhook(event: dict[str, Any], started: str) -> dict[str, Any]:
    firing = "firing" in event
    ended = "0001-01-01T00:00:00Z" if firing else datetime.now(UTC).isoformat()
    status = "firing" if firing else "resolved"
    alerts = [{"status": status, "startsAt": started, "endsAt": ended, **alert} for alert in event[status]]
    return {"version": "4", "groupKey": "demo", "truncatedAlerts": 0, "alerts": alerts}


async def _post(http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    async with http.post(url, json=body) as answer:
        if answer.status >= 400:  # noqa: PLR2004 - the HTTP border
            log.error("demo event refused", url=url, status=answer.status, answer=await answer.text())


async def _end(http: aiohttp.ClientSession, url: str, folder: Path, *, as_json: bool) -> int:
    """Wait for the post-mortem, keep it, and say where."""
    try:
        async with asyncio.timeout(FINISHED_WITHIN_S):
            while True:
                async with http.get(f"{url}/api/incidents/INC-1") as answer:
                    found = await answer.json()
                said = all(post["state"] == "sent" for post in found.get("posts", ()))
                if found.get("status") == "resolved" and found.get("postmortem") and said:
                    break
                await asyncio.sleep(0.1)
    except TimeoutError:
        sys.stderr.write("the recorded incident did not end; this is a fault of ours\n")
        return 1
    path = folder / "INC-1-postmortem.md"
    path.write_text(found["postmortem"], "utf-8")
    if as_json:
        line = {
            "event": "done",
            "incident": "INC-1",
            "status": found["status"],
            "cost_usd": found["cost_usd"],
            "postmortem": str(path),
        }
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
    else:
        sys.stdout.write(
            f"\nResolved. The model's turns would have cost {found['cost_usd']:.4f} USD. Post-mortem: {path}\n"
        )
    sys.stdout.flush()
    return 0
