"""Reads the alerting rules of strangers: Prometheus rule files in every wrapping met in the wild.

Plain `groups:`, PrometheusRule objects, ConfigMaps and chart values that hold either, Helm templates. Nothing is
refused that still names an alert: anchors, merge keys, unknown tags, several documents and template lines are all met.
Source: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from responder.errors import FileError
from responder.model import Alert, identify
from responder.rules.rule import SEVERITY_LABELS

SUFFIXES = (
    *(".yaml", ".yml", ".json", ".rules", ".alerts"),
    *(".tmpl", ".tpl", ".j2", ".erb", ".jsonnet", ".libsonnet"),  # as far as they name alerts line by line
)
MAX_BYTES = 16 << 20
MAX_DEPTH = 100
MAX_NODES = 2_000_000  # visited in one file: aliases of aliases grow without end
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)
_TEMPLATE_LINE = re.compile(r"^[ \t]*(?:\{\{(?![`\"]).*\}\}|<%.*%>)[ \t]*$", re.MULTILINE)
_TEMPLATE_VALUE = re.compile(r"^([ \t]*(?:- )?[\w.\"'-]+:[ \t]*)(\{\{.*|[^\n\"'|>#]*\{\{.*)$", re.MULTILINE)
_NAMES = "|".join(sorted(SEVERITY_LABELS))
_ENTRY = re.compile(rf"^(\s*)-?\s*(alert|record|name|labels|{_NAMES})\s*:\s*(.*?)\s*$")
_INLINE = re.compile(rf"\b({_NAMES})\s*:\s*([\"']?)([^\"',}}]+)\2")  # in `labels: {{severity: page}}`


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """One alerting rule as its author wrote it; values that are templates are still in it."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    group: str
    path: str
    line: int

    def alert(self) -> Alert:
        """Give the alert that it would send, as far as a file can tell: labels that a template fills are missing."""
        fixed = {name: value for name, value in self.labels.items() if "{{" not in value and value != ""}
        labels = {**fixed, "alertname": self.name}
        return Alert("prometheus", identify("prometheus", labels), labels, self.annotations, True, _WHEN)


def read_alerting_rules(path: Path) -> list[AlertingRule]:
    """Read every alerting rule of a file, or of all rule files below a folder, in order. Raises: FileError."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        return [rule for file in files for rule in read_alerting_rules(file)]
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(str(path), 0, f"larger than {MAX_BYTES >> 20} MiB; split it")
        text = path.read_text("utf-8-sig", "replace")
    except OSError as error:
        raise FileError(str(path), 0, f"cannot be read: {error.strerror}") from error
    return parse_alerting_rules(text, path)


def parse_alerting_rules(text: str, path: Path) -> list[AlertingRule]:
    """Read a text: as YAML, else without its template lines, else line by line.

    Raises: FileError: it is no YAML and names no alert either.
    """
    failed: yaml.YAMLError | None = None
    for attempt in (text, _without_templates(text)):
        try:
            return list(_Walk(path).rules(attempt))
        except yaml.YAMLError as error:
            failed = failed or error
    found = list(_by_line(text, path))
    if not found:
        mark = getattr(failed, "problem_mark", None)
        problem = getattr(failed, "problem", None) or str(failed)
        raise FileError(str(path), mark.line + 1 if mark else 0, f"not YAML, and no alert in it: {problem}") from failed
    return found


def _without_templates(text: str) -> str:
    """Blank the lines that are only a template, and quote values that begin with one; lines keep their numbers."""
    blanked = _TEMPLATE_LINE.sub("", text.replace("\t", "  "))
    return _TEMPLATE_VALUE.sub(lambda match: f"{match[1]}'{match[2].replace(chr(39), chr(39) * 2)}'", blanked)


class _Walk:
    """One reading of one file: how much has been visited, and where we are."""

    def __init__(self, path: Path) -> None:
        self.path, self.visited = path, 0

    def rules(self, text: str, group: str = "") -> Iterator[AlertingRule]:
        """Find the rules of all documents."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):  # before any value is built
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise FileError(str(self.path), 0, f"nested deeper than {MAX_DEPTH} levels")
        for document in yaml.compose_all(text, Loader=yaml.CSafeLoader):
            yield from self._in(document, group, 0)

    def _in(self, node: yaml.Node | None, group: str, depth: int) -> Iterator[AlertingRule]:
        """Go through a node in the order of the text. An alias is gone into wherever it stands, within a limit."""
        self.visited += 1
        if self.visited > MAX_NODES or depth > MAX_DEPTH:
            raise FileError(str(self.path), 0, "its aliases never end; write the values out")
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from self._in(item, group, depth + 1)
        elif isinstance(node, yaml.MappingNode):
            found = _mapping(node)
            if _text(found.get("alert")) and not isinstance(found.get("alert"), yaml.CollectionNode):
                yield self._rule(found, node, group)
                return
            own = _text(found.get("name")) if "rules" in found else ""
            for value in found.values():
                yield from self._in(value, own or group, depth + 1)
        elif isinstance(node, yaml.ScalarNode) and _holds_rules(node):
            yield from self._embedded(node, group)

    def _rule(self, found: Mapping[str, yaml.Node], node: yaml.Node, group: str) -> AlertingRule:
        labels, annotations = _texts(found.get("labels")), _texts(found.get("annotations"))
        name = _text(found["alert"])
        return AlertingRule(name, labels, annotations, group, str(self.path), node.start_mark.line + 1)

    def _embedded(self, node: yaml.ScalarNode, group: str) -> Iterator[AlertingRule]:
        """Read a rule file that stands as text in a ConfigMap."""
        try:
            yield from list(self.rules(node.value, group))
        except yaml.YAMLError:
            return


def _holds_rules(node: yaml.ScalarNode) -> bool:
    """Say whether a text may be a rule file: a block of YAML, or JSON."""
    if node.value.lstrip().startswith("{"):
        return '"alert"' in node.value
    return node.style in ("|", ">") and "alert:" in node.value


def _mapping(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """Give a mapping's values by key, merge keys (`<<`) followed; what stands in it itself wins."""
    own: dict[str, yaml.Node] = {}
    merged: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.value == "<<":
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(each, yaml.MappingNode):
                    merged = {k.value: v for k, v in each.value if isinstance(k.value, str)} | merged
        elif isinstance(key, yaml.ScalarNode):
            own[key.value] = value
    return merged | own


def _texts(node: yaml.Node | None) -> dict[str, str]:
    return {k: _text(v) for k, v in _mapping(node).items()} if isinstance(node, yaml.MappingNode) else {}


def _text(node: Any) -> str:
    return node.value.strip() if isinstance(node, yaml.ScalarNode) else ""


def _by_line(text: str, path: Path) -> Iterator[AlertingRule]:
    """Read what no YAML parser can, Jsonnet too: the lines that name alerts, and the severity labels below each."""
    group, name, at, labels = "", "", 0, dict[str, str]()
    for line, content in enumerate(text.splitlines(), 1):
        match = _ENTRY.match(content)
        if match is None:
            continue
        key, value = match[2], _bare(match[3])
        if key in ("alert", "record", "name"):
            if name:
                yield AlertingRule(name, labels, {}, group, str(path), at)
            name, at, labels = (value if key == "alert" else ""), line, {}
            group = value if key == "name" else group
        elif key == "labels":
            labels |= {label: found.strip() for label, _, found in _INLINE.findall(value)}
        elif name:
            labels.setdefault(key, value)
    if name:
        yield AlertingRule(name, labels, {}, group, str(path), at)


def _bare(value: str) -> str:
    """Give a value without the comment and the comma after it, and without its quotes."""
    return re.sub(r"^(['\"])(.*)\1$", r"\2", re.sub(r"\s+#.*$", "", value).removesuffix(","))
