"""JSON of one row on each line: objects, or arrays whose columns have no names."""

from __future__ import annotations

from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.json_rows import LINES_HELP, JsonTable, no_constant, table_of_rows, texts_of
from qmtl.runtime.io.bar_files.json_text import parsed
from qmtl.runtime.io.bar_files.unpacking import PlainFile


def object_lines(file: PlainFile) -> JsonTable:
    """A file of objects, with the columns as polars types them."""
    try:
        with file.path.open("rb") as stream:
            frame = pl.read_ndjson(stream, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        with file.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                _check_line(line, number, file, error)
        raise InvalidRequestError(
            f"{file.name} cannot be read as JSON lines", why=str(error), next_step="check the file"
        ) from error
    return JsonTable(frame, pl.Series(_object_places(file), dtype=pl.Int64), True, "line")


def _object_places(file: PlainFile) -> list[int]:
    """The numbers of the lines with text. Raises `InvalidRequestError` for an object with a key twice.

    Of two values the library would silently take one. Only lines with more or fewer keys than the first are
    checked.
    """
    lines: list[int] = []
    usual = None
    with file.path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            lines.append(number)
            if (keys := line.count(b'":')) != usual:
                try:
                    texts_of(line.decode("utf-8-sig"))
                except ValueError as error:
                    raise InvalidRequestError(
                        f"{file.name}, line {number}: this is not a JSON object of numbers",
                        why=str(error),
                        next_step=LINES_HELP,
                    ) from error
                usual = keys
    return lines


def _check_line(line: bytes, number: int, file: PlainFile, failure: BaseException) -> None:
    """Raise `InvalidRequestError` if this is the line for which the file could not be read."""
    if not line.strip():
        return
    try:
        value = parsed(line, parse_constant=no_constant)
        why = _fault_of(value, failure)
    except ValueError as error:
        why = str(error)
    if why is not None:
        raise InvalidRequestError(
            f"{file.name}, line {number}: this is not a JSON object of numbers",
            why=why,
            next_step=LINES_HELP,
        )


def _fault_of(value: Any, failure: BaseException) -> str | None:
    if not isinstance(value, dict):
        return "it is not an object"
    nested = next((name for name, inner in value.items() if isinstance(inner, list | dict)), None)
    # Which lists polars reads depends on their depth; no bar has any.
    return None if nested is None else f"{nested} holds a list or an object: {failure}"


def array_lines(file: PlainFile) -> JsonTable:
    """A file of arrays, all equally long."""
    rows, lines = [], []
    with file.path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = texts_of(line.decode("utf-8-sig"))
            except ValueError as error:
                raise InvalidRequestError(
                    f"{file.name}, line {number}: this is not a JSON array", why=str(error)
                ) from error
            rows.append(value)
            lines.append(number)
    return table_of_rows(rows, lines, file.name, "line")
