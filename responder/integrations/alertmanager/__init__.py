"""Prometheus Alertmanager: receives its webhooks (version 4), and can be asked what fires.

Source of the format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config and Alertmanager's
template.Data. Top-level `status` is never read: with `max_alerts` it describes only what was not cut off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from pydantic import BaseModel, Field, SecretStr, field_validator

from responder.bodies import as_text, as_texts, moment, read_json, template_data, word
from responder.integrations.alertmanager.makers import Makers
from responder.integrations.alertmanager.server import Server
from responder.integrations.alertmanager.truth import AlertmanagerTruth
from responder.model import Alert, BadEntry, Decoded, identify
from responder.ports import Plugin, Receiver, Surroundings, Truth

MAX_BYTES = 8 << 20  # about 15 000 alerts


class Settings(BaseModel, frozen=True, extra="forbid"):
    """`token`: what Alertmanager sends as `Authorization: Bearer`; several during a rotation.

    `url`: its own API, which is then asked what fires; of a pair all `urls`, each peer by itself and no balancer.
    `receiver`: our receiver's name in its configuration. `prometheus`: where its alerts are made; without it nothing
    is ever ended but by a webhook. `headers` and `prometheus_headers` go along (`Authorization`, `X-Scope-OrgID`).
    """

    token: SecretStr | None = None
    tokens: tuple[SecretStr, ...] = ()
    url: str = ""
    urls: tuple[str, ...] = ()
    receiver: str = "responder"
    headers: Mapping[str, SecretStr] = {}
    prometheus: tuple[str, ...] = ()
    prometheus_headers: Mapping[str, SecretStr] = {}
    check_every_s: float = Field(default=30.0, gt=0, le=3600)
    missed_after_s: float = Field(default=35.0, gt=0)  # the webhook comes first: more than group_wait, 30 s by default
    gone_after_s: float = Field(default=300.0, gt=0)  # it must lack an alert for so long before we end it
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    max_bytes: int = Field(default=64 << 20, gt=0)  # of one answer: about 100 000 alerts

    @field_validator("token", "tokens")
    @classmethod
    def _not_empty(cls, value: SecretStr | tuple[SecretStr, ...] | None) -> SecretStr | tuple[SecretStr, ...] | None:
        for token in value if isinstance(value, tuple) else [value]:
            if token is not None and not token.get_secret_value():
                raise ValueError("the token is empty; set it, or remove the key")
        return value

    @field_validator("prometheus", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return ([value] if value else []) if isinstance(value, str) else value

    @field_validator("url", "urls", "prometheus")
    @classmethod
    def _address(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in [value] if isinstance(value, str) else value:
            if address and not address.startswith(("http://", "https://")):
                raise ValueError(f"{address!r} is no address; it begins with http:// or https://")
        return value

    @property
    def peers(self) -> Sequence[str]:
        """All of its addresses, each once."""
        return list(dict.fromkeys(each for each in (self.url, *self.urls) if each))


class Alertmanager:
    """Decodes version 4 bodies; whatever it cannot read it hands on as bad entries."""

    name = "alertmanager"
    max_bytes = MAX_BYTES
    unready = ""
    alarms = False  # it tries again, and anybody may knock without a token
    methods = ("POST",)
    id_header = "X-Webhook-Id"

    def __init__(self, settings: Settings) -> None:
        """Keep the tokens as the bytes that headers are compared with."""
        listed = [*settings.tokens, *([settings.token] if settings.token else [])]
        self._tokens = [f"Bearer {token.get_secret_value()}".encode() for token in listed]

    @property
    def guarded(self) -> bool:
        """Whether a secret is set."""
        return bool(self._tokens)

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Compare the bearer token in constant time."""
        if not self._tokens:
            return True
        sent = headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        sent = b"Bearer " + sent[7:].strip() if sent[:7].lower() == b"bearer " else sent
        return any([compare_digest(sent, token) for token in self._tokens])

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Alertmanager has no signature."""
        return True

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn one webhook into alerts.

        Args: body: JSON, {"version": "4", "groupKey": str, "truncatedAlerts": int, "externalURL": str,
          "alerts": [{"status": str, "labels": {str: str}, "annotations": {...}, "startsAt": RFC 3339, "endsAt": ...}]}
        Returns: One alert per element that can be read; the others, or the whole body, in `bad`.
        """
        try:
            found = read_json(body)
        except (ValueError, RecursionError) as error:
            return Decoded((), (BadEntry(f"not JSON: {str(error)[:200]}", body, 0),))
        if not isinstance(found, dict) or not isinstance(found.get("alerts"), list):
            return Decoded((), (BadEntry('no list "alerts"; is a `payload:` set in the receiver?', body, 0),))
        group_key = word(found.get("groupKey"))
        # What its PagerDuty notifier sends as dedup_key: https://github.com/prometheus/alertmanager, notify/util.go
        alias = sha256(group_key.encode()).hexdigest() if group_key else ""
        return template_data(body, found, lambda element: _alert(element, received_at, alias))


def _alert(element: Any, received_at: datetime, alias: str = "") -> Alert:
    if not isinstance(element, dict):
        raise TypeError(f"an element of alerts is {type(element).__name__}, not an object")
    labels = as_texts(element.get("labels"), "labels")
    ended_at = moment(element.get("endsAt"))
    return Alert(
        source="alertmanager",
        identity=identify("alertmanager", labels),
        labels=labels,
        annotations=as_texts(element.get("annotations"), "annotations"),
        firing=_firing(element.get("status"), ended_at, received_at),
        received_at=received_at,
        started_at=moment(element.get("startsAt")),
        ended_at=ended_at,
        generator_url=as_text(element.get("generatorURL"))[:2000],
        alias=alias,
    )


def _firing(status: object, ended_at: datetime | None, received_at: datetime) -> bool:
    """Say `resolved` only when the sender clearly does: when unsure, it fires."""
    if status is None:
        return ended_at is None or ended_at > received_at
    return status != "resolved"


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Give the receiver block for alertmanager.yml."""
    secured = isinstance(settings, Settings) and (settings.token is not None or bool(settings.tokens))
    auth = (
        "\n        authorization: {type: Bearer, credentials_file: /etc/alertmanager/responder.token}"
        if secured
        else ""
    )
    return f"""receivers:
  - name: responder
    webhook_configs:
      - url: {base_url}/webhooks/alertmanager
        send_resolved: true
        max_alerts: 0
        http_config:
          follow_redirects: false{auth.replace(chr(10) + "        ", chr(10) + "          ")}
"""


@asynccontextmanager
async def open_alertmanager(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    yield Alertmanager(settings)


@asynccontextmanager
async def open_truth(settings: Settings, around: Surroundings) -> AsyncIterator[Truth | None]:
    """Open a session for Alertmanager and one for Prometheus: neither sees the other's headers."""
    if not settings.peers:
        yield None
        return
    async with _session(settings.headers, settings) as http, _session(settings.prometheus_headers, settings) as other:
        peers = [Server("alertmanager", each, http, settings.max_bytes) for each in settings.peers]
        makers = Makers([Server("prometheus", each, other, settings.max_bytes) for each in settings.prometheus])
        yield AlertmanagerTruth(
            peers, makers, _alert, around.clock,
            receiver=settings.receiver, every_s=settings.check_every_s, missed_after_s=settings.missed_after_s,
            gone_after_s=settings.gone_after_s,
        )  # fmt: skip


def _session(headers: Mapping[str, SecretStr], settings: Settings) -> ClientSession:
    fixed = {"Accept-Encoding": "identity", "Accept": "application/json"}  # unpacked bytes could not be capped
    return ClientSession(
        headers=fixed | {name: value.get_secret_value() for name, value in headers.items()},
        timeout=ClientTimeout(total=settings.timeout_s, connect=min(5.0, settings.timeout_s)),
        trust_env=False, cookie_jar=DummyCookieJar(), auto_decompress=False,
    )  # fmt: skip


plugin = Plugin(
    Settings, receiver=open_alertmanager, truth=open_truth, snippet=_snippet, marks=(("alerts", "groupKey"),)
)
