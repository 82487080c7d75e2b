"""Long runs of bars in which nothing happens, in a series where otherwise something does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qmtl.foundation.frames import PRICES
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.rules import Thresholds
from qmtl.runtime.conformance.stretch import REACH, Indexes, Stretch


def stale_runs(stretch: Stretch, limits: Thresholds) -> Int64Array:
    """Bars of implausible runs that repeat the open, high, low and close of the bar before."""
    close = stretch.columns["close"]
    # A run that is long enough holds two neighbouring multiples of half its least length.
    stride = max(limits.run_rows // 2, 1)
    sampled = close[::stride]
    if not (sampled[1:] == sampled[:-1]).any():
        return np.zeros(0, dtype=np.int64)
    repeated = np.zeros(len(close), dtype=bool)
    repeated[1:] = stretch.columns["volume"][1:] != 0  # without volume it is padding, another rule
    for name in PRICES:
        values = stretch.columns[name]
        repeated[1:] &= values[1:] == values[:-1]
    return _implausible(stretch, repeated, limits)


def padded_runs(stretch: Stretch, limits: Thresholds) -> Int64Array:
    """Bars of implausible runs of flat bars with a volume of zero."""
    open_, high, low, close, volume = stretch.columns.values()
    padded = (volume == 0) & (high == low) & (open_ == close) & (open_ == high)
    return _implausible(stretch, padded, limits)


def _implausible(stretch: Stretch, still: npt.NDArray[np.bool_], limits: Thresholds) -> Int64Array:
    """Bars in long runs of `still` rows, where nearly all other rows nearby are not still.

    A bar sees 63 rows either way. In the middle of a very long run it sees nothing else and stays
    unflagged; the run's ends are flagged, which is enough to find it.
    """
    edges = np.diff(np.concatenate([[0], still.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    long = ends - starts >= limits.run_rows
    total = np.concatenate([[0], np.cumsum(still)])
    return np.concatenate(
        [
            np.zeros(0, dtype=np.int64),
            *(
                _ends_of(stretch, total, int(s), int(e), limits)
                for s, e in zip(starts[long], ends[long], strict=True)
            ),
        ]
    )


def _ends_of(stretch: Stretch, total: Indexes, start: int, end: int, limits: Thresholds) -> Int64Array:
    # Only bars that see beyond the run can be judged.
    rows = np.arange(start, end)
    rows = stretch.judged(rows[(rows - start < REACH) | (end - rows <= REACH)])
    low, high = np.maximum(rows - REACH, 0), np.minimum(rows + REACH + 1, len(stretch.ts))
    seen = np.minimum(high, end) - np.maximum(low, start)
    rest = high - low - seen
    alive = rest - (total[high] - total[low] - seen)
    found = (seen >= limits.run_rows) & (rest >= limits.run_rest_rows) & (alive >= limits.run_rest * rest)
    flagged: Int64Array = stretch.ts[rows[found]]
    return flagged
