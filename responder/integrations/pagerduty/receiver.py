"""Receives PagerDuty's V3 webhooks: judges the signature, and never refuses what it has judged genuine.

A 4xx is dropped for good, and after three in a row PagerDuty switches the subscription off for a day. So a secret of
ours that is missing is 503, only a wrong signature is 403, and content is never an error.
Source: https://developer.pagerduty.com/docs/verifying-signatures.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from responder.bodies import read_json
from responder.errors import PayloadError
from responder.integrations.pagerduty.events import decode_event
from responder.model import BadEntry, Decoded

MAX_BYTES = 288 << 10  # PagerDuty drops what is over 256 KiB itself
VERSION = b"v1="


class PagerDutyReceiver:
    """`POST /webhooks/pagerduty`."""

    name = "pagerduty"
    max_bytes = MAX_BYTES
    alarms = True
    methods = ("POST",)
    id_header = "X-Webhook-Id"
    guarded = True  # without a secret nobody gets in at all

    def __init__(self, secrets: Sequence[str]) -> None:
        """Keep the secrets; each is valid while several are."""
        self._secrets = [secret.encode() for secret in secrets]

    @property
    def unready(self) -> str:
        """Without a secret nothing can be judged, and all of it must come again."""
        return "" if self._secrets else "receivers.pagerduty.secrets is not set; set the webhook subscription's secret"

    def authorize(self, headers: Mapping[str, str]) -> bool:
        """Nothing in the headers proves anything without the body."""
        return True

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether one of the signatures is one of ours: PagerDuty signs with each secret that is active."""
        header = headers.get("X-PagerDuty-Signature", "").encode("utf-8", "surrogateescape")
        sent = [each.strip() for each in header.split(b",")]
        given = [each.removeprefix(VERSION) for each in sent if each.startswith(VERSION)]
        ours = [hmac.new(secret, body, sha256).hexdigest().encode() for secret in self._secrets]
        return any([hmac.compare_digest(each, own) for own in ours for each in given])

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn one webhook into an alert, or news of one, or neither.

        Args: body: JSON, {"event": {"event_type": str, "occurred_at": RFC 3339, "agent": {...}|null, "data": {...}}},
          or {"responder": {...}} of our own mirror.
        Returns: at most one alert; what cannot be read is in `bad`, quietly if it is only of a kind that we don't know.
        """
        try:
            found = read_json(body)
            return decode_event(found if isinstance(found, Mapping) else {}, received_at)
        except (PayloadError, ValueError, TypeError, RecursionError, OverflowError) as error:
            return Decoded((), (BadEntry(f"not a webhook of PagerDuty: {str(error)[:200]}", body, 0),))
