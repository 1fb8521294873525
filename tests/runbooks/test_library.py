"""Folders become one library: later ones replace, what is wrong is left out, a run keeps what it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from responder.model import Severity
from responder.runbooks import LibraryError, Pinned, load_library

CHAIN = "phases:\n  - {name: first-look}\n  - {name: dig, lead: lead, supporting: [boss], when: [P0]}\n"
BASE = {
    "default.md": "---\nby_symptom: {database: dba}\n---\n# Default",
    "shop.md": "---\nchain: outage\nchecks:\n  - {id: up, tool: prometheus.query, args: {query: up}, expect: '== 1'}\n"
    "recovery:\n  - {check: up, for: 5m}\n---\n# Shop",
    "deep/er.md": "# Deeper",
    "README.md": "---\nchekcs: not a runbook\n---",
    "actions/x.md": "---\nchekcs: not a runbook\n---",
    "chains/outage.yaml": CHAIN,
    "agents/lead.md": "---\nskills: [locks, none]\naliases: [boss]\nmodel: haiku\n---\nYou lead.",
    "agents/data/dba.md": "You know databases.",
    "agents/README.md": "no agent",
    "skills/locks/SKILL.md": "---\ndescription: About locks.\n---\nRead them.",
}


def folder(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def test_everything_is_found_by_its_name(tmp_path: Path) -> None:
    library = load_library([folder(tmp_path, BASE)], strict=True)
    assert set(library.runbooks) == {"default", "shop", "er"}
    assert (set(library.chains), set(library.agents), set(library.skills)) == ({"outage"}, {"lead", "dba"}, {"locks"})
    assert library.warnings == ["agent lead: no such skill here: none"]


def test_later_folders_replace_by_name(tmp_path: Path) -> None:
    shipped = folder(tmp_path / "shipped", BASE)
    mine = folder(tmp_path / "mine", {"shop.md": "# Mine", "agents/x.md": "---\nname: lead\n---\nMy lead."})
    library = load_library([shipped, mine])
    assert library.errors == []
    assert library.runbooks["shop"].title == "Mine"
    assert library.agents["lead"].body == "My lead."
    assert library.agent("boss") == library.agents["lead"], "the shipped chain knows it by this alias"


def test_a_bad_file_is_left_out_and_the_one_before_stays(tmp_path: Path) -> None:
    shipped = folder(tmp_path / "shipped", BASE)
    mine = folder(
        tmp_path / "mine",
        {
            "shop.md": "---\nchekcs: []\n---",
            "bad.md": "---\nname: [\n---",
            "chains/outage.yaml": "phases:\n  - {name: dig, lead: nobody}",
        },
    )
    library = load_library([shipped, mine])
    assert [(Path(error.path).name, error.line) for error in library.errors] == [
        ("bad.md", 3),
        ("outage.yaml", 2),
        ("shop.md", 2),
    ]
    assert library.runbooks["shop"].title == "Shop"
    assert library.chain("outage").agents == ("lead", "boss")
    with pytest.raises(LibraryError, match="did you mean 'checks'") as caught:
        load_library([shipped, mine], strict=True)
    assert len(caught.value.errors) == 3


def test_what_a_runbook_names_must_exist_yet_the_rest_of_it_serves(tmp_path: Path) -> None:
    text = "---\nchain: none\nby_symptom:\n  database: dba\n  network: nobody\n---\n# X"
    library = load_library([folder(tmp_path, {**BASE, "x.md": text})])
    assert [(error.line, error.message) for error in library.errors] == [
        (2, "no chain 'none'; there are: outage"),
        (5, "symptom 'network': no agent 'nobody'; there are: dba, lead"),
    ]
    assert (library.runbooks["x"].chain, library.runbooks["x"].by_symptom) == ("", {"database": "dba"})


def test_two_files_of_one_folder_may_not_share_a_name(tmp_path: Path) -> None:
    library = load_library([folder(tmp_path, {**BASE, "zz.md": "---\nname: shop\n---\n# Other"})])
    (error,) = library.errors
    assert "name 'shop' is taken by" in error.message
    assert library.runbooks["shop"].title == "Shop"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (error,) = load_library([tmp_path / "none"]).errors
    assert error.message == "no such folder of runbooks"


def test_an_alias_finds_an_agent_and_a_name_comes_first(tmp_path: Path) -> None:
    library = load_library([folder(tmp_path, {**BASE, "agents/c.md": "---\naliases: [dba, boss]\n---\nC."})])
    names = {name: agent.name for name in ("dba", "lead", "c", "boss") if (agent := library.agent(name))}
    assert names == {"dba": "dba", "lead": "lead", "c": "c", "boss": "lead"}
    assert library.agent("nobody") is None
    assert [warning for warning in library.warnings if "alias" in warning] == [
        "alias 'boss' stands in 2 agents; it finds lead",
    ]


def test_tools_that_are_not_set_up_are_reported_once(tmp_path: Path) -> None:
    files = {**BASE, "y.md": BASE["shop.md"]}
    library = load_library([folder(tmp_path, files)], tools=["http.probe"])
    assert "tool prometheus.query is not set up: its checks stay without an answer in shop, y" in library.warnings


@pytest.mark.parametrize("chain", ["outage", "no such chain"])
@pytest.mark.parametrize("runbook", ["shop", "no such runbook"])
def test_what_a_run_keeps_reads_back_the_same(tmp_path: Path, runbook: str, chain: str) -> None:
    library = load_library([folder(tmp_path, BASE)])
    kept = library.pinned(runbook, chain)
    pinned = Pinned.from_json(json.loads(json.dumps(kept)))
    assert pinned.model_dump(mode="json", by_alias=True) == kept
    assert pinned.chain == library.chain(chain)
    assert pinned.runbook.checks == library.runbook(runbook).checks
    assert pinned.runbook.recovery == library.runbook(runbook).recovery


def test_a_run_keeps_the_agents_and_skills_that_it_can_use(tmp_path: Path) -> None:
    pinned = Pinned.from_json(load_library([folder(tmp_path, BASE)]).pinned("shop", "outage"))
    assert {agent.name for agent in pinned.agents} == {"lead", "dba"}
    assert pinned.agent("boss") == pinned.agent("lead")
    assert pinned.runbook.by_symptom == {"database": "dba"}
    assert pinned.chain.phases_for(Severity.P2) == pinned.chain.phases[:1]
    skill = pinned.skill("locks")
    assert skill is not None
    assert (skill.description, skill.body) == ("About locks.", "Read them.")


def test_an_incident_always_has_a_runbook_and_a_chain() -> None:
    library = load_library([])
    pinned = Pinned.from_json(library.pinned("gone", "gone"))
    assert pinned.runbook.name == "gone"
    assert [phase.kind for phase in pinned.chain.phases] == ["first-look", "verify"]
    assert library.chain_for("gone", Severity.P0) == pinned.chain
