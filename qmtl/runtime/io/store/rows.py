"""Rows as six plain arrays, and how newer ones lie over older ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES, column_of
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.words import counted

Float64Array = npt.NDArray[np.float64]

# What one row takes on its way to disk and back, unpacked.
ROW_BYTES = 8 * (1 + len(VALUES))


def _of(columns: Iterable[Any]) -> Rows:
    return Rows(*columns)


class Rows(NamedTuple):
    """Equally long arrays: int64 `ts` ascending and unique, five float64 columns. A missing volume is NaN.

    Stored numbers are never NaN otherwise, so NaN can stand for null without a second array.
    """

    ts: Int64Array
    open: Float64Array
    high: Float64Array
    low: Float64Array
    close: Float64Array
    volume: Float64Array

    @property
    def size(self) -> int:
        return len(self.ts)

    def cut(self, first: int, last: int) -> Rows:
        """The rows `[first, last)`, without a copy."""
        if first == 0 and last == self.size:
            return self
        return _of([column[first:last] for column in self])

    def pick(self, which: npt.NDArray[Any]) -> Rows:
        """The rows of a mask or of positions."""
        return _of(column[which] for column in self)

    def between(self, low: int, high: int) -> Rows:
        """The rows with `low <= ts <= high`, without a copy."""
        first, last = np.searchsorted(self.ts, [low, high + 1]).tolist()
        return self.cut(first, last)


def allocate(count: int) -> Rows:
    """Room for rows, not yet written: one block, for six would each begin and end within a huge page."""
    block = np.empty((1 + len(VALUES), count))
    return Rows(block[0].view(np.int64), *block[1:])


NO_ROWS = allocate(0)


def join(parts: list[Rows]) -> Rows:
    """Parts that follow one another in time, as one."""
    parts = [part for part in parts if part.size]
    if len(parts) == 1:
        return parts[0]
    return _of(np.concatenate(columns) for columns in zip(*parts, strict=True)) if parts else NO_ROWS


def overlay(older: Rows, newer: Rows) -> Rows:
    """Both together; where they share a stamp, the newer row."""
    if not older.size or not newer.size:
        return newer if newer.size else older
    first, last = np.searchsorted(older.ts, [newer.ts[0], newer.ts[-1] + 1]).tolist()
    between = older.cut(first, last)
    if not np.array_equal(between.ts, newer.ts):
        kept = between.pick(find(newer.ts, between.ts) < 0)
        both = _of(np.concatenate(columns) for columns in zip(kept, newer, strict=True))
        newer = both.pick(np.argsort(both.ts, kind="stable"))
    return join([older.cut(0, first), newer, older.cut(last, older.size)])


def find(where: Int64Array, wanted: Int64Array) -> npt.NDArray[np.intp]:
    """For each wanted stamp its position in `where` (ascending), or -1."""
    if not len(where) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.intp)
    # Most writes meet rows that follow one another, as theirs do.
    first = int(np.searchsorted(where, wanted[0]))
    if np.array_equal(where[first : first + len(wanted)], wanted):
        return np.arange(first, first + len(wanted), dtype=np.intp)
    position = np.searchsorted(where, wanted)
    position[position == len(where)] = 0
    return np.where(where[position] == wanted, position, -1)


def same_values(a: Rows, b: Rows) -> npt.NDArray[np.bool_]:
    """Row by row, whether all five values agree (two missing volumes do)."""
    same = np.ones(a.size, dtype=np.bool_)
    for mine, theirs in zip(a[1:], b[1:], strict=True):
        same &= (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    return same


def from_frame(frame: pl.DataFrame, series: SeriesId) -> Rows:
    """Arrays of a frame with BAR_SCHEMA, without copies where it is one block.

    Raises `InvalidRequestError` for other columns or types, for stamps that are not strictly ascending, and
    for null, NaN or infinite numbers (a null volume is allowed).
    """
    try:
        return _arrays(frame)
    except _RefusedError as refused:
        raise InvalidRequestError(
            "rows cannot be stored as they are",
            series=series,
            why=str(refused),
            next_step="hand over rows that the conformance stage has passed",
        ) from None


class _RefusedError(Exception):
    """Why rows cannot be stored."""


def _arrays(frame: pl.DataFrame, starts: Sequence[int] = ()) -> Rows:
    """Arrays of a frame. starts: where the rows of the next series begin, each with stamps of its own."""
    if frame.columns != _NAMES or frame.dtypes != _TYPES:
        raise _RefusedError(f"its columns are {dict(frame.schema)}, not {dict(BAR_SCHEMA)}")
    if not frame.height:
        return NO_ROWS
    if frame.height == 1 and (one := _one_row(frame)) is not None:
        return one
    columns = (frame.rechunk() if frame.n_chunks() > 1 else frame).get_columns()
    for column in columns[:-1]:
        if column.null_count():
            raise _RefusedError(f"{column.name} has {counted(column.null_count(), 'null')}")
    ts = columns[0].to_numpy().view(np.int64)
    if len(ts) > 1:
        ascends = ts[1:] > ts[:-1]
        ascends[np.array(starts, dtype=np.intp) - 1] = True
        if not ascends.all():
            raise _RefusedError("its stamps are not strictly ascending")
    values = []
    for column in columns[1:]:
        missing = column.null_count()
        numbers = (column.drop_nulls() if missing else column).to_numpy()
        if not np.isfinite(numbers).all():
            raise _RefusedError(f"{column.name} holds NaN or infinity")
        values.append(column.fill_null(float("nan")).to_numpy() if missing else numbers)
    return Rows(ts, *values)


def _one_row(frame: pl.DataFrame) -> Rows | None:
    """A live bar, for which passes over columns are a long way round; None if a number is missing or odd."""
    stamp, *values = frame.row(0)
    if stamp is None or None in values or not all(map(isfinite, values)):
        return None
    return Rows(frame.to_series(0).to_numpy().view(np.int64), *np.array(values)[:, None])


# Frames of fewer rows are read together.
_FEW = 512


def from_small_frames(frames: Mapping[SeriesId, pl.DataFrame]) -> dict[SeriesId, Rows]:
    """`from_frame` of the small frames among many, read as one; none where it would refuse any of them."""
    if len(frames) < 2:
        return {}
    small = {series: frame for series, frame in frames.items() if 0 < frame.height < _FEW}
    if len(small) < 2:
        return {}
    try:
        whole = pl.concat(small.values(), rechunk=True)
    except (pl.exceptions.SchemaError, pl.exceptions.ShapeError):
        return {}
    # A column of nulls alone, which has no type, joins any other.
    if whole["volume"].null_count() and any(frame.dtypes != _TYPES for frame in small.values()):
        return {}
    ends = np.cumsum([frame.height for frame in small.values()]).tolist()
    try:
        rows = _arrays(whole, starts=ends[:-1])
    except _RefusedError:
        return {}
    if rows.size == len(small):  # a bar each, which is quicker than to cut them out
        each = zip(*(column[:, None] for column in rows), strict=True)
        return dict(zip(small, map(Rows._make, each), strict=True))
    return {
        series: rows.cut(end - frame.height, end)
        for (series, frame), end in zip(small.items(), ends, strict=True)
    }


_NAMES = BAR_SCHEMA.names()
_TYPES = BAR_SCHEMA.dtypes()


def to_frame(rows: Rows, *, volume_nulls: bool | None = None) -> pl.DataFrame:
    """A frame with BAR_SCHEMA. `volume_nulls` says whether there may be any; None looks."""
    if volume_nulls is None:
        volume_nulls = bool(np.isnan(rows.volume).any())
    values = [column_of(name, column) for name, column in zip(VALUES, rows[1:], strict=True)]
    if volume_nulls:
        values[-1] = pl.Series("volume", rows.volume, nan_to_null=True)
    # A third quicker than `pl.DataFrame` of the six, which looks for what else they may be.
    return column_of("ts", rows.ts).cast(TS).to_frame().hstack(values)
