"""What several rule tests begin with."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from responder.model import Alert, Severity, identify
from responder.rules.classify import RuleSet
from responder.rules.matchers import parse
from responder.rules.rule import Rule, SeverityFrom

SHIPPED = Path(__file__).resolve().parents[2] / "rules"
RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def alert(annotations: Mapping[str, str] | None = None, /, **labels: str) -> Alert:
    """Give a firing alert with these labels."""
    return Alert("am", identify("am", labels), labels, annotations or {}, firing=True, received_at=RECEIVED_AT)


def rule(name: str, *match: str, severity: Severity | SeverityFrom = Severity.P2, **more: object) -> Rule:
    """Give a rule with these matchers."""
    matchers = tuple(matcher for text in match for matcher in parse(text))
    return Rule(name, matchers, severity, **more)  # type: ignore[arg-type]  # the tests name the fields themselves


def rules(*given: Rule) -> RuleSet:
    """Give a rule set with the default policy."""
    return RuleSet(given)


def write(path: Path, text: str) -> Path:
    """Write a file, and give its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
