"""Puts labels of an alert into a check's arguments, each as one value that can be nothing but a value.

`$service` and `${service}` are placeholders, `$$` is a dollar, any other dollar (`$1`, the end of a regex) stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

QUERY_TOOLS = frozenset({"prometheus", "loki"})  # their `query` has double-quoted strings and =~ matchers
MAX_LABEL_CHARS = 1024  # a longer label is no name of anything, and a regex of it would cost the server
_SLOT = re.compile(r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})", re.ASCII)
_LEXEMES = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<other>\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*)', re.DOTALL)
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_PUNCTUATION = re.compile(r"[!-/:-@\[-^`{-~ ]")  # what is neither letter, digit nor underscore in printable ASCII
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Fill = Callable[[str], str | None]  # a label's name -> what enters the text, None when the label is missing


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of a query: code, a double-quoted string, or a string or comment of another kind."""

    text: str
    kind: str  # code | string | other
    regex: bool = False


def substitute(
    args: Mapping[str, Any], labels: Mapping[str, str], *, tool: str = "prometheus.query"
) -> tuple[dict[str, Any], list[str]]:
    """Fill the placeholders of a tool's arguments.

    Returns: The arguments, and the labels that are missing, empty or not fit to be a value there; with any of them
    missing the arguments must not be used (their placeholders stand in them unfilled).
    """
    missing: list[str] = []

    def filled(value: Any, is_query: bool) -> Any:
        if isinstance(value, str):
            fill = _fill_query if is_query else _fill_plain
            return fill(value, labels, missing)
        if isinstance(value, Mapping):
            return {key: filled(item, False) for key, item in value.items()}
        return [filled(item, False) for item in value] if isinstance(value, (list, tuple)) else value

    result = {key: filled(value, _is_query(tool, key)) for key, value in args.items()}
    return result, list(dict.fromkeys(missing))


def complain(args: Mapping[str, Any], tool: str) -> Iterator[str]:
    """Yield what is wrong with the placeholders of a tool's arguments, before any alert comes."""
    for key, value in args.items():
        if isinstance(value, str) and _is_query(tool, key):
            yield from _complain_query(key, value)


def placeholders(value: object) -> set[str]:
    """Name the labels that a value, however nested, asks for."""
    if isinstance(value, str):
        return {name for match in _SLOT.finditer(value) if (name := _name(match))}
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {name for item in items for name in placeholders(item)}


def _complain_query(key: str, query: str) -> Iterator[str]:
    for part in _parts(query):
        for match in _SLOT.finditer(part.text):
            name = _name(match)
            if not name:
                continue
            if part.kind != "string":
                yield f'{key}: ${name} must stand inside double quotes, as in service="${name}"'
            elif part.text[match.start() - 1] == "\\":
                yield f"{key}: a backslash before ${name} would change its first character; remove it"


def _fill_query(query: str, labels: Mapping[str, str], missing: list[str]) -> str:
    filled = []
    for part in _parts(query):
        escape = _escaped_regex if part.regex else _escaped
        filled.append(_fill(part.text, labels, missing, escape if part.kind == "string" else _nothing))
    return "".join(filled)


def _fill_plain(text: str, labels: Mapping[str, str], missing: list[str]) -> str:
    return _fill(text, labels, missing, _plain)


def _fill(text: str, labels: Mapping[str, str], missing: list[str], escape: Fill) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = _name(match)
        if not name:
            return "$"
        label = labels.get(name, "")
        value = escape(label) if _usable(label) else None
        if value is None:
            missing.append(name)
            return match[0]
        return value

    return _SLOT.sub(value_of, text)


def _parts(query: str) -> Iterator[_Part]:
    """Cut a query into code, strings and comments; a string after =~ or !~ is a regex."""
    at, code = 0, ""
    for match in _LEXEMES.finditer(query):
        between = query[at : match.start()]
        code = (code + between).rstrip()
        yield _Part(between, "code")
        is_string = match["string"] is not None
        yield _Part(match[0], "string" if is_string else "other", is_string and code.endswith(("=~", "!~")))
        if not match[0].startswith("#"):
            code = ""
        at = match.end()
    yield _Part(query[at:], "code")


def _is_query(tool: str, key: str) -> bool:
    return key == "query" and tool.partition(".")[0] in QUERY_TOOLS


def _name(match: re.Match[str]) -> str:
    return match["bare"] or match["braced"] or ""


def _usable(label: str) -> bool:
    """An empty label is no label to Prometheus, and a lone surrogate cannot be sent."""
    return 0 < len(label) <= MAX_LABEL_CHARS and label.encode("utf-8", "replace").decode() == label


def _escaped(label: str) -> str:
    """Write a label so that it stands for itself inside a double-quoted string."""
    text = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _escaped_regex(label: str) -> str:
    """Write a label so that RE2, reading the string, matches exactly it."""
    return _escaped(_PUNCTUATION.sub(r"\\\g<0>", label))


def _plain(label: str) -> str | None:
    is_plain = _PLAIN_VALUE.fullmatch(label) and label.strip(".")
    return label if is_plain else None


def _nothing(_: str) -> None:
    """Fill nothing: the loader refuses a placeholder here."""
