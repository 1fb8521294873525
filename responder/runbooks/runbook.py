"""A runbook: text for people, and in its front matter the checks that the daemon runs by itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo, field_validator

from responder.errors import FileError
from responder.files import Located, line_of, seconds, unknown_keys
from responder.runbooks.expect import Expect, parse_expect
from responder.runbooks.frontmatter import Document, front_matter
from responder.runbooks.placeholders import complain, placeholders, substitute
from responder.runbooks.problems import Refused, checked

Duration = Annotated[float, BeforeValidator(seconds)]
_Expectation = Annotated[Expect, BeforeValidator(parse_expect), PlainSerializer(lambda expect: expect.text)]
_KEYS = {"name", "title", "chain", "checks", "recovery", "actions", "by_symptom"}
_CHECK_KEYS = {"id", "tool", "args", "expect"}
_RECOVERY_KEYS = {"check", "for", "within"}
_ALIKE = 0.75  # how like a known key an unknown one must be to count as misspelt
_FROZEN = ConfigDict(frozen=True, populate_by_name=True, arbitrary_types_allowed=True)


class Check(BaseModel):
    """One question to one tool, and what answer is expected. `args` may hold placeholders for labels."""

    model_config = _FROZEN
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    tool: Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")]
    args: Mapping[str, Any] = {}
    expect: _Expectation = Expect("any")

    @field_validator("args")
    @classmethod
    def _placeholders_stand_where_they_may(cls, args: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        for complaint in complain(args, str(info.data.get("tool", ""))):
            raise ValueError(complaint)
        return args

    @property
    def labels(self) -> frozenset[str]:
        """Name the labels that the arguments ask for."""
        return frozenset(placeholders(self.args))

    def arguments(self, labels: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
        """Fill the placeholders -> (arguments, missing labels); with one missing the check cannot be run."""
        return substitute(self.args, labels, tool=self.tool)


class Recovery(BaseModel):
    """What proves that it is over: a check that holds for `for_s` (None: as the policy says) within `within_s`."""

    model_config = _FROZEN
    check: str
    for_s: Duration | None = Field(default=None, alias="for")
    within_s: Duration = Field(default=1800.0, alias="within")


class Runbook(BaseModel):
    """What to do about one kind of incident. `chain` is "" when the severity's default chain serves."""

    model_config = _FROZEN
    name: Annotated[str, Field(min_length=1)]
    title: str = ""
    chain: str = ""
    checks: tuple[Check, ...] = ()
    recovery: tuple[Recovery, ...] = ()
    actions: tuple[str, ...] = ()
    by_symptom: Mapping[str, str] = {}
    body: str = ""

    def check(self, check_id: str) -> Check | None:
        """Give a check by its id."""
        return next((check for check in self.checks if check.id == check_id), None)

    @property
    def sections(self) -> dict[str, str]:
        """Give the text under each heading of the second level: Meaning, Impact, Diagnosis, Mitigation."""
        parts = re.split(r"^## +(.+?)\s*#*$", self.body, flags=re.MULTILINE)
        return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def parse_runbook(document: Document) -> tuple[Runbook, Located]:
    """Make a runbook of a document -> (runbook, its front matter with the lines).

    Raises: FileError, Refused.
    """
    front, path = _front(document), document.path
    errors = [*_key_errors(path, front)]
    if errors:
        raise Refused(errors)
    known = {key: front[key] for key in _KEYS if front.get(key) is not None}
    titles = {"title": document.headline or known.get("name", path.stem)}
    data = Located(front.line)
    data.update({"name": path.stem, **titles, **known, "body": document.body})
    data.lines = front.lines
    runbook = checked(path, Runbook, data)
    errors = [*_reference_errors(path, front, runbook)]
    if errors:
        raise Refused(errors)
    return runbook, front


def _front(document: Document) -> Located:
    try:
        return front_matter(document)
    except FileError as error:
        lines = (document.front or "").split("\n")
        at = error.line - document.front_line
        if not (0 <= at < len(lines) and "expect:" in lines[at]):
            raise
        raise FileError(
            error.path, error.line, f'{error.message}; put what `expect` says into quotes: "> 1"'
        ) from error


def _key_errors(path: Path, front: Located) -> Iterator[FileError]:
    """Report misspelt keys. Other programs' keys (weight, tags, owner) pass: a wiki's page should load as it is."""
    for key in front:
        alike = [] if key in _KEYS else difflib.get_close_matches(key, _KEYS, 1, _ALIKE)
        if alike:
            yield FileError(str(path), line_of(front, key), f"unknown key {key!r}; did you mean {alike[0]!r}?")
    for key, known in (("checks", _CHECK_KEYS), ("recovery", _RECOVERY_KEYS)):
        items = front.get(key)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, Located):
                yield from unknown_keys(path, item, known)


def _reference_errors(path: Path, front: Located, runbook: Runbook) -> Iterator[FileError]:
    seen: set[str] = set()
    for check, item in zip(runbook.checks, front.get("checks") or (), strict=True):
        if check.id in seen:
            yield FileError(str(path), line_of(item, "id"), f"check id {check.id!r} stands twice; ids are unique")
        seen.add(check.id)
    for recovery, item in zip(runbook.recovery, front.get("recovery") or (), strict=True):
        check_of = runbook.check(recovery.check)
        line = line_of(item, "check")
        if check_of is None:
            yield FileError(str(path), line, f"recovery names check {recovery.check!r}; there are: {_listed(seen)}")
        elif not check_of.expect.judges:
            yield FileError(str(path), line, f"check {recovery.check!r} expects `any`, which proves nothing")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
