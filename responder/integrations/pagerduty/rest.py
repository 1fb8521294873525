"""PagerDuty's REST API, as much of it as we use: one call in, JSON out, errors classified; no retries of ours.

Source: https://developer.pagerduty.com/docs/rest-api-overview. At most 960 requests a minute and key; a 429 says in
`ratelimit-reset` for how many seconds, not in Retry-After, and may come without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import ClientError, ClientResponse, ClientSession

from responder.bodies import read_json
from responder.errors import PermanentError, TransientError
from responder.ports import Clock
from responder.redact import visible

ACCEPT = "application/vnd.pagerduty+json;version=2"
MAX_BYTES = 8 << 20  # of one answer; what is packed is refused, so these are the bytes that memory holds
RATE_RESET_S, MAX_RESET_S = 20.0, 300.0  # when a 429 does not say, and what we believe at most
ALREADY_RESOLVED, ALREADY_ACKNOWLEDGED, DATA_CHANGED, NO_REQUESTER, MERGED = "1001", "1002", "1005", "1008", "1019"
NOT_FOUND, TOO_LARGE = "not_found", "too_large"
# Codes of the outbox for what a person mends: the post waits until then.
BAD_TOKEN, MAY_NOT = "invalid_auth", "no_permission"
OK, REDIRECT, UNAUTHORIZED, TOO_MANY, SERVER_ERROR = 200, 300, 401, 429, 500
TIMED_OUT, CONFLICT = 408, 409

Json = dict[str, Any]


class Rest:
    """One account, as one user."""

    def __init__(self, http: ClientSession, base_url: str, *, timeout_s: float, clock: Clock) -> None:
        """Speak over a session that has the headers; `From` of every write is among them."""
        self._http, self._base, self._timeout_s, self._clock = http, base_url.rstrip("/"), timeout_s, clock
        self._rest_until = 0.0  # monotonic: the key's limit is used up until then

    async def get(self, path: str, **params: str) -> Json:
        """Read. Raises: TransientError, PermanentError."""
        return await self._ask("GET", path, None, params)

    async def put(self, path: str, body: Json) -> Json:
        """Change. Raises: TransientError, PermanentError."""
        return await self._ask("PUT", path, body, {})

    async def post(self, path: str, body: Json) -> Json:
        """Add. Raises: TransientError, PermanentError."""
        return await self._ask("POST", path, body, {})

    async def _ask(self, method: str, path: str, body: Json | None, params: Mapping[str, str]) -> Json:
        what = f"pagerduty: {method} {path}"
        left_s = self._rest_until - self._clock.monotonic()
        if left_s > 0:
            raise TransientError(f"{what}: not asked, the limit of requests is used up", retry_after_s=left_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                asked = self._http.request(method, self._base + path, json=body, params=params, allow_redirects=False)
                async with asked as response:
                    said = await _read(response, what)
                    return self._judged(response, said, what)
        except TimeoutError as error:
            raise TransientError(f"{what}: no answer within {self._timeout_s:g} s") from error
        except (ClientError, OSError) as error:
            raise TransientError(f"{what}: cannot be reached ({type(error).__name__})") from error

    def _judged(self, response: ClientResponse, said: bytes, what: str) -> Json:
        """Give the JSON of a success, or raise what a refusal means: later, never, or once somebody has mended it."""
        found = _json(said)
        status = response.status
        if OK <= status < REDIRECT:
            if found is None:
                raise TransientError(f"{what}: HTTP {status}, but the answer is no JSON object")
            return found
        code, reason = _reason(found)
        text = f"{what}: HTTP {status}{visible(f' {code} {reason}'.rstrip())[:500]}"
        if status == TOO_MANY:
            wait_s = _seconds(response.headers.get("ratelimit-reset"))
            self._rest_until = self._clock.monotonic() + wait_s
            raise TransientError(text, retry_after_s=wait_s)
        if status == UNAUTHORIZED or code == "2006":
            raise PermanentError(f"{text}; set receivers.pagerduty.api_token to a valid key", code=BAD_TOKEN)
        if code == NO_REQUESTER or "requester user not found" in reason.lower():
            raise PermanentError(f"{text}; receivers.pagerduty.from must be the e-mail of a user there", code=BAD_TOKEN)
        if status in (402, 403):
            raise PermanentError(f"{text}; the key or its user may not do this", code=MAY_NOT)
        if status == 404 or code in ("2100", "5001"):  # noqa: PLR2004 - as HTTP names it
            raise PermanentError(text, code=NOT_FOUND)
        if status in (TIMED_OUT, CONFLICT) or code == DATA_CHANGED or not 400 <= status < SERVER_ERROR:  # noqa: PLR2004
            raise TransientError(text)
        raise PermanentError(text, code=code)


def path_of(incident_id: str) -> str:
    """Give an incident's path; an id is text from outside."""
    return f"/incidents/{quote(incident_id, safe='')}"


async def _read(response: ClientResponse, what: str) -> bytes:
    """Read at most MAX_BYTES. Raises: PermanentError: `too_large`; TransientError: packed although we asked not to."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransientError(f"{what}: a packed answer that nobody asked for")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise PermanentError(f"{what}: the answer is larger than {MAX_BYTES >> 20} MiB", code=TOO_LARGE)
    return bytes(body)


def _json(said: bytes) -> Json | None:
    try:
        found = read_json(said)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reason(found: Json | None) -> tuple[str, str]:
    """Read {"error": {"message", "code", "errors": [...]}} -> (code, sentence)."""
    error = found.get("error") if found else None
    if not isinstance(error, dict):
        return "", ""
    errors = error.get("errors")
    more = [str(each)[:200] for each in errors[:5]] if isinstance(errors, list) else []
    return str(error.get("code") or ""), "; ".join([str(error.get("message") or "")[:200], *more])


def _seconds(header: str | None) -> float:
    try:
        wait_s = float(header or RATE_RESET_S)
    except ValueError:
        wait_s = RATE_RESET_S
    return min(max(wait_s, 1.0), MAX_RESET_S) if wait_s == wait_s else RATE_RESET_S  # noqa: PLR0124 - NaN
