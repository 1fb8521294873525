"""Runbooks: what they hold, and what is wrong with them, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from responder.errors import FileError
from responder.runbooks.frontmatter import read_document
from responder.runbooks.problems import Refused
from responder.runbooks.runbook import Runbook, parse_runbook

FULL = """---
name: shop
title: The shop
weight: 20
checks:
  - id: errors
    tool: prometheus.query
    args: {query: 'sum(rate(x{service="$service"}[5m]))'}
    expect: "< 1"
  - {id: up, tool: prometheus.query, args: {query: 'up'}}
recovery:
  - {check: errors, for: 5m, within: 1h}
  - {check: errors}
actions: [roll-back]
by_symptom: {database: dba}
---
# Heading

## Meaning

It broke.

## Mitigation ##
Repair it.
"""


def parse(tmp_path: Path, text: str) -> Runbook:
    path = tmp_path / "file-name.md"
    path.write_text(text, "utf-8")
    return parse_runbook(read_document(path))[0]


def test_a_runbook_holds_what_its_file_says(tmp_path: Path) -> None:
    runbook = parse(tmp_path, FULL)
    assert (runbook.name, runbook.title, runbook.actions) == ("shop", "The shop", ("roll-back",))
    assert [(check.id, check.expect.text) for check in runbook.checks] == [("errors", "< 1"), ("up", "any")]
    assert [(it.check, it.for_s, it.within_s) for it in runbook.recovery] == [
        ("errors", 300, 3600),
        ("errors", None, 1800),
    ]
    assert runbook.by_symptom == {"database": "dba"}
    assert runbook.sections == {"Meaning": "It broke.", "Mitigation": "Repair it."}


def test_a_check_fills_its_arguments(tmp_path: Path) -> None:
    check = parse(tmp_path, FULL).checks[0]
    assert check.labels == {"service"}
    assert check.arguments({"service": "a"}) == ({"query": 'sum(rate(x{service="a"}[5m]))'}, [])
    assert check.arguments({})[1] == ["service"]


@pytest.mark.parametrize(
    ("text", "name", "title"),
    [
        ("# Node down\n\ntext", "file-name", "Node down"),
        ("text", "file-name", "file-name"),
        ("---\ntitle: Pages\nweight: 20\ntags: [a]\n---\n# Other", "file-name", "Pages"),
        ("---\nname: n\n---\ntext", "n", "n"),
    ],
    ids=["plain", "no heading", "wiki", "named"],
)
def test_plain_markdown_is_a_runbook(tmp_path: Path, text: str, name: str, title: str) -> None:
    runbook = parse(tmp_path, text)
    assert (runbook.name, runbook.title, runbook.checks) == (name, title, ())


def front(*lines: str) -> str:
    return "\n".join(["---", *lines, "---", "text"])


CHECK = "  - {id: a, tool: prometheus.query, args: {query: up}, expect: '< 1'}"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (front("chekcs: []"), 2, "did you mean 'checks'"),
        (front("checks: 3"), 2, "checks:"),
        (front("checks:", "  - {id: a, tol: x.y}"), 3, "unknown key 'tol'"),
        (front("checks:", "  - {id: a}"), 3, "tool is missing"),
        (front("checks:", "  - {id: A b, tool: x.y}"), 3, "id:"),
        (front("checks:", "  - {id: a, tool: bash}"), 3, "tool:"),
        (front("checks:", "  - id: a", "    tool: x.y", "    expect: about 1"), 5, "not an expectation"),
        (front("checks:", "  - id: a", "    tool: x.y", "    expect: 0"), 5, "not an expectation"),
        (front("checks:", "  - id: a", "    tool: x.y", "    expect: > 3"), 5, "into quotes"),
        (front("checks:", "  - id: a", "    tool: x.y", "    expect: != 3"), 5, "into quotes"),
        (front("checks:", CHECK, CHECK), 4, "stands twice"),
        (front("checks:", CHECK, "recovery:", "  - {check: b}"), 5, "there are: a"),
        (front("checks:", CHECK, "recovery:", "  - {check: a, for: soon}"), 5, "not a duration"),
        (front("checks:", CHECK, "recovery:", "  - {check: a, until: 5m}"), 5, "unknown key 'until'"),
        (front("checks:", "  - {id: a, tool: x.y}", "recovery:", "  - {check: a}"), 5, "proves nothing"),
        (
            front("checks:", "  - {id: a, tool: prometheus.query, args: {query: 'up == $a'}}"),
            3,
            "$a must stand inside double quotes",
        ),
        (front("by_symptom: [a]"), 2, "by_symptom"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises((FileError, Refused)) as caught:
        parse(tmp_path, text)
    (error,) = getattr(caught.value, "errors", [caught.value])
    assert (error.line, reason in error.message) == (line, True), str(error)


def test_every_reason_is_given_at_once(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        parse(tmp_path, front("checks:", "  - {id: A, tool: x}", "recovery:", "  - {check: a, for: x}"))
    assert [error.line for error in caught.value.errors] == [3, 3, 5]
