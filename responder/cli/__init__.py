"""The command line. Exit codes: 0 good or warnings only, 1 found something, 2 misuse."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import responder
from responder import config
from responder.cli import daemon, files, incidents, rules, senders
from responder.errors import ConfigError, Misuse, ResponderError
from responder.model import Severity, Status

Command = Callable[[argparse.Namespace], int]


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code."""
    parsed = parser().parse_args(arguments)
    command: Command = parsed.command
    try:
        return command(parsed)
    except ConfigError as error:
        sys.stderr.write(f"responder: {config.placed(getattr(parsed, 'config', None), error)}\n")
        return 1
    except ResponderError as error:
        sys.stderr.write(f"responder: {error}\n")
        return 2 if isinstance(error, Misuse) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def parser() -> argparse.ArgumentParser:
    """Describe every command."""
    top = argparse.ArgumentParser(prog="responder", description=responder.__doc__)
    top.add_argument("--version", action="version", version=f"responder {responder.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _daemon_commands(commands)
    _file_commands(commands)
    _rule_commands(commands)
    _incident_commands(commands)
    return top


_Commands = argparse._SubParsersAction


def _daemon_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    one = _add(
        commands, "run", daemon.run, "the daemon; without configuration: SQLite, shipped rules, console, 127.0.0.1:8080"
    )
    _config(one)
    one = _add(
        commands, "demo", daemon.demo, "one recorded outage through the real door: no key, no cluster, under a minute"
    )
    one.add_argument(
        "--speed", type=_speed, default=1.0, metavar="X", help="times faster than the recording (default 1)"
    )
    one.add_argument("--json", action="store_true", help="one JSON object a line instead of the thread")
    one.add_argument("--keep", type=Path, metavar="DIR", help="where the post-mortem and the database are left")
    one = _add(commands, "fire", daemon.fire, "a marked test alert through the real door; says what became of it")
    one.add_argument("--severity", choices=[*map(str, Severity)], default="P3")
    one.add_argument("--resolve", action="store_true", help="end the test alert again")
    _client(one)
    one = _add(commands, "reload", daemon.reload, "rules and runbooks anew, in the running daemon; says what is wrong")
    _client(one)


def _file_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    one = _add(
        commands, "init", files.init, "writes responder.yaml and the blocks for Alertmanager, Prometheus and Slack"
    )
    one.add_argument("--dir", type=Path, default=Path(), help="where to write (default: here)")
    one.add_argument("--force", action="store_true", help="write over files that are there")
    one = _add(commands, "check", files.check, "configuration, rules, runbooks, agents: file, line, reason")
    _config(one)
    one.add_argument("--json", action="store_true")
    one = _add(commands, "explain", files.explain, "severity, rule, the decision tree and the nearest miss")
    one.add_argument(
        "what",
        metavar="FILE|ALERT|INC-n|ALERT-n",
        help="a body or alerts as JSON, - for standard input, 'Name{env=\"prod\"}', an incident, or a stored alert",
    )
    one.add_argument("--receiver", metavar="NAME", help="read FILE as this receiver does (default: as Alertmanager's)")
    _client(one)
    agents = _add(commands, "agents", None, "the agents that chains use").add_subparsers(metavar="WHAT", required=True)
    one = _add(agents, "list", files.agents_list, "name, model, what for")
    _config(one)
    one.add_argument("--json", action="store_true")
    one = _add(agents, "show", files.agents_show, "one agent's text")
    _config(one)
    one.add_argument("name")
    one = _add(agents, "check", files.agents_check, "reads agent files and says what is wrong")
    _config(one)
    one.add_argument("path", type=Path, nargs="?", help="a folder of agents (default: the configured runbooks)")


def _rule_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    group = _add(commands, "rules", None, "test, lint, coverage, diff: what rules do before they do it to anybody")
    kinds = group.add_subparsers(metavar="WHAT", required=True)
    one = _add(kinds, "test", rules.test, "runs expectation files against the rules")
    one.add_argument(
        "path", type=Path, nargs="?", help="a rules folder, or expectation files (default: the configured)"
    )
    _config(one)
    one.add_argument("--json", action="store_true")
    one = _add(kinds, "lint", rules.lint, "what looks wrong in rule files: file, line, reason, fix")
    one.add_argument("path", type=Path, nargs="?", help="a rules folder or file (default: the configured)")
    _config(one)
    one.add_argument("--json", action="store_true")
    one = _add(kinds, "coverage", rules.coverage, "what the rules make of alerting rules: files, or a live Prometheus")
    one.add_argument(
        "files", nargs="+", metavar="FILES|URL", help="rule files, folders of them, http://prometheus:9090"
    )
    one.add_argument(
        "--token", default="", help="a bearer token for the URL (default: the headers under tools.prometheus)"
    )
    one.add_argument("--rules", type=Path, metavar="PATH", help="other rules than the configured ones")
    _config(one)
    one.add_argument("--json", action="store_true")
    one = _add(kinds, "diff", rules.diff, "what other rules would make of the same alerts: stored ones, or files")
    one.add_argument("old", type=Path, metavar="OLD", help="a rules folder or file")
    one.add_argument("new", type=Path, metavar="NEW", help="another")
    one.add_argument("files", type=Path, nargs="*", metavar="FILES", help="webhook bodies, alerts as JSON, rule files")
    one.add_argument("--since", metavar="30d", help="stored alerts with news in this time (default without FILES: 30d)")
    _config(one)
    one.add_argument("--url", help="the daemon that holds the alerts (default: `listen` of the configuration)")
    one.add_argument("--token", help="a person's token (default: the first of api.tokens)")
    form = one.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true", help="a table for a pull request")


def _incident_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    group = _add(commands, "incidents", None, "list, show, export, acknowledge, resolve")
    kinds = group.add_subparsers(metavar="WHAT", required=True)
    one = _add(kinds, "list", incidents.listing, "newest first, open and ended alike")
    one.add_argument("--status", action="append", choices=[*map(str, Status), "open"])
    one.add_argument("--severity", action="append", choices=[*map(str, Severity)])
    one.add_argument("--limit", type=_count, default=50, metavar="N", help="how many, 1 to 200 (default 50)")
    _client(one)
    for name, command, text in (
        ("show", incidents.show, "one incident for reading"),
        ("export", incidents.export, "one incident as JSON"),
        ("ack", incidents.acknowledge, "take it: the acknowledge clock stops"),
        ("resolve", incidents.resolve, "end it by your word"),
    ):
        one = _add(kinds, name, command, text)
        one.add_argument("incident", metavar="INC-n")
        _client(one)
        if name == "resolve":
            one.add_argument("--why", default="", help="a line for the thread")
    one = _add(commands, "alerts", incidents.alerts, "what came in, newest first, and where it is")
    one.add_argument("--muted", action="store_true", help="only what fires now and is muted, and by what")
    one.add_argument("--limit", type=_count, default=50, metavar="N", help="how many, 1 to 200 (default 50)")
    _client(one)
    one = _add(commands, "postmortem", incidents.postmortem, "the Markdown draft")
    one.add_argument("incident", metavar="INC-n")
    _client(one)
    one = _add(commands, "doctor", senders.doctor, "what is wrong at the senders of alerts, and the lines that mend it")
    _client(one)
    one = _add(commands, "ledger", incidents.ledger, "what came in, and where it is")
    _client(one)


def _add(
    commands: _Commands[argparse.ArgumentParser], name: str, command: Command | None, text: str
) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    if command is not None:
        one.set_defaults(command=command)
    return one


def _config(one: argparse.ArgumentParser) -> None:
    one.add_argument("--config", type=Path, metavar="FILE", help="default: ./responder.yaml where there is one")


def _client(one: argparse.ArgumentParser) -> None:
    _config(one)
    one.add_argument("--url", help="the daemon (default: `listen` of the configuration)")
    one.add_argument("--token", help="a person's token (default: the first of api.tokens)")
    one.add_argument("--json", action="store_true")


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 200:  # noqa: PLR2004 - a page of the API
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 200")
    return value


def _speed(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 1000:  # noqa: PLR2004 - slower than a tenth is no demo, faster than a thousand no thread
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 1000")
    return value
