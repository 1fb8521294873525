"""`responder rules test`, `lint`, `coverage`, `diff`: what rules do, before they do it to anybody."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from responder import config
from responder.app import shipped
from responder.cli import show as draw
from responder.cli.client import Client
from responder.cli.files import read_alerts
from responder.cli.progress import counted
from responder.cli.prometheus import alerting_rules, is_url
from responder.errors import ConfigError, FileError, Misuse, PermanentError, TransientError
from responder.files import seconds
from responder.model import Alert, Incident
from responder.rehearsal import Report, run_files
from responder.rules import RuleSet, load
from responder.rules.alerting import SUFFIXES, AlertingRule, read_alerting_rules
from responder.rules.coverage import Covered, cover, summary
from responder.rules.diff import Difference, compare
from responder.rules.lint import lint_paths
from responder.rules.loader import TESTS
from responder.runbooks import Library, load_library

FOUND, GOOD = 1, 0
STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
SINCE = "30d"


def test(parsed: Namespace) -> int:
    """Run expectation files against the rules that they stand beside, else against the configured ones."""
    settings = config.load(parsed.config)
    given: Path | None = parsed.path
    paths: Sequence[Path] = settings.rules or (shipped("rules"),)
    if given is None:
        tests = [path / TESTS for path in paths if (path / TESTS).is_dir()]
    elif (given / TESTS).is_dir():
        paths, tests = (given,), [given / TESTS]
    else:
        tests = [given]
        beside = given.parent if given.is_dir() else given.parent.parent
        paths = (beside,) if (given if given.is_dir() else given.parent).name == TESTS else paths
    missing = [path for path in tests if not path.exists()]
    if missing or not tests:
        raise Misuse(f"no expectation files: {missing[0] if missing else paths[0] / TESTS} is not there")
    library = _library(settings)
    rules = load(paths, runbooks=library.runbooks.keys(), shipped=_policy())
    report = run_files(rules, tests, hold_s=lambda incident: _hold_s(incident, library, rules))
    if parsed.json:
        draw.as_json(_as_json(report, rules))
    else:
        _say(report, rules)
    return FOUND if report.misses or report.errors else GOOD


def _hold_s(incident: Incident, library: Library, rules: RuleSet) -> float:
    """How long a recovery must hold, as for the daemon: the runbook's longest `for`, else the policy's."""
    runbook = library.runbooks.get(incident.runbook)
    own = [each.for_s for each in runbook.recovery if each.for_s is not None] if runbook else []
    return max(own, default=rules.policy.hold_s(incident.severity))


def _say(report: Report, rules: RuleSet) -> None:
    """Print each failure with what decided it: the reader will want to change the one or the other."""
    for error in report.errors:
        draw.say(str(error), "red")
    for miss in report.misses:
        draw.say(miss.text(), "red")
        for line in miss.because(rules):
            draw.say(f"    {line}")
    failures = len(report.misses) + len(report.errors)
    draw.say(f"{report.tests} tests, {failures} failures", "bold red" if failures else "")


def _as_json(report: Report, rules: RuleSet) -> dict[str, object]:
    misses = [
        {"path": m.path, "line": m.line, "test": m.test, "step": m.step, "expected": m.key, "wanted": m.wanted,
         "actual": m.actual, "because": m.because(rules), "text": m.text()}
        for m in report.misses
    ]  # fmt: skip
    errors = [{"path": e.path, "line": e.line, "text": str(e)} for e in report.errors]
    return {"tests": report.tests, "failures": [*errors, *misses]}


def lint(parsed: Namespace) -> int:
    """Say what looks wrong in rule files: file, line, reason, fix. Exit 1 only for what cannot be meant so."""
    settings = config.load(parsed.config)
    library = _library(settings)
    paths = (parsed.path,) if parsed.path else settings.rules or (shipped("rules"),)
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise Misuse(f"{missing[0]} is not there")
    now = datetime.now(UTC)
    found = lint_paths(paths, runbooks=library.runbooks, chains=library.chains, shipped=_policy(), at=now)
    if parsed.json:
        draw.as_json({"findings": [asdict(each) for each in found]})
    else:
        for each in found:
            draw.say(each.text(), STYLES[each.level])
        counts = Counter(each.level for each in found)
        told = ", ".join(
            f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in STYLES if counts[level]
        )
        draw.say("good" if not told else told if counts["error"] else f"good: {told}")
    return FOUND if any(each.level == "error" for each in found) else GOOD


def coverage(parsed: Namespace) -> int:
    """Say for each alerting rule, of files or of a live Prometheus, how bad we take it for, and by which rule."""
    rules = _rules(parsed)
    covered: list[Covered] = []
    unread: list[str] = []
    sources = list(_sources(parsed.files))
    for source in sources:
        try:
            covered += cover(rules, _alerting_rules(source, parsed))
        except (FileError, TransientError, PermanentError) as error:
            unread.append(str(error))
    if not covered and unread and len(unread) == len(sources):
        raise ConfigError(unread[0])
    told = summary(covered) | {"unread": unread}
    if parsed.json:
        draw.as_json({"alerts": [each.as_dict() for each in covered], "summary": told})
        return GOOD
    columns = ("alert", "severity", "rule", "runbook", "matched by", "file", "group")
    draw.table(columns, [(e.alert, e.severity, e.rule, e.runbook, e.matched_by, e.file, e.group) for e in covered])
    counts = told["matched_by"]
    assert isinstance(counts, dict)
    by = ", ".join(f"{count} by {kind}" for kind, count in counts.items())
    draw.say(
        f"\n{told['alerts']} alerts of {told['files']} files: {by}; {told['rules']} rules, {told['runbooks']} runbooks"
    )
    for text in unread:
        draw.say(f"warning: {text}", "yellow")
    return GOOD


def diff(parsed: Namespace) -> int:
    """Say what the new rules would have made of the same alerts. Exit 0 whatever differs.

    Without files they are the stored alerts: of a running daemon, else of its database, read only. They are decided
    here, in this process: the daemon's own work is to hand out pages.
    """
    if parsed.files and parsed.since:
        raise Misuse("--since is for stored alerts; leave it out, or the files")
    for path in (parsed.old, parsed.new, *parsed.files):
        if not path.exists():
            raise Misuse(f"{path} is not there")
    old, new = (load([path], shipped=_policy()) for path in (parsed.old, parsed.new))
    alerts = _alerts(parsed.files) if parsed.files else _stored(parsed)
    found = compare(old, new, counted(alerts, "alerts"))
    if parsed.json:
        draw.as_json(found.as_dict())
    elif parsed.markdown:
        sys.stdout.write(found.markdown() + "\n")
    else:
        _say_difference(found)
    return GOOD


def _say_difference(found: Difference) -> None:
    draw.say(found.headline(), "bold")
    for (before, after), count in sorted(found.moves.items()):
        draw.say(f"  {count} {before} -> {after}: {', '.join(found.examples[before, after])}")
    for text, names in (("new night pages", found.night_examples), ("now backstop", found.backstop_examples)):
        if names:
            draw.say(f"  {text}: {', '.join(names)}")
    for (before, after), count in found.rules.most_common(20):
        draw.say(f"  {count} by {after}, before by {before}")


def _stored(parsed: Namespace) -> Iterator[Alert]:
    """Give the stored alerts with news since a time ago, as they came in."""
    try:
        since = datetime.now(UTC) - timedelta(seconds=seconds(parsed.since or SINCE))
    except (ValueError, OverflowError) as error:
        raise Misuse(f"--since: {error}") from error
    for each in Client(parsed).alerts(since):
        labels, started = each["labels"], datetime.fromisoformat(each["started_at"])
        yield Alert(each["source"], str(each["id"]), labels, each["annotations"], True, started, started)


def _alerts(paths: Sequence[Path]) -> Iterator[Alert]:
    """Read webhook bodies and alerts as JSON, and the alerts that rule files would send."""
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES) if path.is_dir() else [path]
        for file in files:
            if file.suffix == ".json":
                yield from read_alerts(str(file))
            else:
                yield from (rule.alert() for rule in read_alerting_rules(file))


def _sources(given: Sequence[str]) -> Iterator[str | Path]:
    """Give the addresses, the files, and the files below the folders."""
    for each in given:
        if is_url(each):
            yield each
            continue
        path = Path(each)
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        else:
            yield path


def _alerting_rules(source: str | Path, parsed: Namespace) -> list[AlertingRule]:
    """Read one source. Raises: FileError, TransientError, PermanentError."""
    if isinstance(source, Path):
        return read_alerting_rules(source)
    return alerting_rules(source, config.load(parsed.config), parsed.token)


def _rules(parsed: Namespace) -> RuleSet:
    settings = config.load(parsed.config)
    paths = (parsed.rules,) if parsed.rules else settings.rules or (shipped("rules"),)
    return load(paths, runbooks=_library(settings).runbooks.keys(), shipped=_policy())


def _policy() -> Path:
    return shipped("rules") / "policy.yaml"


def _library(settings: config.Settings) -> Library:
    return load_library([shipped("runbooks"), *settings.runbooks])
