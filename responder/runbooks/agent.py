"""Agents and skills: Markdown files in the format of today's coding agents, taken as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from responder.errors import FileError
from responder.runbooks.frontmatter import (
    FOREIGN_KEYS,
    LOOSE_KEYS,
    Document,
    front_matter,
    loose_front_matter,
    names_in,
    read_document,
)

Tier = Literal["fast", "deep"]
_TIERS: dict[str, Tier] = {"haiku": "fast", "fast": "fast", "sonnet": "deep", "opus": "deep", "deep": "deep"}
_ALL_TOOLS = frozenset({"*", "all"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # stands in the names of journaled steps


class Agent(BaseModel):
    """A role. `model` None is the phase's; `tools` as listed in the file, also those of other programs."""

    model_config = ConfigDict(frozen=True)
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    model: Tier | None = None
    tools: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    body: str

    def may_use(self, available: Iterable[str]) -> list[str]:
        """Choose among the tools that there are: those listed, or all when none of ours (`system.verb`) is listed.

        An agent written for another program lists that program's tools; every tool here only reads.
        """
        ours = [tool for tool in self.tools if "." in tool]
        return [tool for tool in available if not ours or tool in ours]

    @property
    def headline(self) -> str:
        """Give the description's first line, for lists."""
        return self.description.partition("\n")[0].strip()


class Skill(BaseModel):
    """A document that an agent may read: it sees the description and asks for the body."""

    model_config = ConfigDict(frozen=True)
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    body: str


def parse_agent(path: Path) -> tuple[Agent, list[str]]:
    """Make an agent of a file -> (agent, warnings).

    Raises: FileError: it cannot be read, or has no body.
    """
    document, front, warnings = _read(path)
    model, unknown_model = _tier(front.get("model"))
    if unknown_model:
        warnings.append(
            f"{path}: model {unknown_model!r} is not one of haiku, sonnet, opus, inherit; the phase's is used"
        )
    foreign = sorted(set(front) - LOOSE_KEYS - FOREIGN_KEYS)
    if foreign:
        warnings.append(f"{path}: nobody reads {', '.join(foreign)}")
    written = _text(front.get("name")) or path.stem
    name = _plain_name(written) or _plain_name(path.stem) or "agent"
    if name != written:
        warnings.append(f"{path}: name {written!r} is used as {name!r}; the former still finds it")
    aliases = [alias.removeprefix("@") for alias in names_in(front.get("aliases"))]
    agent = Agent(
        name=name,
        description=_text(front.get("description")) or document.first_paragraph,
        model=model,
        tools=tuple(tool for tool in names_in(front.get("tools")) if tool not in _ALL_TOOLS),
        skills=tuple(names_in(front.get("skills"))),
        aliases=tuple(dict.fromkeys([*([written] if name != written else []), *aliases])),
        body=document.body,
    )
    return agent, warnings


def parse_skill(path: Path) -> tuple[Skill, list[str]]:
    """Make a skill of its SKILL.md -> (skill, warnings); without a name it is called as its folder.

    Raises: FileError: it cannot be read, or has no body.
    """
    document, front, warnings = _read(path)
    name = _text(front.get("name")) or path.parent.name
    description = _text(front.get("description")) or document.first_paragraph
    return Skill(name=name, description=description, body=document.body), warnings


def unknown_tools(agent: Agent, tools: Collection[str] | None) -> list[str]:
    """Name the listed tools that are not ours; without knowing ours, those not written as `system.verb`."""
    return [tool for tool in agent.tools if (tool not in tools if tools is not None else "." not in tool)]


def _read(path: Path) -> tuple[Document, dict[str, Any], list[str]]:
    document = read_document(path, lenient=True)
    warnings = [f"{path}: doubly encoded UTF-8 was repaired"] if document.repaired else []
    if not document.body:
        raise FileError(str(path), 0, "there is no text after the front matter: it is what the agent is told")
    try:
        return document, front_matter(document), warnings
    except FileError as error:
        warnings.append(f"{error.path}:{error.line}: front matter read line by line: {error.message}")
        return document, loose_front_matter(document.front or ""), warnings


def _tier(value: object) -> tuple[Tier | None, str]:
    """Give the tier of a model's name, also a full one (`claude-haiku-4-5`), and the name when it is unknown."""
    name = _text(value).lower()
    if name in ("", "inherit", "default"):
        return None, ""
    tier = next((tier for word, tier in _TIERS.items() if word in re.split(r"[^a-z]+", name)), None)
    return tier, "" if tier else name


def _plain_name(written: str) -> str:
    if _NAME.fullmatch(written):
        return written
    return re.sub(r"[^A-Za-z0-9_]+", "-", written).strip("-").lower()[:64]


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, (dict, list)) else str(value).strip()
