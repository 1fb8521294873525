"""Amazon SNS: CloudWatch alarms, EventBridge events and whatever else is published to the topics that are listed.

Sources: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html and
https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html.

A message counts only if it is signed by the key of a certificate that SNS's own host gave us over verified TLS, for a
topic that is listed. Checked of the certificate: whose name it bears and that it is in force; not its chain, because
what is served is the leaf alone. A subscription is confirmed by itself, for listed topics only. Raw message delivery
has no signature and needs a token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

import structlog
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from pydantic import BaseModel, StringConstraints

from responder.bodies import moment, raw_of, read_json, word
from responder.credentials import Tokens, TokenSettings
from responder.errors import TransientError
from responder.integrations.sns.messages import Said, read_message, subscription
from responder.integrations.sns.proof import (
    FETCH_S,
    Certificates,
    Fetch,
    Json,
    Web,
    at_sns,
    genuine,
    is_envelope,
    read_envelope,
)
from responder.model import BadEntry, Decoded
from responder.ports import Clock, Plugin, Receiver, Surroundings

MAX_BYTES = 1 << 20  # SNS sends 256 KiB at most, more once it is written as JSON in JSON
TOPIC = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$"
log = structlog.stdlib.get_logger("sns")


class Settings(TokenSettings):
    """`topics`: the ARNs that may send. `token`: for raw message delivery: https://responder:TOKEN@host/webhooks/sns.

    `insufficient_data`: an alarm that has no data any more stays as it was (`keep`), or fires (`fire`).
    """

    topics: tuple[Annotated[str, StringConstraints(pattern=TOPIC)], ...] = ()
    insufficient_data: Literal["keep", "fire"] = "keep"
    proxy: str | None = None


class Sns:
    """Verifies, confirms, decodes."""

    max_bytes = MAX_BYTES
    alarms = False  # it tries again, and anybody may knock
    methods = ("POST",)
    id_header = "x-amz-sns-message-id"
    guarded = True

    def __init__(self, settings: Settings, name: str, clock: Clock, fetch: Fetch) -> None:
        """Keep the topics and the token; `fetch` asks AWS."""
        self.name, self._settings = name, settings
        self._tokens, self._fetch = Tokens(settings), fetch
        self._certificates = Certificates(fetch, clock)

    @property
    def unready(self) -> str:
        """Without topics nothing may send."""
        return "" if self._settings.topics else f"receivers.{self.name}.topics is empty: list the ARNs that may send"

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Compare the token, when there is one."""
        return self._tokens.match(headers)

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Check topic and signature, and confirm a subscription. Raises: TransientError: AWS cannot be asked now."""
        envelope = read_envelope(body)
        if envelope is None:
            topic = headers.get("x-amz-sns-topic-arn", "")
            return bool(self._tokens) and (not topic or topic in self._settings.topics)
        if word(envelope.get("TopicArn")) not in self._settings.topics:
            log.warning("an unlisted topic", topic=word(envelope.get("TopicArn"))[:300])
            return False
        if not await genuine(envelope, self._certificates):
            return False
        if envelope["Type"] == "SubscriptionConfirmation":
            return await self._confirm(envelope)
        return True

    async def _confirm(self, envelope: Json) -> bool:
        """Raises: TransientError: it is not confirmed; SNS asks again."""
        url = at_sns(envelope.get("SubscribeURL"))
        if url is None or url.raw_path != "/" or url.query.get("Action") != "ConfirmSubscription":
            return False
        status, _ = await self._fetch(url)
        if status != 200:  # noqa: PLR2004 - the only good answer
            raise TransientError(f"{self.name}: the subscription of {envelope['TopicArn']} is not confirmed: {status}")
        log.info("subscription confirmed", topic=envelope["TopicArn"])
        return True

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn one message into an alert; a body of several records, as Lambda gets them, into one each.

        Args: body: JSON, {"Type": str, "TopicArn": str, "Subject": str | null, "Message": str, "Timestamp": RFC 3339},
          where Message is text, or JSON of CloudWatch, EventBridge or others; raw, it is the message alone.
        """
        try:
            found = read_json(body)
        except (ValueError, RecursionError):
            return self._decoded([{"Message": body.decode("utf-8", "replace")}], received_at)
        if isinstance(found, dict) and isinstance(found.get("Records"), list):
            return self._decoded([_record(each) for each in found["Records"]], received_at)
        return self._decoded([found if is_envelope(found) else {"Message": found}], received_at)

    def _decoded(self, envelopes: list[Any], received_at: datetime) -> Decoded:
        alerts, bad = [], []
        for envelope in envelopes:
            try:
                made = self._read(envelope)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                made = BadEntry(str(error)[:200], raw_of(envelope), 1)
            if isinstance(made, BadEntry):
                bad.append(made)
            else:
                alerts.append(made.alert(self.name, received_at))
        return Decoded(tuple(alerts), tuple(bad))

    def _read(self, envelope: Any) -> Said | BadEntry:
        if not isinstance(envelope, dict):
            raise TypeError(f"a record is {type(envelope).__name__}, not an object")
        topic, kind = word(envelope.get("TopicArn")), envelope.get("Type")
        if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            return subscription(topic, ended=kind == "UnsubscribeConfirmation")
        subject, at = word(envelope.get("Subject")), moment(envelope.get("Timestamp"))
        said = read_message(topic, subject, envelope.get("Message"), at)
        if said.firing is None and self._settings.insufficient_data == "keep":
            why = f"{said.labels.get('alertname', '')[:100]} has no data: it stays as it was"
            return BadEntry(why, raw_of(envelope), 1, quiet=True)
        return said


def _record(value: object) -> object:
    return value.get("Sns") if isinstance(value, dict) else value


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Give the command that subscribes us to a topic."""
    assert isinstance(settings, Settings)
    topic = settings.topics[0] if settings.topics else "arn:aws:sns:REGION:ACCOUNT:TOPIC"
    return (
        f"aws sns set-topic-attributes --topic-arn {topic} --attribute-name SignatureVersion --attribute-value 2\n"
        f"aws sns subscribe --topic-arn {topic} --protocol https --notification-endpoint {base_url}/webhooks/sns\n"
    )


@asynccontextmanager
async def open_sns(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Open the session that certificates are fetched with."""
    async with ClientSession(
        timeout=ClientTimeout(total=FETCH_S), cookie_jar=DummyCookieJar(), trust_env=False,
        headers={"User-Agent": "responder", "Accept-Encoding": "identity"}, auto_decompress=False,
    ) as http:  # fmt: skip
        yield Sns(settings, around.name or "sns", around.clock, Web(http, settings.proxy))


plugin = Plugin(
    Settings,
    receiver=open_sns,
    snippet=_snippet,
    many=True,
    marks=(("Type", "MessageId", "TopicArn"), ("AlarmName", "NewStateValue"), ("Records",)),
)
