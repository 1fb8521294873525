"""Asks a running Prometheus, or what speaks its API (Thanos, Mimir, VictoriaMetrics), for its alerting rules.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/#rules
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import orjson
from yarl import URL

from responder import config
from responder.errors import ConfigError, PermanentError, TransientError
from responder.integrations.prometheus import Settings
from responder.redact import visible
from responder.rules.alerting import AlertingRule

TIMEOUT_S = 30.0
MAX_BYTES = 64 << 20  # of one page
GROUPS = 500  # asked for at once; servers before 3.1 know no pages and send all
MAX_PAGES = 1000


def is_url(text: str) -> bool:
    """Whether it names a server rather than a file."""
    return text.startswith(("http://", "https://"))


def alerting_rules(url: str, settings: config.Settings, token: str = "") -> list[AlertingRule]:
    """Read every alerting rule that a server has loaded, in its order.

    Args: token: sent as a bearer token; without one, the headers under `tools.prometheus` serve if that is the server.
    Raises: TransientError: out of reach. PermanentError: it refuses, or is no Prometheus.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else _configured(url, settings)
    return asyncio.run(_all(url.rstrip("/"), headers))


def _configured(url: str, settings: config.Settings) -> dict[str, str]:
    """Give the configured headers of this very server: a token is never sent to another."""
    section = settings.tools.get("prometheus")
    if not section:
        return {}
    ours = config.read_section(Settings, "tools.prometheus", section)
    assert isinstance(ours, Settings)
    try:
        same = URL(ours.url).origin() == URL(url).origin()
    except ValueError as error:
        raise ConfigError(f"{url!r:.200} is not an address: {error}") from error
    return {name: value.get_secret_value() for name, value in ours.headers.items()} if same else {}


async def _all(url: str, headers: Mapping[str, str]) -> list[AlertingRule]:
    found: list[AlertingRule] = []
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as http:
        query = {"type": "alert", "group_limit": str(GROUPS)}
        for _ in range(MAX_PAGES):
            data = await _page(http, url, query)
            found += _rules(data, url)
            following = data.get("groupNextToken")
            if not following or not isinstance(following, str):
                return found
            query["group_next_token"] = following
    raise PermanentError(f"{url}: its pages of rules never end")


async def _page(http: aiohttp.ClientSession, url: str, query: Mapping[str, str]) -> dict[str, Any]:
    address = f"{url}/api/v1/rules"
    try:
        async with http.get(address, params=query, allow_redirects=False) as answer:
            body = await _read(answer, address)
            status, where = answer.status, answer.headers.get("Location", "")
    except TimeoutError as error:
        raise TransientError(f"{address}: no answer within {TIMEOUT_S:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = getattr(getattr(error, "os_error", None), "strerror", None) or type(error).__name__
        raise TransientError(f"{address}: cannot be reached ({reason}); is this Prometheus' address?") from error
    if where:
        raise PermanentError(f"{address}: redirects to {visible(where)[:200]}; give that address")
    if status in (401, 403):
        raise PermanentError(f"{address}: HTTP {status}; give --token, or headers under tools.prometheus")
    try:
        found = orjson.loads(body)
        data = found["data"] if found["status"] == "success" else None
    except (ValueError, KeyError, TypeError):
        data = None
    if not isinstance(data, dict):
        raise PermanentError(f"{address}: HTTP {status}, and not an answer of Prometheus: {_begin(body)}")
    return data


async def _read(answer: aiohttp.ClientResponse, address: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise PermanentError(f"{address}: more than {MAX_BYTES >> 20} MiB of rules")
    return bytes(body)


def _rules(data: Mapping[str, Any], url: str) -> Iterator[AlertingRule]:
    """Give the alerting rules of a page; what has no name is none."""
    for group in _dicts(data.get("groups")):
        path = f"{url} {group.get('file') or ''}".rstrip()
        for rule in _dicts(group.get("rules")):
            name = rule.get("name")
            if rule.get("type", "alerting") == "alerting" and isinstance(name, str) and name:
                labels, annotations = _texts(rule.get("labels")), _texts(rule.get("annotations"))
                yield AlertingRule(name, labels, annotations, str(group.get("name") or ""), path, 0)


def _dicts(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _texts(found: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _begin(body: bytes) -> str:
    return visible(body[:100].decode("utf-8", "replace")) or "an empty body"
