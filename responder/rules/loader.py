"""From rule files and folders to a RuleSet, or to every mistake in them at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import line_of, read_yaml
from responder.rules.classify import RESERVED_NAMES, RuleSet
from responder.rules.fields import Fields, Mistakes, RulesError
from responder.rules.matchers import Regexes
from responder.rules.policy import Policy
from responder.rules.read_policy import FILE_NAME, read_policy
from responder.rules.read_rule import read_rule
from responder.rules.rule import Rule

SUFFIXES = (".yaml", ".yml")
TESTS = "tests"


@dataclass
class _Reading:
    """What has been read so far."""

    runbooks: Collection[str] | None
    rules: list[Rule] = field(default_factory=list)
    names: dict[str, Rule] = field(default_factory=dict)
    errors: Mistakes = field(default_factory=Mistakes)
    regexes: Regexes = field(default_factory=Regexes)
    warnings: list[FileError] = field(default_factory=list)


def load(
    paths: Sequence[Path],
    *,
    runbooks: Collection[str] | None = None,
    shipped: Path | None = None,
    own: Path | None = None,
) -> RuleSet:
    """Read all rules, files of a folder in the order of their names.

    Args: paths: folders and files; runbooks: the names that exist, None = do not check; shipped: the rules folder (or
        `policy.yaml`) that serves when no path holds a policy of its own; own: a file of rules about ourselves, put
        first when no path holds any of them.
    Returns: the rules; what is allowed and yet looks wrong is in its `warnings`.
    Raises: RulesError: with every mistake of all files.
    """
    reading = _Reading(runbooks)
    rule_files, policies = _files(paths, reading)
    for path in rule_files:
        _read_file(path, reading)
    if own is not None:
        _add_own(own, reading)
    policy = _policy(policies, shipped, reading)
    _ask_for_hours(policy, reading)
    if reading.errors:
        raise RulesError(reading.errors)
    return RuleSet(reading.rules, policy, warnings=[*reading.warnings, *_unreached(reading.rules)])


def load_policy(path: Path) -> Policy:
    """Read one `policy.yaml`, or the one in a folder. Raises: RulesError."""
    reading = _Reading(None)
    policy = _try_policy(path / FILE_NAME if path.is_dir() else path, reading)
    if reading.errors:
        raise RulesError(reading.errors)
    return policy


def _files(paths: Sequence[Path], reading: _Reading) -> tuple[list[Path], list[Path]]:
    """Find the rule files and the policies, each once."""
    rules: dict[Path, Path] = {}
    policies: dict[Path, Path] = {}
    for path in paths:
        try:
            found = list(_folder(path, reading)) if path.is_dir() else [path]
        except OSError as error:
            reading.errors.append(FileError(str(path), 0, f"cannot be read: {error.strerror}"))
            continue
        for file in found:
            real = Path(os.path.realpath(file))  # unlike `resolve` it bears links that go in a circle
            (policies if file.name == FILE_NAME else rules).setdefault(real, file)
        if not found:
            reading.errors.append(FileError(str(path), 0, "holds no rule file (*.yaml); is it the right folder?"))
    return list(rules.values()), list(policies.values())


def _folder(path: Path, reading: _Reading) -> Iterator[Path]:
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):  # an editor's copies, a mounted volume's own folders
            continue
        if entry.suffix in SUFFIXES:
            yield entry
        elif entry.name != TESTS and entry.is_dir() and any(inner.suffix in SUFFIXES for inner in entry.iterdir()):
            reading.warnings.append(
                FileError(str(entry), 0, "folders in a rules folder are not read; name it in rules:")
            )


def _read_file(path: Path, reading: _Reading) -> None:
    try:
        found = read_yaml(path)
    except FileError as error:
        reading.errors.append(error)
        return
    if found is None:
        reading.warnings.append(FileError(str(path), 0, "the file is empty: it holds no rules"))
        return
    for item, line in _items(path, found, reading):
        rule = read_rule(path, item, reading.errors, runbooks=reading.runbooks, line=line, regexes=reading.regexes)
        _keep(rule, path, reading)
        if reading.errors.full:
            return


def _add_own(path: Path, reading: _Reading) -> None:
    """Read the rules about ourselves, unless the user has rules of these names: then each of them is his."""
    ours = _Reading(reading.runbooks)
    _read_file(path, ours)
    if ours.names.keys().isdisjoint(reading.names):
        reading.rules[:0] = ours.rules  # before a catch-all of the user's, which would make little of them
        reading.names |= ours.names
        reading.errors.extend(ours.errors)


def _items(path: Path, found: Any, reading: _Reading) -> Iterator[tuple[Any, int]]:
    fields = Fields(path, found, reading.errors, what="a rule file", line=1)
    if not fields.found:
        return
    fields.known(("rules",))
    items, line = fields.found.get("rules"), line_of(found, "rules")
    if "rules" not in fields.found:
        fields.wrong(None, "rules: is missing; a rule file holds a list under rules:")
    elif items is None or items == []:
        reading.warnings.append(FileError(str(path), line, "rules: is empty"))
    elif not isinstance(items, list):
        fields.wrong("rules", "rules: must be a list; begin each rule with - name:")
    else:
        yield from ((item, line) for item in items)


def _keep(rule: Rule, path: Path, reading: _Reading) -> None:
    reading.rules.append(rule)
    if not rule.name:
        return
    first = reading.names.setdefault(rule.name, rule)
    if first is not rule:
        message = f"rule {rule.name!r} stands twice; the first is at {first.path}:{first.line}; rename one"
        reading.errors.append(FileError(str(path), rule.line, message))
    if rule.name in RESERVED_NAMES:
        reading.errors.append(FileError(str(path), rule.line, f"{rule.name!r} is a name of our own; rename the rule"))


def _policy(policies: Sequence[Path], shipped: Path | None, reading: _Reading) -> Policy:
    for path in policies[1:]:
        reading.errors.append(FileError(str(path), 0, f"a second policy; the first is {policies[0]}; keep one"))
    if policies:
        return _try_policy(policies[0], reading)
    if shipped is None:
        return Policy()
    return _try_policy(shipped / FILE_NAME if shipped.is_dir() else shipped, reading)


def _try_policy(path: Path, reading: _Reading) -> Policy:
    try:
        return read_policy(path, reading.errors, runbooks=reading.runbooks, warnings=reading.warnings)
    except FileError as error:
        reading.errors.append(error)
        return Policy()


def _ask_for_hours(policy: Policy, reading: _Reading) -> None:
    """Refuse conditions that ask for business hours which nobody has told."""
    if policy.business_hours is not None or any(Path(error.path).name == FILE_NAME for error in reading.errors):
        return  # told, or told wrongly, which stands among the errors
    message = "business_hours is asked for, and the policy has none; add business_hours to policy.yaml"
    for rule in reading.rules:
        for condition in rule.raises:
            if condition.in_hours is not None:
                reading.errors.append(FileError(rule.path, condition.line, message))


def _unreached(rules: Sequence[Rule]) -> Iterator[FileError]:
    """Warn of a rule that matches everything: what stands after it is never looked at."""
    for at, rule in enumerate(rules):
        if rule.matchers:
            continue
        after = len(rules) - at - 1
        lost = f"; the {after} rules after it are never reached" if after and not rule.goes_on else ""
        yield FileError(rule.path, rule.line, f"rule {rule.name!r} has no match: it takes every alert{lost}")
