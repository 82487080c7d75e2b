"""What cash and positions are worth, each time that a bar has closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.replay.orders import Fill, FillModel

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
    """
    ts = np.array([fill.ts for fill in fills], dtype=np.int64)
    # What is filled at an open counts after that moment: whoever decides at it has not seen it yet. What is
    # filled at a close is filled within that moment.
    side = "left" if model.price == "next_open" else "right"
    in_cash = _steps(moments, ts, cash, [fill.cash for fill in fills], side)
    worth = in_cash.copy()
    for series, (closed, prices) in closes.items():
        own = [fill for fill in fills if fill.series == series]
        units_before = before.get(series, 0.0)
        if not own and not units_before:
            continue
        own_ts = np.array([fill.ts for fill in own], dtype=np.int64)
        units = _steps(moments, own_ts, units_before, [fill.position for fill in own], side)
        place = np.searchsorted(closed, moments, "right") - 1
        # Before the first close there is no position: the price there is never used.
        worth += np.where(units != 0.0, units * prices[np.maximum(place, 0)], 0.0)
    return Marks(moments, in_cash, worth)


def _steps(
    moments: Int64Array, ts: Int64Array, before: float, after: Sequence[float], side: str
) -> Float64Array:
    """The newest of some values at each moment."""
    levels = np.array([before, *after], dtype=np.float64)
    place = np.searchsorted(ts, moments, "left" if side == "left" else "right")
    found: Float64Array = levels[place]
    return found


def drawdowns(equity: Float64Array) -> Float64Array:
    """How far below its highest value so far it is, as a fraction: 0 at a high, -0.25 a quarter below it."""
    if not len(equity):
        return equity
    highest = np.maximum.accumulate(equity)
    found: Float64Array = np.where(highest > 0, equity / np.where(highest > 0, highest, 1.0) - 1.0, 0.0)
    return found
