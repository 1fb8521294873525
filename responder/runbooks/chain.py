"""A chain: the phases that look into an incident, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from responder.errors import FileError
from responder.files import Located, line_of, read_yaml, seconds, unknown_keys
from responder.model import Severity
from responder.runbooks.frontmatter import names_in
from responder.runbooks.problems import Refused, checked

CODE_PHASES = frozenset({"first-look", "verify"})  # done by code, without a model
MAX_PHASES = 20
_CHAIN_KEYS = {"name", "description", "phases"}


def _agents(value: object) -> object:
    """Take names with or without the @ that people write before them."""
    return [name.removeprefix("@") for name in names_in(value)]


def _timebox(value: object) -> float | None:
    if value is None:
        return None
    found = seconds(value)
    if not found:
        raise ValueError("a time-box of nothing ends before it begins; leave it out or write 15m")
    return found


class Phase(BaseModel):
    """One phase. `timebox_s` None is the policy's; an empty `when` is every severity.

    `until` is what ends an iterative phase, in words for its lead; `max_rounds` ends it in any case.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]  # stands in the names of journaled steps
    lead: str = ""
    supporting: Annotated[tuple[str, ...], BeforeValidator(_agents)] = ()
    mode: Literal["sequential", "parallel", "iterative"] = "sequential"
    until: str = ""
    max_rounds: Annotated[int, Field(ge=1, le=20)] = 3
    model: Literal["fast", "deep"] = "deep"
    timebox_s: Annotated[float | None, BeforeValidator(_timebox)] = Field(default=None, alias="timebox")
    gate: Literal["none", "confirm", "approval"] = "none"
    on_failure: Literal["retry", "next_agent", "escalate", "continue"] = "continue"
    when: tuple[Severity, ...] = ()

    @field_validator("lead")
    @classmethod
    def _without_at(cls, lead: str) -> str:
        return lead.removeprefix("@")

    @field_validator("when", mode="before")
    @classmethod
    def _one_or_many(cls, when: object) -> object:
        return [when] if isinstance(when, str) else when

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for complaint in _complain(self):
            raise ValueError(complaint)
        return self

    @property
    def kind(self) -> str:
        """first-look | verify (both done by code), postmortem, or agents."""
        if not self.lead:
            return self.name
        return self.name if self.name == "postmortem" else "agents"

    @property
    def agents(self) -> tuple[str, ...]:
        """Name the lead, then those who support it."""
        return (self.lead, *self.supporting) if self.lead else ()


def _complain(phase: Phase) -> Iterator[str]:
    if not phase.lead and phase.name not in CODE_PHASES:
        yield f"phase {phase.name!r} needs a `lead`; only {' and '.join(sorted(CODE_PHASES))} are done without an agent"
    if not phase.lead and phase.supporting:
        yield f"phase {phase.name!r} has `supporting` agents but no `lead`"
    if phase.on_failure == "next_agent" and not phase.supporting:
        yield f"phase {phase.name!r}: `on_failure: next_agent` needs an agent under `supporting`"
    if phase.mode != "iterative" and phase.until:
        yield f"phase {phase.name!r}: `until` is read with `mode: iterative` only"


class Chain(BaseModel):
    """An ordered list of phases."""

    model_config = ConfigDict(frozen=True)
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    phases: tuple[Phase, ...]

    @field_validator("phases", mode="before")
    @classmethod
    def _some(cls, phases: object) -> object:
        if isinstance(phases, list) and not 0 < len(phases) <= MAX_PHASES:
            raise ValueError(f"a chain has 1 to {MAX_PHASES} phases, not {len(phases)}")
        return phases

    def phases_for(self, severity: Severity) -> tuple[Phase, ...]:
        """Give the phases that an incident of this severity goes through."""
        return tuple(phase for phase in self.phases if not phase.when or severity in phase.when)

    @property
    def agents(self) -> tuple[str, ...]:
        """Name every agent that a phase names, once."""
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.agents))


def parse_chain(path: Path) -> tuple[Chain, Located]:
    """Make a chain of a YAML file -> (chain, the file with its lines).

    Raises: FileError, Refused.
    """
    found = read_yaml(path)
    if not isinstance(found, Located):
        raise FileError(str(path), 0, "a chain is a mapping with `phases:`")
    items = found.get("phases") if isinstance(found.get("phases"), list) else []
    errors = [*unknown_keys(path, found, _CHAIN_KEYS)]
    errors += [error for item in items or () if isinstance(item, Located) for error in _phase_key_errors(path, item)]
    if errors:
        raise Refused(errors)
    found.setdefault("name", path.stem)
    chain = checked(path, Chain, found)
    errors = [*_repeated(path, found, chain)]
    if errors:
        raise Refused(errors)
    return chain, found


def _phase_key_errors(path: Path, phase: Located) -> Iterator[FileError]:
    known = {field.alias or name for name, field in Phase.model_fields.items()}
    yield from unknown_keys(path, phase, known)
    if "max_rounds" in phase and phase.get("mode") != "iterative":
        yield FileError(str(path), line_of(phase, "max_rounds"), "`max_rounds` is read with `mode: iterative` only")


def _repeated(path: Path, found: Located, chain: Chain) -> Iterator[FileError]:
    seen: set[str] = set()
    for phase, item in zip(chain.phases, found["phases"], strict=True):
        if phase.name in seen:
            yield FileError(str(path), line_of(item, "name"), f"phase {phase.name!r} stands twice; names are unique")
        seen.add(phase.name)
