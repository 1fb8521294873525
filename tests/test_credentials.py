"""Tokens and signatures: only the right one opens, in every way that it may be shown."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode

import pytest
from pydantic import SecretStr, ValidationError

from responder.credentials import Signatures, Tokens, TokenSettings


def tokens(*, header: str = "Authorization") -> Tokens:
    return Tokens(TokenSettings(token=SecretStr("right"), tokens=(SecretStr("older"),), header=header))


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("shown", "may"),
    [
        ("Bearer right", True),
        ("bearer  right ", True),
        ("Bearer older", True),
        (basic("anybody:right"), True),
        (basic(":right"), True),
        (basic("right:"), False),
        (basic("right"), False),
        (basic("a:wrong"), False),
        (basic("a:b:right"), False),
        ("Basic right", False),
        ("Basic ====", False),
        ("Basic é", False),
        ("Bearer wrong", False),
        ("Bearer ", False),
        ("Bearer", False),
        ("right", False),
        ("", False),
        ("Bearer rïght", False),
        ("Bearer \udcff", False),
        ("Bearer " + "x" * 100_000, False),
    ],
)
def test_only_a_known_token_opens(shown: str, may: bool) -> None:
    assert tokens().match({"Authorization": shown}) is may


@pytest.mark.parametrize(
    ("shown", "may"), [("right", True), (" right ", True), ("Bearer right", True), ("wrong", False), ("", False)]
)
def test_another_header_may_hold_it_bare(shown: str, may: bool) -> None:
    assert tokens(header="X-Key").match({"X-Key": shown}) is may
    assert not tokens(header="X-Key").match({"Authorization": "Bearer right"})


def test_without_a_token_all_may() -> None:
    assert Tokens(TokenSettings()).match({})
    assert not Tokens(TokenSettings())
    assert tokens()


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_secret_stops_the_start(empty: str) -> None:
    with pytest.raises(ValidationError, match="empty"):
        TokenSettings(token=SecretStr(empty))
    with pytest.raises(ValidationError, match="empty"):
        TokenSettings(tokens=(SecretStr(empty),))


def test_a_header_is_a_name() -> None:
    with pytest.raises(ValidationError):
        TokenSettings(header="X Key:")


def test_a_signature_is_of_all_its_parts() -> None:
    signed = Signatures([SecretStr("new"), SecretStr("old")])
    good = hmac.new(b"old", b"1:body", hashlib.sha256).hexdigest()
    assert signed.match(good, b"1", b":", b"body")
    assert not signed.match(good, b"1", b"body")
    assert not signed.match("", b"1:body")


def test_without_a_secret_no_signature_is_good() -> None:
    assert not Signatures([])
    assert not Signatures([]).match(hmac.new(b"", b"body", hashlib.sha256).hexdigest(), b"body")
