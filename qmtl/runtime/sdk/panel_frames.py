"""Frames of several series as one: long, one below the other; or wide, one column of them side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.frames import TS, empty_bars, stamps

_Times = npt.NDArray[np.int64]
# More cells than this for each row are not laid out: the times are sorted instead.
_CELLS_PER_ROW = 16
# Differences of times that lie further apart do not fit into 64 bits.
_LONGEST = 2**63 - 1


def long_frame(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """All rows, in the order of the frames; a `series` column (String) first."""
    if not frames:
        return empty_bars().select(pl.lit("").alias("series"), pl.all())
    whole = pl.concat(frames.values(), rechunk=True)
    # Numbers are repeated in place of texts, and each text is looked up once a row.
    heights = [frame.height for frame in frames.values()]
    numbers = np.repeat(np.arange(len(frames), dtype=np.uint32), heights)
    series = pl.Series("series", list(frames), dtype=pl.String).gather(numbers)
    # A new frame: that of a single series is the one given, and belongs to its answer.
    return whole.select(series, pl.all())


def wide_frame(frames: Mapping[str, pl.DataFrame], column: str) -> pl.DataFrame:
    """`ts` of all rows, ascending and unique, then `column` of each frame by its name; null without a row.

    Each frame is sorted by `ts`, and unique.
    """
    times = [stamps(frame) for frame in frames.values()]
    union, places = _aligned(times)
    columns = [pl.Series("ts", union).cast(TS)]
    for (name, frame), mine in zip(frames.items(), places, strict=True):
        values = frame[column]
        if len(values) < len(union):
            values = _placed(values, mine, len(union))
        columns.append(values.alias(name))
    return pl.DataFrame(columns)


def _aligned(times: list[_Times]) -> tuple[_Times, list[npt.NDArray[np.int64]]]:
    """All times, ascending and unique, and at which of them each series has its own."""
    filled = [one for one in times if len(one)]
    if not filled:
        return np.empty(0, np.int64), [np.empty(0, np.int64) for _ in times]
    first, last = min(int(one[0]) for one in filled), max(int(one[-1]) for one in filled)
    # All times are whole steps apart, whatever the timeframes: a table of the steps takes no sorting.
    step = _step(filled, first) if last - first <= _LONGEST else 1
    cells = (last - first) // step + 1
    if cells > _CELLS_PER_ROW * sum(map(len, filled)):
        union = np.unique(np.concatenate(filled))
        return union, [union.searchsorted(one) for one in times]
    has_row = np.zeros(cells, np.bool_)
    at = [(one - first) // step for one in times]
    for mine in at:
        has_row[mine] = True
    place = np.cumsum(has_row) - 1
    return first + np.flatnonzero(has_row) * step, [place[mine] for mine in at]


def _step(times: list[_Times], first: int) -> int:
    """The longest step of which all times are multiples, counted from the first of all."""
    steps = (int(np.gcd.reduce(np.diff(one), initial=int(one[0]) - first)) for one in times)
    return math.gcd(*steps) or 1


def _placed(values: pl.Series, places: npt.NDArray[np.int64], length: int) -> pl.Series:
    """The values at their places among `length`, and null elsewhere."""
    rows = np.full(length, len(values), np.uint32)
    rows[places] = np.arange(len(values), dtype=np.uint32)
    return values.extend_constant(None, 1).gather(rows)
