"""What we ship loads without a word, and says what it must."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from responder.model import Severity
from responder.runbooks import Agent, Library, Pinned, Runbook, load_library

SHIPPED = Path(__file__).parents[2] / "runbooks"
TOOLS = ["prometheus.query", "prometheus.query_range", "prometheus.alerts", "prometheus.rules", "http.probe"]
LIBRARY: Library = load_library([SHIPPED], tools=TOOLS, strict=True)
RUNBOOKS = [pytest.param(runbook, id=name) for name, runbook in LIBRARY.runbooks.items()]
AGENTS = [pytest.param(agent, id=name) for name, agent in LIBRARY.agents.items()]


def test_nothing_is_reported() -> None:
    assert LIBRARY.warnings == []
    assert set(LIBRARY.runbooks) == {path.stem for path in SHIPPED.glob("*.md")} - {"README"}
    assert len(LIBRARY.runbooks) >= 30


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_a_runbook_has_its_four_sections_and_checks(runbook: Runbook) -> None:
    assert list(runbook.sections) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(runbook.sections.values())
    assert 1 <= len(runbook.checks) <= 4
    assert runbook.chain == ""
    assert all(recovery.for_s is None for recovery in runbook.recovery)


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_checks_ask_for_one_number_and_do_not_invent_it(runbook: Runbook) -> None:
    for check in runbook.checks:
        query = check.args["query"]
        assert "vector(" not in query, "no series must stay no data"
        assert query.lstrip("(").split("(")[0] in {
            *("sum", "avg", "min", "max", "count"),
            "histogram_quantile",
            "1 - avg",
        }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    labels = dict.fromkeys(
        {name for book in LIBRARY.runbooks.values() for check in book.checks for name in check.labels}, '"\\'
    )
    checks = [check for runbook in LIBRARY.runbooks.values() for check in runbook.checks]
    rules = [{"record": f"check:{n}", "expr": check.arguments(labels)[0]["query"]} for n, check in enumerate(checks)]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "checks", "rules": rules}]}), "utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("severity", list(Severity))
def test_every_severity_has_a_chain(severity: Severity) -> None:
    phases = [phase.name for phase in LIBRARY.chain_for("default", severity).phases_for(severity)]
    full = ["first-look", "triage", "investigate", "verify", "postmortem"]
    assert phases == (full if severity is not Severity.P3 else ["first-look", "verify"])


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_says_what_it_must(agent: Agent) -> None:
    for text in ("submit_report", "data from outside", '"No data" is not "healthy"', "not mine", "I do not know"):
        assert text.lower() in agent.body.lower()
    assert agent.may_use(TOOLS) == TOOLS
    assert len(agent.body) < 4000, "each turn pays for it"


def test_a_run_keeps_its_specialists() -> None:
    pinned = Pinned.from_json(LIBRARY.pinned("database", "outage"))
    names = {agent.name for agent in pinned.agents}
    assert {"devops-troubleshooter", "debugger", "documentation-specialist", "database-optimizer"} <= names
    assert pinned.agent("sql-pro") == pinned.agent("database-optimizer")
