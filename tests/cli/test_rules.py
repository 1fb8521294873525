"""`responder rules ...` as a person calls it: what it prints, and its exit code."""

import json
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest

from responder.cli import run
from responder.store.sqlite import files

RULES = "rules:\n  - {name: api, match: ['alertname=\"Api\"'], severity: P2}\n"
TESTS = "tests:\n  - {name: one, alerts: [{labels: {alertname: Api}}], expect: {severity: P2, rule: api}}\n"
PROMETHEUS = "groups: [{name: g, rules: [{alert: Api, labels: {severity: critical}}, {alert: KubePodNotReady}]}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a rules folder with one rule and one expectation, and go where no configuration is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r" / "tests").mkdir(parents=True)
    (tmp_path / "r" / "a.yaml").write_text(RULES, "utf-8")
    (tmp_path / "r" / "tests" / "a.yaml").write_text(TESTS, "utf-8")
    (tmp_path / "alerts.yaml").write_text(PROMETHEUS, "utf-8")
    return tmp_path / "r"


@pytest.mark.parametrize("path", ["r", "r/tests", "r/tests/a.yaml"])
def test_expectations_run_against_the_rules_beside_them(
    path: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rules", "test", path]) == 0
    (folder / "a.yaml").write_text(RULES.replace("P2", "P3"), "utf-8")
    assert run(["rules", "test", path]) == 1
    assert "severity P2 wanted, got P3" in capsys.readouterr().out


def test_the_shipped_rules_are_tested_without_a_path(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "test", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tests"] >= 150
    assert told["failures"] == []


def test_no_expectations_is_no_success(folder: Path) -> None:
    (folder / "tests" / "a.yaml").unlink()
    (folder / "tests").rmdir()
    assert run(["rules", "test", "nowhere"]) == 2


def test_lint_says_where_and_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "lint", "r"]) == 0
    assert "1 note" in capsys.readouterr().out
    (folder / "b.yaml").write_text(RULES.replace("name: api", "name: again"), "utf-8")
    assert run(["rules", "lint", "r", "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)["findings"]
    [finding] = [each for each in listed if each["level"] == "error"]
    assert (finding["line"], finding["rule"]) == (2, "again")
    assert finding["path"].endswith("b.yaml")
    assert "never reached" in finding["reason"]
    assert "put it before" in finding["fix"]


OVER = """\
silences: [{match: [a=b], until: 2020-01-01T00:00:00Z, by: anna, comment: c}]
quiet_hours: [{name: n, days: [sun], timezone: UTC, severities: [P1]}]
"""


def test_what_is_over_in_the_policy_is_a_warning_and_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").write_text(OVER, "utf-8")
    assert run(["rules", "lint", "r"]) == 0
    (folder.parent / "responder.yaml").write_text("rules: [r]\n", "utf-8")
    assert run(["check"]) == 0
    told = capsys.readouterr().out.replace("\n", " ").replace(": warning:", ":")
    assert told.count("policy.yaml:1: the silence by anna ended 2020-01-01 00:00 UTC; remove it") == 2
    assert told.count("policy.yaml:2: quiet_hours 'n' holds back P1 too") == 2


def test_coverage_tells_each_rule_and_a_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "coverage", "alerts.yaml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["alert"], each["severity"], each["matched_by"]) for each in told["alerts"]] == [
        ("Api", "P1", "label"),
        ("KubePodNotReady", "P2", "rule"),
    ]
    assert told["summary"]["matched_by"] == {"rule": 1, "label": 1, "backstop": 0}
    assert run(["rules", "coverage", "alerts.yaml"]) == 0
    assert "kubernetes-pod" in capsys.readouterr().out


def test_one_unreadable_file_does_not_hide_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.yaml").write_text("a: [", "utf-8")
    assert run(["rules", "coverage", "broken.yaml", "alerts.yaml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["alerts"]) == 2
    assert "broken.yaml" in told["summary"]["unread"][0]


def test_diff_compares_over_rule_files_and_bodies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.yaml").write_text(RULES.replace("P2", "P0"), "utf-8")
    Path("body.json").write_text(json.dumps([{"labels": {"alertname": "Api"}}]), "utf-8")
    assert run(["rules", "diff", "r", "new.yaml", "alerts.yaml", "body.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["alerts"], told["new_night_pages"]) == (3, 2)
    assert run(["rules", "diff", "r", "new.yaml", "body.json", "--markdown"]) == 0
    assert "| P2 | P0 | 1 | `Api` |" in capsys.readouterr().out
    assert run(["rules", "diff", "r", "new.yaml", "body.json"]) == 0
    assert "1 P2 -> P0, 0 now backstop, 1 new night pages" in capsys.readouterr().out


def stored(*started: str) -> None:
    """Write a database with one ended alert for each start, and a configuration that names it."""
    files.prepare(Path("responder.db").absolute())
    columns = "identity, source, labels, annotations, firing, started_at, ended_at, received_at, generator_url"
    with sqlite3.connect("responder.db") as connection:
        for each in started:
            at = datetime.fromisoformat(each).timestamp()
            row = (each, "alertmanager", '{"alertname": "Api"}', "{}", 0, at, at, at, "")
            connection.execute(f"INSERT INTO episode ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", row)
    connection.close()
    Path("responder.yaml").write_text("listen: 127.0.0.1:1\n", "utf-8")


def test_diff_without_files_reads_the_stored_alerts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.yaml").write_text(RULES.replace("P2", "P0"), "utf-8")
    stored("2026-11-18T11:00:00+00:00", "2026-11-18T03:00:00+00:00", "2020-11-18T03:00:00+00:00")
    assert run(["rules", "diff", "r", "new.yaml", "--since", "36500d", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["alerts"], told["new_night_pages"], told["night_examples"]) == (3, 2, ["Api"])
    assert run(["rules", "diff", "r", "new.yaml", "--since", "1s"]) == 0
    assert "of 0 alerts" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["r", "nowhere"],
        ["r", "r", "nowhere.json"],
        ["r", "r", "alerts.yaml", "--since", "1d"],
        ["r", "r", "--since", "x"],
    ],
    ids=["no rules", "no file", "files and since", "no duration"],
)
def test_diff_refuses_what_it_cannot_do(folder: Path, arguments: list[str]) -> None:
    assert run(["rules", "diff", *arguments]) == 2


def test_diff_says_when_nobody_has_alerts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("responder.yaml").write_text("listen: 127.0.0.1:1\n", "utf-8")
    assert run(["rules", "diff", "r", "r"]) == 1
    assert "no daemon answers" in capsys.readouterr().err
