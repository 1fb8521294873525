"""The handbook: rules and runbooks, read together, as they were at one moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from responder.errors import FileError
from responder.rules import RulesError, RuleSet, load, load_policy, page_everything
from responder.rules.read_policy import unknown_chains
from responder.runbooks import Library, load_library

POLICY = "policy.yaml"
OWN_RULES = "10-responder.yaml"
READ = (".yaml", ".yml", ".md")
MAX_DEPTH = 6  # folders within a folder of runbooks
MAX_SEEN = 20_000  # files and folders; `runbooks: [/]` is a mistake, not a reason to read the disk every two seconds
TRIES = 3  # to read files that change meanwhile
Picture = tuple[tuple[object, ...], ...]  # what the system says of each file, without reading any


@dataclass(frozen=True, slots=True)
class Places:
    """Where a handbook is read from: the user's files and folders, and what we ship, which fills the gaps.

    What we ship is not looked at for changes: it changes with the code, and a restart takes both.
    """

    rules: tuple[Path, ...]
    runbooks: tuple[Path, ...]
    shipped_rules: Path
    shipped_runbooks: Path


@dataclass(frozen=True, slots=True)
class Handbook:
    """Rules and runbooks that were read together. With `errors` it is a makeshift, good only where there is no other:
    runbooks that are wrong are missing in it, and with a wrong rule file every alert pages as P1.
    """

    rules: RuleSet
    library: Library
    errors: tuple[FileError, ...] = ()
    picture: Picture = ()

    @property
    def warnings(self) -> list[str]:
        """What is allowed and yet looks wrong."""
        return [*map(str, self.rules.warnings), *self.library.warnings]

    def differs(self, other: Handbook) -> bool:
        """Say whether the two would decide, or tell, anything differently."""
        return self.rules.revision != other.rules.revision or any(
            getattr(self.library, shelf) != getattr(other.library, shelf)
            for shelf in ("runbooks", "chains", "agents", "skills")
        )


def read_handbook(places: Places) -> Handbook:
    """Read everything. Files that change meanwhile are read again: half of the old and half of the new fits nobody.

    Never raises for what stands in the files, or for files that cannot be read: `errors` says it all.
    """
    for _ in range(TRIES):
        before = picture(places)
        found = _read(places)
        if picture(places) == before:
            return replace(found, picture=before)
    where = str((*places.rules, *places.runbooks)[0])
    changing = FileError(where, 0, "the files change while they are read; try again when they stand still")
    return replace(found, errors=(*found.errors, changing), picture=())


def picture(places: Places) -> Picture:
    """Ask the system about each of the user's files: its place on the disk, its size and its times.

    It changes with every write, rename, change of permissions, and switch of a link that a file is reached by.
    """
    rules = (_seen(path, depth=1) for path in places.rules)
    runbooks = (_seen(path, depth=MAX_DEPTH) for path in places.runbooks)
    return tuple(islice(chain.from_iterable(chain(rules, runbooks)), MAX_SEEN))


def _seen(path: Path, *, depth: int) -> Iterator[tuple[object, ...]]:
    """Look at a file, or at what a folder holds; hidden names and other kinds of file are never read, so never seen."""
    try:
        if depth and path.is_dir():
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
            yield (str(path),)
            for name in names:
                yield from _seen(path / name, depth=depth - 1)
        elif path.suffix in READ:
            found = path.stat()
            times = (found.st_mtime_ns, found.st_ctime_ns)
            yield (str(path), found.st_dev, found.st_ino, found.st_size, *times)
    except OSError as error:
        yield (str(path), error.errno)


def _read(places: Places) -> Handbook:
    library = load_library([places.shipped_runbooks, *places.runbooks])
    errors = list(library.errors)
    policy_file = places.shipped_rules / POLICY
    try:
        rules = load(
            places.rules or (places.shipped_rules,),
            runbooks=library.runbooks.keys(),
            shipped=policy_file,
            own=places.shipped_rules / OWN_RULES,
        )
    except RulesError as error:
        rules = page_everything(str(error.errors[0]), load_policy(policy_file))
        return Handbook(rules, library, (*errors, *error.errors))
    try:
        errors += unknown_chains(rules.policy, library.chains, _policy_file(places))
    except FileError as error:  # it was good a moment ago
        errors.append(error)
    return Handbook(rules, library, tuple(errors))


def _policy_file(places: Places) -> Path:
    named = [path / POLICY if path.is_dir() else path for path in places.rules]
    return next((path for path in named if path.name == POLICY and path.exists()), places.shipped_rules / POLICY)
