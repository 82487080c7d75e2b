"""What a store knows of a range however long, without holding its rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates, states_of_cells
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store.contract import BarReader, Store

# Bars read at once: about 6 MB of rows.
WINDOW_STEPS = 131_072


def scan_coverage(
    store: BarReader, series: SeriesId, span: Span, grid: Grid, *, now: int, as_of: int | None = None
) -> BarStates:
    """What the store knows of each bar of `span` at one commit; memory is bounded by one window.

    Absences that have expired at `now` (ns), or at `as_of` if that is given, count as unknown. What damage
    has taken is unknown, and named in `damaged`.
    """
    judged_at = now if as_of is None else as_of
    span = grid.align(span)
    present = answered = absent = damaged = EMPTY
    width = WINDOW_STEPS * grid.step
    at = end = span.start
    while at < span.end:
        end = min(max(end, at + width), span.end)
        window = grid.align(Span(at, end))
        snapshot = store.read(series, window, as_of=as_of)
        as_of = snapshot.as_of if as_of is None else as_of  # later windows are read at the same commit
        present |= grid.cells(stamps(snapshot.frame))
        answered |= snapshot.answered
        absent |= snapshot.absent(judged_at)
        damaged |= snapshot.damaged
        at = end
        if snapshot.count == 0 and at < span.end:
            # However far the next row is, one more read takes all that is known until there.
            end = next_row(store, series, at, as_of) or span.end
    return states_of_cells(span, grid, present, answered, absent, damaged)


def next_row(store: BarReader, series: SeriesId, at: int, as_of: int) -> int | None:
    """The stamp of the first row that opens at `at` (ns) or later; None if there is none."""
    after = store.read(series, Span(at, at), as_of=as_of, context=1).rows["ts"].to_physical()
    later = after.filter(after >= at)
    return None if later.is_empty() else int(later[0])


def asked_after(store: BarReader, series: SeriesId, cells: Coverage, time: int) -> Coverage:
    """Those of `cells` whose stored answer was asked for after `time` (ns)."""
    answered = EMPTY
    width = WINDOW_STEPS * series.timeframe.step
    for run in cells:
        for start in range(run.start, run.end, width):
            window = Span(start, min(start + width, run.end))
            answers = store.read(series, window).answers
            answered |= Coverage((a.start, a.end) for a in answers if a.checked_at > time).clip(window)
    return answered


class Refused(NamedTuple):
    """Bars whose rows were impossible: all of them, and those that need not be asked for again yet.

    until: when the first of these is asked for again (ns); None if there are none.
    """

    cells: Coverage
    resting: Coverage
    until: int | None = None


NOT_REFUSED = Refused(EMPTY, EMPTY)


def refused(store: Store, series: SeriesId, cells: Coverage, grid: Grid, *, now: int) -> Refused:
    """Those of `cells` that are in quarantine, at `now` (ns)."""
    if not cells:
        return NOT_REFUSED
    floors = {grid.floor(ts) for ts in stamps(store.quarantined(series, cells.hull)).tolist()}
    bars = grid.cells(np.array(sorted(floors), dtype=np.int64)) & cells
    resting, until = EMPTY, None
    width = WINDOW_STEPS * grid.step
    for start in range(bars.hull.start, bars.hull.end, width) if bars else ():
        window = Span(start, min(start + width, bars.hull.end))
        here = bars.clip(window)
        if not here:
            continue
        rests = {
            Span(a.start, a.end): a.expires_at
            for a in store.read(series, window).answers
            if a.outcome == "refused"
            and a.expires_at is not None
            and now < a.expires_at
            and here.clip(Span(a.start, a.end))
        }
        resting |= Coverage(rests) & here
        until = min([*rests.values(), *([] if until is None else [until])], default=None)
    return Refused(bars, resting, until)
