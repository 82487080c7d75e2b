"""Which column of a table is which, which rows are selected, and which columns are unused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.words import counted
from qmtl.runtime.io.bar_files.option_values import ANYTHING, NAMES
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.bar_files.tables import Table, key

# Usual names of the columns; case, blanks, dashes and pointed brackets do not matter.
USUAL = {
    "ts": ("ts", "timestamp", "time", "date", "datetime", "date_time", "open_time"),
    **{name: (name,) for name in NAMES[1:]},
}

# What pandas calls an index that has no name, when it writes a table.
_INDEX = "__index_level_"
_SHOWN = 12


@dataclass(frozen=True)
class ChosenColumns:
    """Positions of columns in a table.

    stamp: of the stamp; two if date and time stand apart. values: of each bar column present, without `ts`.
    where: of the conditions, with the value that a row must have. declared: of columns that a condition
    names, also one that any value meets. unused: of all others.
    """

    stamp: tuple[int, ...]
    values: dict[str, int]
    where: dict[int, str]
    declared: frozenset[int]
    unused: tuple[int, ...]

    def name_in_file(self, name: str, table: Table) -> str:
        """What a bar column is called in the file."""
        positions = self.stamp if name == "ts" else (self.values[name],)
        return " and ".join(table.header[position] for position in positions)


def choose_columns(table: Table, reading: Reading) -> ChosenColumns:
    """Raises `InvalidRequestError` where a column cannot be identified."""
    columns = reading.columns
    if columns.order and not table.is_positional:
        raise InvalidRequestError(
            f"{table.name} names its columns",
            why="the order of columns is for files without names; its columns are " + _list(table.header),
            next_step="write `columns='ts=date,open=o,...'`",
        )
    if not columns.order and not table.has_names:
        raise InvalidRequestError(
            f"{table.name} has no names of columns",
            why=f"it has {counted(len(table.header), 'column')} without names",
            next_step="name its columns in their order: `columns='ts,open,high,low,close,volume'`",
        )
    if len(columns.order) > len(table.header):
        raise InvalidRequestError(
            f"{table.name}: {len(columns.order)} columns are named, and there are {len(table.header)}",
            next_step="name the columns in the order of the file",
        )
    wanted = [name for name in columns.wanted if not (reading.date is not None and name == "ts")]
    if columns.order:
        found = {name: columns.order.index(name) for name in wanted}
    else:
        found = {name: _usual(table, name, reading) for name in wanted}
    stamp = (
        (found.pop("ts"),)
        if reading.date is None or reading.time is None
        else (_position(table, reading.date, "date"), _position(table, reading.time, "time"))
    )
    conditions = {_position(table, column, "where"): value for column, value in reading.where.items()}
    used = {*stamp, *found.values(), *conditions}
    return ChosenColumns(
        stamp,
        found,
        {position: value for position, value in conditions.items() if value != ANYTHING},
        frozenset(conditions),
        tuple(position for position in range(len(table.header)) if position not in used),
    )


def select_rows(table: Table, chosen: ChosenColumns) -> pl.LazyFrame:
    """`line`, `blank`, `ts` and the bar columns as they are stored, of the rows that meet the conditions."""
    return matching_rows(table, chosen).select(
        "line",
        "blank",
        _stamp(table, chosen).alias("ts"),
        *(pl.col(key(position)).alias(name) for name, position in chosen.values.items()),
    )


def matching_rows(table: Table, chosen: ChosenColumns) -> pl.LazyFrame:
    """The rows of the table that meet the conditions."""
    lazy = table.lazy
    for position, value in chosen.where.items():
        lazy = lazy.filter(text_of(position) == value)
    return lazy


def text_of(position: int) -> pl.Expr:
    return pl.col(key(position)).cast(pl.String).str.strip_chars()


def _stamp(table: Table, chosen: ChosenColumns) -> pl.Expr:
    if len(chosen.stamp) == 1:
        return pl.col(key(chosen.stamp[0]))
    return pl.concat_str([text_of(position) for position in chosen.stamp], separator=" ")


def _usual(table: Table, wanted: str, reading: Reading) -> int:
    header, columns = table.header, reading.columns
    given_name = columns.named.get(wanted)
    usual = USUAL[wanted] if given_name is None else (_plain(given_name),)
    candidates = [i for i, c in enumerate(header) if c == given_name] or [
        i for i, c in enumerate(header) if _plain(c) in usual
    ]
    if not candidates and wanted == "ts" and given_name is None:
        candidates = _indexes(table)
    if len(candidates) == 1:
        return candidates[0]
    next_step = f"say which with `columns='{wanted}=NAME'`"
    if not candidates and table.is_positional:
        next_step += "; if the names stand further down, `skip_head=N`"
    if wanted == "ts" and len(candidates) == 2:
        date, time = (header[i] for i in candidates)
        next_step += f"; if they make up the stamp together: `date={date}` `time={time}`"
    if wanted == "volume" and not candidates:
        next_step += "; if the source has no volume, `columns='volume='`"
    raise InvalidRequestError(
        f"{table.name} has {len(candidates) or 'no'} column{'s'[: len(candidates) != 1]}"
        f" for {wanted!r}{': ' + _list(header[i] for i in candidates) if candidates else ''}",
        why=(f"`columns=` asks for {given_name!r}; " if given_name is not None else "")
        + f"its columns are {_list(header)}",
        next_step=next_step,
    )


def _indexes(table: Table) -> list[int]:
    """Unnamed pandas indexes that hold times."""
    schema = table.lazy.collect_schema()
    return [i for i, c in enumerate(table.header) if c.startswith(_INDEX) and schema[key(i)].is_temporal()]


def _position(table: Table, column: str, option: str) -> int:
    header = table.header
    candidates = [i for i, c in enumerate(header) if c == column] or [
        i for i, c in enumerate(header) if _plain(c) == _plain(column)
    ]
    if len(candidates) != 1:
        raise InvalidRequestError(
            f"{table.name} has {len(candidates) or 'no'} column{'s'[: len(candidates) != 1]} {column!r}",
            why=f"`{option}=` asks for it; its columns are {_list(header)}",
            next_step=f"name one of its columns in `{option}=`",
        )
    return candidates[0]


def _plain(column: str) -> str:
    name = column.strip()
    if name.startswith("<") and name.endswith(">"):
        name = name[1:-1]
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def note_of_unused(table: Table, chosen: ChosenColumns) -> tuple[str, ...]:
    """One sentence that names the columns of a file that were not used."""
    if not chosen.unused:
        return ()
    names = [table.header[i] for i in chosen.unused]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = _list(names[:_SHOWN]) if table.has_names else ", ".join(names[:_SHOWN])
    plural = "column is" if len(names) == 1 else "columns are"
    return (f"{len(names)} {plural} not used: {shown}{more}",)
