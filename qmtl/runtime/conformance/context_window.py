"""Consecutive rows, of which some are judged and the others are only context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.states import whole_cells
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span

# How many rows on either side of a bar its flags may depend on. They also depend on the extent of the run (of
# repeated bars, of missing ones) that the bar belongs to; never on the range requested.
CONTEXT = 64

# Rules that need the row before a neighbour can compare with one row less on either side.
NEIGHBOURS = CONTEXT - 1

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ContextWindow:
    """Rows (BAR_SCHEMA, sorted, unique) of which `[first, last)` are judged; the others are neighbours.

    answered: what sources have answered for, from the first row to the last; None: for all of it.
    """

    rows: pl.DataFrame
    grid: Grid
    first: int
    last: int
    answered: Coverage | None = None

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
    def unanswered(self) -> Coverage:
        """The expected cells from the first row to the last that have no row, and no answer either."""
        if self.answered is None or self.answered.contains(self.hull):
            return EMPTY
        silent = self.expected - self.grid.cells(self.ts)
        return silent - whole_cells(self.answered, self.grid, self.hull)

    @cached_property
    def missing(self) -> Int64Array:
        """For each row, how many expected bars are missing between it and the next, answered or not."""
        return self.after_rows(self.missing_in_gaps)

    @cached_property
    def missing_in_gaps(self) -> Int64Array:
        """The same for the rows in `gaps` alone: there is none after any other."""
        gaps, ts = self.gaps, self.ts
        if self.grid.is_always_open:
            # Rows without a gap between them are one cell apart.
            starts = np.concatenate([[0], gaps + 1])
            cells = self.cells_before(ts[starts]) - starts
            missing: Int64Array = cells[1:] - cells[:-1]
            return missing
        missing = self.cells_before(ts[gaps + 1]) - self.cells_before(ts[gaps]) - 1
        return missing + ~self.is_expected[gaps]

    def after_rows(self, counts: Int64Array) -> Int64Array:
        """What is counted of each of the `gaps`, for each row; zero after the others."""
        after = np.zeros(len(self.ts), dtype=np.int64)
        after[self.gaps] = counts
        return after

    def cells_before(self, ts: Int64Array) -> Int64Array:
        """How many expected cells open before each stamp within the hull; only differences mean something."""
        grid = self.grid
        if grid.is_always_open:
            return (ts - grid.timeframe.origin) // grid.step
        expected = self.expected
        if not grid.is_uniform:
            return np.searchsorted(grid.stamps(expected), ts).astype(np.int64)
        if not expected:
            return np.zeros(len(ts), dtype=np.int64)
        lengths = expected.ends - expected.starts
        total = np.concatenate([[0], np.cumsum(lengths)])
        span = np.searchsorted(expected.starts, ts, side="right") - 1
        inside = np.minimum(ts - expected.starts[span], lengths[span])
        before: Int64Array = np.where(span < 0, 0, total[span] + inside)
        return -(-before // grid.step)

    @cached_property
    def columns(self) -> Mapping[str, Floats]:
        """The five values as float64, by name; null is NaN."""
        return {column.name: column.to_numpy() for column in self.rows.get_columns()[1:]}

    def judged(self, rows: Indexes) -> Indexes:
        """Those of some row numbers that are judged, not context."""
        return rows[(rows >= self.first) & (rows < self.last)]

    def stamps_of(self, rows: Indexes) -> Int64Array:
        """The stamps of those of some row numbers that are judged, not context."""
        return self.ts[self.judged(rows)]


def neighbours(
    count: int, centres: Indexes, on_each_side: int = NEIGHBOURS
) -> tuple[Indexes, npt.NDArray[np.bool_]]:
    """Row numbers around each centre, as a matrix of `2 * on_each_side` columns, and which of them exist."""
    offsets = np.concatenate([np.arange(-on_each_side, 0), np.arange(1, on_each_side + 1)])
    around = centres[:, None] + offsets
    exists = (around >= 0) & (around < count)
    return np.clip(around, 0, count - 1), exists
