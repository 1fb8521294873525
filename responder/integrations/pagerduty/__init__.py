"""PagerDuty: receives its V3 webhooks, and tells it by its REST API what becomes of an incident here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from pydantic import BaseModel, Field, SecretStr, model_validator

from responder.integrations.pagerduty.mirror import PagerDutyMirror
from responder.integrations.pagerduty.receiver import PagerDutyReceiver
from responder.integrations.pagerduty.rest import ACCEPT, Rest
from responder.ports import Mirror, Plugin, Receiver, Surroundings

EVENTS = (
    "incident.triggered, incident.acknowledged, incident.unacknowledged, incident.resolved, incident.reopened,"
    " incident.escalated, incident.delegated, incident.reassigned, incident.priority_updated,"
    " incident.service_updated, incident.annotated, incident.status_update_published"
)


class Settings(BaseModel, frozen=True, extra="forbid"):
    """How PagerDuty reaches us, and we it.

    `secrets`: of the webhook subscription; several while it is changed. `api_token` with `from`, the e-mail of a user
    in whose name is written: without them PagerDuty is only listened to. The environment's proxy is not used.
    """

    secret: SecretStr | None = None
    secrets: tuple[SecretStr, ...] = ()
    api_token: SecretStr | None = None
    from_: str = Field(default="", alias="from")
    base_url: str = Field(default="https://api.pagerduty.com", pattern=r"^https?://[^\s/]+")
    timeout_s: float = Field(default=15.0, gt=0, le=60)
    proxy: SecretStr | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Settings:
        if self.tells and "@" not in self.from_:
            raise ValueError(
                "api_token needs `from`, the e-mail of a PagerDuty user: every write is in somebody's name"
            )
        if self.from_ and not self.tells:
            raise ValueError("`from` needs api_token; set it, or remove the key")
        return self

    @property
    def tells(self) -> bool:
        """Whether PagerDuty is told what becomes of an incident."""
        return self.api_token is not None and bool(self.api_token.get_secret_value())

    @property
    def known_secrets(self) -> list[str]:
        """The secrets that are set; an empty one would let everybody in."""
        listed = [*self.secrets, *([self.secret] if self.secret else [])]
        return [secret.get_secret_value() for secret in listed if secret.get_secret_value()]


@asynccontextmanager
async def open_receiver(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    yield PagerDutyReceiver(settings.known_secrets)


@asynccontextmanager
async def open_mirror(settings: Settings, around: Surroundings) -> AsyncIterator[Mirror | None]:
    """Open one HTTP session for all calls; None when the settings hold no key."""
    if settings.api_token is None or not settings.tells:
        yield None
        return
    headers = {
        "Authorization": f"Token token={settings.api_token.get_secret_value()}",
        "Accept": ACCEPT,
        "Accept-Encoding": "identity",  # what is unpacked could not be capped
        "From": settings.from_,
    }
    proxy = settings.proxy.get_secret_value() if settings.proxy else None
    async with ClientSession(
        headers=headers, proxy=proxy, timeout=ClientTimeout(total=None), trust_env=False, cookie_jar=DummyCookieJar(),
        auto_decompress=False,
    ) as http:  # fmt: skip
        rest = Rest(http, settings.base_url, timeout_s=settings.timeout_s, clock=around.clock)
        yield PagerDutyMirror(rest, submit=around.submit, base_url=around.base_url)


def _snippet(settings: BaseModel, base_url: str) -> str:
    """Say what to enter in PagerDuty."""
    return f"""# PagerDuty: Integrations > Generic Webhooks (v3) > New Webhook
#   Webhook URL: {base_url}/webhooks/pagerduty (HTTPS with TLS 1.2, from outside)
#   Scope: the service, the team or the account whose incidents come here; one subscription covers each once
#   Events: {EVENTS}
"""


plugin = Plugin(Settings, receiver=open_receiver, mirror=open_mirror, snippet=_snippet, marks=(("event",),))
