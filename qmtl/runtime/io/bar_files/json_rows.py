"""What JSON holds as columns of texts: numbers stay as they are written, so that each is read exactly once.

The rules that read them are those of CSV.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.words import counted
from qmtl.runtime.io.bar_files.json_text import parsed

LINES_HELP = "write one JSON object on each line, with numbers or null as values"


@dataclass(frozen=True)
class JsonTable:
    """frame: the columns, as stored; lines: Int64, the line of each row; metadata: single values."""

    frame: pl.DataFrame
    lines: pl.Series
    has_names: bool
    place: Literal["line", "row"]
    notes: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def header(self) -> list[str]:
        return self.frame.columns


def texts_of(text: str) -> Any:
    """A value with all of its numbers as texts. Raises `ValueError` for a key that is there twice."""
    return parsed(
        text,
        parse_int=str,
        parse_float=str,
        parse_constant=no_constant,
        object_pairs_hook=_refuse_duplicate_keys,
    )


def no_constant(constant: str) -> NoReturn:
    """For `parse_constant`: NaN and infinities, which Python would read."""
    raise ValueError(f"{constant} is not JSON")


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def table_of_rows(
    rows: list[Any],
    lines: Any,
    name: str,
    place: Literal["line", "row"],
    header: list[str] | None = None,
) -> JsonTable:
    """Rows that are arrays; all must be equally long."""
    width = len(header) if header is not None else len(rows[0])
    for line, row in zip(lines, rows, strict=True):
        if not isinstance(row, list) or len(row) != width:
            size = f"it has {counted(len(row), 'value')}" if isinstance(row, list) else "it is no array"
            raise InvalidRequestError(
                f"{name}, {place} {line}: this is not a row",
                why=f"{size}, and the first has {width}",
                next_step="write rows of equal length",
            )
    names = header if header is not None else [f"column {i + 1}" for i in range(width)]
    if len(set(names)) != len(names):
        raise InvalidRequestError(
            f"{name} names a column twice", why=f"its columns are {', '.join(names)}", next_step="rename one"
        )
    columns = {
        column: [cell_of(row[i], line, name) for line, row in zip(lines, rows, strict=True)]
        for i, column in enumerate(names)
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    return JsonTable(frame, pl.Series(list(lines), dtype=pl.Int64), header is not None, place)


def cell_of(value: Any, line: int, name: str) -> str | None:
    """One value of a row; a list or an object is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    raise InvalidRequestError(
        f"{name}, row {line}: a value is a list or an object",
        why=f"it is {json.dumps(value)[:80]}",
        next_step=LINES_HELP,
    )
