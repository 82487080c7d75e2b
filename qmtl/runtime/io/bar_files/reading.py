"""Read a whole file of bars, and say line by line what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, Unpack

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, VALUES
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.io.bar_files.options import Reading, ReadingOptions
from qmtl.runtime.io.bar_files.stamps import Stamps, stamps_of, why_not
from qmtl.runtime.io.bar_files.tables import Table, open_table
from qmtl.runtime.io.bar_files.unpacking import plain_file

_SHOWN = 5

OnRead = Callable[[int, int], None]


@dataclass(frozen=True)
class BarFile:
    """The bars of a file, exactly as they are told: not sorted, not checked for sense.

    frame: BAR_SCHEMA, in the order of the file; `ts` is the open of each bar. Values may be null or NaN.
    lines: int64, as long as the frame: the number of each row in the file, from 1.
    place: what `lines` count: lines of text, or rows of a table.
    path: the file. name: what to call it in messages, with the member of a zip.
    has_volume: False if the reader was told that the source has no volume; it is null then.
    notes: what a person should know, and is no fault.
    """

    frame: pl.DataFrame
    lines: Int64Array
    place: Literal["line", "row"]
    path: Path
    name: str
    has_volume: bool
    notes: tuple[str, ...]


def read_bar_file(
    path: str | Path,
    *,
    timeframe: Timeframe | str,
    on_progress: OnRead | None = None,
    **options: Unpack[ReadingOptions],
) -> BarFile:
    """All bars of a CSV, Parquet, Feather/Arrow or JSON lines file, plain, `.gz` or `.zip`.

    Options are those of `ReadingOptions`. With `label="close"` each stamp is moved back by the timeframe.
    `on_progress(done, total)` counts rows.

    Raises `InvalidRequestError`, with file, line and column, for anything that has no certain meaning: text
    in numbers, lines that are cut, integer stamps without `unit`, stamps with and without zone in one file,
    local times that a change of clocks skips or repeats.
    """
    timeframe = Timeframe.parse(timeframe) if isinstance(timeframe, str) else timeframe
    reading = Reading.of(options)
    with plain_file(Path(path)) as file:
        table = open_table(file, reading.columns)
        schema = table.lazy.collect_schema()
        if _collect(table, table.lazy.filter(~pl.col("blank")).head(1)).is_empty():
            raise InvalidRequestError(
                f"{table.name} holds no bars", why="it has no row", next_step="check the export that wrote it"
            )
        stamps = stamps_of(schema["ts"], _first_text(table, schema), reading, timeframe, table.name)
        rows = _bars(table, schema, stamps, reading, timeframe, on_progress)
        blank = int(rows["blank"].sum())
        table.check(rows.height, blank)
        rows = rows.filter(~pl.col("blank")) if blank else rows
        if rows["unread"].any():
            _explain(table, schema, stamps, reading, rows.filter("unread"))
    frame = rows.select(*BAR_SCHEMA)
    notes = table.notes + stamps.notes
    lines = rows["line"].to_numpy()
    return BarFile(frame, lines, table.place, Path(path), table.name, reading.columns.has_volume, notes)


def _first_text(table: Table, schema: pl.Schema) -> str | None:
    if schema["ts"] != pl.String:
        return None
    filled = table.lazy.select("ts").filter(pl.col("ts").str.strip_chars() != "")
    first = _collect(table, filled.head(1))
    if first.is_empty():
        return None
    text: str = first.item()
    return text


def _bars(
    table: Table,
    schema: pl.Schema,
    stamps: Stamps,
    reading: Reading,
    timeframe: Timeframe,
    on_progress: OnRead | None,
) -> pl.DataFrame:
    """Columns of BAR_SCHEMA, `line`, `blank`, and `unread`: whether something in the row has no meaning."""
    shift = timeframe.step if reading.label == "close" else 0
    columns = [stamps.expression.alias("ts")]
    unread = [stamps.expression.is_null()]
    for name in VALUES:
        if name not in table.found:
            columns.append(pl.lit(None, dtype=pl.Float64).alias(name))
            continue
        number = _number(name, schema[name], table)
        unread.append(_is_unread(name, schema[name], number))
        if name in reading.scale:
            # One multiplication and one division of whole numbers: 136300 x 0.0001 is 13.63, rounded once.
            factor = reading.scale[name]
            number = number * float(factor.numerator) / float(factor.denominator)
        columns.append(number.alias(name))
    lazy = table.lazy.select("line", "blank", *columns, pl.any_horizontal(unread).alias("unread"))
    rows = _in_one_piece(_collect(table, lazy, on_progress))
    return rows.with_columns(pl.col("ts") - pl.duration(nanoseconds=shift)) if shift else rows


def _number(name: str, dtype: pl.DataType, table: Table) -> pl.Expr:
    if isinstance(dtype, pl.String):
        return pl.col(name).str.strip_chars().cast(pl.Float64, strict=False)
    if dtype.is_numeric() or isinstance(dtype, pl.Null):
        return pl.col(name).cast(pl.Float64)
    raise InvalidRequestError(
        f"{table.name}, column {table.found[name]!r}: these are no numbers",
        why=f"they are stored as {dtype}",
        next_step=f"say which column holds {name!r} with `columns='{name}=NAME'`",
    )


def _is_unread(name: str, dtype: pl.DataType, number: pl.Expr) -> pl.Expr:
    if not isinstance(dtype, pl.String):
        return pl.lit(False)
    return number.is_null() & (pl.col(name).str.strip_chars() != "").fill_null(False)


def _in_one_piece(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows without seams, column by column: whoever needs plain arrays would copy all at once."""
    columns = rows.get_columns()
    del rows
    for place, column in enumerate(columns):
        columns[place] = column.rechunk()
    return pl.DataFrame(columns)


def _collect(table: Table, lazy: pl.LazyFrame, on_progress: OnRead | None = None) -> pl.DataFrame:
    try:
        if on_progress is None:
            return lazy.collect(engine="streaming")
        parts, done, total = [], 0, table.count()
        for part in lazy.collect_batches():
            parts.append(part)
            done += part.height
            on_progress(min(done, total), total)
        return pl.concat(parts)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # a reader's panic: damage
        table.explain()
        raise InvalidRequestError(
            f"{table.name} cannot be read", why=str(error).splitlines()[0], next_step="check the file"
        ) from error


def _explain(
    table: Table, schema: pl.Schema, stamps: Stamps, reading: Reading, unread: pl.DataFrame
) -> NoReturn:
    """Name the first thing that has no meaning, and the lines of all."""
    first = unread["line"].item(0)
    # Stamps as text: Python knows no year beyond 9999.
    row = table.lazy.filter(pl.col("line") == first).with_columns(pl.col("ts").cast(pl.String))
    stored = _collect(table, row).row(0, named=True)
    why = None
    column, what = "ts", ""
    for name in VALUES:
        if name in table.found and _has_text(stored[name]) and unread[name].item(0) is None:
            column, what = name, f"{stored[name]!r} is not a number"
            why = "a decimal comma is not read, nor one between thousands" if "," in stored[name] else None
            break
    if unread["ts"].item(0) is None:
        column = "ts"
        what, why = why_not(stored["ts"], stamps.shape, reading)
        if stored["ts"] == table.found["ts"]:
            what, why = "the header is repeated", "files were put together with their headers"
    others = [str(line) for line in unread["line"].head(_SHOWN).to_list()]
    lines = ", ".join(others) + (f", ... {unread.height} in all" if unread.height > _SHOWN else "")
    raise InvalidRequestError(
        f"{table.name}, {table.place} {first}, column {table.found[column]!r}: {what}",
        why=(f"{why}; " if why else "") + f"{table.place}{'s'[: unread.height != 1]} concerned: {lines}",
        next_step=_NEXT_STEP["ts" if column == "ts" else "value"],
    )


_NEXT_STEP = {
    "ts": "mend the stamps; if they are local, say `tz='ZONE'`, or write them in UTC",
    "value": "mend the file, or say which column is which with `columns=`",
}


def _has_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""
