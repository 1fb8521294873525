"""Repairs UTF-8 that was read in an old code page and written again: agents copied between editors often carry it."""

from __future__ import annotations

import re

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SIGNS = frozenset("°·£©®±²³µ§¶")
_SHORT = 2  # so few letters prove little by themselves: their neighbours must agree


def _bytes_of(codec: str) -> dict[str, int]:
    """Give the byte behind each character; bytes that Windows leaves undefined were kept as control characters."""
    found = {chr(byte): byte for byte in range(0x80, 0x100)} if codec == "cp1252" else {}
    for byte in range(0x80, 0x100):
        found[bytes([byte]).decode(codec, "ignore") or chr(byte)] = byte
    return found


_CODE_PAGES = (_bytes_of("cp1252"), _bytes_of("mac_roman"))


def repair(text: str) -> str:
    """Turn doubly encoded characters into what was meant, and leave everything else as it is.

    Only a whole run of non-ASCII characters that is valid UTF-8 byte for byte is touched, and only when the result is
    likely: a symbol, several letters, or one letter amid a word. "Spaß“" and "CAFÉ…" are valid UTF-8 by accident.
    """
    for table in _CODE_PAGES:
        text = _repair_from(text, table)
    return text


def _repair_from(text: str, table: dict[str, int]) -> str:
    def mended(match: re.Match[str]) -> str:
        run = match[0]
        meant = _decoded(run, table)
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        return meant if meant and _likely(run, meant, before, after) else run

    return _NOT_ASCII.sub(mended, text)


def _decoded(run: str, table: dict[str, int]) -> str:
    """Read a run as UTF-8 bytes; "" when it is none."""
    if any(char not in table for char in run):
        return ""
    try:
        return bytes(table[char] for char in run).decode()
    except UnicodeDecodeError:
        return ""


def _likely(run: str, meant: str, before: str, after: str) -> bool:
    if any(_is_symbol(char) for char in meant) or len(meant) > _SHORT:
        return True
    if run[0] == "Â":
        return all(char in _SIGNS for char in meant)
    if not all("À" <= char <= "ÿ" for char in meant):
        return False
    if meant.islower():
        return _is_lower(before) or _is_lower(after)
    return _is_lower(after) and not before.isalpha()


def _is_symbol(char: str) -> bool:
    """Say whether people decorate text with it: dashes, quotes, arrows, boxes, dingbats, emoji."""
    return "\u2010" <= char <= "\u2bff" or char == "\ufe0f" or "\U0001f000" <= char <= "\U0001faff"


def _is_lower(char: str) -> bool:
    return "a" <= char <= "z"
