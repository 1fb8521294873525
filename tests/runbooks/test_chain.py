"""Chains: their phases, and what is wrong with them, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from responder.errors import FileError
from responder.model import Severity
from responder.runbooks.chain import Chain, parse_chain
from responder.runbooks.problems import Refused


def parse(tmp_path: Path, *phases: str, head: str = "name: c") -> Chain:
    path = tmp_path / "file-name.yaml"
    path.write_text("\n".join([head, "phases:", *(f"  - {phase}" for phase in phases)]), "utf-8")
    return parse_chain(path)[0]


def test_a_phase_has_sensible_defaults(tmp_path: Path) -> None:
    (phase,) = parse(tmp_path, "{name: look, lead: '@a'}").phases
    assert (phase.lead, phase.mode, phase.model, phase.gate) == ("a", "sequential", "deep", "none")
    assert (phase.timebox_s, phase.on_failure, phase.max_rounds, phase.when) == (None, "continue", 3, ())


def test_a_phase_holds_all_that_is_written(tmp_path: Path) -> None:
    chain = parse(
        tmp_path,
        "{name: dig, lead: a, supporting: [b, '@c'], mode: iterative, until: sure, max_rounds: 5, model: fast,"
        " timebox: 15m, gate: approval, on_failure: next_agent, when: [P0, P1]}",
    )
    (phase,) = chain.phases
    assert phase.agents == ("a", "b", "c")
    assert chain.agents == ("a", "b", "c")
    assert (phase.mode, phase.until, phase.max_rounds, phase.timebox_s) == ("iterative", "sure", 5, 900)
    assert phase.when == (Severity.P0, Severity.P1)


def test_a_severity_goes_through_its_phases_only(tmp_path: Path) -> None:
    chain = parse(
        tmp_path, "{name: first-look}", "{name: dig, lead: a, when: [P0, P1]}", "{name: note, lead: a, when: P3}"
    )
    names = {severity: [phase.name for phase in chain.phases_for(severity)] for severity in Severity}
    assert names == {
        Severity.P0: ["first-look", "dig"],
        Severity.P1: ["first-look", "dig"],
        Severity.P2: ["first-look"],
        Severity.P3: ["first-look", "note"],
    }


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        ("{name: first-look}", "first-look"),
        ("{name: verify}", "verify"),
        ("{name: verify, lead: a}", "agents"),
        ("{name: postmortem, lead: a}", "postmortem"),
        ("{name: triage, lead: a}", "agents"),
    ],
)
def test_a_phase_without_a_lead_is_done_by_code(tmp_path: Path, phase: str, kind: str) -> None:
    assert parse(tmp_path, phase).phases[0].kind == kind


def test_the_name_is_the_files_when_none_is_written(tmp_path: Path) -> None:
    assert parse(tmp_path, "{name: verify}", head="description: x").name == "file-name"


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        ("{name: triage}", "needs a `lead`"),
        ("{name: verify, supporting: [a]}", "no `lead`"),
        ("{name: a b, lead: a}", "name:"),
        ("{lead: a}", "name is missing"),
        ("{name: x, lead: a, mode: serial}", "'sequential', 'parallel' or 'iterative', not 'serial'"),
        ("{name: x, lead: a, model: huge}", "not 'huge'"),
        ("{name: x, lead: a, gate: maybe}", "gate"),
        ("{name: x, lead: a, on_failure: panic}", "on_failure"),
        ("{name: x, lead: a, on_failure: next_agent}", "needs an agent"),
        ("{name: x, lead: a, when: [P4]}", "not 'P4'"),
        ("{name: x, lead: a, timebox: soon}", "not a duration"),
        ("{name: x, lead: a, timebox: 0}", "time-box of nothing"),
        ("{name: x, lead: a, until: sure}", "`mode: iterative` only"),
        ("{name: x, lead: a, max_rounds: 2}", "`mode: iterative` only"),
        ("{name: x, lead: a, mode: iterative, max_rounds: 99}", "max_rounds"),
        ("{name: x, leed: a}", "unknown key 'leed'"),
        ("{name: first-look}", "stands twice"),
        ("just text", "phases.1: must be a mapping, not 'just text'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, phase: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(tmp_path, "{name: first-look}", phase)
    (error,) = caught.value.errors
    assert reason in error.message
    assert error.line == (2 if phase == "just text" else 4)


@pytest.mark.parametrize("text", ["", "- a", "name: c", "name: c\nphases: []", "name: c\nphases: 3"])
def test_a_chain_without_phases_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises((FileError, Refused), match="phases"):
        parse_chain(path)
