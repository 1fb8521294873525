"""Rule files as an attacker, a careless editor or an accident leaves them, and what must come of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX = 1 << 20
GOOD = b"rules:\n  - {name: r, match: 'a=b', severity: P2}\n"


def one(key: str = "match", value: str = "a=b") -> bytes:
    """Give a file of one rule in which one key, on line 4, has this value."""
    keys = {"match": "a=b", "severity": "P2", "runbook": "disk-full", key: value}
    keys.pop(key)
    lines = ["rules:", "  - name: r", "    systems: [a]", f"    {key}: {value}"]
    return "\n".join([*lines, *(f"    {name}: {each}" for name, each in keys.items())]).encode() + b"\n"


def many(count: int, match: str, more: str = "") -> bytes:
    """Give a file of so many rules; `{n}` in the match is the rule's number."""
    rules = (f"  - {{name: r{n}, match: '{match.replace('{n}', str(n))}', severity: P2{more}}}" for n in range(count))
    return "\n".join(["rules:", *rules]).encode() + b"\n"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def own_memory(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


def locked_file(path: Path) -> None:
    path.write_bytes(GOOD)
    path.chmod(0)


def locked_folder(path: Path) -> None:
    path.write_bytes(GOOD)
    path.parent.chmod(0)


def vanished(path: Path) -> None:
    path.parent.rmdir()


Make = bytes | Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What stands in `rules/a.yaml`, and what must be said of it: a line and words, or nothing for these rules."""

    name: str
    made: Make
    line: int = 0
    says: str = ""
    rules: tuple[str, ...] = ()
    path: str = "rules/a.yaml"

    def write(self, folder: Path) -> None:
        """Make `rules/a.yaml` in a folder."""
        path = folder / "rules" / "a.yaml"
        path.parent.mkdir(parents=True)
        folder.chmod(0o755)
        path.parent.chmod(0o755)
        if isinstance(self.made, bytes):
            path.write_bytes(self.made)
            path.chmod(0o644)
        else:
            self.made(path)


def alias_bomb() -> bytes:
    levels = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    return "\n".join(["a0: &a0 [x,x,x]", *levels, "rules: *a29", ""]).encode()


def merge_bomb() -> bytes:
    levels = [f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    return "\n".join(["rules: []", "m0: &m0 {x: y}", *levels, ""]).encode()


CASES = (
    # what YAML can do beyond plain values
    Case("alias bomb", alias_bomb(), 1, "anchors and aliases"),
    Case("merge-key bomb", merge_bomb(), 2, "anchors and aliases"),
    Case("merge key without an alias", one("<<", "{severity: P0}"), 4, "unknown key '<<'"),
    Case("cyclic anchor", b"rules: &a\n  - *a\n", 1, "anchors and aliases"),
    Case("alias of nothing", b"rules:\n  - *a\n", 2, "anchors and aliases"),
    Case("python object", one("name2", "!!python/object/apply:os.system ['true']"), 4, "tag tag:yaml.org"),
    Case("include tag", b"rules: !include other.yaml\n", 1, "tag !include is not allowed"),
    Case("tag on a rule", b"rules:\n  - !!map {name: r, severity: P1}\n", 2, "tag"),
    Case("tag of a megabyte", b"rules: !" + b"x" * 900_000 + b" a\n", 1, ""),
    Case("several documents", GOOD + b"---\n" + GOOD, 3, "a second document begins"),
    Case("yaml directive", b"%YAML 1.1\n---\n" + GOOD, rules=("r",)),
    Case("deep flow", b"rules: " + b"[" * 3000 + b"]" * 3000, 1, "nested deeper than 20"),
    Case("deep flow mappings", b"rules: " + b"{a: " * 3000 + b"}" * 3000, 1, "nested deeper than 20"),
    Case("deep blocks", b"".join(b" " * n + b"a:\n" for n in range(1400)), 21, "nested deeper than 20"),
    Case("deep sequences in one line", b"rules:\n" + b"- " * 300_000, 2, "nested deeper than 20"),
    Case("a megabyte of open brackets", b"[" * MAX, 1, "nested deeper than 20"),
    Case("a megabyte of question marks", b"? " * (MAX // 2), 1, "a key must be plain text"),
    Case("key twice", one("name", "s"), 4, "key 'name' stands twice; the first is on line 2"),
    Case("list as a key", b"rules: []\n? [a]\n: b\n", 2, "a key must be plain text"),
    # bytes
    Case("byte order mark", b"\xef\xbb\xbf" + GOOD, rules=("r",)),
    Case("windows line ends", GOOD.replace(b"\n", b"\r\n"), rules=("r",)),
    Case("windows line ends count", one("severty", "P1").replace(b"\n", b"\r\n"), 4, "unknown key 'severty'"),
    Case("nul", GOOD + b"# \0\n", 3, "control character 0x00"),
    Case("escape sequence", GOOD + b"# \x1b[31m\n", 3, "control character 0x1b"),
    Case("lone surrogate", b'rules: [{name: "\\ud800", severity: P1}]\n', 1, "not YAML"),
    Case("surrogate bytes", GOOD + b"# \xed\xa0\x80\n", 3, "not UTF-8"),
    Case("latin-1", GOOD + b"# caf\xe9\n", 3, "not UTF-8: byte 54 is 0xe9"),
    Case("utf-16", GOOD.decode().encode("utf-16"), 1, "looks like UTF-16"),
    Case("binary garbage", bytes(range(256)) * 2000, 2, "not UTF-8"),
    Case("zeros", bytes(500_000), 1, "control character 0x00"),
    Case("gzip", b"\x1f\x8b\x08\x00" + os.urandom(2000), 1, "not UTF-8"),
    Case("five megabytes", GOOD + b"# " + b"x" * (5 * MAX), 0, "larger than 1 MiB"),
    Case("a byte too large", b"#" * (MAX + 1), 0, "larger than 1 MiB"),
    Case("empty", b""),
    Case("only a comment", b"# nothing\n"),
    Case("only null", b"~\n"),
    Case("a very long comment", GOOD + b"# " + b"x" * 1_000_000 + b"\n", rules=("r",)),
    Case("a very long name", one("description", "x" * 1_000_000), 4, "unknown key 'description'"),
    Case("a very long key", one("x" * 1_000_000, "P1"), 4, "not YAML"),
    Case("a very long key in quotes", b'rules: []\n? "' + b"x" * 1_000_000 + b'"\n: a\n', 2, "unknown key 'xxx"),
    Case("a very long word to match", one("match", "'a=" + "x" * 1_000_000 + "'"), rules=("r",)),
    Case("a quote that never ends", b'rules: "' + b"x" * 1_000_000, 1, "not YAML"),
    Case("tabs", b"rules:\n\t- name: r\n", 2, "not YAML"),
    Case("a million commas", b"rules: [" + b"a," * 500_000 + b"]", 1, "a rule must be a mapping"),
    Case("a million mistakes", b"rules:\n" + b"- x\n" * 250_000, 1, "a rule must be a mapping"),
    Case("a million keys", b"rules: []\n" + b"".join(b"k%d: 1\n" % n for n in range(80_000)), 2, "unknown key 'k0'"),
    Case("a million matchers", one("match", "[" + "a=b," * 200_000 + "]"), 4, "at most 1000"),
    Case("a million matchers in one text", one("match", "'" + "a=b," * 200_000 + "'"), 4, "at most 1000"),
    Case("a million matchers of the other grammar", one("match", "'" + '"ü"=b,' * 120_000 + "'"), 4, "at most 1000"),
    Case("a million labels", one("group_by", "[" + "a," * 250_000 + "]"), rules=("r",)),
    # what a rule says
    Case("unknown key", one("severty", "P1"), 4, "unknown key 'severty'"),
    Case("unknown key of the file", b"include: /etc/passwd\n" + GOOD, 1, "unknown key 'include'"),
    Case("include in a rule", one("include", "../../etc/passwd"), 4, "unknown key 'include'"),
    Case("runbook beyond its folder", one("runbook", "../../etc/passwd"), 4, "there is no runbook '../../etc/passwd'"),
    Case("file as a severity", one("severity", "file:/etc/passwd"), 4, "is not one of P0"),
    Case("environment in a channel", one("channel", '"${HOME}"'), 4, "nothing is filled in from alerts"),
    Case("go template", one("channel", '"#inc-{{ .Labels.team }}"'), 4, "nothing is filled in from alerts"),
    Case("jinja without quotes", one("channel", "{{ labels.team }}"), 4, "a key must be plain text"),
    Case("jinja in a name is only text", b"rules:\n  - {name: '{{ 7*7 }}', severity: P2}\n", rules=("{{ 7*7 }}",)),
    Case("secret in a rule", one("token", "xoxb-1-2"), 4, "unknown key 'token'"),
    Case("severity no", one("severity", "no"), 4, "severity 'no' is not one of P0"),
    Case("severity as a number", one("severity", "1"), 4, "is not one of P0"),
    Case("norway stays text", b"rules:\n  - {name: no, match: [c=no], severity: P2, systems: [on]}\n", rules=("no",)),
    Case("match on", one("match", "[on]"), 4, "column 3"),
    Case("match true", one("match", "[true]"), 4, "must be a list of texts"),
    Case("unquoted version", one("group_by", "[1.10]"), 4, "must be a list of texts"),
    Case("octal", one("raise", "[{to: P1, when: {count: true, at_least: 010}}]"), 4, "must be a whole number"),
    Case("a number of 5,000 digits", one("raise", f"[{{to: P1, when: {{count: true, at_least: {'9' * 5000}}}}}]"), 4,
         "must be a whole number"),
    Case("a look-ahead", one("match", "'a=~\"(?!x)y\"'"), 4, "no look-around"),
    Case("a back-reference", one("match", "'a=~\"(x)\\\\1\"'"), 4, "no back-references"),
    Case("a catastrophic pattern", one("match", "'a=~\"(a+)+$\"'"), rules=("r",)),
    Case("a huge repetition", one("match", "'a=~\"a{1000}{1000}\"'"), 4, "bad repetition"),
    Case("a large repetition", one("match", "'a=~\"(\\\\pL{100}){100}\"'"), 4, "is not a regex"),
    Case("many large regexes", many(9_000, 'a=~"{n}\\\\pL{50}"'), 19, "too large together"),
    Case("many large regexes in one rule",
         one("match", "[" + "".join(f"'a=~\"{n}\\\\pL{{50}}\"'," for n in range(900)) + "]"), 4,
         "too large together"),
    Case("a regex of a megabyte", one("match", "'a=~\"" + "(x|y)" * 200_000 + "\"'"), 4, "is not a regex"),
    Case("ten thousand rules", many(10_000, 'alertname="Name{n}"'), rules=tuple(f"r{n}" for n in range(10_000))),
    Case("ten thousand regexes", many(10_000, 'alertname=~"Name{n}.*"'), rules=tuple(f"r{n}" for n in range(10_000))),
    Case("ten thousand rules of one name", many(10_000, "a=b").replace(b"name: r", b"name: x, channel: c"), 3,
         "stands twice"),
    # files that are none
    Case("a pipe", fifo, 0, "it is no regular file"),
    Case("a device", endless, 0, "it is no regular file"),
    Case("a folder", Path.mkdir, 0, "it is a folder"),
    Case("a link to itself", loop, 0, "Too many levels of symbolic links"),
    Case("a disk that does not answer", own_memory, 0, "cannot be read: Input/output error"),
    Case("no folder", vanished, 0, "No such file", path="rules"),
    Case("locked file, nobody", locked_file, 0, "cannot be read: Permission denied"),
    Case("locked folder, nobody", locked_folder, 0, "cannot be read: Permission denied", path="rules"),
)  # fmt: skip
