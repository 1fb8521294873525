"""What a rule set makes of other people's alerting rules: each one's severity, rule and runbook, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from responder.rules.alerting import AlertingRule
from responder.rules.classify import RuleSet

MATCHED_BY = ("rule", "label", "backstop")


@dataclass(frozen=True, slots=True)
class Covered:
    """One alerting rule, and what would decide its alerts."""

    alert: str
    severity: str
    rule: str
    runbook: str
    matched_by: str  # rule (knows it or its family) | label (a severity convention only) | backstop
    group: str
    file: str
    line: int

    def as_dict(self) -> dict[str, object]:
        """Give it as JSON knows it."""
        return asdict(self)


def cover(ruleset: RuleSet, found: Iterable[AlertingRule]) -> list[Covered]:
    """Decide each alerting rule's alert, in order."""
    return [_covered(ruleset, rule) for rule in found]


def _covered(ruleset: RuleSet, rule: AlertingRule) -> Covered:
    decision = ruleset.classify(rule.alert())
    return Covered(
        alert=rule.name,
        severity=str(decision.severity),
        rule=decision.rule,
        runbook=decision.runbook,
        matched_by=decision.matched_by,
        group=rule.group,
        file=rule.path,
        line=rule.line,
    )


def summary(covered: Sequence[Covered]) -> dict[str, object]:
    """Count by what decided, by severity, and by rule; the rules with most alerts first."""
    by_rule = Counter(each.rule for each in covered if each.matched_by == "rule")
    matched = Counter(each.matched_by for each in covered)
    severities = Counter(each.severity for each in covered)
    return {
        "alerts": len(covered),
        "files": len({each.file for each in covered}),
        "matched_by": {kind: matched[kind] for kind in MATCHED_BY},
        "severity": {severity: severities[severity] for severity in ("P0", "P1", "P2", "P3")},
        "rules": len(by_rule),
        "runbooks": len({each.runbook for each in covered if each.matched_by == "rule"}),
        "most": [{"rule": rule, "alerts": count} for rule, count in by_rule.most_common(10)],
    }
