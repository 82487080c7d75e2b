"""What there is of a history and what is missing of it, for people who come with spans."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.states import whole_cells
from qmtl.foundation.timeline import EMPTY, Coverage

# A set of instants: a Coverage, or spans `[start, end)` in int nanoseconds UTC, in any order and overlap.
Spans = Coverage | Iterable[tuple[int, int]]


def merge_coverage(*parts: Spans) -> Coverage:
    """Every instant that any of `parts` covers, as one `Coverage`: sorted, disjoint, not touching.

    The order of the parts, and how they are cut, makes no difference; empty spans vanish. Raises
    `InvalidRequestError` for a span that ends before it starts.

    >>> merge_coverage([(10, 20), (0, 5)], [(5, 7)]).spans
    (Span(start=0, end=7), Span(start=10, end=20))
    """
    sets = [_coverage(part) for part in parts]
    if len(sets) < 2:
        return sets[0] if sets else EMPTY
    return Coverage.from_arrays(
        np.concatenate([each.starts for each in sets]), np.concatenate([each.ends for each in sets])
    )


def compute_missing_ranges(
    wanted: Spans, have: Spans = (), grid: Grid | Timeframe | str | None = None
) -> Coverage:
    """What of `wanted` is not in `have`.

    Without `grid`, to the nanosecond. With a grid (or a timeframe, such as "1m", of a market that never
    closes), in whole bars: of the bars that open within `wanted` and that the calendar expects, the cells of
    those that `have` does not hold from start to end. Raises `InvalidRequestError` as `merge_coverage` does.

    >>> compute_missing_ranges([(0, 100)], [(10, 20), (50, 100)]).spans
    (Span(start=0, end=10), Span(start=20, end=50))
    """
    wanted, have = _coverage(wanted), _coverage(have)
    if grid is None:
        return wanted - have
    if isinstance(grid, str):
        grid = Timeframe.parse(grid)
    if isinstance(grid, Timeframe):
        grid = Grid(grid)
    asked = Coverage.from_arrays(grid.ceils(wanted.starts), grid.ceils(wanted.ends))
    if not asked:
        return EMPTY
    there = whole_cells(have, grid, asked.hull)
    return (grid.expected(asked.hull) & asked) - there


def _coverage(spans: Spans) -> Coverage:
    if isinstance(spans, Coverage):
        return spans
    try:
        return Coverage(spans)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidRequestError(
            "these are no spans",
            why=str(error),
            next_step="give pairs (start, end) in int nanoseconds UTC with start <= end",
        ) from error
