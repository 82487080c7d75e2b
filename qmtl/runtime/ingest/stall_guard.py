"""When to stop reading a vendor whose pages bring nothing new: pure counting."""

from __future__ import annotations

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage, Span

# So many pages in a row may bring no further bar. Where its pages overlap, a vendor repeats itself for a page
# or two; one that does so a hundred times would never stop.
FRUITLESS_PAGES = 100


class StallGuard:
    """Counts the pages of one question, and goes on counting when it is asked again after a break.

    A page brings a further bar if it answers for a cell that no page before it touched: whether a row lies in
    it, nothing traded in it, or the venue was closed. A cell that is answered in several parts counts once.
    So the reading ends whatever the vendor does, because the number of cells is finite.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._touched = EMPTY
        self._fruitless = 0
        self.pages = 0

    @property
    def is_spent(self) -> bool:
        return self._fruitless >= FRUITLESS_PAGES

    def read(self, answered: Span) -> None:
        """One page more, which answers for `answered`."""
        self.pages += 1
        cells = _cells(answered, self._grid)
        if cells.is_empty or self._touched.contains(cells):
            self._fruitless += 1
            return
        self._fruitless = 0
        self._touched |= Coverage.of(cells)


def _cells(answered: Span, grid: Grid) -> Span:
    """The cells that a range touches, the first and the last of them whole."""
    if answered.is_empty:
        return answered
    return Span(grid.floor(answered.start), grid.after(grid.floor(answered.end - 1)))
