"""Read a whole file of bars, in stages, and name what is not read.

Each stage is a module of its own and knows the ones before it: `unpacking` and `decoding` give plain text,
`delimited` and `tables` a table, `columns` what is which, `stamps` and `numbers` values, `labels` the opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.calendars import Calendar
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES
from qmtl.foundation.frames import stamps as stamps_in
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import DAY
from qmtl.runtime.io.bar_files.clock_changes import with_both_passes
from qmtl.runtime.io.bar_files.collecting import OnRead, collected
from qmtl.runtime.io.bar_files.columns import ChosenColumns, choose_columns, note_of_unused, select_rows
from qmtl.runtime.io.bar_files.decoding import text_file
from qmtl.runtime.io.bar_files.labels import opens_of
from qmtl.runtime.io.bar_files.numbers import is_null, number_of
from qmtl.runtime.io.bar_files.options import Reading, ReadingOptions
from qmtl.runtime.io.bar_files.refusing import refuse_change_of_unit, refuse_unread
from qmtl.runtime.io.bar_files.several_series import identities, no_matching_rows
from qmtl.runtime.io.bar_files.stamps import Stamps, stamps_of
from qmtl.runtime.io.bar_files.tables import Table, open_table, table_of_frame
from qmtl.runtime.io.bar_files.unpacking import FORMATS, plain_file


@dataclass(frozen=True)
class BarFile:
    """The bars of a file, exactly as written: not sorted, not checked for plausibility.

    frame: BAR_SCHEMA, in the order of the file; `ts` is the open of each bar. Values may be null or NaN.
    lines: int64, as long as the frame: the number of each row in the file, from 1.
    place: what `lines` count: lines of text, or rows of a table.
    name: what to call it in messages, with the member of a zip. source: its name without folders.
    has_volume: False if the source was declared to have no volume; it is null then.
    identities: unused columns that say what the rows are of, each with its one value.
    notes: what a person should know, beyond errors.
    files: the names of the files, if there are several; `file` (int64) is then the place of each row's among
        them.
    """

    frame: pl.DataFrame
    lines: Int64Array
    place: Literal["line", "row"]
    name: str
    source: str
    has_volume: bool
    identities: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    files: tuple[str, ...] = ()
    file: Int64Array | None = None


def read_bar_file(
    path: str | Path,
    *,
    timeframe: Timeframe | str,
    calendar: Calendar | None = None,
    on_progress: OnRead | None = None,
    **options: Unpack[ReadingOptions],
) -> BarFile:
    """All bars of a CSV, Parquet, Feather/Arrow or JSON file, plain or packed (`.gz .bz2 .xz .zst .zip`).

    Options are those of `ReadingOptions`. With `label="close"` each stamp is moved back by the timeframe;
    with `label="session"` it becomes the date of the session of `calendar` that it lies in.
    `on_progress(done, total)` counts rows.

    Raises `InvalidRequestError`, with file, line and column, for anything that has no certain meaning: text
    in numbers, lines that are cut, counted stamps without `unit`, stamps with and without zone in one file,
    local times that a change of clocks skips or repeats, rows of several instruments.
    """
    reading, path = Reading.of(options), Path(path)
    # The part that is the table is a member of a zip or, in JSON, a path of keys.
    member = reading.table if path.suffix.lower() == ".zip" else None
    with plain_file(path, member) as file, text_file(file, reading) as text:
        if reading.table is not None and member is None and FORMATS.get(file.suffix) != "json":
            raise InvalidRequestError(
                f"`table=` is for zip and JSON, and {file.name} is neither", next_step="leave out `table=`"
            )
        inner = reading if member is None else replace(reading, table=None)
        return _read(open_table(text, inner), path.name, inner, timeframe, calendar, on_progress)


def read_bar_frame(
    frame: pl.DataFrame,
    *,
    timeframe: Timeframe | str,
    calendar: Calendar | None = None,
    name: str = "the frame",
    **options: Unpack[ReadingOptions],
) -> BarFile:
    """All bars of a frame in memory, by the rules of `read_bar_file`; lines count its rows from 1."""
    reading = Reading.of(options)
    return _read(table_of_frame(frame, name), name, reading, timeframe, calendar, None)


def _read(
    table: Table,
    source: str,
    reading: Reading,
    timeframe: Timeframe | str,
    calendar: Calendar | None,
    on_progress: OnRead | None,
) -> BarFile:
    timeframe = Timeframe.parse(timeframe) if isinstance(timeframe, str) else timeframe
    chosen = choose_columns(table, reading)
    lazy = select_rows(table, chosen)
    schema = lazy.collect_schema()
    if collected(table, lazy.filter(~pl.col("blank")).head(1)).is_empty():
        if chosen.where and not collected(table, table.lazy.filter(~pl.col("blank")).head(1)).is_empty():
            raise no_matching_rows(table, chosen)
        raise InvalidRequestError(
            f"{table.name} holds no bars", why="it has no row", next_step="check the export that wrote it"
        )
    sample = _first_text(table, lazy, schema)
    # Plain numbers first, which takes least; a file that has others is read once more.
    for lenient in (False, True):
        stamps = stamps_of(schema["ts"], sample, reading, timeframe, table.name, lenient=lenient)
        rows = _bars(table, lazy, schema, stamps, reading, lenient, on_progress)
        if not lenient:
            _check_records(table, chosen, rows)
            blanks = bool(rows["blank"].any())
        rows = rows.filter(~pl.col("blank")) if blanks else rows
        why_not: Mapping[int, str] = {}
        if rows["ts"].null_count():
            if stamps.clock is not None:
                rows, why_not = with_both_passes(rows, stamps.clock, partial(_repeated, table, lazy))
            rows = rows.with_columns(pl.col("unread") | pl.col("ts").is_null())
        if not rows["unread"].any():
            break
    else:
        refuse_unread(table, chosen, lazy, stamps, reading, rows, why_not)
    known = identities(table, chosen)
    ts = stamps_in(rows)
    if stamps.counts:
        refuse_change_of_unit(table, ts, rows["line"], reading)
    no_date = None
    if stamps.no_date is not None and reading.label == "session" and bool((ts % DAY == 0).any()):
        no_date = _lines_where(table, lazy, stamps.no_date, rows["line"])
    opens, label_notes = opens_of(ts, reading, timeframe, calendar, table.name, no_date)
    if opens is not ts:
        rows = rows.with_columns(pl.Series("ts", opens).cast(TS))
    return BarFile(
        rows.select(*BAR_SCHEMA),
        rows["line"].to_numpy().astype(np.int64, copy=False),
        table.place,
        table.name,
        source,
        reading.columns.has_volume,
        known,
        table.notes + note_of_unused(table, chosen) + stamps.notes + label_notes,
    )


def _lines_where(
    table: Table, lazy: pl.LazyFrame, condition: pl.Expr, lines: pl.Series
) -> npt.NDArray[np.bool_]:
    """Which of the lines meet a condition on what the file says."""
    found = collected(table, lazy.filter(~pl.col("blank")).filter(condition).select("line"))
    return lines.is_in(found["line"].implode()).to_numpy()


def _repeated(table: Table, lazy: pl.LazyFrame, first: pl.Expr, second: pl.Expr) -> pl.DataFrame:
    """Lines of rows whose stamps have two instants, and those."""
    both = lazy.filter(~pl.col("blank")).select("line", first=first, second=second)
    return collected(table, both.filter(pl.col("first") != pl.col("second")))


def _check_records(table: Table, chosen: ChosenColumns, rows: pl.DataFrame) -> None:
    """A second look at the text behind the rows, at all of them also where only some were asked for."""
    if chosen.where:
        counts = collected(table, table.lazy.select(pl.len().alias("rows"), pl.col("blank").sum()))
        table.check(*counts.row(0))
    else:
        table.check(rows.height, int(rows["blank"].sum()))


def _first_text(table: Table, lazy: pl.LazyFrame, schema: pl.Schema) -> str | None:
    if schema["ts"] != pl.String:
        return None
    filled = lazy.select("ts").filter(pl.col("ts").str.strip_chars() != "")
    first = collected(table, filled.head(1))
    if first.is_empty():
        return None
    text: str = first.item()
    return text


def _bars(
    table: Table,
    lazy: pl.LazyFrame,
    schema: pl.Schema,
    stamps: Stamps,
    reading: Reading,
    lenient: bool,
    on_progress: OnRead | None,
) -> pl.DataFrame:
    """Columns of BAR_SCHEMA, `line`, `blank`, and `unread`: whether a value in the row has no meaning."""
    columns = [stamps.expression.alias("ts")]
    unread = [pl.lit(False)]
    for name in VALUES:
        if name not in schema:
            columns.append(pl.lit(None, dtype=pl.Float64).alias(name))
            continue
        number, is_bad = _number(name, schema[name], table, reading, lenient)
        unread.append(is_bad)
        if name in reading.scale:
            # One multiplication and one division of whole numbers: 136300 x 0.0001 is 13.63, rounded once.
            # By a column of divisors: the library divides by a constant as it multiplies by its inverse.
            factor = reading.scale[name]
            divisor = (pl.col("line") * 0).cast(pl.Float64) + float(factor.denominator)
            number = number * float(factor.numerator) / divisor
        columns.append(number.alias(name))
    wanted = lazy.select("line", "blank", *columns, pl.any_horizontal(unread).alias("unread"))
    return _in_one_piece(collected(table, wanted, on_progress))


def _number(
    name: str, dtype: pl.DataType, table: Table, reading: Reading, lenient: bool
) -> tuple[pl.Expr, pl.Expr]:
    """The values of a column, and where it holds something that is none."""
    column = pl.col(name)
    nulls = is_null(column, dtype, reading.null)
    if isinstance(dtype, pl.String):
        number = number_of(column, reading, lenient=lenient)
        is_bad = number.is_null() & (column.str.strip_chars() != "").fill_null(False)
        is_bad = is_bad if nulls is None else is_bad & ~nulls.fill_null(False)
    elif dtype.is_numeric() or isinstance(dtype, pl.Null):
        number, is_bad = column.cast(pl.Float64), pl.lit(False)
    else:
        raise InvalidRequestError(
            f"{table.name}, column for {name!r}: these are no numbers",
            why=f"they are stored as {dtype}",
            next_step=f"say which column holds {name!r} with `columns='{name}=NAME'`",
        )
    if nulls is not None:
        number = pl.when(~nulls.fill_null(False)).then(number)
    return number, is_bad


def _in_one_piece(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows with one chunk per column, made column by column: all at once takes more memory."""
    columns = rows.get_columns()
    del rows
    for place, column in enumerate(columns):
        columns[place] = column.rechunk()
    return pl.DataFrame(columns)
