"""The library: every runbook, chain, agent and skill of the folders given, checked against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from responder.errors import ConfigError, FileError
from responder.files import Located, line_of
from responder.model import Severity
from responder.runbooks.agent import Agent, Skill, parse_agent, parse_skill, unknown_tools
from responder.runbooks.chain import Chain, Phase, parse_chain
from responder.runbooks.frontmatter import read_document
from responder.runbooks.problems import Refused
from responder.runbooks.runbook import Runbook, parse_runbook

T = TypeVar("T", Runbook, Chain, Agent, Skill)

DEFAULT_RUNBOOK = "default"
DEFAULT_CHAINS = {Severity.P0: "outage", Severity.P1: "outage", Severity.P2: "degraded", Severity.P3: "minor"}
_OTHER_FOLDERS = frozenset({"chains", "agents", "skills", "actions"})
_WITHOUT_AGENTS = Chain(name="without-agents", phases=(Phase(name="first-look"), Phase(name="verify")))


class LibraryError(ConfigError):
    """Files of the library are wrong; `errors` holds one FileError for each reason."""

    def __init__(self, errors: Sequence[FileError]) -> None:
        """Say all reasons, one a line."""
        super().__init__("\n".join(map(str, errors)))
        self.errors = list(errors)


class Pinned(BaseModel):
    """What a run keeps of the library as it was when the run began: edits and reloads change no run midway."""

    model_config = ConfigDict(frozen=True)
    runbook: Runbook
    chain: Chain
    agents: tuple[Agent, ...] = ()
    skills: tuple[Skill, ...] = ()

    @classmethod
    def from_json(cls, kept: Mapping[str, object]) -> Pinned:
        """Read what `Library.pinned` gave, without files."""
        return cls.model_validate(kept)

    def agent(self, name: str) -> Agent | None:
        """Give an agent by its name or an alias."""
        return _named(self.agents, name)

    def skill(self, name: str) -> Skill | None:
        """Give a skill by its name."""
        return next((skill for skill in self.skills if skill.name == name), None)


@dataclass(slots=True)
class Library:
    """All that was read, by name. A file in `errors` is left out; one that it would have replaced stays."""

    runbooks: dict[str, Runbook] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    skills: dict[str, Skill] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)

    def runbook(self, name: str) -> Runbook:
        """Give a runbook by its name, else the one named `default`, else an empty one: an incident always has one."""
        return self.runbooks.get(name) or self.runbooks.get(DEFAULT_RUNBOOK) or Runbook(name=name or DEFAULT_RUNBOOK)

    def chain(self, name: str) -> Chain:
        """Give a chain by its name, else one of first look and verify: an incident always has one."""
        return self.chains.get(name) or _WITHOUT_AGENTS

    def chain_for(self, runbook: str, severity: Severity) -> Chain:
        """Give the runbook's own chain, else the severity's default."""
        return self.chain(self.runbook(runbook).chain or DEFAULT_CHAINS[severity])

    def agent(self, name: str) -> Agent | None:
        """Give an agent by its name or an alias."""
        return self.agents.get(name) or _named(tuple(self.agents.values()), name)

    def pinned(self, runbook: str, chain: str) -> dict[str, Any]:
        """Give the text, as JSON, of a runbook, a chain, and all agents and skills that they can use.

        A runbook that names no agents by symptom takes those of `default`.
        """
        book, phases = self.runbook(runbook), self.chain(chain)
        if not book.by_symptom:
            book = book.model_copy(update={"by_symptom": self.runbook(DEFAULT_RUNBOOK).by_symptom})
        specialists = book.by_symptom.values() if phases.agents else ()
        found = [self.agent(name) for name in (*phases.agents, *specialists)]
        agents = {agent.name: agent for agent in found if agent}
        wanted = dict.fromkeys(skill for agent in agents.values() for skill in agent.skills)
        skills = tuple(self.skills[name] for name in wanted if name in self.skills)
        kept = Pinned(runbook=book, chain=phases, agents=tuple(agents.values()), skills=skills)
        return kept.model_dump(mode="json", by_alias=True)


def load_library(paths: Sequence[Path], *, tools: Collection[str] | None = None, strict: bool = False) -> Library:
    """Read the folders in order; what a later one names replaces what an earlier one named so.

    Args: tools: the tools that there are, to report what agents and checks ask for in vain; strict: raise on errors.
    Raises: LibraryError: with `strict`, when any file is wrong.
    """
    library = Library()
    folders = [path for path in paths if _exists(path, library)]
    for folder in folders:
        _shelve(library, library.agents, _markdown(folder / "agents"), _agent)
        _shelve(library, library.skills, sorted(folder.glob("skills/*/SKILL.md")), _skill)
    for folder in folders:  # agents of all folders are known now
        _shelve(library, library.chains, sorted(folder.glob("chains/*.y*ml")), _chain)
    for folder in folders:
        _shelve(library, library.runbooks, _runbook_files(folder), _runbook)
    library.warnings += [*_agent_warnings(library, tools), *_check_warnings(library, tools)]
    library.errors.sort(key=lambda error: (error.path, error.line))
    if strict and library.errors:
        raise LibraryError(library.errors)
    return library


def _shelve(library: Library, shelf: dict[str, T], files: Sequence[Path], read: Callable[[Library, Path], T]) -> None:
    """Read one folder's files of one kind; each error stays with its file."""
    origin: dict[str, Path] = {}
    for path in files:
        try:
            item = read(library, path)
        except Refused as error:
            library.errors += error.errors
        except FileError as error:
            library.errors.append(error)
        else:
            if item.name in origin:
                taken = f"name {item.name!r} is taken by {origin[item.name]}; rename one"
                library.errors.append(FileError(str(path), 0, taken))
                continue
            shelf[item.name], origin[item.name] = item, path


def _agent(library: Library, path: Path) -> Agent:
    """Read an agent. One that replaces another keeps its aliases: chains may know it by them."""
    agent, warnings = parse_agent(path)
    library.warnings += warnings
    replaced = library.agents.get(agent.name)
    aliases = dict.fromkeys((*agent.aliases, *(replaced.aliases if replaced else ())))
    return agent.model_copy(update={"aliases": tuple(aliases)})


def _skill(library: Library, path: Path) -> Skill:
    skill, warnings = parse_skill(path)
    library.warnings += warnings
    return skill


def _chain(library: Library, path: Path) -> Chain:
    chain, found = parse_chain(path)
    errors = [
        FileError(
            str(path), line_of(item, key), f"phase {phase.name!r}: no agent {name!r}; {_there_are(library.agents)}"
        )
        for phase, item in zip(chain.phases, found["phases"], strict=True)
        for key, names in (("lead", phase.agents[:1]), ("supporting", phase.supporting))
        for name in names
        if library.agent(name) is None
    ]
    if errors:
        raise Refused(errors)
    return chain


def _runbook(library: Library, path: Path) -> Runbook:
    """Read a runbook. A chain or agent that does not exist is an error; the rest of the runbook serves without it."""
    document = read_document(path)
    if document.repaired:
        library.warnings.append(f"{path}: doubly encoded UTF-8 was repaired")
    runbook, front = parse_runbook(document)
    library.errors += _dangling(library, path, front, runbook)
    symptoms = {symptom: name for symptom, name in runbook.by_symptom.items() if library.agent(name)}
    chain = runbook.chain if runbook.chain in library.chains else ""
    return runbook.model_copy(update={"chain": chain, "by_symptom": symptoms})


def _dangling(library: Library, path: Path, front: Located, runbook: Runbook) -> Iterator[FileError]:
    if runbook.chain and runbook.chain not in library.chains:
        message = f"no chain {runbook.chain!r}; {_there_are(library.chains)}"
        yield FileError(str(path), line_of(front, "chain"), message)
    for symptom, name in runbook.by_symptom.items():
        if library.agent(name) is None:
            line = line_of(front["by_symptom"], symptom)
            yield FileError(str(path), line, f"symptom {symptom!r}: no agent {name!r}; {_there_are(library.agents)}")


def _agent_warnings(library: Library, tools: Collection[str] | None) -> Iterator[str]:
    for agent in library.agents.values():
        if unknown := unknown_tools(agent, tools):
            yield f"agent {agent.name}: no such tool here: {', '.join(unknown)}"
        if absent := [name for name in agent.skills if name not in library.skills]:
            yield f"agent {agent.name}: no such skill here: {', '.join(absent)}"
    owners = Counter(alias for agent in library.agents.values() for alias in agent.aliases)
    for alias, owned in sorted(owners.items()):
        found = library.agent(alias)
        if found and owned > 1:
            yield f"alias {alias!r} stands in {owned} agents; it finds {found.name}"


def _check_warnings(library: Library, tools: Collection[str] | None) -> Iterator[str]:
    """Name each tool that checks ask in vain, once: without Prometheus every runbook would say the same."""
    users: dict[str, list[str]] = {}
    for runbook in library.runbooks.values():
        for tool in dict.fromkeys(check.tool for check in runbook.checks):
            users.setdefault(tool, []).append(runbook.name)
    for tool, names in users.items():
        if tools is not None and tool not in tools:
            yield f"tool {tool} is not set up: its checks stay without an answer in {', '.join(names)}"


def _exists(folder: Path, library: Library) -> bool:
    try:
        if not folder.is_dir():
            library.errors.append(FileError(str(folder), 0, "no such folder of runbooks"))
            return False
        next(folder.iterdir(), None)  # a search would pass over a folder that cannot be read in silence
    except OSError as error:
        library.errors.append(FileError(str(folder), 0, f"cannot be read: {error.strerror}"))
        return False
    return True


def _runbook_files(folder: Path) -> list[Path]:
    return [path for path in _markdown(folder) if path.relative_to(folder).parts[0] not in _OTHER_FOLDERS]


def _markdown(folder: Path) -> list[Path]:
    """List the Markdown files at any depth, without README and what is hidden."""
    return [
        path
        for path in sorted(folder.rglob("*.md"))
        if path.stem.lower() != "readme" and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _named(agents: Sequence[Agent], name: str) -> Agent | None:
    """Find by name, else by alias; of two with one alias the one read later."""
    by_name = next((agent for agent in agents if agent.name == name), None)
    return by_name or next((agent for agent in reversed(agents) if name in agent.aliases), None)


def _there_are(names: Collection[str]) -> str:
    return f"there are: {', '.join(sorted(names)) or 'none'}"
