"""Turns any JSON into alerts by a table that a user writes: which path holds what. No code, no templates.

    items: data.alerts                        # the list in the body; without it the body is one alert, or a list
    labels: {alertname: monitor.name, service: [monitor.service, "=unknown"]}     # the first that holds something
    labels_from: [tags]                       # all of an object, of ["env:prod", ...] or of "env:prod,team:db"
    annotations: {summary: message}
    status: {path: state, resolved: [up, ok]} # what is in no list fires: when unsure, it pages
    severity: {path: priority, map: {high: critical, low: info}}                  # into the label `severity`
    started_at: since                         # RFC 3339, or a number since 1970 in s, ms, us or ns
    identity: [monitor.id]                    # what is the same when it ends; without it, or one of it: all labels

`=text` is the text itself. `labels.alertname` is the only key that must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from responder.bodies import MAX_LABELS, as_text, moment_or_epoch, raw_of, read_json
from responder.mapping.path import Path, read_path
from responder.model import Alert, BadEntry, Decoded, News, identify

FIRING, RESOLVED, ACKNOWLEDGED, NOTE, IGNORED = "firing", "resolved", "acknowledged", "note", "ignored"
PAIR = 2
LOOSE = "tags"  # the label of words that have no name of their own
Refine = Callable[[dict[str, str]], None]


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a path; write it as text, such as monitor.name or tags[0]")  # noqa: TRY004 - pydantic takes ValueError
    return read_path(value)


def _source(value: object) -> tuple[Path | str, ...]:
    """Read `path`, `=text`, or a list of them; a text here is already without its `=`."""
    if isinstance(value, tuple):
        return value
    found = [each[1:] if isinstance(each, str) and each.startswith("=") else _path(each) for each in _listed(value)]
    if not found:
        raise ValueError("an empty list; name at least one path")
    return tuple(found)


def _words(value: object) -> frozenset[str]:
    return value if isinstance(value, frozenset) else frozenset(_folded(each) for each in _listed(value))


def _folded(value: object) -> str:
    return as_text(value).strip().casefold()


OnePath = Annotated[Path, BeforeValidator(_path)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(lambda value: tuple(map(_path, _listed(value))))]
Source = Annotated[tuple[Path | str, ...], BeforeValidator(_source)]
Sources = Annotated[tuple[Source, ...], BeforeValidator(lambda value: tuple(map(_source, _listed(value))))]
Words = Annotated[frozenset[str], BeforeValidator(_words)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class StatusTable(_Table):
    """Which words at `path` say what, in any case. A word in no list fires.

    `acknowledged` and `note` are told in the alert's thread, `ignored` is kept and nobody hears of it.
    """

    path: Source
    firing: Words = frozenset()
    resolved: Words = frozenset()
    acknowledged: Words = frozenset()
    note: Words = frozenset()
    ignored: Words = frozenset()

    @model_validator(mode="after")
    def _in_one_list(self) -> StatusTable:
        seen: dict[str, str] = {}
        for kind in (FIRING, RESOLVED, ACKNOWLEDGED, NOTE, IGNORED):
            for word in getattr(self, kind):
                if word in seen:
                    raise ValueError(f"{word!r} stands under {seen[word]} and under {kind}")
                seen[word] = kind
        return self

    def kind(self, word: str) -> str:
        """Say what a word means."""
        folded = _folded(word)
        for kind in (RESOLVED, ACKNOWLEDGED, NOTE, IGNORED):
            if folded in getattr(self, kind):
                return kind
        return FIRING


class SeverityTable(_Table):
    """What becomes the label `severity`: what `map` makes of the word at `path`, else `else`, else the word itself."""

    path: Source
    map: Annotated[Mapping[str, str], BeforeValidator(lambda value: _folded_keys(value))] = Field(default_factory=dict)
    otherwise: str = Field(default="", alias="else")


def _folded_keys(value: object) -> object:
    return {_folded(key): as_text(each) for key, each in value.items()} if isinstance(value, Mapping) else value


class Table(_Table):
    """One mapping; the module says what each key is for. `missing`: more words that mean that there is no value."""

    labels: Mapping[str, Source]
    items: OnePath | None = None
    labels_from: Paths = ()
    annotations: Mapping[str, Source] = Field(default_factory=dict)
    annotations_from: Paths = ()
    status: StatusTable | None = None
    severity: SeverityTable | None = None
    started_at: Source | None = None
    ended_at: Source | None = None
    identity: Sources = ()
    url: Source | None = None
    person: Source | None = None
    note: Source | None = None
    missing: Words = frozenset()

    @model_validator(mode="after")
    def _named(self) -> Table:
        if "alertname" not in self.labels:
            raise ValueError("labels.alertname is missing: say which path holds the alert's name")
        return self


@dataclass(slots=True)
class _Element:
    """One element of a body, and what its paths hold."""

    table: Table
    body: object
    at: object
    top: dict[str, list[object]] = field(default_factory=dict)  # what `$` paths hold, found once a body

    def value(self, source: tuple[Path | str, ...] | None) -> object:
        """Give what the first path that holds something holds, or None."""
        for each in source or ():
            if isinstance(each, str):
                return each
            found = [value for value in self.all(each) if not self.absent(value)]
            if found:
                return found[0] if len(found) == 1 else found
        return None

    def text(self, source: tuple[Path | str, ...] | None) -> str:
        """Give it as text; several values, or a list of them, are separated by commas."""
        return _joined(self.value(source))

    def all(self, path: Path) -> list[object]:
        """Give all that is at a path."""
        if not path.from_top:
            return path.find(self.body, self.at)
        if path.text not in self.top:
            self.top[path.text] = path.find(self.body, self.at)
        return self.top[path.text]

    def absent(self, value: object) -> bool:
        """Whether it stands for no value: empty, a word for that, or a template's variable that was not filled in."""
        if value is None or value in ("", [], {}):
            return True
        if not isinstance(value, str):
            return False
        name = value[1:].replace("_", "")
        unfilled = value[0] == "$" and name.isascii() and name.isupper() and name.isalnum()
        return unfilled or _folded(value) in self.table.missing

    def pairs(self, paths: tuple[Path, ...]) -> dict[str, str]:
        """Spread objects and lists of tags into names and texts. Raises: ValueError: too many."""
        found: dict[str, str] = {}
        loose: list[str] = []
        for path in paths:
            for name, value in (pair for each in self.all(path) for pair in _spread(each)):
                if self.absent(value):
                    continue
                if name:
                    found.setdefault(as_text(name), _joined(value))
                else:
                    loose.append(_joined(value))
        if len(found) > MAX_LABELS:
            raise ValueError(f"{len(found)} labels")
        return found | ({LOOSE: ", ".join(loose)} if loose else {})


def _joined(value: object) -> str:
    if isinstance(value, list) and not any(isinstance(each, (dict, list)) for each in value):
        return ", ".join(as_text(each) for each in value)
    return as_text(value)


def _spread(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, str):
        yield from map(_tag, value.split(","))
    elif isinstance(value, list):
        yield from map(_tag, value)


def _tag(each: object) -> tuple[str, object]:
    """Read `env:prod`, `env=prod`, [env, prod], {key or name: env, value: prod}, or a bare word."""
    if isinstance(each, str):
        cut = min((at for at in (each.find(":"), each.find("=")) if at > 0), default=0)
        return (each[:cut].strip(), each[cut + 1 :].strip()) if cut else ("", each.strip())
    if isinstance(each, list) and len(each) == PAIR:
        return as_text(each[0]), each[1]
    if isinstance(each, dict) and "value" in each:
        return as_text(each.get("key", each.get("name"))), each["value"]
    return "", each


class Mapper:
    """Decodes bodies by one table; `refine` may mend the labels of each alert, once its identity is made."""

    def __init__(self, table: Table, source: str, refine: Refine = lambda _: None) -> None:
        """Keep the table and the name that its alerts come from."""
        self._table, self._source, self._refine = table, source, refine

    def decode(self, body: bytes, received_at: datetime) -> Decoded:
        """Turn one body into alerts and news; what cannot be read, or is ignored, is in `bad`. Never raises."""
        try:
            found = read_json(body)
            elements = self._elements(found)
        except (ValueError, RecursionError) as error:
            return Decoded((), (BadEntry(str(error)[:300] or "not JSON", body, 0),))
        alerts, bad, news = list[Alert](), list[BadEntry](), list[News]()
        top: dict[str, list[object]] = {}
        for element in elements:
            try:
                made = self._read(_Element(self._table, found, element, top), received_at)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                made = BadEntry(str(error)[:300], raw_of(element), 1)
            if isinstance(made, Alert):
                alerts.append(made)
            elif isinstance(made, News):
                news.append(made)
            else:
                bad.append(made)
        return Decoded(tuple(alerts), tuple(bad), news=tuple(news))

    def _elements(self, body: object) -> list[object]:
        if self._table.items is None:
            return body if isinstance(body, list) else [body]
        found = self._table.items.find(body, body)
        if not found:
            raise ValueError(f"there is nothing at items: {self._table.items.text}; is it the right mapping?")
        return [each for value in found for each in (value if isinstance(value, list) else [value])]

    def _read(self, at: _Element, received_at: datetime) -> Alert | News | BadEntry:
        table = self._table
        said = at.text(table.status.path) if table.status else ""
        kind = table.status.kind(said) if table.status else FIRING
        if kind == IGNORED:
            return BadEntry(f"{said[:100]} says nothing about whether it fires", raw_of(at.at), 1, quiet=True)
        labels = self._labels(at)
        identity = self._identity(at, labels)
        if kind in (ACKNOWLEDGED, NOTE):
            return News(identity, self._source, kind, at.text(table.person), at.text(table.note))
        self._refine(labels)
        return Alert(
            source=self._source,
            identity=identity,
            labels=labels,
            annotations=at.pairs(table.annotations_from) | _filled(at, table.annotations),
            firing=kind == FIRING,
            received_at=received_at,
            started_at=moment_or_epoch(at.value(table.started_at)),
            ended_at=moment_or_epoch(at.value(table.ended_at)) if kind == RESOLVED else None,
            generator_url=at.text(table.url)[:2000],
        )

    def _labels(self, at: _Element) -> dict[str, str]:
        labels = at.pairs(self._table.labels_from) | _filled(at, self._table.labels)
        if self._table.severity is not None:
            severity = at.text(self._table.severity.path)
            severity = self._table.severity.map.get(_folded(severity)) or self._table.severity.otherwise or severity
            if severity:
                labels["severity"] = severity
        return labels

    def _identity(self, at: _Element, labels: Mapping[str, str]) -> str:
        """Raises: ValueError: it has neither an identity nor a name: the mapping is one of other bodies."""
        parts = [at.text(source) for source in self._table.identity]
        if parts and all(parts):  # a part alone would join strangers
            return identify(self._source, {str(n): part for n, part in enumerate(parts)})
        if not any(parts) and not labels.get("alertname"):
            wanted = [each.text for each in self._table.labels["alertname"] if isinstance(each, Path)]
            raise ValueError(f"there is nothing at labels.alertname: {', '.join(wanted)}; is it the right mapping?")
        return identify(self._source, labels)


def _filled(at: _Element, sources: Mapping[str, tuple[Path | str, ...]]) -> dict[str, str]:
    texts = {name: at.text(source) for name, source in sources.items()}
    return {name: text for name, text in texts.items() if text}


def table(**keys: Any) -> Table:
    """Give a table that our own code writes, as a user would."""
    return Table.model_validate(keys)
