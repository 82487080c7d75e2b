"""Whether bars lie on the grid of their timeframe, and on days with a session."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import DAY
from qmtl.runtime.conformance.context_window import ContextWindow, Indexes
from qmtl.runtime.conformance.rules import Thresholds


def off_grid(ts: Int64Array, gaps: Indexes, grid: Grid) -> Indexes:
    """Row numbers of bars off the grid. `gaps` are the rows without a bar one step later."""
    if not grid.is_uniform:
        return np.flatnonzero(~grid.on_grid(ts))
    # In a run of bars one step apart, all are on the grid if the first is.
    starts = np.concatenate([[0], gaps + 1])
    is_off_grid = ~grid.on_grid(ts[starts])
    if not is_off_grid.any():
        return np.zeros(0, dtype=np.intp)
    lengths = np.diff(np.append(starts, len(ts)))
    return np.flatnonzero(np.repeat(is_off_grid, lengths))


def outside_sessions(window: ContextWindow, thresholds: Thresholds) -> Mapping[str, Int64Array]:
    """Bars that the calendar does not expect: beside a session of the day, or on a closed day."""
    if window.grid.is_always_open or window.is_expected.all():
        return {}
    outside = window.judged(np.flatnonzero(~window.is_expected))
    ts = window.ts[outside]
    if not window.grid.timeframe.is_intraday:
        return {"temporal.closed_day": ts}
    hull = window.hull
    sessions = window.grid.sessions(Span(hull.start - DAY, hull.end + DAY))
    near = Coverage.from_arrays(
        sessions.starts - thresholds.beside_session, sessions.ends + thresholds.beside_session
    ).holds(ts)
    return {"temporal.extended_hours": ts[near], "temporal.closed_day": ts[~near]}
