"""What Slack refuses in a message: the limits of Block Kit and of metadata, and which text of a message is live."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MAX_BLOCKS = 50
MAX_VIEW_BLOCKS = 100
MAX_BLOCK_ID_CHARS = 255
MAX_BLOCKS_TEXT_CHARS = 12_000  # undocumented: https://github.com/slackapi/bolt-js/issues/2509
MAX_METADATA_BYTES = 8 * 1024
MAX_ATTACHMENTS = 100

LIVE = re.compile(r"<[^>]*>")

Check = Callable[[object, str, list[str]], None]


class SlackRefusal(Exception):
    """An `ok: false` answer."""

    def __init__(self, error: str, *messages: str) -> None:
        """Keep the error's name and the sentences for `response_metadata.messages`."""
        super().__init__(error)
        self.error = error
        self.messages = messages

    def body(self) -> dict[str, Any]:
        """The JSON that Slack answers."""
        body: dict[str, Any] = {"ok": False, "error": self.error}
        if self.messages:
            body["response_metadata"] = {"messages": [f"[ERROR] {message}" for message in self.messages]}
            body["errors"] = list(self.messages)
        return body


def live_markup(text: str) -> list[str]:
    """Every `<...>` of an mrkdwn text that is not escaped: mentions, links, dates. Inert text has none."""
    return LIVE.findall(text)


def _note(problems: list[str], message: str, pointer: str) -> None:
    problems.append(f"{message} [json-pointer:{pointer}]")


def anything(value: object, pointer: str, problems: list[str]) -> None:
    """Refuse nothing."""


def flag(value: object, pointer: str, problems: list[str]) -> None:
    """Refuse what is not a boolean."""
    if not isinstance(value, bool):
        _note(problems, "must provide a boolean", pointer)


def string(most: int, least: int = 1) -> Check:
    """A check of a string's length in characters."""

    def check(value: object, pointer: str, problems: list[str]) -> None:
        if not isinstance(value, str):
            _note(problems, "must provide a string", pointer)
        elif len(value) > most:
            _note(problems, f"must be less than {most + 1} characters", pointer)
        elif len(value) < least:
            _note(problems, f"must be more than {least - 1} characters", pointer)

    return check


def one_of(*allowed: str) -> Check:
    """A check that a value is one of a few words."""

    def check(value: object, pointer: str, problems: list[str]) -> None:
        if value not in allowed:
            _note(problems, f"must be one of: {', '.join(allowed)}", pointer)

    return check


def many(each: Check, most: int, least: int = 1) -> Check:
    """A check of a list's length and of each item."""

    def check(value: object, pointer: str, problems: list[str]) -> None:
        if not isinstance(value, list):
            _note(problems, "must provide an array", pointer)
            return
        if len(value) > most:
            _note(problems, f"no more than {most} items allowed", pointer)
        if len(value) < least:
            _note(problems, f"no less than {least} items allowed", pointer)
        for index, item in enumerate(value):
            each(item, f"{pointer}/{index}", problems)

    return check


def shape(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A check of an object's keys; `type` is allowed everywhere, other unknown keys nowhere."""
    known = {"type": anything, **required, **(optional or {})}

    def check(value: object, pointer: str, problems: list[str]) -> None:
        if not isinstance(value, dict):
            _note(problems, "must provide an object", pointer)
            return
        for key in required:
            if key not in value:
                _note(problems, f"missing required field: {key}", pointer)
        for key, part in value.items():
            if key in known:
                known[key](part, f"{pointer}/{key}", problems)
            else:
                _note(problems, f"invalid additional property: {key}", pointer)

    return check


def by_type(kinds: Mapping[str, Check]) -> Check:
    """A check that depends on the object's `type`."""

    def check(value: object, pointer: str, problems: list[str]) -> None:
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str):
            _note(problems, "missing required field: type", pointer)
        elif kind not in kinds:
            _note(problems, f"unsupported type: {kind}", f"{pointer}/type")
        else:
            kinds[kind](value, pointer, problems)

    return check


def plain(most: int) -> Check:
    """A check of a `plain_text` object."""
    return by_type({"plain_text": shape({"text": string(most)}, {"emoji": flag})})


def rich(most: int) -> Check:
    """A check of a text object, `plain_text` or `mrkdwn`."""
    return by_type(
        {
            "plain_text": shape({"text": string(most)}, {"emoji": flag}),
            "mrkdwn": shape({"text": string(most)}, {"verbatim": flag}),
        }
    )


def option(text: Check) -> Check:
    """A check of one option of a menu."""
    return shape({"text": text, "value": string(150)}, {"description": plain(75), "url": string(3000)})


def block(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A check of a layout block."""
    return shape(required, {"block_id": string(MAX_BLOCK_ID_CHARS), **(optional or {})})


def element(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A check of an interactive element."""
    return shape(required, {"action_id": string(255), "confirm": CONFIRM, **(optional or {})})


CONFIRM = shape(
    {"title": plain(100), "text": rich(300), "confirm": plain(30), "deny": plain(30)},
    {"style": one_of("primary", "danger")},
)
IMAGE = {"image_url": string(3000), "slack_file": anything}
BUTTON = element(
    {"text": plain(75)},
    {
        "url": string(3000),
        "value": string(2000),
        "style": one_of("primary", "danger"),
        "accessibility_label": string(75),
    },
)
SELECT = element(
    {},
    {
        "placeholder": plain(150),
        "options": many(option(plain(75)), 100),
        "option_groups": many(shape({"label": plain(75), "options": many(option(plain(75)), 100)}), 100),
        "initial_option": option(plain(75)),
        "focus_on_load": flag,
    },
)
CHOICES = element(
    {"options": many(option(rich(75)), 10)},
    {"initial_options": anything, "initial_option": anything, "focus_on_load": flag},
)
UNCHECKED_ELEMENTS = (
    *("datepicker", "timepicker", "datetimepicker", "workflow_button", "rich_text_input", "external_select"),
    *("users_select", "conversations_select", "channels_select", "multi_static_select", "multi_external_select"),
    *("multi_users_select", "multi_conversations_select", "multi_channels_select"),
)
ELEMENTS: dict[str, Check] = {
    "button": BUTTON,
    "static_select": SELECT,
    "overflow": element({"options": many(option(plain(75)), 5)}),
    "checkboxes": CHOICES,
    "radio_buttons": CHOICES,
    **dict.fromkeys(UNCHECKED_ELEMENTS, anything),
}
IMAGE_ELEMENT = shape({"alt_text": string(2000)}, IMAGE)


def context_element(value: object, pointer: str, problems: list[str]) -> None:
    """Refuse what is neither a text object nor an image."""
    kind = value.get("type") if isinstance(value, dict) else None
    (IMAGE_ELEMENT if kind == "image" else rich(3000))(value, pointer, problems)


_SECTION = block(
    {},
    {
        "text": rich(3000),
        "fields": many(rich(2000), 10),
        "accessory": by_type({**ELEMENTS, "image": IMAGE_ELEMENT}),
        "expand": flag,
    },
)


def section(value: object, pointer: str, problems: list[str]) -> None:
    """Refuse a section with neither text nor fields, or with a bad one."""
    if isinstance(value, dict) and not {"text", "fields"} & value.keys():
        _note(problems, "missing required field: text", pointer)
    _SECTION(value, pointer, problems)


# Blocks that Slack knows and whose inside this double does not look into.
UNCHECKED_BLOCKS = (
    *("alert", "call", "card", "carousel", "container", "context_actions", "file", "input", "plan", "rich_text"),
    *("table", "task_card", "video"),
)
BLOCK = by_type(
    {
        "actions": block({"elements": many(by_type(ELEMENTS), 25)}),
        "context": block({"elements": many(context_element, 10)}),
        "divider": block({}),
        "header": block({"text": plain(150)}, {"level": anything}),
        "image": block({"alt_text": string(2000)}, {**IMAGE, "title": plain(2000)}),
        "markdown": block({"text": string(12_000)}),
        "section": section,
        **dict.fromkeys(UNCHECKED_BLOCKS, anything),
    }
)


def check_blocks(blocks: object, *, root: str = "/blocks", most: int = MAX_BLOCKS) -> list[dict[str, Any]]:
    """The blocks, as given.

    Raises: SlackRefusal: `invalid_blocks` with one sentence per fault, or `msg_blocks_too_long`.
    """
    problems: list[str] = []
    many(BLOCK, most, least=0)(blocks, root, problems)
    if isinstance(blocks, list):
        problems += _repeated_ids(blocks, root)
    if problems or not isinstance(blocks, list):
        raise SlackRefusal("invalid_blocks", *problems)
    if sum(len(text) for text in texts(blocks)) > MAX_BLOCKS_TEXT_CHARS:
        raise SlackRefusal("msg_blocks_too_long")
    return blocks


def texts(part: object) -> Iterator[str]:
    """Every text that the blocks show, at any depth."""
    if isinstance(part, list):
        for item in part:
            yield from texts(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "text" and isinstance(value, str):
                yield value
            else:
                yield from texts(value)


def _repeated_ids(blocks: Sequence[object], root: str) -> Iterator[str]:
    seen: set[object] = set()
    for index, each in enumerate(blocks):
        if not isinstance(each, dict):
            continue
        yield from _repeated_action_ids(each, f"{root}/{index}")
        name = each.get("block_id")
        if isinstance(name, str) and name in seen:
            yield f'`block_id` "{name}" already exists for another block [json-pointer:{root}/{index}/block_id]'
        seen.add(name if isinstance(name, str) else None)


def _repeated_action_ids(each: Mapping[str, object], pointer: str) -> Iterator[str]:
    elements = each.get("elements")
    seen: set[str] = set()
    for index, part in enumerate(elements if isinstance(elements, list) else []):
        name = part.get("action_id") if isinstance(part, dict) else None
        if isinstance(name, str) and name in seen:
            path = f"{pointer}/elements/{index}/action_id"
            yield f'`action_id` "{name}" already exists for another element [json-pointer:{path}]'
        if isinstance(name, str):
            seen.add(name)


def check_metadata(metadata: object) -> dict[str, Any]:
    """The metadata, as given; `{}` stands for none.

    Raises: SlackRefusal: `invalid_metadata_format` or `metadata_too_large`.
    """
    if metadata == {}:
        return {}
    if not isinstance(metadata, dict) or set(metadata) - {"event_type", "event_payload", "entities"}:
        raise SlackRefusal("invalid_metadata_format")
    event_type, payload = metadata.get("event_type"), metadata.get("event_payload")
    if not isinstance(event_type, str) or not event_type or not isinstance(payload, dict):
        raise SlackRefusal("invalid_metadata_format")
    if len(json.dumps(metadata, separators=(",", ":"), ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise SlackRefusal("metadata_too_large")
    return metadata


def check_view(view: object) -> dict[str, Any]:
    """The view, as given.

    Raises: SlackRefusal: `invalid_arguments` or `invalid_blocks`.
    """
    problems: list[str] = []
    label = plain(24)
    optional = dict.fromkeys(("callback_id", "external_id"), string(255))
    flags = dict.fromkeys(("clear_on_close", "notify_on_close", "submit_disabled"), flag)
    modal = shape(
        {"title": label, "blocks": anything},
        {"close": label, "submit": label, "private_metadata": string(3000, least=0), **optional, **flags},
    )
    by_type({"modal": modal})(view, "/view", problems)
    if problems or not isinstance(view, dict):
        raise SlackRefusal("invalid_arguments", *problems)
    check_blocks(view["blocks"], root="/view/blocks", most=MAX_VIEW_BLOCKS)
    return view
