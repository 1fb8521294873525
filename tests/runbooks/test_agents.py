"""Agents and skills are taken as people have them."""

# ruff: noqa: RUF001 - the broken characters are what is read here
from __future__ import annotations

from pathlib import Path

import pytest

from responder.errors import FileError
from responder.runbooks.agent import Agent, parse_agent, parse_skill, unknown_tools

BLOCK = """---
name: night-commander
description: |
  Leads at night. Use it when:

  <example>
    user: "It is down: all of it"
  </example>
tools: Read, Grep, Bash
---

# Night Commander

Status: ðŸš¨ OPEN | âœ… CLOSED. Errors â†’ @debugger
"""
BROKEN = """---
name: day-guard
description: Guards by day. Examples:

<example>
Context: slow
user: "Why: slow?"
</example>

model: inherit
color: red
tools: Read, Write
---

You guard.
"""
BARE = """# Cloud Lead

You lead cloud work, and
hand it on ‚Üí to others.

## More
"""


def parse(tmp_path: Path, text: str, name: str = "some-agent") -> tuple[Agent, list[str]]:
    path = tmp_path / f"{name}.md"
    path.write_text(text, "utf-8")
    return parse_agent(path)


def test_a_block_description_with_examples_is_kept(tmp_path: Path) -> None:
    agent, warnings = parse(tmp_path, BLOCK)
    assert agent.name == "night-commander"
    assert agent.headline == "Leads at night. Use it when:"
    assert 'user: "It is down: all of it"' in agent.description
    assert agent.tools == ("Read", "Grep", "Bash")
    assert agent.body.endswith("Status: 🚨 OPEN | ✅ CLOSED. Errors → @debugger")
    assert [warning.partition(": ")[2] for warning in warnings] == ["doubly encoded UTF-8 was repaired"]


def test_front_matter_that_is_no_yaml_is_read_line_by_line(tmp_path: Path) -> None:
    agent, (warning,) = parse(tmp_path, BROKEN)
    assert (agent.name, agent.model, agent.tools) == ("day-guard", None, ("Read", "Write"))
    assert agent.description.endswith('user: "Why: slow?"\n</example>')
    assert agent.body == "You guard."
    assert "some-agent.md:3: front matter read line by line" in warning


def test_without_front_matter_the_text_speaks(tmp_path: Path) -> None:
    agent, _ = parse(tmp_path, BARE, "cloud-lead")
    assert (agent.name, agent.description) == ("cloud-lead", "You lead cloud work, and hand it on → to others.")
    assert agent.body.startswith("# Cloud Lead")


@pytest.mark.parametrize(
    ("model", "tier", "warned"),
    [
        ("haiku", "fast", False),
        ("sonnet", "deep", False),
        ("Opus", "deep", False),
        ("fast", "fast", False),
        ("deep", "deep", False),
        ("inherit", None, False),
        ("", None, False),
        ("claude-haiku-4-5", "fast", False),
        ("gpt-4", None, True),
    ],
)
def test_models_are_tiers(tmp_path: Path, model: str, tier: str | None, warned: bool) -> None:
    agent, warnings = parse(tmp_path, f"---\nmodel: {model}\n---\ntext")
    assert (agent.model, bool(warnings)) == (tier, warned)


@pytest.mark.parametrize(
    ("tools", "listed"),
    [
        ("tools: [Read, x.y]", ("Read", "x.y")),
        ("tools: Read, x.y", ("Read", "x.y")),
        ("tools:\n  - Read\n  - x.y", ("Read", "x.y")),
        ("tools: '*'", ()),
        ("tools: *", ()),
        ("tools:", ()),
    ],
)
def test_tools_come_in_many_ways(tmp_path: Path, tools: str, listed: tuple[str, ...]) -> None:
    assert parse(tmp_path, f"---\n{tools}\n---\ntext")[0].tools == listed


@pytest.mark.parametrize(
    ("listed", "used"),
    [
        ((), ["a.read", "b.read"]),
        (("Read",), ["a.read", "b.read"]),
        (("Read", "b.read"), ["b.read"]),
        (("c.read",), []),
    ],
    ids=["none listed", "another program's", "one of ours", "one that is not set up"],
)
def test_an_agent_may_use_what_it_lists(listed: tuple[str, ...], used: list[str]) -> None:
    assert Agent(name="a", body="b", tools=listed).may_use(["a.read", "b.read"]) == used


def test_tools_that_are_not_here_are_named() -> None:
    agent = Agent(name="a", body="b", tools=("Read", "a.read", "c.read"))
    assert unknown_tools(agent, None) == ["Read"]
    assert unknown_tools(agent, {"a.read"}) == ["Read", "c.read"]


def test_a_name_with_spaces_becomes_a_plain_one_and_still_finds_it(tmp_path: Path) -> None:
    agent, (warning,) = parse(tmp_path, "---\nname: Night Lead (EU)\naliases: ['@nl', eu]\n---\ntext")
    assert agent.name == "night-lead-eu"
    assert agent.aliases == ("Night Lead (EU)", "nl", "eu")
    assert "'Night Lead (EU)' is used as 'night-lead-eu'" in warning


def test_a_key_that_nobody_reads_is_reported(tmp_path: Path) -> None:
    _, (warning,) = parse(tmp_path, "---\ntool: x\ncolor: red\n---\ntext")
    assert warning.endswith("nobody reads tool")


def test_an_agent_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no text after the front matter"):
        parse(tmp_path, "---\nname: a\n---\n")


def test_a_skill_is_named_by_its_folder_unless_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "SKILL.md"
    path.parent.mkdir()
    path.write_text("---\ndescription: About locks.\n---\nRead pg_locks.", "utf-8")
    skill, warnings = parse_skill(path)
    assert (skill.name, skill.description, skill.body, warnings) == ("locks", "About locks.", "Read pg_locks.", [])
