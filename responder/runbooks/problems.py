"""Turns what pydantic finds wrong into errors with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from responder.errors import FileError
from responder.files import line_of

M = TypeVar("M", bound=BaseModel)
_SHOWN_CHARS = 60
_SAID = {  # in YAML's words instead of Python's
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be text; put it into quotes",
}


class Refused(Exception):
    """A file that is left out, with every reason found."""

    def __init__(self, errors: Sequence[FileError]) -> None:
        """Keep the reasons."""
        super().__init__("; ".join(map(str, errors)))
        self.errors = list(errors)


def checked(path: Path, model: type[M], data: object) -> M:
    """Make a model of what stood in a file.

    Raises: Refused: one error for each wrong field, with the line of its key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = [FileError(str(path), _line(data, item["loc"]), _reason(item)) for item in error.errors()]
        raise Refused(found) from error


def _line(data: Any, loc: tuple[int | str, ...]) -> int:
    """Follow a field's way through the file's mappings; the last one that knows its line counts."""
    line = line_of(data)
    for step in loc:
        if isinstance(data, dict) and step in data:
            line = line_of(data, str(step)) or line
            data = data[step]
        elif isinstance(data, (list, tuple)) and isinstance(step, int) and step < len(data):
            data = data[step]
            line = line_of(data) or line
        else:
            break
    return line


def _reason(item: ErrorDetails) -> str:
    where = ".".join(str(step) for step in item["loc"])
    if item["type"] == "missing":
        return f"{where} is missing"
    if item["type"] == "value_error":
        return f"{where}: {item['ctx']['error']}" if where else str(item["ctx"]["error"])
    message = _SAID.get(item["type"], item["msg"][0].lower() + item["msg"][1:])
    return f"{where}: {message}, not {repr(item['input'])[:_SHOWN_CHARS]}"
