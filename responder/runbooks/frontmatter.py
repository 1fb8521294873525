"""Splits a Markdown file into its front matter and its body, with the line numbers kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from responder.errors import FileError
from responder.files import Located, read_text, read_yaml
from responder.runbooks.mojibake import repair

_FENCE = "---"
_TEXT_KEYS = ("name", "model")
_LIST_KEYS = ("tools", "skills", "aliases")
LOOSE_KEYS = frozenset({*_TEXT_KEYS, *_LIST_KEYS, "description"})
FOREIGN_KEYS = frozenset(  # what other programs read in such files; here they only end the value before them
    {
        "allowed-tools",
        "allowedTools",
        "argument-hint",
        "author",
        "background",
        "category",
        "color",
        "disallowedTools",
        "effort",
        "hooks",
        "isolation",
        "license",
        "maxTurns",
        "mcpServers",
        "memory",
        "metadata",
        "permissionMode",
        "permissions",
        "tags",
        "title",
        "version",
        "weight",
    }
)
_KEY = re.compile(r"([A-Za-z][\w-]*):(?:[ \t]+(.*))?")
_COMMA = re.compile(r",(?![^(]*\))")  # not the commas inside `Bash(git add:*, git log:*)`


@dataclass(frozen=True, slots=True)
class Document:
    """A Markdown file in two parts. `front` is the front matter's text, None without one; it begins at `front_line`."""

    path: Path
    front: str | None
    front_line: int
    body: str
    repaired: bool = False  # doubly encoded characters were put right

    @property
    def headline(self) -> str:
        """Give the first heading of the first level, "" without one."""
        match = re.search(r"^# +(.+?)\s*#*$", self.body, re.MULTILINE)
        return match[1] if match else ""

    @property
    def first_paragraph(self) -> str:
        """Give the first paragraph that is no heading, rule or fence, as one line."""
        for block in re.split(r"\n\s*\n", self.body):
            lines = [line.strip() for line in block.splitlines()]
            text = " ".join(line for line in lines if line and not re.match(r"#|---|```|<!--", line))
            if text:
                return text
        return ""


def read_document(path: Path, *, lenient: bool = False) -> Document:
    """Read a Markdown file; without an opening fence all of it is body.

    Args: lenient: front matter that is never closed ends at the first empty line or heading.
    Raises: FileError: too large, not UTF-8, or the front matter is never closed.
    """
    raw = _read(path)
    text = repair(raw)
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines[first].rstrip() != _FENCE:
        return Document(path, None, 0, text.strip(), text != raw)
    last = _find(lines, first + 1, r"(---|\.\.\.)\s*")
    if last is None and not lenient:
        raise FileError(
            str(path), first + 1, "the front matter that begins here never ends; close it with a line of ---"
        )
    end, begin = (last, last + 1) if last is not None else (_find(lines, first + 1, r"(#.*)?\s*") or len(lines),) * 2
    front, body = "\n".join(lines[first + 1 : end]), "\n".join(lines[begin:])
    return Document(path, front, first + 2, body.strip(), text != raw)


def _find(lines: list[str], start: int, pattern: str) -> int | None:
    return next((number for number in range(start, len(lines)) if re.fullmatch(pattern, lines[number])), None)


def front_matter(document: Document) -> Located:
    """Read the front matter as YAML; empty when there is none.

    Raises: FileError: not YAML, or not a mapping.
    """
    if document.front is None:
        return Located(0)
    found = read_yaml(document.path, document.front, first_line=document.front_line)
    if found is None:
        return Located(document.front_line)
    if not isinstance(found, Located):
        raise FileError(str(document.path), document.front_line, "the front matter must be `key: value` lines")
    return found


def loose_front_matter(front: str) -> dict[str, Any]:
    """Read what is no YAML line by line: a known key at the margin begins a value, which ends at the next one.

    This is how descriptions with examples in them are often written; the other keys are skipped.
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in front.split("\n"):
        match = _KEY.fullmatch(line)
        if match and match[1] in LOOSE_KEYS | FOREIGN_KEYS and match[1] not in found:
            current = found[match[1]] = [match[2] or ""]
        else:
            current.append(line)
    return {key: _loose_value(key, lines) for key, lines in found.items() if key in LOOSE_KEYS}


def names_in(value: object) -> list[str]:
    """Read a list of names as people write it: a YAML list, or one text with commas or dashes."""
    if value is None:
        return []
    items: Iterable[object] = value if isinstance(value, (list, tuple)) else _split(str(value))
    names = (str(item).strip().strip("\"'") for item in items if item is not None)
    return list(dict.fromkeys(name for name in names if name))


def _split(text: str) -> Iterator[str]:
    for line in text.strip().removeprefix("[").removesuffix("]").split("\n"):
        yield from _COMMA.split(re.sub(r"^\s*-\s+", "", line))


def _loose_value(key: str, lines: list[str]) -> object:
    if key in _TEXT_KEYS:
        return lines[0].strip().strip("\"'")
    if key in _LIST_KEYS:
        listed = [line for line in lines[1:] if line[:1] in (" ", "\t", "-")]
        return names_in("\n".join([lines[0], *listed]))
    head = [] if re.fullmatch(r"[|>][-+0-9]*", lines[0].strip()) else [lines[0].strip()]
    return "\n".join([*head, *(line.strip() for line in lines[1:])]).strip().strip('"')


def _read(path: Path) -> str:
    text = read_text(path)
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise FileError(str(path), line, "a NUL character; no text has one, and no database keeps it")
    return text
