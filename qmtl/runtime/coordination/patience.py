"""How long a vendor is read that brings nothing further: pure counting."""

from __future__ import annotations

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage, Span

# So many pages in a row may bring no further bar. A vendor repeats itself for a page or two, where its pages
# overlap; one that does so a hundred times would do so for ever.
FRUITLESS_PAGES = 100


class Patience:
    """Counts the pages of one question, also where it is put again after a break.

    A page brings a further bar if it speaks for a cell that no page before it touched: whether a row lies in
    it, nothing traded in it, or the venue was closed. A cell that is told in slivers counts once. So the
    reading ends, whatever the vendor does: there are only so many cells.
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
        """One page more, and the range that it speaks for."""
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
