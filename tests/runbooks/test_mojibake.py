"""Doubly encoded UTF-8 is put right, right text is left alone."""

# ruff: noqa: RUF001 - characters that look like others are what this is about
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.runbooks.mojibake import repair

SYMBOLS = st.sampled_from([*"→←↔✅❌✓✗⚠─│├└•—–“”‘’…€™", "🚨", "🔧", "🌙", "🔄", "⚠️"])
RIGHT = (
    "plain naïve café Spaß“ „Spaß“ CAFÉ… voilà\u00a0» «\u00a0là\u00a0» SÃO IRMÃ… ‚Übung‘ ‚øl‘ MAÇÃ” Ängström “Ä” état"
    " à→b ✅ 🚨 Привет Ελλάδα 日本語 ÐÞ √2 ¬p ‚Äl‘ Â Ã â ð €5 10\u00a0°C"
)
WORDS = st.sampled_from(RIGHT.split(" "))
BEGINNINGS = "√≈∆…–—“”‘’◊⁄€‹›ﬁﬂ‡‚„‰\uf8ff"  # first bytes as Mac Roman shows them


def doubly(text: str, codec: str) -> str:
    """Read UTF-8 bytes in an old code page; what Windows leaves undefined stays a control character."""
    return "".join(bytes([byte]).decode(codec, "ignore") or chr(byte) for byte in text.encode())


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        ("ðŸš¨ ACTIVE", "🚨 ACTIVE"),
        ("âœ… done", "✅ done"),
        ("a â†’ b", "a → b"),
        ("a \u00e2\u0086\u0092 b", "a → b"),  # read as Latin-1
        ("‚Üí next, ‚úÖ", "→ next, ✅"),  # read as Mac Roman
        ("\uf8ffüîÑ", "🔄"),
        ("‚îú‚îÄ", "├─"),
        ("cafÃ© and Ã©tat", "café and état"),
        ("21 Â°C", "21 °C"),
        ("itâ€™s â€œsoâ€\x9d", "it’s “so”"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
    ],
)
def test_broken_text_is_repaired(broken: str, meant: str) -> None:
    assert repair(broken) == meant


@given(st.lists(SYMBOLS, min_size=1), st.sampled_from(["cp1252", "mac_roman"]))
def test_every_symbol_comes_back(symbols: list[str], codec: str) -> None:
    meant = " ".join(symbols)
    assert repair(doubly(meant, codec)) == meant


@given(st.lists(WORDS))
def test_right_text_is_left_alone(words: list[str]) -> None:
    text = " ".join(words)
    assert repair(text) == text


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_ascii_is_left_alone(text: str) -> None:
    assert repair(text) == text


@given(st.text(st.characters(min_codepoint=0x250, exclude_characters=BEGINNINGS)))
def test_other_scripts_and_symbols_are_left_alone(text: str) -> None:
    assert repair(text) == text


def test_right_and_broken_text_may_stand_side_by_side() -> None:
    assert repair("→ right, â†’ broken, „Spaß“") == "→ right, → broken, „Spaß“"
