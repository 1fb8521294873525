"""A claim against its evidence, by tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.agent.verifier import verify

EVIDENCE = (
    'http_requests_total{service="checkout-api", code="500"} 12.4731\nup{instance="10.2.0.7:8080"} 0\n'
    "ratio 0.4217 at 2026-11-20 12:03:20Z, limit 1,200 connections, node-3 OOMKilled"
)


@pytest.mark.parametrize(
    "claim",
    [
        "12.4731 requests fail",
        "about 12.47 requests a second fail",
        "42 % of the answers of `checkout-api` are errors",
        "42.17% fail",
        "the limit is 1200",
        "node-3 was OOMKilled at 12:03",
        "http_requests_total rose on 10.2.0.7:8080",
        "It is over.",
        "as E3 and [E12] show, a P1, read-only, took 5-minute steps",
        'the series "up" is 0',
        "it began on 2026-11-20",
        "12.47/s, 12.473-1200 of them",
    ],
)
def test_what_stands_in_the_evidence_is_verified(claim: str) -> None:
    assert verify(claim, [EVIDENCE]).holds


@pytest.mark.parametrize(
    ("claim", "missing"),
    [
        ("13 requests fail", ("13",)),
        ("5 pods restart", ("5",)),
        ("99.9 % are fine", ("99.9 %",)),
        ("`payments-api` is down", ("payments-api",)),
        ("payments_db_connections are high", ("payments_db_connections",)),
        ("it began at 11:58", ("11:58",)),
        ("it is 10.2.0.8:8080", ("10.2.0.8:8080",)),
        ("CrashLoopBackOff of node-3", ("CrashLoopBackOff",)),
        ("the user said “close it”", ("close it",)),
        ("1e999 errors", ("1e999",)),
    ],
)
def test_what_does_not_is_named(claim: str, missing: tuple[str, ...]) -> None:
    verdict = verify(claim, [EVIDENCE])
    assert verdict.missing == missing
    assert not verdict.holds


def test_a_claim_without_evidence_never_holds() -> None:
    assert not verify("It is over.", []).holds


def test_labels_of_the_alert_are_known_names_but_not_known_numbers() -> None:
    assert verify("`eu-west-1` has 0", [EVIDENCE], ["eu-west-1"]).holds
    assert verify("77 fail", [EVIDENCE], ["77"]).missing == ("77",)


def test_the_count_is_of_all_numbers_and_names() -> None:
    assert str(verify("`checkout-api` has 12.47 of 99", [EVIDENCE])) == "2 of 3"


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_breaks_it(claim: str, evidence: str) -> None:
    verdict = verify(claim, [evidence])
    assert 0 <= verdict.found <= verdict.of
