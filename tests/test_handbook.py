"""The handbook: what is read together, what is wrong with it, and how a change of its files is seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from responder.handbook import Handbook, Places, picture, read_handbook
from responder.model import Severity
from tests.given import alert

ROOT = Path(__file__).parent.parent
RULE = "rules:\n  - {name: mine, match: 'a=b', severity: P3, runbook: own}\n"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("rules", "runbooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "rules/a.yaml").write_text(RULE)
    (tmp_path / "runbooks/own.md").write_text("---\nname: own\n---\n# Own\n")
    return Places((tmp_path / "rules",), (tmp_path / "runbooks",), ROOT / "rules", ROOT / "runbooks")


def said(found: Handbook) -> str:
    """Give its one mistake."""
    [error] = found.errors
    return str(error)


def test_rules_and_runbooks_are_read_together_and_ours_are_beside_them(places: Places) -> None:
    found = read_handbook(places)
    assert (found.errors, found.picture) == ((), picture(places))
    names = [rule.name for rule in found.rules.rules]
    assert (names[-1], "responder-config" in names[:-1]) == ("mine", True), (
        "a catch-all of the user's takes none of ours"
    )
    assert {"own", "responder"} <= set(found.library.runbooks)


def test_who_has_rules_about_us_gets_none_of_ours(places: Places) -> None:
    (places.rules[0] / "b.yaml").write_text("rules:\n  - {name: responder-test, severity: P0}\n")
    assert [rule.name for rule in read_handbook(places).rules.rules] == ["mine", "responder-test"]


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("rules/a.yaml", RULE.replace("own", "nowhere"), "rules/a.yaml:2: there is no runbook 'nowhere'"),
        ("rules/policy.yaml", "P1:\n  chain: nowhere\n", "rules/policy.yaml:2: P1: there is no chain 'nowhere'"),
        ("rules/policy.yaml", "severities:\n  P1:\n    chain: nowhere\n", "rules/policy.yaml:3: P1: there is no chain"),
        ("rules/policy.yaml", "P1: [\n", "rules/policy.yaml:2: not YAML"),
        ("runbooks/x.md", "---\nname: x\nchain: nowhere\n---\n# X\n", "runbooks/x.md:3: no chain 'nowhere'"),
        ("runbooks/chains/x.yaml", "phases:\n  - {name: y, lead: nobody}\n", "runbooks/chains/x.yaml:2: phase 'y'"),
    ],
    ids=["runbook", "chain of the policy", "chain of a severity", "policy", "chain of a runbook", "agent of a chain"],
)
def test_what_is_wrong_is_named_with_its_line(places: Places, file: str, text: str, says: str) -> None:
    path = places.rules[0].parent / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert says in said(read_handbook(places))


def test_with_wrong_rules_every_alert_pages_as_a_p1(places: Places) -> None:
    (places.rules[0] / "a.yaml").write_text("rules: [\n")
    found = read_handbook(places)
    assert "a.yaml:2: not YAML" in said(found)
    assert found.rules.classify(alert("Any", severity="info")).severity is Severity.P1
    assert found.rules.degraded


def test_a_folder_that_is_gone_or_locked_is_a_mistake(places: Places) -> None:
    (places.runbooks[0] / "own.md").unlink()
    places.runbooks[0].rmdir()
    (places.rules[0] / "a.yaml").write_text(RULE.replace(", runbook: own", ""))
    assert "no such folder of runbooks" in said(read_handbook(places))
    places.runbooks[0].symlink_to("runbooks")
    assert "runbooks" in said(read_handbook(places))
    places.runbooks[0].unlink()
    places.runbooks[0].symlink_to("/proc/self/fd/nothing")
    assert "no such folder of runbooks" in said(read_handbook(places))


def test_handbooks_differ_by_what_they_mean(places: Places) -> None:
    first = read_handbook(places)
    (places.rules[0] / "a.yaml").write_text("# only a comment\n" + RULE)
    assert not read_handbook(places).differs(first)
    (places.runbooks[0] / "own.md").write_text("---\nname: own\n---\n# Another\n")
    second = read_handbook(places)
    assert second.differs(first)
    (places.rules[0] / "a.yaml").write_text(RULE.replace("P3", "P2"))
    assert read_handbook(places).differs(second)


def test_every_change_of_a_file_is_seen(places: Places) -> None:
    rules, seen = places.rules[0], {picture(places)}

    def new() -> bool:
        there = picture(places)
        changed = there not in seen
        seen.add(there)
        return changed

    assert not new()
    (rules / "a.yaml").write_text(RULE.replace("P3", "P2"))  # as long as before
    assert new()
    before = (rules / "a.yaml").stat()
    (rules / "a.yaml").write_text(RULE)
    os.utime(rules / "a.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))  # and as old
    assert new()
    (rules / "b.yaml").write_text("")
    assert new()
    (rules / "b.yaml").rename(rules / "c.yaml")
    assert new()
    (rules / "c.yaml").chmod(0)
    assert new()
    (places.runbooks[0] / "agents").mkdir()
    assert new()
    (places.runbooks[0] / "agents/a.md").write_text("x")
    assert new()
    (rules / ".a.yaml.swp").write_text("x")
    (rules / "a.yaml~").write_text("x")
    assert not new()


def test_the_switch_of_a_mounted_volume_is_seen(places: Places) -> None:
    rules = places.rules[0]
    for name in ("..1", "..2"):
        (rules / name).mkdir()
        (rules / name / "m.yaml").write_text(RULE.replace("mine", "mounted"))
    (rules / "..data").symlink_to("..1")
    (rules / "m.yaml").symlink_to("..data/m.yaml")
    before = picture(places)
    (rules / "..data_tmp").symlink_to("..2")
    (rules / "..data_tmp").rename(rules / "..data")
    assert picture(places) != before
    assert [rule.name for rule in read_handbook(places).rules.rules[-2:]] == ["mine", "mounted"]


class Restless(tuple[Path, ...]):
    """Folders in which somebody writes whenever one looks at them."""

    left = 0

    def __iter__(self) -> Iterator[Path]:
        if Restless.left:
            Restless.left -= 1
            (self[0] / "a.yaml").write_text(RULE.replace("mine", f"mine{Restless.left}"))
        return super().__iter__()


@pytest.mark.parametrize("writes", [3, 99], ids=["for a moment", "on and on"])
def test_files_that_change_while_they_are_read_are_read_again(places: Places, writes: int) -> None:
    Restless.left = writes
    found = read_handbook(replace(places, rules=Restless(places.rules)))
    if writes == 99:
        assert "change while they are read" in said(found)
    else:
        assert (found.errors, found.rules.rules[-1].name) == ((), "mine0")


def test_links_that_go_in_a_circle_and_pipes_do_not_hold_it_up(places: Places) -> None:
    (places.runbooks[0] / "again").symlink_to(".")
    (places.rules[0] / "p.yaml").symlink_to("p.yaml")
    os.mkfifo(places.rules[0] / "q.yaml")
    assert len(picture(places)) < 100
    assert len(read_handbook(places).errors) == 2
