"""Power-cut replay: nothing acknowledged is lost when the power goes.

From a trace of the daemon's system calls the worst disk that the kernel may leave is rebuilt at each acknowledgement,
and everything acknowledged so far must be in it.

Only bytes that an fsync or fdatasync covered survive. `kill -9` cannot show this: it keeps the page cache.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.daemon import Daemon, alert, body, free_port, write_config

ACKNOWLEDGEMENTS = 400
CHECK_EVERY = 10
SENDERS = 4
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,sendto,sendmsg"
_CALL = re.compile(r"^(\d+)\s+(\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$")
_FILE = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})+|[^>]*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = "<unfinished ...>"


def plain(text: str) -> bytes:
    """Read strace's \\x.. form."""
    return bytes(int(pair, 16) for pair in text.split("\\x")[1:])


@dataclass
class Disk:
    """Two views of the database's files: as the page cache has them, and as the disk is sure to have them."""

    prefix: str
    live: dict[str, bytearray] = field(default_factory=dict)
    sure: dict[str, bytes] = field(default_factory=dict)

    def apply(self, call: str, arguments: str) -> None:
        """Apply one system call on a file of the database."""
        if call in ("unlink", "unlinkat"):
            found = _STRING.search(arguments)
            name = plain(found.group(1)).decode() if found else ""
            self.live.pop(name, None)
            self.sure.pop(name, None)
            return
        match = _FILE.match(arguments)
        name = path_of(match.group(2)) if match else ""
        if not name.startswith(self.prefix) or name.endswith(("-shm", ".lock")):
            return
        kept = self.live.setdefault(name, bytearray())
        if call == "pwrite64":
            written = re.match(r'[^,]*, "((?:\\x[0-9a-f]{2})*)", (\d+), (\d+)\s*\)', arguments)
            assert written is not None, arguments[:200]
            data, at = plain(written.group(1)), int(written.group(3))
            kept.extend(b"\0" * max(0, at - len(kept)))
            kept[at : at + len(data)] = data
        elif call == "ftruncate":
            size = int(re.search(r", (\d+)\s*\)", arguments).group(1))  # type: ignore[union-attr]  # strace always prints it
            del kept[size:]
            kept.extend(b"\0" * (size - len(kept)))
        elif call in ("fsync", "fdatasync"):
            self.sure[name] = bytes(kept)

    def survivors(self) -> set[str]:
        """Open what is sure to be on disk and give the instances that its bodies and episodes name."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in self.sure.items():
                (Path(folder) / Path(name).name).write_bytes(data)
            try:
                with closing(sqlite3.connect(Path(folder) / Path(self.prefix).name)) as connection:
                    rows = [row[0] for row in connection.execute("SELECT body FROM inbox")]
            except sqlite3.Error:
                return set()
        return {each.decode() for row in rows for each in re.findall(rb"cut-\d+-\d+", row)}


def path_of(text: str) -> str:
    """Read a file name, escaped or not."""
    return plain(text).decode("utf-8", "replace") if text.startswith("\\x") else text


def calls(log: Path) -> Iterator[tuple[str, str]]:
    """Give (call, arguments) in the order in which they count: a send from its entry on, a sync from its return."""
    waiting: dict[str, tuple[str, str]] = {}
    with log.open(errors="replace") as lines:
        for line in lines:
            begun, resumed = _CALL.match(line), _RESUMED.match(line)
            if begun:
                thread, call, arguments = begun.groups()
                if arguments.rstrip().endswith(_UNFINISHED):
                    waiting[thread] = call, arguments.rstrip().removesuffix(_UNFINISHED)
                    if call not in ("sendto", "sendmsg", "write"):
                        continue
                yield call, arguments
            elif resumed and resumed.group(1) in waiting:
                call, arguments = waiting.pop(resumed.group(1))
                if call not in ("sendto", "sendmsg", "write"):
                    yield call, arguments + resumed.group(3)


async def post(one: Daemon, sender: int, acked: list[str]) -> None:
    """Send bodies whose webhook id and instance name them; the answer's order is read from the trace, not from here."""
    async with aiohttp.ClientSession() as http:
        for n in range(ACKNOWLEDGEMENTS // SENDERS):
            name = f"cut-{sender}-{n}"
            async with http.post(f"{one.url}/webhooks/alertmanager", json=body(alert("Cut", instance=name))) as answer:
                if answer.status == 202:
                    acked.append(name)


async def record(folder: Path) -> tuple[list[str], Path]:
    """Run the daemon under strace, send, and give what was acknowledged and the trace."""
    log = folder / "trace"
    wrap = ("strace", "-f", "-y", "-xx", "-s", "2000000", "-e", "signal=none", "-o", str(log), "-e", f"trace={CALLS}")
    port = free_port()
    one = Daemon(write_config(folder, port=port), port, wrap)
    await one.start()
    acked: list[str] = []
    try:
        await asyncio.gather(*(post(one, sender, acked) for sender in range(SENDERS)))
    finally:
        assert one.process is not None
        children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text("ascii").split()
        for child in children:
            await asyncio.create_subprocess_exec("kill", "-9", child)
        await one.kill(signal.SIGTERM)
    return acked, log


def replay(log: Path, database: Path, bodies: int) -> tuple[int, int, int]:
    """Cut the power at every tenth acknowledgement.

    Returns: acknowledgements seen, cuts tried, most bodies that one cut lost. A 202 is counted, not named: bodies reach
    the disk in the order of their acknowledgement or earlier, so n answers need n bodies.
    """
    disk, answered, cuts, worst = Disk(str(database)), 0, 0, 0
    for call, arguments in calls(log):
        if call in ("sendto", "sendmsg", "write"):
            sent = b"".join(plain(text) for text in _STRING.findall(arguments))
            answers = sent.count(b"HTTP/1.1 202")
            answered += answers
            if answers and answered % CHECK_EVERY == 0:
                cuts += 1
                worst = max(worst, answered - len(disk.survivors()))
            if not answers:
                continue
        else:
            disk.apply(call, arguments)
    assert answered == bodies
    return answered, cuts, max(worst, answered - len(disk.survivors()))


@needs_strace
async def test_a_power_cut_at_any_acknowledgement_loses_none(tmp_path: Path) -> None:
    acked, log = await record(tmp_path)
    assert len(acked) == ACKNOWLEDGEMENTS
    answered, cuts, lost = replay(log, (tmp_path / "responder.db").resolve(), len(acked))
    assert answered == ACKNOWLEDGEMENTS
    assert cuts >= 20
    assert lost == 0, f"{lost} acknowledged bodies were not on disk"
