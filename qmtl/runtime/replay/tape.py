"""The rows of one series, as far as they are read: what is known of it at any moment, and its next open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.replay.cursor import Cursor
from qmtl.runtime.replay.one_weight import Quotes

_NO_TIMES = np.zeros(0, dtype=np.int64)
_NO_PRICES = np.zeros(0, dtype=np.float64)


def _view(numbers: np.ndarray) -> Sequence[Any]:
    """A view that gives numbers of Python, and is made without looking at each."""
    return memoryview(numbers)  # type: ignore[arg-type]  # since 3.12 Python can say that an array is a buffer


class Tape:
    """Holds one stretch of rows at a time, and of those before it what windows reach back to.

    reach: rows that the longest window needs before its own bar, and those that may be taken back.
    """

    def __init__(self, series: SeriesId, grid: Grid, *, reach: int) -> None:
        self.series = series
        self.grid = grid
        self.reach = reach
        self.rows = pl.DataFrame()  # those that are known
        self.fresh = 0  # where the newest stretch begins
        self.closed = _NO_TIMES  # of each row, when its cell ended
        self.known = _NO_TIMES  # of each row, from when on it is known; ascending
        self._ahead = pl.DataFrame()  # rows that are read, and not known yet
        self._ahead_closed = self._ahead_known = _NO_TIMES
        self._opened = self._times = Cursor(_view(_NO_TIMES), grid.step)
        self._opened_at = _view(_NO_TIMES)
        self._opens = self._closes = _view(_NO_PRICES)

    def read(self, rows: pl.DataFrame | None, until: int, known: Int64Array | None = None) -> None:
        """Go on with further rows, as far as they are known at `until` (int ns UTC); the others wait.

        known: from when on each is known, ascending; left out, from the end of its cell on.
        """
        if rows is not None and rows.height:
            self._add(rows, known)
        # One row more than windows need: what was known before the stretch begins.
        kept = self.rows.tail(self.reach + 1)
        count = int(np.searchsorted(self._ahead_known, until, "right"))
        parts = [part for part in (kept, self._ahead.head(count)) if part.width]
        before = self.rows.height - kept.height
        self.rows = pl.concat(parts, rechunk=True) if parts else pl.DataFrame(schema=BAR_SCHEMA)
        self.fresh = kept.height
        self.closed = np.concatenate([self.closed[before:], self._ahead_closed[:count]])
        self.known = np.concatenate([self.known[before:], self._ahead_known[:count]])
        self._ahead = self._ahead.slice(count)
        self._ahead_closed, self._ahead_known = self._ahead_closed[count:], self._ahead_known[count:]
        self._index()

    def kept(self) -> tuple[Any, ...]:
        """What `take_up` goes on with."""
        ahead = (self._ahead, self._ahead_closed, self._ahead_known)
        return (self.rows, self.fresh, self.closed, self.known, *ahead)

    def take_up(self, kept: tuple[Any, ...]) -> None:
        self.rows, self.fresh, self.closed, self.known, *ahead = kept
        self._ahead, self._ahead_closed, self._ahead_known = ahead
        if self._ahead.width:
            self._index_ahead()
        if self.rows.width:
            self._index()

    def drop_ahead(self) -> None:
        """Forget the rows that are not known yet."""
        self._ahead = self._ahead.clear()
        self._ahead_closed = self._ahead_known = _NO_TIMES

    def _add(self, rows: pl.DataFrame, known: Int64Array | None) -> None:
        closed = self.grid.ends(stamps(rows))
        self._ahead = pl.concat([part for part in (self._ahead, rows) if part.width], rechunk=True)
        self._ahead_closed = np.concatenate([self._ahead_closed, closed])
        self._ahead_known = np.concatenate([self._ahead_known, closed if known is None else known])
        self._index_ahead()

    def _index_ahead(self) -> None:
        self._opened_at = _view(stamps(self._ahead))
        self._opened = Cursor(self._opened_at, self.grid.step)
        self._opens = _view(self._ahead["open"].to_numpy())

    def _index(self) -> None:
        self._times = Cursor(_view(self.known), self.grid.step)
        self._closes = _view(self.rows["close"].to_numpy())

    def revise(self, ts: int, row: pl.DataFrame | None, at: int) -> None:
        """Of the known rows, take `row` for the one that opened at `ts`; None takes it away.

        A row that was not there is known from `at` (int ns UTC) on.
        """
        place = int(np.searchsorted(stamps(self.rows), ts)) if self.rows.width else 0
        is_there = place < self.rows.height and stamps(self.rows)[place] == ts
        if not is_there and place == 0 and self.rows.height > self.reach:
            return  # before all that a window can reach
        after = place + is_there
        parts = [self.rows.head(place), *([] if row is None else [row]), self.rows.slice(after)]
        new = [] if row is None else [ts]
        # In the middle of others, nobody asks any more from when on it is known.
        known = [] if row is None else self.known[place : place + 1].tolist() or [at]
        self.rows = pl.concat([part for part in parts if part.width], rechunk=True)
        self.closed = np.concatenate(
            [self.closed[:place], self.grid.ends(np.array(new, dtype=np.int64)), self.closed[after:]]
        )
        self.known = np.concatenate([self.known[:place], np.array(known, dtype=np.int64), self.known[after:]])
        self._index()

    def last_close(self, now: int) -> float:
        """The newest close that is known at a time. Raises `InvalidRequestError` where there is none."""
        known = self._times.count(now)
        if not known:
            raise InvalidRequestError(
                "there is no bar yet whose price could be used",
                series=self.series,
                next_step="give the input a window of one bar or more, so that its first bar is waited for",
            )
        close: float = self._closes[known - 1]
        return close

    def next_open(self, since: int) -> tuple[int, float] | None:
        """Time and price of the first open at or after a time; None where the rows end first."""
        at = self._opened.count(since - 1)
        return None if at == len(self._opened_at) else (self._opened_at[at], self._opens[at])

    def quotes(self, moments: Int64Array) -> Quotes:
        """`last_close` and `next_open` at ascending moments at which there is a close, as far as opens go."""
        opened_at, opens, closes = (np.asarray(of) for of in (self._opened_at, self._opens, self._closes))
        following = np.searchsorted(opened_at, moments)
        following = following[: np.searchsorted(following, len(opened_at))]
        moments = moments[: len(following)]
        newest = np.searchsorted(self.known, moments, "right") - 1
        every = moments, closes[newest], opened_at[following], opens[following]
        return Quotes(*(of.tolist() for of in every))
