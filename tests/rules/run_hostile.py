"""Loads rule folders, each in a process of its own that has little memory and little time, and prints what came of it.

Standard input: a JSON list of folders; each holds `rules`. With `nobody` in its name it is read without root's powers.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from responder.rules import RulesError, load

MEMORY_BYTES = 64 << 20
HANGS_S = 20
NOBODY = 65534
RUNBOOKS = ("default", "disk-full")


def size_bytes() -> int:
    """Give how much address space we have."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


def loaded() -> dict[str, Any]:
    """Load `rules` under the limit, and say what came of it."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes() + MEMORY_BYTES, hard))
    began = time.process_time()
    try:
        rules = load([Path("rules")], runbooks=RUNBOOKS)
        found: dict[str, Any] = {"rules": [rule.name for rule in rules.rules], "errors": []}
    except RulesError as error:
        found = {"rules": [], "errors": [[each.path, each.line, each.message[:300]] for each in error.errors[:20]]}
    took_s = time.process_time() - began
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return found | {"cpu_s": took_s}


def child(folder: str, pipe: int) -> None:
    """Be the process of one folder."""
    signal.alarm(HANGS_S)
    os.chdir(folder)
    if "nobody" in folder and os.getuid() == 0:
        os.setgroups([])
        os.setuid(NOBODY)
    try:
        said = json.dumps(loaded())
    except BaseException as error:  # noqa: BLE001 - also what no loader may raise is an outcome here
        said = json.dumps({"failed": f"{type(error).__name__}: {error}"})
    with os.fdopen(pipe, "wb") as opened:
        opened.write(said.encode())


def outcome(folder: str) -> dict[str, Any]:
    """Fork, and give what the child says."""
    size_bytes()  # now, while we may still read what Python needs for it
    ours, theirs = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(ours)
        child(folder, theirs)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        raw = said.read()
    _, status = os.waitpid(number, 0)
    found: dict[str, Any] = json.loads(raw) if raw else {"failed": f"ended by signal {os.WTERMSIG(status)}"}
    return found


if __name__ == "__main__":
    json.dump({folder: outcome(folder) for folder in json.load(sys.stdin)}, sys.stdout)
