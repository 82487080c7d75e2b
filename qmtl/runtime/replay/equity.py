"""What cash and positions are worth, each time that a bar has closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import iso
from qmtl.runtime.replay.orders import Fill, FillModel, beyond_numbers

Float64Array = npt.NDArray[np.float64]


class Marks(NamedTuple):
    """Per moment at which bars closed (int ns UTC): cash and equity then."""

    ts: Int64Array
    cash: Float64Array
    equity: Float64Array


class Closes(NamedTuple):
    """Of one series: when its bars closed, ascending, and at which price."""

    closed: Int64Array
    prices: Float64Array


def marks(
    moments: Int64Array,
    closes: Mapping[SeriesId, Closes],
    fills: Sequence[Fill],
    model: FillModel,
    before: Mapping[SeriesId, float],
    cash: float,
) -> Marks:
    """The worth at each moment.

    moments: ascending, unique. closes: of all series, with one close before the first moment where there is
    one. fills: those of this stretch, in order. before: units by series before them; cash: as well.

    Raises `InvalidRequestError` where equity would be no number.
    """
    ts = np.array([fill.ts for fill in fills], dtype=np.int64)
    # What is filled at an open counts after that moment: whoever decides at it has not seen it yet. What is
    # filled at a close is filled within that moment.
    side = "left" if model.price == "next_open" else "right"
    in_cash = _steps(moments, ts, cash, [fill.cash for fill in fills], side)
    worth = in_cash.copy()
    for series, (closed, prices) in closes.items():
        own = [fill for fill in fills if fill.series is series or fill.series == series]
        units_before = before.get(series, 0.0)
        if not own and not units_before:
            continue
        own_ts = np.array([fill.ts for fill in own], dtype=np.int64)
        units = _steps(moments, own_ts, units_before, [fill.position for fill in own], side)
        place = newest_at(closed, moments)
        # Before the first close there is no position: the price there is never used.
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            worth += np.where(units != 0.0, units * prices[np.maximum(place, 0)], 0.0)
    beyond = np.flatnonzero(~np.isfinite(worth))
    if len(beyond):
        raise beyond_numbers(f"what is held at {iso(int(moments[beyond[0]]))}")
    return Marks(moments, in_cash, worth)


def _steps(
    moments: Int64Array, ts: Int64Array, before: float, after: Sequence[float], side: str
) -> Float64Array:
    """The newest of some values at each moment."""
    levels = np.array([before, *after], dtype=np.float64)
    # There are far fewer values than moments: each of them is sought, and holds until the next.
    first = np.searchsorted(moments, ts, "right" if side == "left" else "left")
    return np.repeat(levels, np.diff(first, prepend=0, append=len(moments)))


def newest_at(since: Int64Array, times: Int64Array) -> Int64Array:
    """The place of the newest of `since` at each time; -1 where there is none yet. Both ascend."""
    ahead = len(since) - len(times)
    # Most often each has one of its own, and need not be sought.
    if ahead >= 0 and np.array_equal(since[ahead:], times) and bool((times[1:] > times[:-1]).all()):
        return np.arange(ahead, len(since))
    return np.searchsorted(since, times, "right") - 1


def drawdowns(equity: Float64Array) -> Float64Array:
    """How far below its highest value so far it is, as a fraction: 0 at a high, -0.25 a quarter below it."""
    if not len(equity):
        return equity
    highest = np.maximum.accumulate(equity)
    found: Float64Array = np.where(highest > 0, equity / np.where(highest > 0, highest, 1.0) - 1.0, 0.0)
    return found
