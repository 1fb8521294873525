"""Runbooks, chains, agents and skills: files that people write, read once and checked with file and line."""

from responder.runbooks.agent import Agent, Skill
from responder.runbooks.chain import Chain, Phase
from responder.runbooks.expect import Expect
from responder.runbooks.library import DEFAULT_CHAINS, Library, LibraryError, Pinned, load_library
from responder.runbooks.placeholders import substitute
from responder.runbooks.runbook import Check, Recovery, Runbook

__all__ = [
    "DEFAULT_CHAINS",
    "Agent",
    "Chain",
    "Check",
    "Expect",
    "Library",
    "LibraryError",
    "Phase",
    "Pinned",
    "Recovery",
    "Runbook",
    "Skill",
    "load_library",
    "substitute",
]
