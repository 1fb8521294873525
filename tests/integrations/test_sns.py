"""Amazon SNS: who is believed, what is fetched and what never, and what each kind of message becomes."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import SecretStr, ValidationError
from yarl import URL

from responder.errors import TransientError
from responder.integrations.sns import Settings, Sns, open_sns, plugin
from responder.integrations.sns.proof import FETCHES, MAX_FETCHED_BYTES, Web, signed_text
from responder.model import Alert
from responder.ports import Surroundings
from tests.given import NOW, FakeClock, FakeIds, after
from tests.integrations.sources import TOPIC, recorded, unreachable

KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc.pem"


def certificate(
    name: str = "sns.amazonaws.com",
    *,
    key: Any = KEY,
    begins: float = -30,
    ends: float = 30,
    names: tuple[str, ...] = (),
) -> bytes:
    """Give a certificate that signs itself; times in days from NOW."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(NOW + timedelta(days=begins)).not_valid_after(NOW + timedelta(days=ends))
    )  # fmt: skip
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    return made.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


PEM = certificate()


class Aws:
    """Answers as AWS would, and remembers what it was asked for; what it holds is raised or answered in turn."""

    def __init__(self, *answers: tuple[int, bytes] | Exception) -> None:
        self.answers = list(answers) or [(200, PEM)]
        self.asked: list[str] = []

    async def __call__(self, url: URL) -> tuple[int, bytes]:
        self.asked.append(str(url))
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def signed(body: bytes | dict[str, Any], *, key: rsa.RSAPrivateKey = KEY, version: str = "2", **changed: Any) -> bytes:
    """Sign an envelope as SNS does, after these changes."""
    envelope = (json.loads(body) if isinstance(body, bytes) else dict(body)) | {"SignatureVersion": version} | changed
    envelope = {name: value for name, value in envelope.items() if value is not None}
    hashed = SHA256() if version == "2" else SHA1()
    signature = key.sign(signed_text(envelope), padding.PKCS1v15(), hashed)
    return json.dumps(envelope | {"Signature": b64encode(signature).decode()}).encode()


ALARM = recorded("sns", "alarm")
SUBSCRIPTION = recorded("sns", "subscription")
GOOD = signed(ALARM)


def sns(aws: Aws | None = None, *, clock: FakeClock | None = None, **settings: Any) -> Sns:
    return Sns(Settings(topics=(TOPIC,), **settings), "sns", clock or FakeClock(), aws or Aws())


def tampered(**changed: Any) -> bytes:
    """Give the good message changed after it was signed."""
    return json.dumps(json.loads(GOOD) | changed).encode()


# --- who is believed ---


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("name", ["alarm", "eventbridge_alarm", "metric_math", "composite", "budget", "health"])
async def test_what_sns_has_signed_is_genuine(name: str, version: str) -> None:
    assert await sns().verify({}, signed(recorded("sns", name), version=version))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ALARM, id="a signature that is none"),
        pytest.param(tampered(Message="{}"), id="another message"),
        pytest.param(tampered(Subject="OK"), id="another subject"),
        pytest.param(tampered(Timestamp="2026-11-20T09:14:03Z"), id="another time"),
        pytest.param(tampered(Type="SubscriptionConfirmation"), id="another type"),
        pytest.param(tampered(SignatureVersion="1"), id="another version"),
        pytest.param(tampered(SignatureVersion="3"), id="an unknown version"),
        pytest.param(tampered(SignatureVersion=2), id="a version that is no text"),
        pytest.param(tampered(Signature=""), id="no signature"),
        pytest.param(tampered(Signature="é"), id="not ASCII"),
        pytest.param(tampered(Signature=["x"]), id="a list"),
        pytest.param(signed(ALARM, key=OTHER), id="another key"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="no envelope"),
        pytest.param(b'{"Type": [], "TopicArn": {}}', id="wrong types"),
        pytest.param(recorded("sns", "records"), id="records of a Lambda"),
    ],
)
async def test_nobody_else_is(body: bytes) -> None:
    assert not await sns().verify({}, body)


async def test_only_listed_topics_may_send_and_for_others_nothing_is_fetched() -> None:
    aws = Aws()
    assert not await sns(aws).verify({}, signed(ALARM, TopicArn=TOPIC + "x"))
    assert not await sns(aws).verify({}, signed(SUBSCRIPTION, TopicArn="arn:aws:sns:eu-west-1:999999999999:alarms"))
    assert aws.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
        "https://snsxeu-west-1.amazonaws.com/a.pem",
        "https://evil-sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
        "https://user@sns.eu-west-1.amazonaws.com/a.pem",
        "https://:password@sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem?x=.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem#x",
        "https://sns.eu-west-1.amazonaws.com/a.txt",
        "https://sns.eu-west-1.amazonaws.com/../a.pem/b",
        "https://sns.eu-west-1.amazonaws.com/a%2Fb.pem",
        "https://sns.eu-west-1.amazonaws.com/?a.pem",
        "https://s3.eu-west-1.amazonaws.com/bucket/a.pem",
        "https://sns.amazonaws.com/a.pem",
        "https://sns.\u0435u-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com\n.evil.example/a.pem",
        "https://169.254.169.254/a.pem",
        "https://[::1]/a.pem",
        "//sns.eu-west-1.amazonaws.com/a.pem",
        "file:///etc/a.pem",
        "https://sns.eu-west-1.amazonaws.com:99999/a.pem",
        "",
        5,
        None,
    ],
)
async def test_a_certificate_from_anywhere_else_is_never_fetched(url: object) -> None:
    aws = Aws()
    assert not await sns(aws).verify({}, signed(ALARM, SigningCertURL=url))
    assert aws.asked == []


@pytest.mark.parametrize(
    "host", ["sns.us-east-1.amazonaws.com", "sns.us-gov-west-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"]
)
async def test_every_region_has_its_own_host(host: str) -> None:
    aws = Aws()
    assert await sns(aws).verify({}, signed(ALARM, SigningCertURL=f"https://{host}/SimpleNotificationService-abc.pem"))
    assert aws.asked == [f"https://{host}/SimpleNotificationService-abc.pem"]


@pytest.mark.parametrize(
    ("pem", "genuine"),
    [
        pytest.param(certificate("sns.us-gov-west-1.amazonaws.com"), True, id="a region's name"),
        pytest.param(certificate("a", names=("sns.amazonaws.com",)), True, id="among its other names"),
        pytest.param(certificate("evil.example"), False, id="another name"),
        pytest.param(certificate("sns.amazonaws.com.evil.example"), False, id="a longer name"),
        pytest.param(certificate(ends=-1), False, id="ended"),
        pytest.param(certificate(begins=1), False, id="not begun"),
        pytest.param(certificate(key=OTHER), False, id="another key"),
        pytest.param(certificate(key=ec.generate_private_key(ec.SECP256R1())), False, id="another kind of key"),
        pytest.param(b"<html>", False, id="no certificate"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", False, id="a broken one"),
    ],
)
async def test_only_a_certificate_of_sns_in_force_counts(pem: bytes, genuine: bool) -> None:
    assert await sns(Aws((200, pem))).verify({}, GOOD) is genuine


async def test_a_certificate_is_fetched_once_a_day() -> None:
    aws, clock = Aws(), FakeClock()
    ours = sns(aws, clock=clock)
    for hours in (0, 1, 22.9, 0.2):
        clock.turn(hours=hours)
        assert await ours.verify({}, GOOD)
    assert len(aws.asked) == 2


async def test_a_certificate_that_ends_sooner_is_kept_until_then() -> None:
    aws, clock = Aws((200, certificate(ends=1 / 24)), (200, PEM)), FakeClock()
    ours = sns(aws, clock=clock)
    assert await ours.verify({}, GOOD)
    clock.turn(hours=1.1)
    assert await ours.verify({}, GOOD)
    assert len(aws.asked) == 2


async def test_many_at_once_ask_once() -> None:
    aws = Aws()
    ours = sns(aws)
    assert all(await asyncio.gather(*(ours.verify({}, GOOD) for _ in range(50))))
    assert len(aws.asked) == 1


async def test_when_aws_cannot_be_asked_the_message_comes_again() -> None:
    ours = sns(Aws(TransientError("refused"), (503, b""), (200, PEM)))
    for _ in range(2):
        with pytest.raises(TransientError):
            await ours.verify({}, GOOD)
    assert await ours.verify({}, GOOD)


async def test_an_address_without_a_certificate_is_left_alone_for_a_minute() -> None:
    aws, clock = Aws((404, b""), (200, PEM)), FakeClock()
    ours = sns(aws, clock=clock)
    assert not await ours.verify({}, GOOD)
    assert not await ours.verify({}, GOOD)
    clock.turn(61)
    assert await ours.verify({}, GOOD)
    assert len(aws.asked) == 2


async def test_strangers_addresses_cost_a_few_requests_a_minute_and_not_the_known_key() -> None:
    aws = Aws((200, PEM), (404, b""))
    ours = sns(aws)
    assert await ours.verify({}, GOOD)
    for n in range(100):
        forged = signed(ALARM, key=OTHER, SigningCertURL=f"https://sns.eu-west-1.amazonaws.com/{n}.pem")
        if n < FETCHES - 1:
            assert not await ours.verify({}, forged)
        else:
            with pytest.raises(TransientError, match="too many"):
                await ours.verify({}, forged)
    assert await ours.verify({}, GOOD)
    assert len(aws.asked) == FETCHES


# --- subscriptions ---


async def test_a_subscription_to_a_listed_topic_is_confirmed() -> None:
    aws = Aws((200, PEM), (200, b"<ConfirmSubscriptionResponse/>"))
    assert await sns(aws).verify({}, signed(SUBSCRIPTION))
    assert aws.asked == [CERTIFICATE_URL, json.loads(SUBSCRIPTION)["SubscribeURL"]]


@pytest.mark.parametrize("answer", [TransientError("refused"), (500, b""), (403, b"")])
async def test_one_that_is_not_confirmed_comes_again(answer: tuple[int, bytes] | Exception) -> None:
    with pytest.raises(TransientError):
        await sns(Aws((200, PEM), answer)).verify({}, signed(SUBSCRIPTION))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        "https://sns.eu-west-1.amazonaws.com/x?Action=ConfirmSubscription",
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        None,
    ],
)
async def test_an_unusual_address_is_never_visited_even_when_signed(url: str | None) -> None:
    aws = Aws()
    assert not await sns(aws).verify({}, signed(SUBSCRIPTION, SubscribeURL=url))
    assert aws.asked == [CERTIFICATE_URL]


async def test_an_unsigned_subscription_is_never_confirmed() -> None:
    aws = Aws()
    assert not await sns(aws).verify({}, SUBSCRIPTION)
    assert aws.asked == [CERTIFICATE_URL]


async def test_who_ends_a_subscription_is_told_on_until_it_is_back() -> None:
    ended = signed(SUBSCRIPTION, Type="UnsubscribeConfirmation")
    aws = Aws()
    assert await sns(aws).verify({}, ended)
    assert aws.asked == [CERTIFICATE_URL], "nothing is subscribed again by itself"
    [gone], [back] = (sns().decode(body, NOW).alerts for body in (ended, SUBSCRIPTION))
    assert (gone.name, gone.firing, back.firing) == ("TopicUnsubscribed", True, False)
    assert gone.identity == back.identity


# --- without an envelope ---


@pytest.mark.parametrize(
    ("token", "topic", "genuine"),
    [("", "", False), ("t", "", True), ("t", TOPIC, True), ("t", TOPIC + "x", False), ("", TOPIC, False)],
)
async def test_raw_delivery_needs_a_token(token: str, topic: str, genuine: bool) -> None:
    ours = sns(token=SecretStr(token)) if token else sns()
    headers = {"x-amz-sns-topic-arn": topic} if topic else {}
    assert await ours.verify(headers, json.loads(ALARM)["Message"].encode()) is genuine


async def test_a_token_does_not_make_up_for_a_signature() -> None:
    assert not await sns(token=SecretStr("t")).verify({}, signed(ALARM, key=OTHER))


def test_a_token_is_shown_as_the_password_of_the_address() -> None:
    ours = sns(token=SecretStr("t"))
    assert ours.authorize({"Authorization": "Basic " + b64encode(b"responder:t").decode()})
    assert not ours.authorize({})
    assert sns().authorize({})


def test_without_topics_it_is_not_ready() -> None:
    assert "topics is empty" in Sns(Settings(), "sns", FakeClock(), unreachable).unready
    assert sns().unready == ""


@pytest.mark.parametrize("topic", ["*", "arn:aws:sqs:eu-west-1:123456789012:a", TOPIC + ":sub-id", TOPIC + "\n", ""])
def test_a_topic_is_an_arn(topic: str) -> None:
    with pytest.raises(ValidationError):
        Settings(topics=(topic,))


# --- what a message says ---


def read(name: str) -> Alert:
    [alert] = sns().decode(recorded("sns", name), NOW).alerts
    return alert


def alarm(**changed: Any) -> bytes:
    envelope = json.loads(ALARM)
    return json.dumps(envelope | {"Message": json.dumps(json.loads(envelope["Message"]) | changed)}).encode()


def test_an_alarm_says_what_and_where() -> None:
    alert = read("alarm")
    assert alert.labels == {
        "alertname": "checkout-5xx", "region": "eu-west-1", "account": "123456789012", "state": "ALARM",
        "namespace": "AWS/ApplicationELB", "metric": "HTTPCode_Target_5XX_Count",
        "dimension_LoadBalancer": "app/checkout/50dc",
    }  # fmt: skip
    assert alert.annotations["summary"].startswith("Threshold Crossed")
    assert "description" not in alert.annotations
    assert alert.generator_url.startswith("https://eu-west-1.console.aws.amazon.com/cloudwatch/")


def test_an_alarm_is_the_same_by_every_way() -> None:
    raw = json.loads(ALARM)["Message"].encode()
    [bare] = sns().decode(raw, NOW).alerts
    assert bare.identity == read("alarm").identity == read("eventbridge_alarm").identity
    assert read("eventbridge_alarm").labels == read("alarm").labels


def test_a_formula_is_labelled_by_its_first_metric() -> None:
    labels = read("metric_math").labels
    assert (labels["namespace"], labels["metric"], labels["dimension_FunctionName"]) == (
        "AWS/Lambda",
        "Errors",
        "checkout",
    )


def test_a_composite_alarm_says_its_rule() -> None:
    assert read("composite").annotations["alarm_rule"] == "ALARM(checkout-5xx) OR ALARM(error-ratio)"


@pytest.mark.parametrize(
    ("state", "before", "firing"),
    [
        ("ALARM", "OK", [True]),
        ("ALARM", "INSUFFICIENT_DATA", [True]),
        ("OK", "ALARM", [False]),
        ("OK", "INSUFFICIENT_DATA", [False]),
        ("INSUFFICIENT_DATA", "ALARM", [True]),
        ("INSUFFICIENT_DATA", "OK", []),
        ("SOMETHING_NEW", "OK", [True]),
    ],
)
def test_no_data_leaves_an_alarm_as_it_was(state: str, before: str, firing: list[bool]) -> None:
    found = sns().decode(alarm(NewStateValue=state, OldStateValue=before), NOW)
    assert [each.firing for each in found.alerts] == firing
    assert [bad.quiet for bad in found.bad] == [True] * (not firing)


def test_no_data_may_be_made_to_fire() -> None:
    strict = sns(insufficient_data="fire")
    [alert] = strict.decode(alarm(NewStateValue="INSUFFICIENT_DATA", OldStateValue="OK"), NOW).alerts
    assert alert.firing


def test_text_is_an_alert_named_by_its_subject() -> None:
    alert = read("budget")
    assert alert.name == "AWS Budgets: monthly has exceeded your alert threshold"
    assert "$1,000.00" in alert.annotations["description"]


def test_texts_without_a_subject_are_different_alerts() -> None:
    envelope = json.loads(recorded("sns", "budget"))
    del envelope["Subject"]
    bodies = [json.dumps(envelope | {"Message": text}).encode() for text in ("a", "b", "b")]
    first, second, again = (sns().decode(body, NOW).alerts[0] for body in bodies)
    assert first.identity != second.identity == again.identity
    assert first.name == "SNS message"


def test_an_event_is_named_by_its_kind() -> None:
    alert = read("health")
    assert (alert.name, alert.labels["origin"], alert.labels["resource"]) == (
        "AWS Health Event",
        "aws.health",
        "i-abcd1111",
    )
    assert alert.annotations["summary"] == "Instances are impaired"


def test_a_resolved_alarm_ends_when_it_changed() -> None:
    [alert] = sns().decode(alarm(NewStateValue="OK", StateChangeTime="2026-11-20T09:30:00.000+0000"), NOW).alerts
    assert (alert.started_at, alert.ended_at) == (None, after(minutes=30))


def test_the_snippet_subscribes_our_door() -> None:
    assert plugin.snippet is not None
    text = plugin.snippet(Settings(topics=(TOPIC,)), "https://r")
    assert f"--topic-arn {TOPIC}" in text
    assert "--notification-endpoint https://r/webhooks/sns" in text


# --- how it is fetched ---


@asynccontextmanager
async def served(handler: Any) -> AsyncIterator[tuple[Web, URL]]:
    app = web.Application()
    app.router.add_get("/{name}", handler)
    async with TestServer(app) as server, ClientSession() as http:
        yield Web(http, None, 0.2), server.make_url("/a.pem")


async def test_an_answer_is_read_whole() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=PEM)

    async with served(answer) as (fetch, url):
        assert await fetch(url) == (200, PEM)


async def test_no_redirect_is_followed() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/other.pem")

    async with served(answer) as (fetch, url):
        assert (await fetch(url))[0] == 302
    assert asked == ["/a.pem"]


async def test_too_much_is_not_read() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (MAX_FETCHED_BYTES + 1))

    async with served(answer) as (fetch, url):
        with pytest.raises(TransientError, match="more than"):
            await fetch(url)


async def test_no_answer_is_worth_another_try() -> None:
    async with ClientSession() as http:
        with pytest.raises(TransientError, match="cannot be asked"):
            await Web(http, None)(URL("http://127.0.0.1:1/a.pem"))


async def test_a_hang_ends_in_time() -> None:
    hung = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await hung.wait()
        return web.Response()

    async with served(answer) as (fetch, url):
        with pytest.raises(TransientError, match="TimeoutError"):
            await fetch(url)
        hung.set()


async def test_it_opens_and_closes() -> None:
    async with open_sns(Settings(topics=(TOPIC,)), Surroundings(FakeClock(), FakeIds(), name="sns-eu")) as receiver:
        assert receiver.name == "sns-eu"
