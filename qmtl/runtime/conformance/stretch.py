"""A run of rows under judgement: which of them are asked about, and which are only context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Coverage, Int64Array, Span

# A flag depends on a bar and on at most so many rows on either side of it, never on the range asked.
CONTEXT = 64

# Rules that need the row before a neighbour look one row less far.
REACH = CONTEXT - 1

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Stretch:
    """Rows (BAR_SCHEMA, sorted, unique) of which `[first, last)` are judged; the others are neighbours."""

    rows: pl.DataFrame
    grid: Grid
    first: int
    last: int

    @cached_property
    def ts(self) -> Int64Array:
        return stamps(self.rows)

    @cached_property
    def gaps(self) -> Indexes:
        """Each row `i` for which row `i + 1` does not follow one step later."""
        ts = self.ts
        return np.flatnonzero(ts[1:] != ts[:-1] + self.grid.step)

    @cached_property
    def hull(self) -> Span:
        """From the cell of the first row to the end of the cell of the last."""
        first, last = self.grid.floor(int(self.ts[0])), self.grid.floor(int(self.ts[-1]))
        return Span(first, self.grid.after(last))

    @cached_property
    def expected(self) -> Coverage:
        """The cells that the calendar expects, from the first row to the last."""
        return self.grid.expected(self.hull)

    @cached_property
    def is_expected(self) -> npt.NDArray[np.bool_]:
        """For each row, whether the calendar expects its bar."""
        return self.expected.holds(self.ts)

    @cached_property
    def columns(self) -> Mapping[str, Floats]:
        """The five values as float64, by name; null is NaN."""
        return {name: self.rows.get_column(name).to_numpy() for name in VALUES}

    def judged(self, rows: Indexes) -> Indexes:
        """Those of some row numbers that are asked about."""
        return rows[(rows >= self.first) & (rows < self.last)]

    def stamps_of(self, rows: Indexes) -> Int64Array:
        """The stamps of those of some row numbers that are asked about."""
        return self.ts[self.judged(rows)]


def neighbours(count: int, centres: Indexes, reach: int = REACH) -> tuple[Indexes, npt.NDArray[np.bool_]]:
    """Row numbers around each centre, as a matrix of `2 * reach` columns, and which of them exist."""
    offsets = np.concatenate([np.arange(-reach, 0), np.arange(1, reach + 1)])
    around = centres[:, None] + offsets
    there = (around >= 0) & (around < count)
    return np.clip(around, 0, count - 1), there
