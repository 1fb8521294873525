"""Any system that posts JSON: a mapping in the settings says which path holds what. `generic-NAME` for several.

What a mapping may say is in `responder/mapping/__init__.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from responder.mapping import Mapper, Table
from responder.mapping.door import Mapped, MappedSettings
from responder.ports import Plugin, Receiver, Surroundings


class Settings(MappedSettings):
    """`mapping`: where the alert's parts stand in the body."""

    mapping: Table


@asynccontextmanager
async def open_generic(settings: Settings, around: Surroundings) -> AsyncIterator[Receiver]:
    """Give the receiver; nothing is held open."""
    name = around.name or "generic"
    yield Mapped(settings, name, Mapper(settings.mapping, name))


plugin = Plugin(Settings, receiver=open_generic, many=True)
