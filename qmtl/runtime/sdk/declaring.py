"""A declaration is tried on the stored bars before it is kept, and found where it no longer works."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST, SECOND, iso
from qmtl.runtime.io.coverage_scan import WINDOW_STEPS
from qmtl.runtime.io.store.contract import BarReader
from qmtl.runtime.sdk.series_declarations import StoredFacts

# Without bars, a calendar is asked for a day that all of them know: 2024-01-02.
ANY_DAY = Span(1_704_153_600 * SECOND, 1_704_240_000 * SECOND)


class StoredBars(StoredFacts, BarReader, Protocol):
    """The part of a store that knows bars and facts of a series."""


class Broken(NamedTuple):
    """A stored declaration that cannot be used: every command on the series fails with `why`."""

    series: SeriesId
    facts: SeriesFacts
    why: InvalidRequestError


def try_declaration(
    store: StoredBars, series: SeriesId, grid: Grid, facts: SeriesFacts, stored: SeriesFacts | None
) -> None:
    """Raise `InvalidRequestError` if bars of the series that are stored could not be read by these facts.

    stored: what the store declares already, which is not tried again. Reads the stored bars only where the
    grid on which they lie would be another.
    """
    before = stored or NOTHING_DECLARED
    if before.calendar == facts.calendar and before.anchor == facts.anchor:
        return
    extent = stored_extent(store, series)
    grid.try_calendar(extent or ANY_DAY)
    if extent is not None and (not grid.is_uniform or before.anchor == "session"):
        _try_grid(store, series, grid, extent)


def stored_extent(store: StoredBars, series: SeriesId) -> Span | None:
    """From the first stored bar to the end of the last; None if there is none."""
    first = stamps(store.read(series, Span(EARLIEST, EARLIEST), context=1).rows)
    last = stamps(store.read(series, Span(LATEST, LATEST), context=1).rows)
    if not len(first) or not len(last):
        return None
    return Span(first[0], int(last[-1]) + series.timeframe.step)


def _try_grid(store: StoredBars, series: SeriesId, grid: Grid, extent: Span) -> None:
    astray, total, example = 0, 0, None
    width = WINDOW_STEPS * grid.step
    for start in range(extent.start, extent.end, width):
        ts = stamps(store.read(series, Span(start, min(start + width, extent.end))).frame)
        off = np.flatnonzero(~grid.on_grid(ts)) if len(ts) else ts
        if len(off) and example is None:
            example = int(ts[off[0]])
        astray, total = astray + len(off), total + len(ts)
    if example is not None:
        raise InvalidRequestError(
            f"{astray:,} of {total:,} stored bars would not lie on the grid any more",
            series=series,
            span=extent,
            why=f"with anchor {grid.anchor!r} no bar opens at {iso(example)}",
            next_step="declare the anchor by which these bars were made, or import them as another series",
        )


def broken_declarations(
    store: StoredBars, names: Iterable[SeriesId], grid_of: Callable[[SeriesId, SeriesFacts], Grid]
) -> list[Broken]:
    """The series whose stored declaration cannot be used for the bars that are stored."""
    found = []
    for series in names:
        facts = store.facts(series)
        if facts is None or facts.calendar is None:
            continue
        try:
            grid = grid_of(series, facts)
            grid.try_calendar(stored_extent(store, series) or ANY_DAY)
        except InvalidRequestError as error:
            found.append(Broken(series, facts, error))
    return found
