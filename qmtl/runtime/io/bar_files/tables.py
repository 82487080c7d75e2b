"""A file of any format as one lazy table: its columns, and where each row stands in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.contents import HEAD, refuse_json, refuse_page
from qmtl.runtime.io.bar_files.delimited import Census, census_of, check_records, dialect_of, find_bad_record
from qmtl.runtime.io.bar_files.json_tables import read_json
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.unpacking import FORMATS, PACKINGS, PlainFile


def _trust(rows: int = 0, blank: int = 0) -> None:
    """Formats whose rows cannot be ragged need no second look."""


@dataclass(frozen=True)
class Table:
    """Rows of a file, not read yet.

    lazy: `line` (Int64, the number of each row in the file, from 1), `blank` (whether the line holds
        nothing), and the columns as they are stored, called as `key` gives.
    header: what the columns are called, in their order; `column 1`, ... where the file has no names.
    has_names: whether it has names. is_positional: whether columns can be found by their order too.
    place: what a `line` counts.
    count: about how many rows there are, known before they are read.
    metadata: values outside the table, by name (JSON keys with one value).
    check: called with the rows read and how many of them were blank; raises for what a scan accepts silently.
    explain: raises, with the line, for what has stopped a scan; returns if it finds nothing.
    """

    lazy: pl.LazyFrame
    name: str
    header: tuple[str, ...]
    has_names: bool
    is_positional: bool
    place: Literal["line", "row"]
    count: Callable[[], int]
    notes: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    check: Callable[[int, int], None] = _trust
    explain: Callable[[], None] = _trust


def key(position: int) -> str:
    """What the column at a position is called within a `Table`, whatever its name in the file."""
    return f"field {position}"


def open_table(file: PlainFile, reading: Reading) -> Table:
    """The table of a file. Raises `InvalidRequestError` if its format is unknown, or it has no table."""
    kind = FORMATS.get(file.suffix)
    with file.path.open("rb") as stream:
        head = stream.read(HEAD)
    refuse_page(head, file.name)
    if kind is None:
        raise InvalidRequestError(
            f"{file.name} is of no format that can be read",
            why=f"the suffix {file.suffix!r} is not known",
            next_step=f"give it one of {' '.join(FORMATS)}, each also with {' '.join(PACKINGS)} behind it",
        )
    if not head.strip():
        raise InvalidRequestError(f"{file.name} is empty", next_step="check the export that wrote it")
    if kind == "csv":
        if head.startswith((b"PAR1", b"ARROW1", b"\x1f\x8b", b"PK\x03\x04")):
            raise InvalidRequestError(
                f"{file.name} is not text", next_step="give it the suffix of its format"
            )
        refuse_json(head, file.name)
        return _delimited(file, reading)
    _refuse_text_options(file, reading)
    if kind == "json":
        found = read_json(file, reading.table)
        return Table(
            _numbered(found.frame, found.lines),
            file.name,
            tuple(found.header),
            has_names=found.has_names,
            is_positional=not found.has_names,
            place=found.place,
            count=lambda: found.frame.height,
            notes=found.notes,
            metadata=found.metadata,
        )
    return _typed(file.name, _typed_frame(file, kind, head[:8]))


def table_of_frame(frame: pl.DataFrame, name: str) -> Table:
    """The table of a frame that is in memory."""
    return _typed(name, frame.lazy())


def _delimited(file: PlainFile, reading: Reading) -> Table:
    order = reading.columns.order
    dialect = dialect_of(file, order, skip_head=reading.skip_head, separator=reading.separator)
    notes: tuple[str, ...] = ()
    if order and dialect.has_header:
        notes = (f"line {dialect.first_line} is a header and was left out",)
    skipped = dialect.first_line - 1 + dialect.has_header
    fields = {key(i): pl.String for i in range(dialect.width)}
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
        pl.col("line").cast(pl.Int64), pl.all_horizontal(pl.col(*fields).is_null()).alias("blank"), *fields
    )

    @cache
    def census() -> Census:
        return census_of(file, dialect.separator)

    def check(rows: int, blank: int) -> None:
        check_records(file, dialect, census(), skipped, rows, blank)

    def explain() -> None:
        find_bad_record(file, dialect, skipped)

    return Table(
        lazy,
        file.name,
        dialect.header or tuple(f"column {i + 1}" for i in range(dialect.width)),
        dialect.has_header,
        True,
        "line",
        lambda: census().lines - skipped,
        notes,
        (),
        check,
        explain,
    )


def _typed(name: str, lazy: pl.LazyFrame) -> Table:
    header = tuple(lazy.collect_schema().names())
    return Table(
        _keyed(lazy, header).with_row_index("line", offset=1).with_columns(pl.col("line").cast(pl.Int64)),
        name,
        header,
        has_names=True,
        is_positional=False,
        place="row",
        count=lambda: int(lazy.select(pl.len()).collect().item()),
    )


def _numbered(frame: pl.DataFrame, lines: pl.Series) -> pl.LazyFrame:
    return _keyed(frame.lazy(), tuple(frame.columns)).with_columns(lines.alias("line"))


def _keyed(lazy: pl.LazyFrame, header: tuple[str, ...]) -> pl.LazyFrame:
    columns = [pl.nth(i).alias(key(i)) for i in range(len(header))]
    return lazy.select(*columns, pl.lit(False).alias("blank"))


def _typed_frame(file: PlainFile, kind: str, head: bytes) -> pl.LazyFrame:
    try:
        if kind == "parquet":
            lazy = pl.scan_parquet(file.path, glob=False)
            lazy.collect_schema()
            return lazy
        # From the open file, not by its name: brackets and stars in a name would be taken for a pattern.
        read = pl.read_ipc if head.startswith(b"ARROW1") else pl.read_ipc_stream
        with file.path.open("rb") as stream:
            return read(stream).lazy()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        why = "it is a Feather file of version 1" if head.startswith(b"FEA1") else str(error).splitlines()[0]
        raise InvalidRequestError(
            f"{file.name} cannot be read as {'Parquet' if kind == 'parquet' else 'Arrow'}",
            why=why,
            next_step="check the file, or write it again with a current version of its library",
        ) from error


def _refuse_text_options(file: PlainFile, reading: Reading) -> None:
    """Options of text files that would have no effect on others."""
    given = {
        "encoding": reading.encoding,
        "skip_head": reading.skip_head,
        "skip_foot": reading.skip_foot,
        "separator": reading.separator,
    }
    for option, value in given.items():
        if value:
            raise InvalidRequestError(
                f"`{option}=` is for text files, and {file.name} is none", next_step=f"leave out `{option}=`"
            )
