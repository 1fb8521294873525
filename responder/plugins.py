"""Finds the integrations, one file or folder each under `integrations/`, and opens the parts that the settings name."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from responder import integrations
from responder.config import Settings, read_section
from responder.errors import ConfigError
from responder.ports import Chat, Mirror, Plugin, Receiver, Surroundings, Tool, Truth

WORD = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
ALWAYS = ("responder",)  # receivers that need no line in the settings
DEFAULT_CHAT = "console"


def names() -> list[str]:
    """Name every integration that is there, without opening any."""
    return sorted(module.name for module in pkgutil.iter_modules(integrations.__path__))


def plugin(name: str, section: str) -> Plugin:
    """Give one integration; a receiver may also be named by it and a word: `generic-uptime` is a `generic`.

    Raises: ConfigError: there is none of this name.
    """
    file, _, word = name.partition("-")
    if file not in names() or (word and section != "receivers"):
        raise ConfigError(f"{section}.{name}: no such integration; known: {', '.join(names())}")
    found = importlib.import_module(f"{integrations.__name__}.{file}").plugin
    assert isinstance(found, Plugin)
    if name != file and not (found.many and WORD.fullmatch(word)):
        said = "of small letters, digits and dashes" if found.many else f"and there can be only one {file}"
        raise ConfigError(f"{section}.{name}: a name is that of an integration, or it and a word {said}")
    return found


def recognised(body: Mapping[str, Any]) -> str:
    """Name the integration whose bodies look like this one, the most telling first; "" when none does."""
    known = [(name, keys) for name in names() for keys in plugin(name, "receivers").marks]
    fits = [(len(keys), name) for name, keys in known if all(key in body for key in keys)]
    # Grafana's bodies have all that Alertmanager's have, and more: of equal ones it is the sender that says so itself.
    return max(fits, key=lambda fit: (fit[0], fit[1] == "grafana"), default=(0, ""))[1]


@dataclass(frozen=True, slots=True)
class Chosen:
    """One part that the settings ask for: its plugin and its settings, read but not opened."""

    name: str
    section: str
    plugin: Plugin
    settings: BaseModel


def choose(settings: Settings) -> list[Chosen]:
    """Read every integration's settings. Raises: ConfigError: a name or key that is not known, or a wrong value."""
    sections: dict[str, Mapping[str, Mapping[str, Any]]] = {
        "receivers": {**{name: {} for name in ALWAYS}, **settings.receivers},
        "chat": settings.chat or {DEFAULT_CHAT: {}},
        "tools": settings.tools,
    }
    chosen = []
    for section, parts in sections.items():
        for name, values in parts.items():
            found = plugin(name, section)
            if getattr(found, {"receivers": "receiver"}.get(section, section)) is None:
                raise ConfigError(f"{section}.{name}: {name} cannot be used under {section}")
            chosen.append(Chosen(name, section, found, read_section(found.settings, f"{section}.{name}", values)))
    return chosen


@dataclass(frozen=True, slots=True)
class Parts:
    """The opened integrations, by what they do."""

    receivers: Mapping[str, Receiver]
    chats: Mapping[str, Chat]
    tools: Mapping[str, Tool]
    mirrors: Mapping[str, Mirror] = field(default_factory=dict)
    truths: Mapping[str, Truth] = field(default_factory=dict)


@asynccontextmanager
async def open_parts(chosen: list[Chosen], around: Surroundings) -> AsyncIterator[Parts]:
    """Open all; close them in reverse order."""
    async with AsyncExitStack() as opened:
        receivers: dict[str, Receiver] = {}
        chats: dict[str, Chat] = {}
        tools: dict[str, Tool] = {}
        mirrors: dict[str, Mirror] = {}
        truths: dict[str, Truth] = {}
        for each in chosen:
            if each.section == "receivers" and each.plugin.receiver is not None:
                named = replace(around, name=each.name)
                receivers[each.name] = await opened.enter_async_context(each.plugin.receiver(each.settings, named))
                for opener, found in ((each.plugin.mirror, mirrors), (each.plugin.truth, truths)):
                    part = await opened.enter_async_context(opener(each.settings, named)) if opener else None
                    if part is not None:
                        found[each.name] = part
            elif each.section == "chat" and each.plugin.chat is not None:
                chats[each.name] = await opened.enter_async_context(each.plugin.chat(each.settings, around))
            elif each.plugin.tools is not None:
                for tool in await opened.enter_async_context(each.plugin.tools(each.settings, around)):
                    tools[tool.spec.name] = tool
        yield Parts(receivers, chats, tools, mirrors, truths)
