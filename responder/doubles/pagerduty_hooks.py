"""How PagerDuty sends webhooks: one event each, signed, in order for an incident, tried again, and given up on.

2xx is done. 429, 5xx and no answer are tried again, and what comes later for the same incident waits behind. Any other
answer is dropped; after three dropped in a row the subscription is switched off and its queue thrown away.
Source: https://developer.pagerduty.com/docs/webhooks-behavior.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

Json = dict[str, Any]

DEADLINE_S = 5.0
DROPPED_IN_A_ROW = 3
MAX_BYTES = 256 << 10
OK, REDIRECT, TOO_MANY, SERVER_ERROR = 200, 300, 429, 500


@dataclass
class Delivery:
    """One webhook: its body, and the status of each try; 0 stands for no answer."""

    webhook_id: str
    event_type: str
    resource: str
    body: bytes
    tries: list[int] = field(default_factory=list)
    state: str = "waiting"  # waiting | done | dropped | thrown away


@dataclass
class Subscription:
    """One webhook subscription. With `secrets` it signs, once with each."""

    id: str
    url: str
    secrets: list[str]
    enabled: bool = True
    retry_s: float = 0.2
    deliveries: list[Delivery] = field(default_factory=list)
    dropped_in_a_row: int = 0
    _queues: dict[str, deque[Delivery]] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def send(self, delivery: Delivery) -> None:
        """Queue a webhook behind those of the same incident."""
        self.deliveries.append(delivery)
        if not self.enabled or len(delivery.body) > MAX_BYTES:
            delivery.state = "thrown away"
            return
        self._queues.setdefault(delivery.resource, deque()).append(delivery)
        task = self._tasks.get(delivery.resource)
        if task is None or task.done():
            self._tasks[delivery.resource] = asyncio.create_task(self._work(delivery.resource))

    def state(self) -> Json:
        """Everything, ready for JSON."""
        sent = [
            {"webhook_id": each.webhook_id, "event_type": each.event_type, "tries": each.tries, "state": each.state}
            for each in self.deliveries
        ]
        return {"id": self.id, "url": self.url, "enabled": self.enabled, "deliveries": sent}

    def outcomes(self) -> list[tuple[str, str]]:
        """What became of each webhook, in order: (event type, state)."""
        return [(each.event_type, each.state) for each in self.deliveries]

    async def close(self) -> None:
        """Stop sending."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def headers(self, delivery: Delivery) -> dict[str, str]:
        """The headers of one webhook: the same on every try."""
        signed = [hmac.new(each.encode(), delivery.body, sha256).hexdigest() for each in self.secrets]
        return {
            "Content-Type": "application/json",
            "X-PagerDuty-Signature": ",".join(f"v1={each}" for each in signed),
            "X-Webhook-Id": delivery.webhook_id,
            "X-Webhook-Subscription": self.id,
        }

    async def _work(self, resource: str) -> None:
        queue = self._queues[resource]
        async with ClientSession(timeout=ClientTimeout(total=DEADLINE_S)) as http:
            while queue:
                if await self._tried(http, queue[0]):
                    queue.popleft()
                else:
                    await asyncio.sleep(self.retry_s)

    async def _tried(self, http: ClientSession, delivery: Delivery) -> bool:
        """Try once; whether that settles it."""
        if not self.enabled:
            delivery.state = "thrown away"
            return True
        status = await self._status(http, delivery)
        delivery.tries.append(status)
        if status in (0, TOO_MANY) or status >= SERVER_ERROR:
            return False
        if OK <= status < REDIRECT:
            delivery.state, self.dropped_in_a_row = "done", 0
            return True
        delivery.state = "dropped"
        self.dropped_in_a_row += 1
        self.enabled = self.dropped_in_a_row < DROPPED_IN_A_ROW
        return True

    async def _status(self, http: ClientSession, delivery: Delivery) -> int:
        try:
            headers = self.headers(delivery)
            async with http.post(self.url, data=delivery.body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except (ClientError, OSError, TimeoutError):
            return 0


def written(event: Json) -> bytes:
    """The bytes of an event: compact, and not escaped."""
    return json.dumps({"event": event}, separators=(",", ":"), ensure_ascii=False).encode()
