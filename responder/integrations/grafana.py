"""Grafana: its unified alerting's webhook contact point (version "1"), and the legacy alerting's notifications.

Sources: https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/ and
receivers/webhook/v1 and http/hmac.go of github.com/grafana/alerting. Each alert's own status counts, never the body's.
Grafana repeats no notification that we refuse, so what can be kept is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field, model_validator

from responder.bodies import as_text, as_texts, moment, raw_of, read_json, template_data
from responder.credentials import Secret, Signatures, Tokens, TokenSettings
from responder.model import Alert, BadEntry, Decoded, identify
from responder.ports import Clock, Plugin, Receiver, Surroundings

MAX_BYTES = 8 << 20
STALE = timedelta(seconds=300)
MAX_STAMP_CHARS = 12
LINKS = {
    "dashboardURL": "dashboard", "panelURL": "panel", "silenceURL": "silence", "imageURL": "image",
    "valueString": "value_string",
}  # fmt: skip
CUSTOM = (
    'no list "alerts": a custom payload replaces the body; remove it from the contact point, or use a generic receiver'
)


class Settings(TokenSettings):
    """`token`: the contact point's Authorization, Bearer or Basic. `secret`: its HMAC secret; several as `secrets`.

    With `timestamp_header`, the same as there, the time is signed too and an old notification is refused.
    """

    secret: Secret | None = None
    secrets: tuple[Secret, ...] = ()
    signature_header: str = Field(default="X-Grafana-Alerting-Signature", pattern=r"^[A-Za-z0-9-]+$")
    timestamp_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")

    @model_validator(mode="after")
    def _signed(self) -> Settings:
        if self.timestamp_header and not (self.secret or self.secrets):
            raise ValueError("timestamp_header needs a secret: only a signature makes the time worth something")
        return self


class Grafana:
    """Decodes both kinds of bodies; whatever it cannot read it hands on as bad entries."""

    max_bytes = MAX_BYTES
    unready = ""
    alarms = False  # anybody may knock; and Grafana does not give up, it notifies again
    methods = ("POST", "PUT")
    id_header = "X-Webhook-Id"

    def __init__(self, settings: Settings, name: str, clock: Clock) -> None:
        """Keep the secrets."""
        self.name, self._clock, self._settings = name, clock, settings
        self._tokens = Tokens(settings)
        self._signatures = Signatures([*settings.secrets, *([settings.secret] if settings.secret else [])])

    @property
    def guarded(self) -> bool:
        """Whether a token or a secret is set."""
        return bool(self._tokens) or bool(self._signatures)

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Compare the token."""
        return self._tokens.match(headers)

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Compare the HMAC of the body, or of `<unix seconds>:<body>` where the time is signed too."""
        if not self._signatures:
            return True
        signature = headers.get(self._settings.signature_header, "")
        if not self._settings.timestamp_header:
            return self._signatures.match(signature, body)
        stamp = headers.get(self._settings.timestamp_header, "")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= MAX_STAMP_CHARS):
            return False
        fresh = abs(self._clock.now().timestamp() - int(stamp)) <= STALE.total_seconds()
        return self._signatures.match(signature, stamp.encode(), b":", body) and fresh

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn one notification into alerts.

        Args: body: JSON, {"version": "1", "orgId": int, "groupKey": str, "externalURL": str, "truncatedAlerts": int,
          "alerts": [{"status", "labels", "annotations", "startsAt", "endsAt", "values": {str: number} | null, ...}]},
          or the legacy {"ruleId": int, "ruleName": str, "state": str, "evalMatches": [], "tags": {}}
        Returns: One alert per element that can be read; the others, or the whole body, in `bad`.
        """
        try:
            found = read_json(body)
        except (ValueError, RecursionError) as error:
            return Decoded((), (BadEntry(f"not JSON: {str(error)[:200]}", body, 0),))
        if isinstance(found, dict) and "ruleName" in found and "alerts" not in found:
            return self._legacy(found, received_at)
        if not isinstance(found, dict) or not isinstance(found.get("alerts"), list):
            return Decoded((), (BadEntry(CUSTOM, body, 0),))
        return template_data(body, found, lambda element: self._alert(element, found.get("orgId"), received_at))

    def _alert(self, element: Any, org: object, received_at: datetime) -> Alert:
        if not isinstance(element, dict):
            raise TypeError(f"an element of alerts is {type(element).__name__}, not an object")
        labels = as_texts(element.get("labels"), "labels")
        return Alert(
            source=self.name,
            identity=self._identity(labels, element.get("orgId", org)),
            labels=labels,
            annotations=_annotations(element),
            firing=element.get("status") != "resolved",
            received_at=received_at,
            started_at=moment(element.get("startsAt")),
            ended_at=moment(element.get("endsAt")),
            generator_url=as_text(element.get("generatorURL"))[:2000],
        )

    def _identity(self, labels: Mapping[str, str], org: object) -> str:
        """Two organisations of one Grafana may have equal labels; its own labels never begin with two underscores."""
        return identify(self.name, {**labels, "__org__": as_text(org)})

    def _legacy(self, found: dict[str, Any], received_at: datetime) -> Decoded:
        """Read a notification of the alerting that Grafana had before version 9."""
        state = found.get("state")
        try:
            if state == "paused":
                return Decoded((), (BadEntry("the rule was paused", raw_of(found), 1, quiet=True),))
            labels = {**as_texts(found.get("tags"), "tags"), "alertname": as_text(found.get("ruleName"))}
            rule = {"rule": as_text(found.get("ruleId")), "name": labels["alertname"]}
            said = {"summary": found.get("title"), "description": found.get("message"), "image": found.get("imageUrl")}
            annotations = {name: as_text(value) for name, value in said.items() if value} | _matches(found)
            alert = Alert(
                source=self.name,
                identity=self._identity(rule, found.get("orgId")),
                labels=labels,
                annotations=annotations,
                firing=state != "ok",
                received_at=received_at,
                generator_url=as_text(found.get("ruleUrl"))[:2000],
            )
        except (ValueError, TypeError, RecursionError) as error:
            return Decoded((), (BadEntry(str(error)[:200], raw_of(found), 1),))
        return Decoded((alert,))


def _annotations(element: dict[str, Any]) -> dict[str, str]:
    """Give the annotations, and what Grafana says beside them: links, and each value as `value_A`."""
    more = {name: as_text(element[key]) for key, name in LINKS.items() if element.get(key)}
    values = element.get("values")
    if isinstance(values, dict):
        more |= {f"value_{as_text(name)}": as_text(value) for name, value in values.items()}
    return more | as_texts(element.get("annotations"), "annotations")


def _matches(found: dict[str, Any]) -> dict[str, str]:
    matches = found.get("evalMatches")
    if not isinstance(matches, list):
        return {}
    return {
        f"value_{as_text(each.get('metric'))}": as_text(each.get("value")) for each in matches if isinstance(each, dict)
    }


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Give the contact point as Grafana's provisioning files have it."""
    assert isinstance(settings, Settings)
    token = settings.token or settings.tokens
    secured = "\n          authorization_scheme: Bearer\n          authorization_credentials: TOKEN" if token else ""
    if settings.secret or settings.secrets:
        secured += "\n          hmacConfig: {secret: SECRET}"
    return f"""apiVersion: 1
contactPoints:
  - orgId: 1
    name: responder
    receivers:
      - uid: responder
        type: webhook
        settings:
          url: {base_url}/webhooks/grafana
          httpMethod: POST{secured}
"""


@asynccontextmanager
async def open_grafana(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    yield Grafana(settings, around.name or "grafana", around.clock)


plugin = Plugin(Settings, receiver=open_grafana, snippet=_snippet, many=True, marks=(("alerts", "orgId"),))
