"""The commands as a person types them: what they print, what they write, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from responder.cli import run
from tests.daemon import alert, body, daemon
from tests.given import entry, house


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder: commands take ./responder.yaml when it is there."""
    monkeypatch.chdir(tmp_path)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_what_init_writes_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init"]) == 0
    assert {path.name for path in Path().iterdir()} == {
        "responder.yaml", "responder.token", "alertmanager-receiver.yml", "prometheus-scrape.yml",
        "slack-manifest.yaml",
    }  # fmt: skip
    assert run(["check"]) == 0
    assert "good" in printed(capsys)
    assert Path("responder.token").stat().st_mode & 0o077 == 0


GENERIC = """receivers:
  generic-uptime: {mapping: {labels: {alertname: name}, status: {path: s, resolved: up, ignored: test}}}
"""


def test_a_mapping_can_be_tried_on_a_body(capsys: pytest.CaptureFixture[str]) -> None:
    Path("responder.yaml").write_text(GENERIC, "utf-8")
    Path("body.json").write_text('[{"name": "Xyzzy"}, {"s": "test"}, {"other": 1}]', "utf-8")
    assert run(["explain", "--receiver", "generic-uptime", "body.json", "--json"]) == 0
    found = json.loads(printed(capsys))
    assert [(each["alert"], each["severity"]) for each in found["alerts"]] == [("Xyzzy", "P2")]
    assert [line.partition(":")[0] for line in found["beside"]] == ["kept, nobody is told", "not read"]
    assert run(["explain", "--receiver", "generic-uptime", "body.json"]) == 0
    assert "is it the right mapping?" in printed(capsys)


def test_a_body_can_be_tried_on_a_receiver_that_is_not_set_up_yet(capsys: pytest.CaptureFixture[str]) -> None:
    Path("body.json").write_text('{"alerts": [{"labels": {"alertname": "DatasourceNoData"}}]}', "utf-8")
    assert run(["explain", "--receiver", "grafana", "body.json"]) == 0
    assert "DatasourceNoData: P2 by rule grafana-datasource" in printed(capsys)
    assert run(["explain", "--receiver", "nothing", "body.json"]) != 0
    assert "no such integration" in capsys.readouterr().err


def test_init_writes_over_nothing_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("responder.yaml").write_text("listen: 127.0.0.1:1\n", "utf-8")
    assert run(["init"]) == 1
    assert "--force" in capsys.readouterr().err
    assert Path("responder.yaml").read_text("utf-8") == "listen: 127.0.0.1:1\n"
    assert run(["init", "--force"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listn: 127.0.0.1:1\n", "responder.yaml:1: listn: unknown key"),
        ("receivers:\n  alertmanger: {}\n", "receivers.alertmanger: no such integration"),
        ("chat:\n  slack: {bot_token: x, chanel: y}\n", "chat.slack.chanel: unknown key"),
        ("llm: {api_key: '${NOT_SET_ANYWHERE}'}\n", "environment variable NOT_SET_ANYWHERE is not set"),
        ("rules: [nowhere]\n", "nowhere"),
        ("listen: 0.0.0.0:1\n", "has no secret"),
        ("listen: 127.0.0.1:99999\n", "is not HOST:PORT"),
        ("llm: {budget: {day_usd: -1}}\n", "llm.budget.day_usd"),
        ("a: [\n", "not YAML"),
    ],
    ids=[
        "misspelt key",
        "no integration",
        "misspelt setting",
        "no variable",
        "no folder",
        "open door",
        "no port",
        "debt",
        "no yaml",
    ],
)
def test_check_says_where_and_why(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("responder.yaml").write_text(text, "utf-8")
    assert run(["check"]) == 1
    assert said in printed(capsys)


def test_check_names_file_and_line_of_a_bad_rule(capsys: pytest.CaptureFixture[str]) -> None:
    Path("responder.yaml").write_text("rules: [rules]\n", "utf-8")
    Path("rules").mkdir()
    Path("rules/mine.yaml").write_text("rules:\n  - name: a\n    match: ['b=~\"(\"']\n    severity: P1\n", "utf-8")
    assert run(["check", "--json"]) == 1
    found = json.loads(printed(capsys))
    assert len(found["errors"]) == 1
    assert "rules/mine.yaml:3:" in found["errors"][0]


def test_explain_says_which_rule_and_why_not_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    Path("body.json").write_text(json.dumps(body(alert("CompleteOutage", severity="critical"))), "utf-8")
    assert run(["explain", "body.json"]) == 0
    text = printed(capsys)
    assert "CompleteOutage: P0 by rule complete-outage" in text
    assert run(["explain", "body.json", "--json"]) == 0
    [told] = json.loads(printed(capsys))["alerts"]
    assert (told["rule"], told["severity"]) == ("complete-outage", "P0")


def test_explain_says_what_the_policy_mutes_now(capsys: pytest.CaptureFixture[str]) -> None:
    Path("body.json").write_text(json.dumps(body(alert("Disk"))), "utf-8")
    Path("r").mkdir()
    Path("r/a.yaml").write_text("rules: [{name: disk, match: [alertname=Disk], severity: P2}]\n", "utf-8")
    Path("r/policy.yaml").write_text(
        "silences: [{match: [alertname=Disk], until: 2999-01-01T00:00:00Z, by: anna, comment: new disk}]\n"
        "inhibitions: [{name: down, source: [alertname=Node], target: [alertname=Disk]}]\n",
        "utf-8",
    )
    Path("responder.yaml").write_text("rules: [r]\n", "utf-8")
    assert run(["explain", "body.json"]) == 0
    text = printed(capsys)
    assert "muted: silenced until 2999-01-01 00:00 UTC by anna: new disk" in text
    assert "inhibition rules that could mute it: down" in text


@pytest.mark.parametrize("what", ["HighErrorRate", 'HighErrorRate{env="prod"}', '{alertname="HighErrorRate"}'])
def test_explain_takes_an_alert_as_people_write_it(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", what]) == 0
    assert printed(capsys).startswith("HighErrorRate: P2 by rule error-rate (rule), runbook error-rate\n")


def test_explain_says_what_looks_misspelt(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules").mkdir()
    rule = "{name: r12, severity: P1, match: ['alertname=HighErrorRate', 'env=prod']}"
    Path("rules/a.yaml").write_text(f"rules: [{rule}]", "utf-8")
    Path("responder.yaml").write_text("rules: [rules]\n", "utf-8")
    assert run(["explain", "HighErrorRate{env=prd}"]) == 0
    said = 'nearest miss: r12 would match but for env="prod" wanted, env is "prd" (1 letter from "prod")'
    assert said in printed(capsys)


@pytest.mark.parametrize("what", ['Name{env=~"prod"}', 'Name{env="a}', "nowhere.json", 'Name{env="prod"'])
def test_explain_refuses_what_is_neither_a_file_nor_an_alert(what: str) -> None:
    assert run(["explain", what]) == 1


@pytest.mark.parametrize(
    "text", ["[]", "[]x", '{"no": "labels"}', "7"], ids=["none", "no json", "no labels", "a number"]
)
def test_explain_refuses_what_is_no_alert(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.json").write_text(text, "utf-8")
    assert run(["explain", "odd.json"]) == 1
    assert "odd.json" in capsys.readouterr().err


def test_commands_that_are_misused_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nonsense"], ["incidents"], ["fire", "--severity", "P9"], ["demo", "--speed", "0"], []):
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        assert ended.value.code == 2
    capsys.readouterr()


def test_without_daemon_and_file_it_says_what_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    Path("responder.yaml").write_text("listen: 127.0.0.1:1\n", "utf-8")
    assert run(["incidents", "list"]) == 1
    assert "responder run" in capsys.readouterr().err
    assert run(["ledger"]) == 1


def test_agents_are_listed_shown_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agents", "list", "--json"]) == 0
    names = [each["name"] for each in json.loads(printed(capsys))]
    assert "debugger" in names
    assert run(["agents", "show", "debugger"]) == 0
    assert "debugger" in printed(capsys)
    assert run(["agents", "show", "nobody"]) == 1
    assert run(["agents", "check"]) == 0


async def test_an_incident_is_read_with_and_without_its_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = {"person": "anna@example.com", "token": "t-anna", "may": ["read", "ack", "resolve"]}

    async def ask(*arguments: str) -> int:
        return await asyncio.to_thread(run, list(arguments))

    async with daemon(tmp_path, api={"tokens": [token]}):
        assert await ask("fire", "--severity", "P2", "--json") == 0
        assert json.loads(printed(capsys))["severity"] == "P2"
        assert await ask("incidents", "ack", "INC-1") == 0
        assert "anna@example.com" in printed(capsys)
        assert await ask("fire", "--severity", "P2", "--resolve") == 0
        assert await ask("incidents", "resolve", "INC-1", "--why", "a test") == 0
        assert await ask("ledger") == 0
        assert await ask("incidents", "show", "INC-99") == 1
    capsys.readouterr()
    assert await ask("incidents", "list", "--json") == 0
    [listed] = json.loads(printed(capsys))["incidents"]
    assert (listed["id"], listed["status"]) == ("INC-1", "resolved")
    assert await ask("incidents", "show", "INC-1") == 0
    assert "ResponderTest" in printed(capsys)
    assert await ask("incidents", "export", "INC-1") == 0
    assert json.loads(printed(capsys))["episodes"][0]["labels"]["alertname"] == "ResponderTest"
    assert await ask("explain", "INC-1") == 0
    assert "responder-test: matches" in printed(capsys)


async def test_reload_takes_what_is_good_and_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = {"person": "anna@example.com", "token": "t-anna", "may": ["reload"]}

    async def ask(*arguments: str) -> int:
        return await asyncio.to_thread(run, list(arguments))

    async with daemon(tmp_path, api={"tokens": [token]}, watch_s=0):
        assert await ask("reload") == 0
        assert "nothing has changed: " in printed(capsys)
        mine = tmp_path / "rules" / "99-mine.yaml"
        mine.write_text("rules:\n  - {name: mine, match: 'a=b', severity: P1}\n")
        assert await ask("reload", "--json") == 0
        assert json.loads(printed(capsys))["changed"] is True
        mine.write_text("rules:\n  - name: mine\n    severity: high\n    machs: a\n")
        assert await ask("reload") == 1
        said = printed(capsys).replace("\n", "")
        assert "99-mine.yaml:3: severity 'high'" in said
        assert "99-mine.yaml:4: unknown key 'machs'" in said
        assert "2 to mend" in said
        assert await ask("reload", "--json") == 1
        assert json.loads(printed(capsys))["errors"][0]["line"] == 4
        assert await ask("reload", "--token", "wrong") == 1
        assert "401" in capsys.readouterr().err


async def test_doctor_lists_what_is_wrong_at_the_senders_and_the_lines_that_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with daemon(tmp_path) as one:

        async def doctor(*more: str) -> int:
            return await asyncio.to_thread(run, ["doctor", *more])

        assert await doctor() == 0
        assert "no problems seen" in printed(capsys)
        assert await one.post(body(alert("Api"), truncated=4)) == 202
        await one.settled()
        assert await doctor() == 1
        said = printed(capsys)
        assert "4 alerts cut off" in said
        assert "max_alerts: 0" in said
        assert await doctor("--json") == 1
        [problem] = json.loads(printed(capsys))["problems"]
        assert problem["problem"] == "truncated"
        async with aiohttp.ClientSession(headers={"User-Agent": "Alertmanager/0.25.0"}) as http:
            await http.get(f"{one.url}/webhooks/alertmanager")
        assert await one.metric('responder_sender_problems{problem="redirected"}') == 1


SILENCE = "silences: [{match: [alertname=Quiet], until: 2999-01-01T00:00:00Z, by: anna, comment: new disk}]\n"


async def test_alerts_and_why_they_were_judged_so_are_told_with_and_without_the_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(*arguments: str) -> str:
        code = await asyncio.to_thread(run, list(arguments))
        assert code == 0, capsys.readouterr().err
        return printed(capsys)

    async with daemon(tmp_path, watch_s=0) as one:
        (tmp_path / "rules" / "policy.yaml").write_text(SILENCE)
        capsys.readouterr()
        await one.kill(signal.SIGTERM)
        await one.start()
        assert await one.post(body(alert("Quiet"), alert("HighErrorRate"))) == 202
        await one.settled()
        for _ in ("with its daemon", "without"):
            told = await ask("alerts")
            assert told.index("ALERT-2") < told.index("ALERT-1")
            muted = json.loads(await ask("alerts", "--muted", "--json"))["alerts"]
            assert [each["labels"]["alertname"] for each in muted] == ["Quiet"]
            said = await ask("explain", "ALERT-1")
            assert "muted by silence: silenced until 2999-01-01 00:00 UTC by anna: new disk" in said
            assert "because: " in said
            assert "HighErrorRate: P2, firing, INC-1" in await ask("explain", "alert-2")
            decided = json.loads(await ask("explain", "INC-1", "--json"))["alerts"]
            assert [(each["alerts"], each["decision"]["rule"]) for each in decided] == [(1, "error-rate")]
            assert "muted    1 by silence now" in await ask("ledger")
            if one.process is not None and one.process.returncode is None:
                await one.kill(signal.SIGTERM)
    assert await asyncio.to_thread(run, ["explain", "ALERT-99"]) == 1


# --- a database without a daemon ---

DEAD = "listen: 127.0.0.1:1\nstore: sqlite:responder.db\n"
READS = [["incidents", "list"], ["incidents", "show", "INC-1"], ["rules", "diff", "rules", "rules"]]


async def _one_incident() -> None:
    async with house(Path()) as at:
        await at.post(entry())


def _damaged() -> None:
    """Write over the tables that the commands come to after they have looked at the file's head."""
    with closing(sqlite3.connect("responder.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        names = ("timeline", "episode", "episode_incident")
        sql = f"SELECT rootpage FROM sqlite_master WHERE name IN {names}"
        pages = [page for (page,) in connection.execute(sql)]
    with Path("responder.db").open("r+b") as file:
        for page in pages:
            file.seek(size_bytes * (page - 1))
            file.write(b"A" * size_bytes)


def _versioned(version: int) -> None:
    with closing(sqlite3.connect("responder.db")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("command", READS, ids=" ".join)
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        pytest.param(_damaged, "responder.db: database disk image is malformed", id="damaged"),
        pytest.param(lambda: _versioned(1), "not 2; `responder run` brings it up to date", id="older"),
        pytest.param(lambda: _versioned(99), "not 2; ask with the newer responder", id="newer"),
    ],
)
def test_a_database_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], command: list[str], harm: Callable[[], None], says: str
) -> None:
    Path("responder.yaml").write_text(DEAD, "utf-8")
    Path("rules").mkdir()
    Path("rules/a.yaml").write_text("rules: [{name: all, severity: P2}]", "utf-8")
    asyncio.run(_one_incident())
    harm()
    assert run(command) == 1
    assert says in capsys.readouterr().err


def test_annotations_that_are_no_object_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.json").write_text('{"labels": {"alertname": "X"}, "annotations": [1]}', "utf-8")
    assert run(["explain", "a.json"]) == 1
    assert "a.json: annotations is list, not an object" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["incidents", "show", "INC-x"], ["explain", "INC-9999999999999999"]], ids=" ".join)
def test_what_is_no_name_of_an_incident_is_misuse(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run(command) == 2
    assert "is not an incident; write INC-12" in capsys.readouterr().err
