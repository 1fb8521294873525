"""Asks a running daemon over HTTP; where there is none, reads its database file without locking it."""

from __future__ import annotations

import asyncio
import sqlite3
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, NoReturn

import aiohttp
import orjson

from responder import config
from responder.errors import ConfigError, PermanentError, StoreError
from responder.metrics import unaccounted
from responder.record import full_json, ledger_json, listed_json
from responder.store.sqlite import alerts, files, reads

TIMEOUT_S = 15.0
PAGE = 1000  # stored alerts asked for at once
UNPROCESSABLE = 422


class Unreachable(PermanentError):
    """No daemon answers."""


class Client:
    """One daemon's API, or its file when it is not running."""

    def __init__(self, parsed: Namespace) -> None:
        """Take `--config`, `--url` and `--token`; what is not given comes from the configuration."""
        self.settings = config.load(parsed.config)
        host = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::", "") else self.settings.host
        host = f"[{host}]" if ":" in host else host
        self.url = (parsed.url or f"http://{host}:{self.settings.port}").rstrip("/")
        tokens = self.settings.api.tokens
        self._token = parsed.token or (tokens[0].token.get_secret_value() if tokens else "")
        self._only_http = bool(parsed.url)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Ask for JSON. Raises: Unreachable, PermanentError: the daemon's own words."""
        return self._call("GET", path, params={key: value for key, value in query.items() if value})

    def post(self, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """Send JSON and give the answer. Raises: Unreachable, PermanentError."""
        return self._call("POST", path, json=body or {}, token=token)

    def reload(self) -> dict[str, Any]:
        """Ask for a reload; gives the answer also when it was refused for what stands in the files (`errors`)."""
        return self._call("POST", "/-/reload", also=UNPROCESSABLE, json={})

    def incidents(self, *, statuses: list[str], severities: list[str], limit: int) -> dict[str, Any]:
        """List incidents from the daemon, or from the file."""
        try:
            query = {"status": ",".join(statuses), "severity": ",".join(severities)}
            return self.get("/api/incidents", limit=str(limit), **query)
        except Unreachable as error:
            wanted = [word for word in statuses if word != "open"]
            if "open" in statuses:
                wanted += ["detecting", "investigating", "mitigating", "monitoring"]
            with self._file(error) as connection:
                found = reads.incidents(connection, None, wanted, severities, limit)
                episodes = reads.some_episodes(connection, [each.id for each in found])
            return {"incidents": [listed_json(each, episodes[each.id]) for each in found], "next": None}

    def newest_alerts(self, limit: int, *, muted: bool) -> list[dict[str, Any]]:
        """Give the newest stored alerts, newest first; `muted`: only those that fire and are muted."""
        try:
            found = self.get("/api/alerts", limit=str(limit), newest="1", **({"muted": "1"} if muted else {}))
        except Unreachable as error:
            with self._file(error) as connection:
                found = {"alerts": orjson.loads(alerts.newest(connection, limit, muted))}
        listed: list[dict[str, Any]] = found["alerts"]
        return listed

    def alert(self, number: int) -> dict[str, Any]:
        """Give one stored alert with its decision. Raises: PermanentError: there is none."""
        try:
            return self.get(f"/api/alerts/{number}")
        except Unreachable as error:
            with self._file(error) as connection:
                found = alerts.one(connection, number)
            if found is None:
                raise PermanentError(f"no alert ALERT-{number}") from error
            read: dict[str, Any] = orjson.loads(found)
            return read

    def alerts(self, since: datetime) -> Iterator[dict[str, Any]]:
        """Give every stored alert whose last news is not older, oldest first, from the daemon or from the file.

        They come page by page: bodies are accepted between two of them, and while the caller works on one.
        """
        after: int | None = 0
        while after is not None:
            found = self._alerts(after, since)
            yield from found["alerts"]
            after = found["next"]

    def _alerts(self, after: int, since: datetime) -> dict[str, Any]:
        try:
            return self.get("/api/alerts", after=str(after), limit=str(PAGE), since=f"{since:%Y-%m-%dT%H:%M:%SZ}")
        except Unreachable as error:  # also when it stops half-way: the file counts as it does
            with self._file(error) as connection:
                listed, following = alerts.page(connection, after, PAGE, since.timestamp())
            return {"alerts": orjson.loads(listed), "next": following}

    def ledger(self) -> dict[str, Any]:
        """Give the ledger from the daemon, or from the file."""
        try:
            return self.get("/api/ledger")
        except Unreachable as error:
            with self._file(error) as connection:
                figures = reads.figures(connection)
            return ledger_json(figures, unaccounted(figures))

    def incident(self, number: int) -> dict[str, Any]:
        """Give one incident whole. Raises: PermanentError: there is none."""
        try:
            return self.get(f"/api/incidents/INC-{number}")
        except Unreachable as error:
            with self._file(error) as connection:
                found = reads.groups(connection, [], [number])
                if not found:
                    raise PermanentError(f"no incident INC-{number}") from error
                return full_json(found[0], reads.record(connection, number))

    @contextmanager
    def _file(self, error: Unreachable) -> Iterator[sqlite3.Connection]:
        """Open the database for reading. Raises: Unreachable: there is none; StoreError: damaged, or another schema."""
        if self._only_http:
            raise error
        path = self.settings.sqlite_path
        if not path.exists():
            raise Unreachable(f"{error}, and there is no database {path}") from error
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as connection:
                connection.execute("SELECT 1 FROM incident LIMIT 1")
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found != files.VERSION:
                    raise StoreError(f"{path}: schema version {found}, not {files.VERSION}; {_remedy(found)}")
                yield connection
        except sqlite3.Error as failure:
            raise StoreError(f"{path}: {failure}") from failure

    def _call(
        self, method: str, path: str, *, token: str | None = None, also: int = 0, **arguments: Any
    ) -> dict[str, Any]:
        """Make one request; `also` is a status that is an answer too."""
        return asyncio.run(self._ask(method, path, token if token is not None else self._token, also, arguments))

    async def _ask(self, method: str, path: str, token: str, also: int, arguments: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as http,
                http.request(method, self.url + path, **arguments) as answer,
            ):
                text = await answer.text()
                if answer.status >= 400 and answer.status != also:  # noqa: PLR2004 - the HTTP border
                    _refused(answer.status, text)
                found: dict[str, Any] = await answer.json(content_type=None)
                return found
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise Unreachable(f"no daemon answers at {self.url}; start one with `responder run`") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise ConfigError(f"{self.url} does not answer as a responder: {error}") from error


def _remedy(version: int) -> str:
    return "`responder run` brings it up to date" if version < files.VERSION else "ask with the newer responder"


def _refused(status: int, text: str) -> NoReturn:
    said = text.strip()
    if said.startswith("{"):
        said = said.removeprefix('{"error":"').removesuffix('"}')
    raise PermanentError(f"the daemon says {status}: {said[:500]}")
