"""Whether bars lie where bars of this timeframe may lie, and on days with a session."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import DAY
from qmtl.runtime.conformance.rules import Thresholds
from qmtl.runtime.conformance.stretch import Indexes, Stretch


def off_grid(ts: Int64Array, gaps: Indexes, grid: Grid) -> Indexes:
    """Row numbers of bars that open where none may. `gaps` are the rows not followed one step later."""
    if not grid.is_uniform:
        return np.flatnonzero(~grid.on_grid(ts))
    # Within a run of whole steps all bars share the fate of the first.
    starts = np.concatenate([[0], gaps + 1])
    astray = ~grid.on_grid(ts[starts])
    if not astray.any():
        return np.zeros(0, dtype=np.intp)
    lengths = np.diff(np.append(starts, len(ts)))
    return np.flatnonzero(np.repeat(astray, lengths))


def outside_sessions(stretch: Stretch, limits: Thresholds) -> Mapping[str, Int64Array]:
    """Bars that the calendar does not expect: beside a session of the day, or on a closed day."""
    if stretch.grid.is_always_open or stretch.is_expected.all():
        return {}
    outside = stretch.judged(np.flatnonzero(~stretch.is_expected))
    ts = stretch.ts[outside]
    if not stretch.grid.timeframe.is_intraday:
        return {"temporal.closed_day": ts}
    hull = stretch.hull
    sessions = stretch.grid.sessions(Span(hull.start - DAY, hull.end + DAY))
    near = Coverage.from_arrays(
        sessions.starts - limits.beside_session, sessions.ends + limits.beside_session
    ).holds(ts)
    return {"temporal.extended_hours": ts[near], "temporal.closed_day": ts[~near]}
