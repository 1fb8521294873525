"""The Web API methods of the Slack double: each turns decoded parameters into an answer, or refuses."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from responder.doubles.slack_checks import (
    MAX_ATTACHMENTS,
    SlackRefusal,
    check_blocks,
    check_metadata,
    check_view,
    string,
)
from responder.doubles.slack_store import (
    APP_ID,
    BOT_ID,
    BOT_USER_ID,
    MAX_LIMIT,
    TEAM_ID,
    Channel,
    Edit,
    Message,
    Store,
    Upload,
    Window,
    parse_ts,
)

Params = dict[str, Any]
Body = dict[str, Any]
Method = Callable[[Store, Params], Body]

MAX_POST_TEXT_CHARS = 40_000  # longer texts are cut, silently
MAX_UPDATE_TEXT_CHARS = 4000  # longer texts are refused
MAX_MARKDOWN_CHARS = 12_000
EMOJI = re.compile(r"[a-z0-9_+'\-]+(::skin-tone-[2-6])?")
TRUE_WORDS = (True, 1, "1", "true", "True")


def need(params: Params, *names: str) -> list[Any]:
    """The values of required parameters.

    Raises: SlackRefusal: `invalid_arguments`, naming those that are missing.
    """
    missing = [name for name in names if params.get(name) in (None, "")]
    if missing:
        raise SlackRefusal("invalid_arguments", *(f"missing required field: {name}" for name in missing))
    return [params[name] for name in names]


def is_true(params: Params, name: str) -> bool:
    """A boolean, however it was sent."""
    return params.get(name) in TRUE_WORDS


def writable(channel: Channel) -> Channel:
    """The channel, when the bot may post there."""
    if channel.is_archived:
        raise SlackRefusal("is_archived")
    return readable(channel)


def readable(channel: Channel) -> Channel:
    """The channel, when the bot is in it."""
    if not channel.is_member:
        raise SlackRefusal("not_in_channel")
    return channel


def content(params: Params) -> Message:
    """What a message shows, checked: text, blocks, attachments.

    Raises: SlackRefusal: `no_text`, `markdown_text_conflict`, `too_many_attachments`, and those of blocks.
    """
    shown: Message = {"text": str(params.get("text") or "")}
    if params.get("markdown_text"):
        shown["text"] = _markdown(params)
    if params.get("blocks"):
        shown["blocks"] = check_blocks(params["blocks"])
    attachments = params.get("attachments")
    if attachments:
        if len(attachments) > MAX_ATTACHMENTS:
            raise SlackRefusal("too_many_attachments")
        shown["attachments"] = attachments
    if not shown["text"] and not {"blocks", "attachments"} & shown.keys():
        raise SlackRefusal("no_text")
    return shown


def _markdown(params: Params) -> str:
    if params.get("text") or params.get("blocks"):
        raise SlackRefusal("markdown_text_conflict")
    problems: list[str] = []
    string(MAX_MARKDOWN_CHARS)(params["markdown_text"], "/markdown_text", problems)
    if problems:
        raise SlackRefusal("invalid_arguments", *problems)
    return str(params["markdown_text"])


def as_seen(message: Message, *, with_metadata: bool = False) -> Message:
    """A message as reading methods give it."""
    return {key: value for key, value in message.items() if key != "metadata" or with_metadata}


def auth_test(store: Store, params: Params) -> Body:
    """Who the bot is."""
    who = {"user": "medic", "team": "shop", "user_id": BOT_USER_ID, "team_id": TEAM_ID, "bot_id": BOT_ID}
    return {"url": "https://shop.slack.com/", **who, "is_enterprise_install": False}


def chat_post_message(store: Store, params: Params) -> Body:
    """Post, or reply."""
    (wanted,) = need(params, "channel")
    channel = writable(store.channel_by_any_name(wanted))
    message: Message = {"type": "message", "user": BOT_USER_ID, "bot_id": BOT_ID, "app_id": APP_ID, "team": TEAM_ID}
    message.update(content(params))
    message["text"] = message["text"][:MAX_POST_TEXT_CHARS]
    metadata = check_metadata(params["metadata"]) if params.get("metadata") is not None else {}
    if metadata:
        message["metadata"] = metadata
    message.update(_place_in_thread(params))
    store.add(channel.id, message)
    return {"channel": channel.id, "ts": message["ts"], "message": dict(message)}


def _place_in_thread(params: Params) -> Message:
    thread_ts = params.get("thread_ts")
    if thread_ts in (None, ""):
        if is_true(params, "reply_broadcast"):
            raise SlackRefusal(
                "invalid_arguments", "reply_broadcast requires thread_ts [json-pointer:/reply_broadcast]"
            )
        return {}
    if is_true(params, "reply_broadcast"):
        return {"thread_ts": str(thread_ts), "subtype": "thread_broadcast"}
    return {"thread_ts": str(thread_ts)}


def chat_update(store: Store, params: Params) -> Body:
    """Change a message: blocks that are not sent again are gone, metadata that is not sent stays."""
    wanted, ts = need(params, "channel", "ts")
    channel = writable(store.channel(wanted))
    message = store.message(channel.id, ts)
    if message.get("bot_id") != BOT_ID or message.get("subtype") == "tombstone":
        raise SlackRefusal("cant_update_message")
    if len(str(params.get("text") or "")) > MAX_UPDATE_TEXT_CHARS:
        raise SlackRefusal("msg_too_long")
    shown = content(params)
    metadata = check_metadata(params["metadata"]) if params.get("metadata") is not None else message.get("metadata")
    before = dict(message)
    for key in ("blocks", "attachments", "metadata"):
        message.pop(key, None)
    message.update(shown, edited={"user": BOT_USER_ID, "ts": store.next_ts()})
    if metadata:
        message["metadata"] = metadata
    store.edits.append(Edit(channel.id, message["ts"], before, dict(message)))
    return {"channel": channel.id, "ts": message["ts"], "text": message["text"], "message": dict(message)}


def chat_delete(store: Store, params: Params) -> Body:
    """Delete one of the bot's own messages."""
    wanted, ts = need(params, "channel", "ts")
    channel = store.channel(wanted)
    message = store.message(channel.id, ts)
    if message.get("bot_id") != BOT_ID or message.get("subtype") == "tombstone":
        raise SlackRefusal("cant_delete_message")
    store.remove(channel.id, message)
    return {"channel": channel.id, "ts": str(ts)}


def chat_post_ephemeral(store: Store, params: Params) -> Body:
    """Show one person a message that no other method can find again."""
    wanted, user = need(params, "channel", "user")
    channel = writable(store.channel_by_any_name(wanted))
    shown = content(params)
    ts = store.next_ts()
    store.ephemerals.append({**shown, "channel": channel.id, "user": user, "ts": ts})
    return {"message_ts": ts}


def chat_get_permalink(store: Store, params: Params) -> Body:
    """The link to a message."""
    wanted, ts = need(params, "channel", "message_ts")
    channel = store.channel(wanted)
    message = store.message(channel.id, ts)
    link = f"https://shop.slack.com/archives/{channel.id}/p{str(ts).replace('.', '')}"
    thread_ts = message.get("thread_ts")
    if thread_ts not in (None, ts):
        link += f"?thread_ts={thread_ts}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}


def window(params: Params, limit: int) -> Window:
    """The part of a channel that is asked for.

    Raises: SlackRefusal: `invalid_ts_oldest`, `invalid_ts_latest`, `invalid_limit`.
    """
    return Window(
        oldest=parse_ts(params.get("oldest") or 0, "invalid_ts_oldest"),
        latest=parse_ts(params.get("latest") or Decimal("Infinity"), "invalid_ts_latest"),
        inclusive=is_true(params, "inclusive"),
        limit=_limit(params, limit),
        cursor=str(params.get("cursor") or ""),
    )


def _limit(params: Params, usual: int) -> int:
    text = str(params.get("limit") or usual)
    if not text.isdecimal() or not 0 < int(text) <= MAX_LIMIT:
        raise SlackRefusal("invalid_limit")
    return int(text)


def _listed(params: Params, found: tuple[list[Message], str]) -> Body:
    messages, cursor = found
    with_metadata = is_true(params, "include_all_metadata")
    body: Body = {"messages": [as_seen(each, with_metadata=with_metadata) for each in messages]}
    body["has_more"] = bool(cursor)
    if cursor:
        body["response_metadata"] = {"next_cursor": cursor}
    return body


def conversations_history(store: Store, params: Params) -> Body:
    """A channel's messages, newest first."""
    (wanted,) = need(params, "channel")
    channel = readable(store.channel(wanted))
    return _listed(params, store.history(channel.id, window(params, 100))) | {"pin_count": 0}


def conversations_replies(store: Store, params: Params) -> Body:
    """A thread's messages, oldest first."""
    wanted, ts = need(params, "channel", "ts")
    channel = readable(store.channel(wanted))
    return _listed(params, store.thread(channel.id, str(ts), window(params, MAX_LIMIT)))


def conversations_list(store: Store, params: Params) -> Body:
    """The channels, a page at a time."""
    every = [each for each in store.channels.values() if not each.id.startswith("D")]
    if is_true(params, "exclude_archived"):
        every = [each for each in every if not each.is_archived]
    cursor, limit = str(params.get("cursor") or ""), _limit(params, 100)
    ids = [each.id for each in every]
    if cursor and cursor not in ids:
        raise SlackRefusal("invalid_cursor")
    start = ids.index(cursor) if cursor else 0
    following = ids[start + limit : start + limit + 1]
    listed = [each.body() for each in every[start : start + limit]]
    return {"channels": listed, "response_metadata": {"next_cursor": following[0] if following else ""}}


def conversations_info(store: Store, params: Params) -> Body:
    """One channel."""
    (wanted,) = need(params, "channel")
    return {"channel": store.channel(wanted).body()}


def conversations_join(store: Store, params: Params) -> Body:
    """Enter a channel."""
    (wanted,) = need(params, "channel")
    channel = store.channel(wanted)
    if channel.is_archived:
        raise SlackRefusal("is_archived")
    already, channel.is_member = channel.is_member, True
    return {"channel": channel.body()} | ({"warning": "already_in_channel"} if already else {})


def reactions_add(store: Store, params: Params) -> Body:
    """Put an emoji under a message."""
    (name,) = need(params, "name")
    if not params.get("channel") or not params.get("timestamp"):
        raise SlackRefusal("no_item_specified")
    if not EMOJI.fullmatch(str(name)):
        raise SlackRefusal("invalid_name")
    channel = writable(store.channel(params["channel"]))
    reactions = store.message(channel.id, params["timestamp"]).setdefault("reactions", [])
    if any(each["name"] == name for each in reactions):
        raise SlackRefusal("already_reacted")
    reactions.append({"name": name, "users": [BOT_USER_ID], "count": 1})
    return {}


def files_get_upload_url(store: Store, params: Params) -> Body:
    """Where to send a file's bytes; the path only, the server adds its origin."""
    size = str(params.get("length") or "")
    if not params.get("filename") or not size.isdecimal() or int(size) == 0:
        raise SlackRefusal("missing_argument")
    file_id = f"F{len(store.files) + 1:010d}"
    store.files[file_id] = Upload(file_id, str(params["filename"]), int(size))
    return {"upload_url": f"/upload/v1/{file_id}", "file_id": file_id}


def files_complete_upload(store: Store, params: Params) -> Body:
    """Share files whose bytes have arrived."""
    (wanted,) = need(params, "files")
    if not isinstance(wanted, list) or not wanted or not all(isinstance(each, dict) for each in wanted):
        raise SlackRefusal("invalid_arguments", "must provide an array [json-pointer:/files]")
    uploads = [_arrived(store, each) for each in wanted]
    shown = [{"id": each["id"], "title": each.get("title", up.name)} for each, up in zip(wanted, uploads, strict=True)]
    if params.get("thread_ts") and not params.get("channel_id"):
        raise SlackRefusal("invalid_thread_ts")
    if params.get("channel_id"):
        _share(store, params, shown)
    for each in uploads:
        each.shared = True
    return {"files": shown}


def _arrived(store: Store, wanted: Mapping[str, Any]) -> Upload:
    upload = store.files.get(str(wanted.get("id")))
    if upload is None or upload.content is None or upload.shared:
        raise SlackRefusal("file_not_found")
    return upload


def _share(store: Store, params: Params, shown: list[dict[str, Any]]) -> None:
    channel = writable(store.channel(params["channel_id"]))
    message: Message = {"type": "message", "subtype": "file_share", "user": BOT_USER_ID, "bot_id": BOT_ID}
    message.update(text=str(params.get("initial_comment") or ""), files=shown)
    if params.get("thread_ts"):
        message["thread_ts"] = str(params["thread_ts"])
    store.add(channel.id, message)


def views_open(store: Store, params: Params) -> Body:
    """Open a modal, once for each trigger."""
    trigger, view = need(params, "trigger_id", "view")
    if trigger not in store.triggers:
        raise SlackRefusal("invalid_trigger_id")
    if store.triggers[trigger]:
        raise SlackRefusal("exchanged_trigger_id")
    checked = check_view(view)
    store.triggers[trigger] = True
    opened = {**checked, "id": f"V{len(store.views) + 1:010d}", "team_id": TEAM_ID, "app_id": APP_ID, "bot_id": BOT_ID}
    store.views.append(opened)
    return {"view": opened}


def apps_connections_open(store: Store, params: Params) -> Body:
    """Where to open a Socket Mode connection; the path only, the server adds its origin."""
    return {"url": "/link?ticket=1&app_id=1"}


def unknown_method(store: Store, params: Params) -> Body:
    """What every other name answers."""
    raise SlackRefusal("unknown_method")


METHODS: dict[str, Method] = {
    "apps.connections.open": apps_connections_open,
    "auth.test": auth_test,
    "chat.delete": chat_delete,
    "chat.getPermalink": chat_get_permalink,
    "chat.postEphemeral": chat_post_ephemeral,
    "chat.postMessage": chat_post_message,
    "chat.update": chat_update,
    "conversations.history": conversations_history,
    "conversations.info": conversations_info,
    "conversations.join": conversations_join,
    "conversations.list": conversations_list,
    "conversations.replies": conversations_replies,
    "files.completeUploadExternal": files_complete_upload,
    "files.getUploadURLExternal": files_get_upload_url,
    "reactions.add": reactions_add,
    "views.open": views_open,
}
