"""How far back history and warm-up reach, counted in the bars that a calendar expects: pure."""

from __future__ import annotations

from dataclasses import dataclass

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, SECOND, iso
from qmtl.foundation.words import counted

# Enough for a daily series of a venue that is open one day a month.
_WIDEST = 64


@dataclass(frozen=True, slots=True)
class Window:
    """How much history belongs to an input.

    warmup_bars: bars before the first one on which a strategy decides. min_history: seconds that history
    reaches back at least. backfill_start: where it begins (ns); None: as far back as the two others need.
    stabilization_bars: how many of the newest closed bars are held back.
    """

    warmup_bars: int = 0
    min_history: float = 0.0
    backfill_start: int | None = None
    stabilization_bars: int = 0

    def end(self, grid: Grid, now: int) -> int:
        """Where history ends at `now` (ns): behind the newest closed bar that is not held back."""
        return bars_back(grid, grid.floor(now), self.stabilization_bars)

    def history(self, grid: Grid, now: int) -> Span:
        """The range that is to be there at `now` (ns), aligned to the grid.

        Raises `InvalidRequestError` where `backfill_start` leaves no room for what is wanted.
        """
        end = self.end(grid, now)
        wanted = end - round(self.min_history * SECOND)
        if wanted < EARLIEST:
            raise InvalidRequestError(
                f"a min_history of {self.min_history:,.0f} s reaches back beyond {iso(EARLIEST)}",
                why="no bar can open before that",
                next_step="set a smaller min_history",
            )
        if self.backfill_start is None:
            return grid.align(Span(min(wanted, bars_back(grid, end, self.warmup_bars)), end))
        if self.backfill_start >= end:
            raise InvalidRequestError(
                f"history begins at {iso(self.backfill_start)}, where no bar has closed yet",
                why=f"it ends at {iso(end)} now, with {counted(self.stabilization_bars, 'bar')} held back",
                next_step="set an earlier backfill_start",
            )
        if wanted < self.backfill_start:
            raise InvalidRequestError(
                f"min_history reaches back to {iso(wanted)}, before backfill_start",
                why=f"history begins at {iso(self.backfill_start)}, and ends at {iso(end)} now",
                next_step="set an earlier backfill_start, or a smaller min_history",
            )
        self.warmup_start(grid, end)
        return grid.align(Span(self.backfill_start, end))

    def warmup_start(self, grid: Grid, start: int) -> int:
        """Where the warm-up of a run from `start` (ns) begins.

        Raises `InvalidRequestError` if that is before `backfill_start`: the warm-up is longer than history.
        """
        first = bars_back(grid, grid.ceil(start), self.warmup_bars)
        if self.backfill_start is not None and first < self.backfill_start and self.warmup_bars:
            history = Span(self.backfill_start, max(self.backfill_start, start))
            has = counted(grid.count(grid.expected(grid.align(history))), "bar")
            raise InvalidRequestError(
                f"a warm-up of {counted(self.warmup_bars, 'bar')} is longer than history",
                why=f"from {iso(self.backfill_start)} to {iso(start)} the calendar expects {has}",
                next_step=f"set backfill_start to {iso(first)} or earlier, begin later, or use fewer bars",
            )
        return first


def bars_back(grid: Grid, end: int, bars: int) -> int:
    """The open of the bar from which on a calendar expects `bars` bars before `end` (on the grid).

    Raises `InvalidRequestError` where the calendar expects too few.
    """
    too_few = InvalidRequestError(
        f"the calendar of the series expects fewer than {counted(bars, 'bar')} before {iso(end)}",
        next_step="set fewer bars, or declare the calendar by which the series trades",
    )
    if bars * grid.step > end - EARLIEST:
        raise too_few
    if bars == 0 or grid.is_always_open:
        return end - bars * grid.step
    for width in (1 << n for n in range(1, _WIDEST.bit_length())):
        start = max(EARLIEST, end - bars * width * grid.step - 7 * width * grid.step)
        opens = grid.stamps(grid.expected(Span(start, end)))
        if len(opens) >= bars:
            return int(opens[-bars])
    raise too_few
