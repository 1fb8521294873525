"""Secrets do not come through; ordinary text does, unchanged; hidden characters are shown."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.redact import MASK, MAX_TEXT_CHARS, Redactor, is_telling, visible

CONFIGURED = ("hunter2-secret", 'quo"te\\back/slash d', "geheim-äöü-1", "abc")
REDACTOR = Redactor(CONFIGURED)
KEY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"

SECRETS = {
    "AWS key id": ("id AKIAIOSFODNN7EXAMPLE.", "AKIAIOSFODNN7EXAMPLE"),
    "AWS secret key": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+x", "wJalrXUtnFEMI"),
    "GitHub": ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_"),
    "GitHub, fine-grained": ("x github_pat_11ABCDEFG0123456789_abc y", "github_pat"),
    "Slack bot": ("using xoxb-123456789012-abcdefABCDEF now", "xoxb"),
    "Slack app": ("xapp-1-A012345-123456-abcdef", "xapp"),
    "Slack hook": ("https://hooks.slack.com/services/T0/B0/abcdefgh12", "T0/B0"),
    "Anthropic": ("sk-ant-api03-abcdef_ghi-jkl", "sk-ant"),
    "other model vendor": ("key sk-abcdefghijklmnopqrstuvwx", "sk-abc"),
    "JWT": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "eyJ"),
    "PEM": (f"-----BEGIN PRIVATE KEY-----\n{KEY}\n{KEY}\n-----END PRIVATE KEY-----", KEY),
    "PEM in JSON": (json.dumps(f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n-----END RSA PRIVATE KEY-----"), KEY),
    "PEM, cut": (f"-----BEGIN EC PRIVATE KEY-----\n{KEY}\n{KEY[:9]}", KEY[:9]),
    "URL": ("postgresql://app:p@ss:w0rd@db:5432/x", "w0rd"),
    "bearer": ("Authorization: Bearer abc.def", "abc.def"),
    "basic, in JSON": ('{"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
    "scheme-less header": ("authorization=0123456789abcdef0123", "0123456789"),
    "bearer alone": ("sent Bearer 0123456789abcdef0123", "0123456789"),
    "password=": ("login failed password=s3cr,t!; next", "s3cr"),
    "token:": ("token: abcdef", "abcdef"),
    "api_key=": ("GET /x?api_key=abcdef&y=1", "abcdef"),
    "environment": ("DB_PASSWORD=pass with", "=pass"),
    "JSON, quotes inside": ('{"password": "ab\\"cd ef"}', "cd ef"),
    "JSON in JSON": (r'{"body": "{\"client_secret\": \"abc def\"}"}', "abc def"),
    "single quotes": ("{'apiKey': 'abc def'}", "abc def"),
    "configured": ("text hunter2-secret text", "hunter2"),
    "configured, as JSON": (json.dumps(CONFIGURED[1]), "slash"),
    "configured, in a URL": ("x=quo%22te%5Cback%2Fslash%20d", "slash"),
    "configured, not ASCII": ("der geheim-äöü-1 Wert", "geheim"),
    "configured, not ASCII, as JSON": (json.dumps("geheim-äöü-1"), "geheim"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_does_not_come_through(text: str, secret: str) -> None:
    """Each shape, in the surroundings it is met in."""
    assert secret in text
    redacted = REDACTOR.text(text)
    assert secret not in redacted
    assert MASK in redacted


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_redacting_twice_changes_nothing_more(text: str, secret: str) -> None:
    """Text passes several doors on its way out."""
    once = REDACTOR.text(f"{text} {secret}")
    assert REDACTOR.text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Error rate of checkout is 25.3% (> 5%) for 5m",
        "max_tokens=4096 tokens: 12",
        "password authentication failed for user app",
        "task-abcdefghijklmnopqrstuvwxyz disk-usage-of-the-very-long-name",
        "RBAC: authorization: denied for bob",
        "http://prometheus:9090/graph?g0.expr=up&x=1 user@example.com",
        "pod api-7d9c5b6f4-x2x7q R03ABCDEFGHIJKLMNOPQ",  # such as PagerDuty's keys: no shape of their own
        "abc",  # configured, but too short to be blacked out everywhere
        "lone \ud800 surrogate, é, 日本, \x00",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """Evidence that is blacked out helps nobody."""
    assert REDACTOR.text(text) == text


def test_what_stands_around_a_secret_stays() -> None:
    """The address and the parameter's name are evidence."""
    assert REDACTOR.text("GET /x?token=abcdef&y=1 é") == f"GET /x?token={MASK}&y=1 é"
    assert REDACTOR.text("postgresql://app:secret@db/x") == f"postgresql://app:{MASK}@db/x"


def test_data_is_redacted_at_any_depth_and_by_its_keys() -> None:
    """Keys too; tuples come back as lists, as from JSON."""
    given_data = {"a": ["hunter2-secret", {"botToken": "zzz"}], "n": 5, "none": None, "hunter2-secret": ("x",)}
    assert REDACTOR.data(given_data) == {"a": [MASK, {"botToken": MASK}], "n": 5, "none": None, MASK: ["x"]}


def test_data_without_bottom_is_cut() -> None:
    """A list that holds itself."""
    endless: list[object] = []
    endless.append(endless)
    assert "[too deep]" in json.dumps(REDACTOR.data(endless))


def test_a_huge_text_is_cut_and_says_so() -> None:
    """Between words, so that no half secret is left."""
    redacted = REDACTOR.text("word " * (MAX_TEXT_CHARS // 5) + "hunter2-secret")
    assert redacted.endswith("more characters")
    assert "hunter2" not in redacted


def test_a_text_that_is_one_huge_word_is_cut_too() -> None:
    """Even without a word's end to cut at."""
    assert len(REDACTOR.text("x" * (2 * MAX_TEXT_CHARS))) < MAX_TEXT_CHARS + 40


@pytest.mark.parametrize(
    ("key", "telling"),
    [("password", True), ("SLACK_BOT_TOKEN", True), ("api-key", True), ("max_tokens", False), ("event", False)],
)
def test_a_key_tells_by_its_end(key: str, telling: bool) -> None:
    """`max_tokens` is a number of tokens, not a token."""
    assert is_telling(key) is telling


@given(st.text(st.characters()), st.text(st.characters()))
def test_a_configured_secret_never_comes_through_any_text(before: str, after: str) -> None:
    """Text over all planes, lone surrogates included."""
    assert "hunter2-secret" not in REDACTOR.text(f"{before}hunter2-secret{after}")


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\u202eb", "a‹U+202E›b"),  # noqa: RUF001 - the angle quotes are what we draw
        ("\x1b]52;c;x\x07", "‹U+001B›]52;c;x‹U+0007›"),  # noqa: RUF001 - the same
        ("\u200b\U000e0041\ufeff", "‹U+200B›‹U+E0041›‹U+FEFF›"),  # noqa: RUF001 - the same
        ("\u3164\u2800\u2028", "‹U+3164›‹U+2800›‹U+2028›"),  # noqa: RUF001 - the same
        ("z" + "\u0301" * 40, "z" + "\u0301" * 4 + "‹36 marks›"),  # noqa: RUF001 - the same
        ("\ud800", "‹U+D800›"),  # noqa: RUF001 - the same
        ("a\rb\r\nc", "a‹U+000D›b\nc"),  # noqa: RUF001 - the same
    ],
    ids=["bidi", "terminal", "zero-width and tags", "blanks", "accents", "surrogate", "carriage return"],
)
def test_what_hides_is_shown(hidden: str, shown: str) -> None:
    """Each kind of hiding."""
    assert visible(hidden) == shown


@pytest.mark.parametrize("text", ["plain\n\ttext ~", "é ü ß 日本語 ⚠️ 🔥", "नमस्ते שָׁלוֹם", "NBSP\u00a0is a space"])
def test_living_text_stays_as_it_is(text: str) -> None:
    """People write in other scripts than ours."""
    assert visible(text) == text


@given(st.text(st.characters()))
def test_no_control_or_format_character_comes_through(text: str) -> None:
    """Over all planes; showing twice shows the same."""
    shown = visible(text)
    assert not {unicodedata.category(char) for char in shown if char not in "\n\t"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown
    assert shown.encode().decode() == shown
