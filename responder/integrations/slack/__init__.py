"""Slack as a chat: posts, edits and finds our messages through its Web API.

Scopes of the bot token: chat:write, channels:read, channels:history, and for private channels groups:read,
groups:history. The bot must be a member of the channels it posts to.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import BaseModel, Field, SecretStr
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from responder.errors import PermanentError, TransientError
from responder.integrations.slack.blocks import Drawn, draw
from responder.model import Marker, Message
from responder.ports import Budget, Chat, Plugin, Surroundings
from responder.redact import visible

EVENT_TYPE = "responder_post"
PAGE_SIZE = 200
MAX_PAGES = 5  # of messages, when looking for one of ours
MAX_CHANNEL_PAGES = 20
CLOCK_SKEW = timedelta(minutes=5)  # Slack's clock stamps the messages, ours says since when to look
SERVER_ERROR = 500
TOO_MANY_REQUESTS = 429
RATE_LIMITED = ("ratelimited", "rate_limited")
PASSING = (
    *("internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"),
    *("external_channel_migrating", "accesslimited"),
)
REFUSED_DRAWING = (
    *("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "block_mismatch"),
    *("invalid_metadata_format", "invalid_metadata_schema", "metadata_too_large"),
)
GARBAGE = (ValueError, TypeError, AttributeError, RecursionError)  # what slack_sdk raises over JSON that is no object
_CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]{7,}")


class Pace(Budget, frozen=True, extra="forbid"):
    """What Slack allows: about one message a second and channel, several hundred a minute in all, 50 edits a minute.

    Source: https://docs.slack.dev/apis/web-api/rate-limits ("special" for chat.postMessage, Tier 3 for chat.update)
    """

    channel_per_s: float = Field(1.0, gt=0)
    channel_burst: int = Field(3, ge=1)
    chat_per_s: float = Field(4.0, gt=0)
    chat_burst: int = Field(10, ge=1)
    edits_per_s: float = Field(0.7, gt=0)  # with the burst no more than 50 in any minute
    edits_burst: int = Field(8, ge=1)


class Settings(BaseModel, frozen=True, extra="forbid"):
    """How to reach a workspace. The proxy of the environment is not used: `proxy` names one."""

    bot_token: SecretStr
    app_token: SecretStr | None = None
    signing_secret: SecretStr | None = None
    channel: str = "#incidents"
    base_url: str = "https://slack.com/api/"
    timeout_s: float = 10.0  # for one call of ours as a whole, with all its requests
    budget: Pace = Pace()
    proxy: SecretStr | None = None


class Slack:
    """One workspace, as one bot."""

    name = "slack"

    def __init__(self, settings: Settings, client: AsyncWebClient) -> None:
        """Speak through a client that retries nothing by itself."""
        self.channel, self.budget = settings.channel, settings.budget
        self._timeout_s = settings.timeout_s
        self._client = client
        self._ids: dict[str, str] = {}  # channel name -> id
        self._self: Mapping[str, Any] | None = None

    async def post(
        self, message: Message, *, channel: str, thread_ts: str, broadcast: bool, marker: Marker
    ) -> tuple[str, str]:
        """Post a message, in a thread if there is one -> (channel id, ts). A name as channel is resolved by Slack."""
        wanted = channel or self.channel
        place: dict[str, Any] = {"channel": wanted, "unfurl_links": False, "unfurl_media": False}
        if thread_ts:
            place |= {"thread_ts": thread_ts, "reply_broadcast": broadcast}
        async with self._deadline("chat.postMessage"):
            answer = await self._send("chat.postMessage", place, draw(message, marker), marker)
        posted = (_text(answer, "channel"), _text(answer, "ts"))
        self._ids[wanted] = posted[0]
        return posted

    async def edit(self, message: Message, *, channel: str, ts: str, marker: Marker) -> None:
        """Replace a message of ours in place; `channel` is the id that `post` gave."""
        async with self._deadline("chat.update"):
            drawn = draw(message, marker, calling=False)
            await self._send("chat.update", {"channel": channel, "ts": ts}, drawn, marker)

    async def find(self, marker: Marker, *, channel: str, thread_ts: str, since: datetime) -> tuple[str, str] | None:
        """Look for a message of ours by its marker, in the thread or among the channel's newest -> (channel id, ts)."""
        oldest = f"{(since - CLOCK_SKEW).timestamp():.6f}"
        method, where = ("conversations.replies", {"ts": thread_ts}) if thread_ts else ("conversations.history", {})
        async with self._deadline(method):
            ours = await self._who_we_are()
            channel_id = await self._channel_id(channel or self.channel)
            asked = {"channel": channel_id, "oldest": oldest, "include_all_metadata": True, "limit": PAGE_SIZE, **where}
            async with aclosing(self._pages(method, asked, MAX_PAGES)) as answers:
                async for answer in answers:
                    for each in _objects(answer, "messages"):
                        if _is_from(each, ours) and _carries(each, marker):
                            return channel_id, _text(each, "ts")
        return None

    async def permalink(self, *, channel: str, ts: str) -> str:
        """Give a message's address, "" when Slack has none."""
        async with self._deadline("chat.getPermalink"):
            answer = await self._get("chat.getPermalink", {"channel": channel, "message_ts": ts})
        return str(answer.get("permalink") or "")

    async def _send(self, method: str, place: dict[str, Any], drawn: Drawn, marker: Marker) -> dict[str, Any]:
        """Send blocks; if Slack refuses their form, the same as plain text: a message is never lost for its looks."""
        content = {**place, "metadata": _metadata(marker), "parse": "none"}
        try:
            return await self._call(method, json={**content, "text": drawn.text, "blocks": drawn.blocks})
        except PermanentError as error:
            if error.code not in REFUSED_DRAWING:
                raise
            if "metadata" in error.code:
                del content["metadata"]
            return await self._call(method, json={**content, "text": drawn.plain})

    async def _who_we_are(self) -> Mapping[str, Any]:
        if self._self is None:
            self._self = await self._call("auth.test")
        return self._self

    async def _channel_id(self, channel: str) -> str:
        """Reading methods know no names; a name that we have not posted to yet is looked up.

        Raises: PermanentError: `channel_not_found`.
        """
        if _CHANNEL_ID.fullmatch(channel):
            return channel
        if channel not in self._ids:
            self._ids[channel] = await self._looked_up(channel.removeprefix("#"))
        return self._ids[channel]

    async def _looked_up(self, name: str) -> str:
        asked = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": PAGE_SIZE}
        async with aclosing(self._pages("conversations.list", asked, MAX_CHANNEL_PAGES)) as answers:
            async for answer in answers:
                for each in _objects(answer, "channels"):
                    if each.get("name") == name:
                        return _text(each, "id")
        raise PermanentError(f"slack: no channel {name!r} that the bot can see", code="channel_not_found")

    async def _pages(self, method: str, asked: Mapping[str, Any], most: int) -> AsyncGenerator[dict[str, Any], None]:
        cursor: dict[str, str] = {}
        for _ in range(most):
            answer = await self._get(method, {**asked, **cursor})
            yield answer
            following = answer.get("response_metadata")
            cursor = {"cursor": str(following.get("next_cursor") or "")} if isinstance(following, dict) else {}
            if not cursor.get("cursor"):
                return
        raise TransientError(f"slack: {method}: more than {most} pages; what is behind them nobody has seen")

    async def _get(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return await self._call(method, http_verb="GET", params=params)

    async def _call(self, method: str, **request: Any) -> dict[str, Any]:
        """Make one request and classify what goes wrong."""
        try:
            answer = await self._client.api_call(method, **request)
        except SlackApiError as error:
            raise _refusal(method, error) from error
        except (ClientError, OSError) as error:
            raise TransientError(f"slack: {method}: {type(error).__name__}: {error}") from error
        except GARBAGE as error:
            raise TransientError(f"slack: {method}: an answer that is not Slack's") from error
        except SlackClientError as error:
            raise PermanentError(f"slack: {method}: {error}") from error
        return dict(answer.data) if isinstance(answer.data, dict) else {}

    @asynccontextmanager
    async def _deadline(self, method: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError as error:
            raise TransientError(f"slack: {method}: no answer within {self._timeout_s:g} s") from error


def _metadata(marker: Marker) -> dict[str, Any]:
    payload = {"incident": marker.incident, "kind": marker.kind, "post": marker.post}
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _carries(message: Mapping[str, Any], marker: Marker) -> bool:
    """Whether its metadata holds the marker; numbers may come back as text."""
    metadata, wanted = message.get("metadata"), _metadata(marker)
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(payload, dict) or metadata.get("event_type") != EVENT_TYPE:
        return False
    return all(str(payload.get(key)) == str(value) for key, value in wanted["event_payload"].items())


def _is_from(message: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether the bot itself wrote it: another app may write metadata that looks like ours. No author will do."""
    authors = [(message.get(key), ours.get(mine)) for key, mine in (("bot_id", "bot_id"), ("user", "user_id"))]
    named = [(author, us) for author, us in authors if author and us]
    return not named or any(author == us for author, us in named)


def _objects(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = answer.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(answer: Mapping[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value:
        raise TransientError(f"slack: an answer without {key!r}")
    return value


def _refusal(method: str, error: SlackApiError) -> TransientError | PermanentError:
    """Say what a refusal means: later, or never. A proxy's page in place of JSON has no code and means later."""
    response: Any = error.response  # aiohttp's own response when the body was no JSON
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
    data = getattr(response, "data", None)
    body = data if isinstance(data, dict) else {}
    code = visible(str(body.get("error") or "")[:100])
    text = f"slack: {method}: {code or 'no Slack answer'} (HTTP {status})"
    if status == TOO_MANY_REQUESTS or code in RATE_LIMITED:
        return TransientError(text, retry_after_s=_seconds(getattr(response, "headers", {}).get("Retry-After")))
    if status >= SERVER_ERROR or not code or code in PASSING:
        return TransientError(text)
    return PermanentError(f"{text}{_reason(body)}", code=code)


def _reason(body: Mapping[str, Any]) -> str:
    """What Slack adds to a refusal: the scope that is needed, or the place in the blocks."""
    metadata = body.get("response_metadata")
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    told = [f"needs {body['needed']}"] if body.get("needed") else []
    told += [str(each) for each in messages[:3]] if isinstance(messages, list) else []
    return visible(f": {'; '.join(told)}"[:500]) if told else ""


def _seconds(header: str | None) -> float | None:
    return float(header) if header and re.fullmatch(r"[0-9]{1,6}", header) else None


@asynccontextmanager
async def open_slack(settings: Settings, around: Surroundings) -> AsyncIterator[Chat]:
    """Open one HTTP session for all calls; close it at exit."""
    proxy = settings.proxy.get_secret_value() if settings.proxy else None
    no_limit = ClientTimeout(total=None)  # of its own: `_deadline` bounds each call with all its requests
    async with ClientSession(timeout=no_limit, trust_env=False) as http:
        client = AsyncWebClient(
            settings.bot_token.get_secret_value(), base_url=settings.base_url, session=http, retry_handlers=[]
        )
        client.proxy = proxy  # set late: the constructor would put the environment's in place of none
        yield Slack(settings, client)


plugin = Plugin(Settings, chat=open_slack)
