"""How an agent ends: the strict tool `submit_report`, and reading what it was called with, whatever that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from responder.incidents import cut
from responder.model import Severity
from responder.redact import visible

NAME = "submit_report"
CONFIDENCES = ("low", "medium", "high")
RAISES = ("none", "P0", "P1", "P2")
MAX_TEXT, MAX_ITEM, MAX_ITEMS, MAX_EVIDENCE = 4000, 600, 20, 10


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _texts(description: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_EVIDENCE = _texts("evidence ids, such as E3")
TOOL: dict[str, object] = {
    "name": NAME,
    "description": "End your work by this report. Call it once, alone, also when you do not know.",
    "strict": True,
    "input_schema": _object(
        summary=_text("what is known now, in two to four sentences for a person who was just woken"),
        affected=_texts("components that are affected"),
        healthy=_texts("components that you checked and found healthy"),
        not_checked=_texts("what would have mattered and was not checked, and why"),
        hypotheses={
            "type": "array",
            "items": _object(
                claim=_text("what might be the cause"),
                supported_by=_EVIDENCE,
                refuted_by=_EVIDENCE,
                verdict={"type": "string", "enum": ["open", "supported", "refuted"]},
            ),
        },
        findings={
            "type": "array",
            "items": _object(
                claim=_text(
                    "one fact; copy its numbers and names exactly as the evidence has them, names in backticks"
                ),
                evidence=_EVIDENCE,
                confidence={"type": "string", "enum": list(CONFIDENCES)},
            ),
        },
        suggestions=_texts("what a person could do, with its risk; nothing is done by this"),
        hand_off=_text("what the next one needs to know"),
        dont_know={"type": "boolean", "description": "true when the cause is not known: a good answer"},
        raise_severity=_object(
            to={"type": "string", "enum": list(RAISES), "description": "only to a worse severity, else none"},
            reason=_text("why, in one sentence"),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A finding as it was reported."""

    claim: str
    evidence: tuple[str, ...]
    confidence: str


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A possible cause, and how it stands: open | supported | refuted."""

    claim: str
    supported_by: tuple[str, ...]
    refuted_by: tuple[str, ...]
    verdict: str


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent reports. `raise_to` is None when it asks for no raise; `notes` say what was dropped in reading."""

    summary: str
    affected: tuple[str, ...] = ()
    healthy: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    findings: tuple[Claim, ...] = ()
    suggestions: tuple[str, ...] = ()
    hand_off: str = ""
    dont_know: bool = False
    raise_to: Severity | None = None
    raise_reason: str = ""
    notes: tuple[str, ...] = ()


class _Reader:
    """Takes what fits out of a mapping, and notes what does not."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found, self.notes = found, list[str]()

    def drop(self, what: str) -> None:
        note = f"{what} was not readable"
        if note not in self.notes:
            self.notes.append(note)

    def text(self, key: str, limit: int = MAX_TEXT) -> str:
        value = self.found.get(key)
        if isinstance(value, str):
            return visible(value)[:limit].strip()
        if value is not None:
            self.drop(key)
        return ""

    def texts(self, key: str, limit: int = MAX_ITEMS) -> tuple[str, ...]:
        value = self.found.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.drop(key)
            return ()
        kept = [cut(visible(each), MAX_ITEM) for each in value if isinstance(each, str) and each.strip()]
        if len(kept) != len(value):
            self.drop(f"a part of {key}")
        return tuple(kept[:limit])

    def items(self, key: str) -> list[Mapping[str, Any]]:
        value = self.found.get(key)
        listed = value if isinstance(value, list) else []
        kept = [each for each in listed if isinstance(each, Mapping) and isinstance(each.get("claim"), str)]
        if value is not None and (not isinstance(value, list) or len(kept) != len(value)):
            self.drop(f"a part of {key}")
        return kept[:MAX_ITEMS]

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.found.get(key)
        return value if isinstance(value, str) and value in allowed else default


def parse(found: object) -> Report | None:
    """Read a report; parts of a wrong type are dropped and noted. None when nothing in it can be used."""
    if not isinstance(found, Mapping):
        return None
    reader = _Reader(found)
    findings = tuple(_claim(each) for each in reader.items("findings"))
    hypotheses = tuple(_hypothesis(each) for each in reader.items("hypotheses"))
    summary = reader.text("summary")
    if not summary and not findings:
        return None
    wish = found.get("raise_severity")
    raised = _Reader(wish if isinstance(wish, Mapping) else {})
    to = raised.choice("to", RAISES, "none")
    return Report(
        summary=summary or findings[0].claim,
        affected=reader.texts("affected"),
        healthy=reader.texts("healthy"),
        not_checked=reader.texts("not_checked"),
        hypotheses=hypotheses,
        findings=findings,
        suggestions=reader.texts("suggestions"),
        hand_off=reader.text("hand_off"),
        dont_know=found.get("dont_know") is True,
        raise_to=None if to == "none" else Severity(to),
        raise_reason=cut(raised.text("reason"), 200),
        notes=tuple(reader.notes),
    )


def of_text(text: str, note: str) -> Report:
    """Make a report of plain words, for an agent that did not call the tool."""
    return Report(summary=visible(text)[:MAX_TEXT].strip() or "No answer.", notes=(note,) if note else ())


def _claim(found: Mapping[str, Any]) -> Claim:
    reader = _Reader(found)
    evidence = tuple(each.strip().strip("[]").upper() for each in reader.texts("evidence", MAX_EVIDENCE))
    return Claim(cut(reader.text("claim"), MAX_ITEM), evidence, reader.choice("confidence", CONFIDENCES, "low"))


def _hypothesis(found: Mapping[str, Any]) -> Hypothesis:
    reader = _Reader(found)
    verdict = reader.choice("verdict", ("open", "supported", "refuted"), "open")
    pro, contra = reader.texts("supported_by", MAX_EVIDENCE), reader.texts("refuted_by", MAX_EVIDENCE)
    return Hypothesis(cut(reader.text("claim"), MAX_ITEM), pro, contra, verdict)


def as_text(found: Report) -> str:
    """Write a report as text, for the agents that come after."""
    parts = [found.summary]
    for title, listed in (
        ("Affected", found.affected),
        ("Healthy", found.healthy),
        ("Not checked", found.not_checked),
        ("Suggestions", found.suggestions),
    ):
        if listed:
            parts.append(f"{title}: {'; '.join(listed)}")
    parts += [f"Hypothesis ({each.verdict}): {each.claim}" for each in found.hypotheses]
    parts += [f"Finding ({each.confidence}) [{', '.join(each.evidence)}]: {each.claim}" for each in found.findings]
    if found.hand_off:
        parts.append(f"Hand-off: {found.hand_off}")
    return "\n".join(parts)
