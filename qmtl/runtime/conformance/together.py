"""Short ranges of several series are judged at once: laid one behind the other, as if they were one series.

The flags of a bar depend on 64 rows on either side of it, and on the run that it belongs to. So a range with
that many rows of its own around it is judged alike, whatever lies behind those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import TS, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import LATEST
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline

# Rows in one line; as many as the rules look at at once. A longer range gains nothing from others beside it.
_MOST_ROWS = 1 << 16


class Range(NamedTuple):
    """Rows of one series, of which `[first, last)` are judged.

    cells: from the cell of the first row to the end of the cell of the last.
    """

    rows: pl.DataFrame
    first: int
    last: int
    cells: Span


def range_to_share(rows: pl.DataFrame, first: int, last: int, answered: Coverage, grid: Grid) -> Range | None:
    """A range that is judged alike beside others; None where it may not be.

    Not on a calendar, which says for each time what it expects; nor with fewer rows around than the rules
    look at; nor where sources have not answered for all from the first row to the last (`answered`).
    """
    if not grid.is_always_open or rows.height > _MOST_ROWS:
        return None
    if not CONTEXT <= first < last <= rows.height - CONTEXT:
        return None
    ts = stamps(rows)
    cells = Span(grid.floor(int(ts[0])), grid.after(grid.floor(int(ts[-1]))))
    return Range(rows, first, last, cells) if answered.contains(cells) else None


def flags_together(
    pipeline: ConformancePipeline, ranges: Iterable[Range], span: Span, *, grid: Grid, facts: SeriesFacts
) -> Iterator[Flags | None]:
    """Of each range the flags within `span`, as `pipeline.flag` finds them; None if it needs more context.

    ranges: all of them of this grid, and with these facts. span: aligned; the rows of each range that are
    judged are those within it.
    """
    line: list[Range] = []
    shifts: list[int] = []  # of the stamps of each range; the first one stays where it is
    rows = end = 0
    for one in ranges:
        is_full = rows + one.rows.height > _MOST_ROWS or end + one.cells.length > LATEST
        if line and (is_full or end - one.cells.start > LATEST):
            yield from _flags_of_line(pipeline, line, shifts, span, grid, facts)
            line, shifts, rows = [], [], 0
        start = end if line else one.cells.start
        line.append(one)
        shifts.append(start - one.cells.start)
        rows, end = rows + one.rows.height, start + one.cells.length
    if line:
        yield from _flags_of_line(pipeline, line, shifts, span, grid, facts)


def _flags_of_line(
    pipeline: ConformancePipeline,
    line: Sequence[Range],
    shifts: Sequence[int],
    span: Span,
    grid: Grid,
    facts: SeriesFacts,
) -> Iterator[Flags | None]:
    rows = pl.concat([one.rows for one in line], rechunk=True)
    heights = [one.rows.height for one in line]
    ts = stamps(rows) + np.repeat(shifts, heights)
    flags = pipeline.flag(rows.with_columns(pl.Series("ts", ts).cast(TS)), grid=grid, facts=facts)
    starts = np.cumsum([0, *heights[:-1]])
    close = rows["close"].to_numpy()
    edges = (starts + [one.first for one in line], starts + [one.last for one in line])
    # Where the price moves at both ends of a range, no run reaches over them.
    may_reach_over = (close[edges[0]] == close[edges[0] - 1]) | (close[edges[1]] == close[edges[1] - 1])
    for one, shift, may in zip(line, shifts, may_reach_over.tolist(), strict=True):
        if may and pipeline.needs_more_context(one.rows, one.first, one.last, grid):
            yield None
        else:
            yield flags.clip(Span(span.start + shift, span.end + shift)).moved(-shift)
