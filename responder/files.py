"""Reads users' YAML safely: what a hostile or careless file could do to us is refused with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from responder.errors import FileError

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


class Located(dict[str, Any]):
    """A mapping that remembers where it stood: `line` of itself, `lines` of each key (1-based)."""

    def __init__(self, line: int) -> None:
        """Start empty at a line."""
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def line_of(value: object, key: str | None = None) -> int:
    """Give the line of a mapping or of one of its keys, 0 when unknown."""
    if not isinstance(value, Located):
        return 0
    return value.lines.get(key, value.line) if key is not None else value.line


def read_yaml(path: Path, text: str | None = None, *, first_line: int = 1) -> Any:
    """Read one YAML document into plain values; mappings are Located.

    Refused, each with its line: anchors, aliases, tags, duplicate and non-text keys, several documents, more than 20
    levels, more than 1 MiB, NUL and other control characters. `yes`, `no`, `on`, `off` stay text, as do dates.

    Args: text: the content, when it is already read or only a part of the file; first_line: where that part begins.
    Returns: None for an empty document.
    Raises: FileError.
    """
    if text is None:
        text = read_text(path)
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise FileError(str(path), 0, f"larger than {MAX_BYTES >> 20} MiB; split it")
    shift = first_line - 1
    try:
        _refuse(path, text, shift)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 + shift if mark else 0
        raise FileError(str(path), line, f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise FileError(str(path), 0, f"not YAML: {error}") from error
    return None if node is None else _plain(path, node, shift)


def read_text(path: Path) -> str:
    """Read a file of at most 1 MiB as UTF-8, with or without a byte order mark. Raises: FileError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(str(path), 0, f"larger than {MAX_BYTES >> 20} MiB; split it")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise FileError(str(path), 0, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(str(path), 0, f"not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from error


def _refuse(path: Path, text: str, shift: int) -> None:
    """Look at the events before any value is built: an alias bomb is refused before it can grow."""
    depth = documents = 0
    event: Any
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 + shift
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise FileError(str(path), line, "anchors and aliases are not allowed; write the value out")
        if getattr(event, "tag", None):
            raise FileError(str(path), line, f"tag {event.tag} is not allowed; remove it")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise FileError(str(path), line, "a second document begins; one document a file")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise FileError(str(path), line, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(path: Path, node: yaml.Node, shift: int) -> Any:
    if isinstance(node, yaml.MappingNode):
        found = Located(node.start_mark.line + 1 + shift)
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1 + shift
            if not isinstance(key_node, yaml.ScalarNode):
                raise FileError(str(path), line, "a key must be plain text")
            key = key_node.value
            if key in found:
                raise FileError(str(path), line, f"key {key!r} stands twice; the first is on line {found.lines[key]}")
            found[key], found.lines[key] = _plain(path, value_node, shift), line
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item, shift) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node)


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style in ("'", '"', "|", ">"):  # quoted or block: text as it stands
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[-+]?[0-9]{1,18}", text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}", text):
        return float(text)
    return text


def seconds(value: object) -> float:
    """Turn `15m`, `1h30m`, `2s`, `2d` or a plain number of seconds into seconds.

    Raises: ValueError: neither; the message names the value.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write it as 90s, 15m, 1h30m or 2d")
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + rest


def unknown_keys(path: Path, found: Mapping[str, object], known: set[str]) -> Iterator[FileError]:
    """Yield an error for each key that nobody reads: a misspelt key must not pass in silence."""
    for key in found:
        if key not in known:
            yield FileError(str(path), line_of(found, key), f"unknown key {key!r}; known: {', '.join(sorted(known))}")
