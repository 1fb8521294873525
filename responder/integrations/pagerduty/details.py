"""What the alerts behind a PagerDuty incident say: the webhook holds none of it, the REST API gives it as it came.

`alerts[].body.details` is an object or a text. Alertmanager's default template puts blobs into it, `firing` and
`resolved`: for each alert "Labels:", "Annotations:" with lines ` - name = value`, and "Source: URL".
Source: https://github.com/prometheus/alertmanager/blob/main/template/default.tmpl (__text_alert_list).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from responder.bodies import as_text, word
from responder.incidents import cut

COUNTED = re.compile(r"\[(?:FIRING|RESOLVED)(?::\d{1,9})?\]\s*")
MAX_LABEL, MAX_LABELS, MAX_TEXT = 200, 40, 64 << 10
MAX_BLOBS = 200  # alerts of Alertmanager's that are read of one incident
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_BLOBS = ("firing", "resolved", "num_firing", "num_resolved")


@dataclass(slots=True)
class Details:
    """What is known besides the incident: labels of its alerts that are `exact`, others that are `loose`, texts."""

    exact: dict[str, str] = field(default_factory=dict)
    loose: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


def objects(value: object) -> list[dict[str, Any]]:
    """Give the objects of a list; none of what is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def details_of(alerts: Sequence[Mapping[str, Any]]) -> Details:
    """Read the alerts of an incident, as `GET /incidents/{id}/alerts` lists them: what is common to all holds."""
    found = [_details(each) for each in alerts]
    if not found:
        return Details()
    return Details(
        common([each.exact for each in found]),
        common([each.loose for each in found]),
        _shortened({name: said for each in reversed(found) for name, said in each.annotations.items()}),
    )


def _details(alert: Mapping[str, Any]) -> Details:
    body = alert.get("body")
    inner = body if isinstance(body, Mapping) else {}
    found = _said(inner.get("details"))
    severity = word(alert.get("severity"))
    found.loose = {**found.loose, **_event(inner), **({"severity": severity} if severity else {})}
    found.annotations |= {"alert": cut(word(alert.get("summary")), MAX_LABEL)}
    links = [word(each.get("href")) for each in objects(inner.get("contexts"))]
    if any(links):
        found.annotations["links"] = "\n".join(filter(None, links))
    return found


def _event(body: Mapping[str, Any]) -> dict[str, str]:
    """Read what an event of the Events API named beside its details."""
    event = body.get("cef_details")
    said = event if isinstance(event, Mapping) else {}
    named = {
        "component": said.get("source_component"),
        "instance": said.get("source_origin"),
        "group": said.get("service_group"),
        "class": said.get("event_class"),
    }
    return {name: cut(word(value), MAX_LABEL) for name, value in named.items() if word(value)}


def _said(details: object) -> Details:
    """Read `details`: a text, which may be JSON, or an object, which may hold Alertmanager's blobs."""
    if isinstance(details, str):
        try:
            parsed = json.loads(details)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            exact, annotations = from_blob(details)
            return Details(exact, {}, {**annotations, "details": details})
        details = parsed
    if not isinstance(details, Mapping):
        return Details()
    blob = word(details.get("firing")) or word(details.get("resolved"))
    exact, annotations = from_blob(blob)
    if exact:
        return Details(exact, {}, {**annotations, "details": blob})
    loose = {
        name: str(value)
        for name, value in list(details.items())[:MAX_LABELS]
        if _NAME.fullmatch(name) and name not in _BLOBS and _is_label(value)
    }
    return Details({}, loose, {"details": json.dumps(details, indent=1, ensure_ascii=False, default=str)})


def _is_label(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= MAX_LABEL and value.isprintable()
    return isinstance(value, int | float) and not isinstance(value, bool)


def from_blob(blob: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read Alertmanager's list of alerts -> (labels common to all, annotations common to all with `source_url`)."""
    listed = re.split(r"(?m)^Labels:[ \t]*$", blob[: 4 * MAX_TEXT])[1 : MAX_BLOBS + 1]
    labels, annotations = [], []
    for each in listed:
        before, _, after = each.partition("\nAnnotations:")
        labels.append(_pairs(before))
        said, _, source = after.partition("\nSource:")
        url = source.split("\n", 1)[0].strip()
        annotations.append({**_pairs(said), **({"source_url": url[:2000]} if url else {})})
    return common(labels), common(annotations)


def _pairs(lines: str) -> dict[str, str]:
    """Read lines ` - name = value`; a line that begins otherwise goes on with the value before it."""
    found: dict[str, str] = {}
    name = ""
    for line in lines.splitlines():
        key, equals, value = line.removeprefix(" - ").partition(" = ")
        if line.startswith(" - ") and equals and _NAME.fullmatch(key):
            name, found[key] = key, value
        elif name and line.strip():
            found[name] += "\n" + line
    return {key: value.strip() for key, value in found.items() if value.strip()}


def common(sets: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Give the names that have one value in all of these."""
    first = sets[0] if sets else {}
    return {name: value for name, value in first.items() if all(each.get(name) == value for each in sets)}


def _shortened(said: Mapping[str, str]) -> dict[str, str]:
    """Cut texts so that all of them together fit; the first ones have the first right."""
    left, kept = MAX_TEXT, {}
    for name, value in said.items():
        if not value or left <= 0:
            continue
        fits = as_text(value) if len(value) <= left else f"{as_text(value)[: left - 1]}…"
        kept[name] = fits
        left -= len(fits)
    return kept
