"""From `days`, `from`, `to`, `timezone` and their kin to a Calendar.

The words are those of Alertmanager's time intervals; ranges of numbers and dates are written with two dots.
Source: https://prometheus.io/docs/alerting/latest/configuration/#time_interval
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from responder.rules.calendar import ALL_DAYS, MINUTES_A_DAY, Calendar, Dates, zone_of
from responder.rules.fields import Fields

KEYS = ("days", "from", "to", "timezone", "dates", "months", "days_of_month", "except")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
MIN_LETTERS = 3  # of a day's or month's name
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


def read_calendar(fields: Fields) -> Calendar | None:
    """Read it from the mapping in which its keys stand; None when something is wrong, which `fields` then says."""
    before = len(fields.errors)
    zone = fields.text("timezone")
    if not zone and len(fields.errors) == before:
        fields.wrong(None, f"{fields.what} has no timezone; write UTC or a name such as Europe/Berlin")
    first, last = _clock(fields)
    found = Calendar(
        zone_of("UTC") if not zone else _zone(fields, zone),
        days=_names(fields, "days", DAYS) or ALL_DAYS,
        from_minute=first,
        to_minute=last,
        dates=_dates(fields, "dates"),
        months=tuple(number + 1 for number in _names(fields, "months", MONTHS)),
        days_of_month=_days_of_month(fields),
        excepted=_dates(fields, "except"),
    )
    if len(fields.errors) == before and found.always:
        fields.wrong(None, f"{fields.what} never ends: it is every hour of every day; name days, or from and to")
    return found if len(fields.errors) == before else None


def _zone(fields: Fields, name: str) -> Any:
    try:
        return zone_of(name)
    except ValueError as error:
        fields.wrong("timezone", f"timezone {error}")
        return zone_of("UTC")


def _clock(fields: Fields) -> tuple[int, int]:
    """Read `from` and `to` as minutes of the day; the whole day when neither is there."""
    given = [key for key in ("from", "to") if fields.found.get(key) is not None]
    if not given:
        return 0, MINUTES_A_DAY
    if len(given) == 1:
        lacks = "to" if given == ["from"] else "from"
        fields.wrong(given[0], f"{given[0]} stands without {lacks}; write both, or neither for whole days")
        return 0, MINUTES_A_DAY
    first, last = _minutes(fields, "from", MINUTES_A_DAY - 1), _minutes(fields, "to", MINUTES_A_DAY)
    if first is None or last is None:
        return 0, MINUTES_A_DAY
    if first == last:
        fields.wrong("to", 'from and to are the same time; leave both out for whole days, or write "00:00" and "24:00"')
    return first, last or MINUTES_A_DAY  # to 00:00 is the end of the day


def _minutes(fields: Fields, key: str, most: int) -> int | None:
    value = fields.found[key]
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else MINUTES_A_DAY + 1  # noqa: PLR2004
    if minutes <= most:
        return minutes
    limit = "23:59" if most < MINUTES_A_DAY else "24:00"
    fields.wrong(key, f'{key} must be a time from "00:00" to "{limit}", not {value!r:.60}')
    return None


def _names(fields: Fields, key: str, names: Sequence[str]) -> tuple[int, ...]:
    """Read names, numbers and ranges of days or months as positions in `names`; a range may go over the end."""
    found: set[int] = set()
    for text in _items(fields, key):
        ends = [_position(part.strip(), names) for part in re.split(r"\.\.|[-:]", text)]
        if len(ends) > 2 or None in ends:  # noqa: PLR2004
            example = f"{names[0][:3]}-{names[4][:3]}"
            fields.wrong(key, f"{key} {text!r:.60} is not known; write {names[0][:3]}, {names[0]} or {example}")
            continue
        first, last = ends[0] or 0, ends[-1] or 0
        found.update((first + step) % len(names) for step in range((last - first) % len(names) + 1))
    return tuple(sorted(found))


def _position(text: str, names: Sequence[str]) -> int | None:
    word = text.lower()
    if word.isdecimal() and names is MONTHS and 1 <= int(word) <= len(names):
        return int(word) - 1
    long_enough = len(word) >= MIN_LETTERS
    return next((at for at, name in enumerate(names) if long_enough and name.startswith(word)), None)


def _dates(fields: Fields, key: str) -> tuple[Dates, ...]:
    found: list[Dates] = []
    for text in _items(fields, key):
        try:
            ends = [date.fromisoformat(part.strip()) for part in text.split("..")]
        except ValueError:
            ends = []
        if len(ends) not in (1, 2) or ends[0] > ends[-1]:
            fields.wrong(key, f"{key} {text!r:.60} is no date; write 2026-12-24, or 2026-12-24..2026-12-26")
            continue
        found.append((ends[0], ends[-1]))
    return tuple(found)


def _days_of_month(fields: Fields) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for text in _items(fields, "days_of_month"):
        match = re.fullmatch(r"(-?\d{1,2})(?:(?:\.\.|:)(-?\d{1,2}))?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not _sound(first) or not _sound(last) or (first < 0 < last) or (first > last and first * last > 0):
            fields.wrong(
                "days_of_month", f'days_of_month {text!r:.60} is not known; write "1", "-1" (the last), or "1..7"'
            )
            continue
        found.append((first, last))
    return tuple(found)


def _sound(number: int) -> bool:
    return 1 <= abs(number) <= 31  # noqa: PLR2004


def _items(fields: Fields, key: str) -> list[str]:
    """Read a list of texts or whole numbers; an empty one is a mistake: it could mean none or all."""
    value = fields.found.get(key)
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    texts = [str(item) for item in items if isinstance(item, (str, int)) and not isinstance(item, bool)]
    if not texts or len(texts) != len(items):
        fields.wrong(key, f"{key} must be a list such as {key}: [...], not {value!r:.60}; leave it out for any")
        return []
    return texts
