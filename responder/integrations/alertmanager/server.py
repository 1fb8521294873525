"""One server asked for JSON: a deadline, a cap on the answer, no redirects, errors that say whether to ask again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession
from yarl import URL

from responder.errors import PermanentError, TransientError
from responder.redact import visible

OK, SERVER_ERROR, TOO_MANY_REQUESTS = 200, 500, 429
SHOWN_CHARS = 200

Params = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and what time it is there; None when the server does not say."""

    value: Any
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Server:
    """One address. The session has its headers and its deadline."""

    system: str  # for messages: alertmanager | prometheus
    base: str
    http: ClientSession
    max_bytes: int

    async def get(self, path: str, params: Params = (), *, post: bool = False) -> Answer:
        """Ask; `post` sends the parameters as a form, which no URL's length limits.

        Raises: TransientError: out of reach, too slow, 429, 5xx, not JSON. PermanentError: any other refusal.
        """
        url, method = f"{self.base.rstrip('/')}/{path}", "POST" if post else "GET"
        sent: dict[str, Any] = {"data": params} if post else {"params": params}
        try:
            async with self.http.request(method, url, allow_redirects=False, **sent) as response:
                body = await self._read(response.content.iter_chunked(1 << 16), path)
                status, headers = response.status, response.headers
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            raise TransientError(f"{self.where}: {path}: cannot be reached ({type(error).__name__})") from error
        if status != OK or headers.get("Content-Encoding", "identity") != "identity":
            said = f"{self.where}: {path}: HTTP {status} {visible(body[:SHOWN_CHARS].decode('utf-8', 'replace'))}"
            may_work = status >= SERVER_ERROR or status in (OK, TOO_MANY_REQUESTS)
            raise TransientError(said) if may_work else PermanentError(said)
        try:
            return Answer(orjson.loads(body), _date(headers.get("Date", "")))
        except orjson.JSONDecodeError as error:
            raise TransientError(f"{self.where}: {path}: the answer is not JSON") from error

    @property
    def where(self) -> str:
        """Name it for messages, without the password that its address may hold."""
        return f"{self.system} {URL(self.base).with_user(None)}"

    async def _read(self, chunks: AsyncIterator[bytes], path: str) -> bytes:
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > self.max_bytes:
                limit = f"receivers.alertmanager.max_bytes ({self.max_bytes})"
                raise PermanentError(f"{self.where}: {path}: the answer is larger than {limit}")
        return bytes(body)


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None
