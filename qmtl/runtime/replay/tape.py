"""The rows of one series, as far as they are read: what is known of it at any moment, and its next open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array


class Tape:
    """Holds one stretch of rows at a time, and of those before it what windows reach back to.

    reach: rows that the longest window needs before its own bar.
    """

    def __init__(self, series: SeriesId, grid: Grid, *, reach: int) -> None:
        self.series = series
        self.grid = grid
        self.reach = reach
        self.rows = pl.DataFrame()  # those that have closed
        self.fresh = 0  # where the newest stretch begins
        self.closed: Int64Array  # of each row, when its cell ended
        self._ahead = pl.DataFrame()  # rows that have opened, and not closed
        self._opened: list[int] = []
        self._opens: list[float] = []
        self._closed: list[int] = []
        self._closes: list[float] = []

    def read(self, rows: pl.DataFrame, until: int) -> None:
        """Go on with the rows that open before `until` (int ns UTC); those that close after it wait."""
        # One row more than windows need: what was known before the stretch begins.
        kept = self.rows.tail(self.reach + 1)
        every = pl.concat([part for part in (kept, self._ahead, rows) if part.width], rechunk=True)
        ts = stamps(every)
        closed = self.grid.ends(ts)
        count = int(np.searchsorted(closed, until, "right"))
        self.fresh = kept.height
        self.rows, self._ahead, self.closed = every.head(count), every.slice(count), closed[:count]
        self._opened, self._opens = ts.tolist(), every["open"].to_list()
        self._closed, self._closes = self.closed.tolist(), self.rows["close"].to_list()

    def last_close(self, now: int) -> float:
        """The newest close that is known at a time. Raises `InvalidRequestError` where there is none."""
        known = bisect_right(self._closed, now)
        if not known:
            raise InvalidRequestError(
                "there is no bar yet whose price could be used",
                series=self.series,
                next_step="give the input a window of one bar or more, so that its first bar is waited for",
            )
        return self._closes[known - 1]

    def next_open(self, since: int) -> tuple[int, float] | None:
        """Time and price of the first open at or after a time; None where the rows end first."""
        at = bisect_left(self._opened, since)
        return None if at == len(self._opened) else (self._opened[at], self._opens[at])
