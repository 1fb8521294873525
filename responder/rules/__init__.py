"""From rule files to a decision about each alert: severity, runbook, group, systems, channel. Pure but for reading."""

from responder.rules.classify import RuleSet, page_everything
from responder.rules.explain import Explanation
from responder.rules.fields import RulesError
from responder.rules.inhibit import Sources
from responder.rules.loader import load, load_policy
from responder.rules.policy import Policy, SeverityPolicy
from responder.rules.quiet import Quiet
from responder.rules.rule import Rule
from responder.rules.suppress import Suppression

__all__ = [
    "Explanation",
    "Policy",
    "Quiet",
    "Rule",
    "RuleSet",
    "RulesError",
    "SeverityPolicy",
    "Sources",
    "Suppression",
    "load",
    "load_policy",
    "page_everything",
]
