"""A file of any format as one lazy table: named columns, and where each row stands in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.delimited import Census, census_of, check_records, dialect_of, find_bad_record
from qmtl.runtime.io.bar_files.options import NAMES, Columns
from qmtl.runtime.io.bar_files.unpacking import PlainFile

# Usual names of the columns; case, blanks and dashes do not matter.
USUAL = {
    "ts": ("ts", "timestamp", "time", "date", "datetime", "date_time", "open_time"),
    **{name: (name,) for name in NAMES[1:]},
}

_LINE = "line of the file"  # a name that no column of a bar file bears

_FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}


def _trust(rows: int = 0, blank: int = 0) -> None:
    """Formats whose rows cannot be ragged need no second look."""


@dataclass(frozen=True)
class Table:
    """Rows of a file, not read yet.

    lazy: `line` (Int64, the number of each row in the file, from 1), `blank` (whether the line holds
        nothing), and the bar columns, by their own names, as they are stored.
    found: what each bar column is called in the file.
    place: what a `line` counts.
    count: about how many rows there are, told before they are read.
    check: is told how many rows were read and how many of them were blank; raises for what a scan forgives.
    explain: raises, with the line, for what has stopped a scan; returns if it cannot tell.
    """

    lazy: pl.LazyFrame
    name: str
    found: dict[str, str]
    place: Literal["line", "row"]
    count: Callable[[], int]
    notes: tuple[str, ...] = ()
    check: Callable[[int, int], None] = _trust
    explain: Callable[[], None] = _trust


def open_table(file: PlainFile, columns: Columns) -> Table:
    """The table of a file. Raises `InvalidRequestError` if its format or its columns cannot be told."""
    kind = _FORMATS.get(file.suffix)
    if kind is None:
        raise InvalidRequestError(
            f"{file.name} is of no format that can be read",
            why=f"the suffix {file.suffix!r} is not known",
            next_step=f"give it one of {' '.join(_FORMATS)}, each also with .gz or .zip behind it",
        )
    with file.path.open("rb") as stream:
        head = stream.read(8)
    if not head.strip():
        raise InvalidRequestError(f"{file.name} is empty", next_step="check the export that wrote it")
    if kind == "csv" and head.startswith((b"PAR1", b"ARROW1", b"\x1f\x8b", b"PK\x03\x04")):
        raise InvalidRequestError(f"{file.name} is not text", next_step="give it the suffix of its format")
    if kind == "csv":
        return _delimited(file, columns)
    if columns.order:
        raise InvalidRequestError(
            f"{file.name} names its columns",
            why="the order of columns is for CSV files",
            next_step="write `columns='ts=date,open=o,...'`",
        )
    lazy = _json_lines(file, head) if kind == "json" else _typed(file, kind, head)
    found = find_columns([c for c in lazy.collect_schema().names() if c != _LINE], columns, file.name)
    return Table(
        lazy.select(
            pl.col(_LINE).cast(pl.Int64).alias("line"),
            pl.lit(False).alias("blank"),
            *(pl.col(column).alias(name) for name, column in found.items()),
        ),
        file.name,
        found,
        "line" if kind == "json" else "row",
        count=lambda: int(lazy.select(pl.len()).collect().item()),
    )


def find_columns(header: list[str], columns: Columns, name: str) -> dict[str, str]:
    """Which of the columns of `header` each bar column is. Raises `InvalidRequestError`."""
    found = {}
    shown = ", ".join(repr(column) for column in header)
    for wanted in columns.wanted:
        asked = columns.named.get(wanted)
        usual = USUAL[wanted] if asked is None else (_plain(asked),)
        candidates = [c for c in header if c == asked] or [c for c in header if _plain(c) in usual]
        if len(candidates) != 1:
            next_step = f"say which with `columns='{wanted}=NAME'`"
            if wanted == "volume" and not candidates:
                next_step += "; if the source has no volume, `columns='volume='`"
            raise InvalidRequestError(
                f"{name} has {len(candidates) or 'no'} column{'s'[: len(candidates) != 1]}"
                f" for {wanted!r}{': ' + ', '.join(map(repr, candidates)) if candidates else ''}",
                why=(f"`columns=` asks for {asked!r}; " if asked is not None else "")
                + f"its columns are {shown}",
                next_step=next_step,
            )
        found[wanted] = candidates[0]
    return found


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _delimited(file: PlainFile, columns: Columns) -> Table:
    dialect = dialect_of(file, columns.order)
    notes: tuple[str, ...] = ()
    if columns.order:
        positions = {name: i for i, name in enumerate(columns.order) if name}
        if len(columns.order) < dialect.width:
            unused = dialect.width - len(columns.order)
            notes = (f"the last {unused} of {dialect.width} columns are not used",)
        if dialect.has_header:
            notes += (f"line {dialect.first_line} is a header and was left out",)
        found = {name: f"column {i + 1}" for name, i in positions.items() if name in columns.wanted}
    else:
        found = find_columns(list(dialect.header), columns, file.name)
        positions = {name: dialect.header.index(column) for name, column in found.items()}
    skipped = dialect.first_line - 1 + dialect.has_header
    fields = {f"field {i}": pl.String for i in range(dialect.width)}
    lazy = pl.scan_csv(
        file.path,
        separator=dialect.separator,
        has_header=False,
        schema=fields,
        skip_lines=skipped,
        row_index_name="line",
        row_index_offset=skipped + 1,
        missing_columns="insert",  # a blank or short first row is judged with all others
        glob=False,
    )
    lazy = lazy.select(
        pl.col("line").cast(pl.Int64),
        pl.all_horizontal(pl.col(*fields).is_null()).alias("blank"),
        *(pl.col(f"field {positions[name]}").alias(name) for name in found),
    )

    @cache
    def census() -> Census:
        return census_of(file, dialect.separator)

    def check(rows: int, blank: int) -> None:
        check_records(file, dialect, census(), skipped, rows, blank)

    def explain() -> None:
        find_bad_record(file, dialect, skipped)

    return Table(lazy, file.name, found, "line", lambda: census().lines - skipped, notes, check, explain)


def _typed(file: PlainFile, kind: str, head: bytes) -> pl.LazyFrame:
    try:
        if kind == "parquet":
            lazy = pl.scan_parquet(file.path, glob=False).with_row_index(_LINE, offset=1)
            lazy.collect_schema()
            return lazy
        # From the open file, not by its name: brackets and stars in a name would be taken for a pattern.
        read = pl.read_ipc if head.startswith(b"ARROW1") else pl.read_ipc_stream
        with file.path.open("rb") as stream:
            return read(stream).lazy().with_row_index(_LINE, offset=1)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        why = "it is a Feather file of version 1" if head.startswith(b"FEA1") else str(error).splitlines()[0]
        raise InvalidRequestError(
            f"{file.name} cannot be read as {'Parquet' if kind == 'parquet' else 'Arrow'}",
            why=why,
            next_step="check the file, or write it again with a current version of its library",
        ) from error


def _json_lines(file: PlainFile, head: bytes) -> pl.LazyFrame:
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise InvalidRequestError(
            f"{file.name} is one JSON array",
            why="JSON lines are read: one object on each line",
            next_step="write one object per line, for example with: jq -c '.[]'",
        )
    try:
        with file.path.open("rb") as stream:
            lazy = pl.read_ndjson(stream, infer_schema_length=None).lazy()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        with file.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                _check_json(line, number, file, error)
        raise InvalidRequestError(
            f"{file.name} cannot be read as JSON lines", why=str(error), next_step="check the file"
        ) from error
    with file.path.open("rb") as stream:
        lines = [number for number, line in enumerate(stream, 1) if line.strip()]
    return lazy.with_columns(pl.Series(_LINE, lines, dtype=pl.Int64))


def _check_json(line: bytes, number: int, file: PlainFile, failure: BaseException) -> None:
    """Raise `InvalidRequestError` if this is the line for which the file could not be read."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    if not line.strip():
        return
    try:
        value = json.loads(line, parse_constant=refuse)
        why = _fault_of(value, failure)
    except (ValueError, RecursionError) as error:
        why = str(error)
    if why is not None:
        raise InvalidRequestError(
            f"{file.name}, line {number}: this is not a JSON object of numbers",
            why=why,
            next_step="write one JSON object on each line, with numbers or null as values",
        )


def _fault_of(value: Any, failure: BaseException) -> str | None:
    if not isinstance(value, dict):
        return "it is not an object"
    nested = next((name for name, inner in value.items() if isinstance(inner, list | dict)), None)
    # Which lists polars reads depends on their depth; no bar has any.
    return None if nested is None else f"{nested} holds a list or an object: {failure}"
