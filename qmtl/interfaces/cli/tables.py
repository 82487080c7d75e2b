"""Rows of facts, side by side where they fit and one below the other where they do not: nothing is cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from qmtl.foundation.words import shown_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

STYLES = {
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}

# Sentences are wrapped in a column that is at least so wide.
PROSE_WIDTH = 24
# Columns enough for whatever a table may hold: how much it needs is asked without regard to the terminal.
BOUNDLESS = 100_000


class Rows:
    """A plain table; without room for it, a block of lines for each row.

    Cells of the columns in `prose` are sentences, and may be wrapped; all others are names, numbers and
    times, which people copy. The words of vendors and workers may stand in any of them: control characters
    are shown as escapes. A cell that is the name of a severity or an outcome is coloured.
    """

    def __init__(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], prose: Collection[str] = ()
    ) -> None:
        self._columns = columns
        self._rows = [[shown_lines(str(cell)) for cell in row] for row in rows]
        self._prose = prose

    def without_style(self, width: int) -> list[str] | None:
        """The lines of the table as rich shows them where nothing is coloured, and without rich.

        None where it is not that simple: the table is wider than that, or not every letter is as wide as
        another.
        """
        rows = [list(self._columns), *self._rows]
        if not all(cell.isascii() and cell.isprintable() for row in rows for cell in row):
            return None
        columns = [[row[number] for row in rows] for number in range(len(self._columns))]
        widths = [max(map(len, column)) for column in columns]
        if sum(widths) + 2 * (len(widths) - 1) > width:
            return None
        shown = [
            [cell.rjust(wide) if _are_counts(cells) else cell.ljust(wide) for cell in (name, *cells)]
            for (name, *cells), wide in zip(columns, widths, strict=True)
        ]
        return ["  ".join(line) for line in zip(*shown, strict=True)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement  # what shows no rows does not wait for rich

        table = self._table()
        needed = Measurement.get(console, options.update(max_width=BOUNDLESS), table).minimum
        if needed <= options.max_width:
            yield table
        else:
            yield from self._blocks(options.max_width)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        made = Table(box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(self._columns):
            cells = [row[number] for row in self._rows]
            is_prose = column in self._prose
            made.add_column(
                column,
                justify="right" if _are_counts(cells) else "left",
                no_wrap=not is_prose,
                overflow="fold",
                min_width=min(PROSE_WIDTH, max(map(len, cells), default=0)) if is_prose else None,
            )
        for row in self._rows:
            made.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
        return made

    def _blocks(self, width: int) -> Iterable[Text]:
        from rich.text import Text

        indent = max(map(len, self._columns)) + 2
        for number, row in enumerate(self._rows):
            if number:
                yield Text()
            for column, cell in zip(self._columns, row, strict=True):
                # A terminal goes on in the next line where a name is longer than it is wide.
                lines = wrap(cell, max(PROSE_WIDTH, width - indent)) if column in self._prose else [cell]
                for place, line in enumerate(lines if cell else []):
                    name = column if place == 0 else ""
                    yield Text.assemble((name.ljust(indent), "bold"), (line, STYLES.get(line, "")))


def _are_counts(cells: Collection[str]) -> bool:
    return bool(cells) and all(cell.replace(",", "").isdecimal() for cell in cells)
