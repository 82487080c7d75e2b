"""Rows much further apart than the bars of their series: often from a file of another timeframe."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK

_LEAST = 6  # distances that make a rhythm
# Of the distances so many lie within so much of the median: months are 28 to 31 days, weeks 6 to 8 at
# holidays, and nights and weekends lie between the bars of a day.
_MOST, _ABOUT = 0.75, 0.16
# Shares that seldom trade have a rhythm of two or three bars now and then.
_SPARSE = 5
_LENGTHS = ((WEEK, "w"), (DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"))


def advice_on_spacing(ts: Int64Array, timeframe: Timeframe) -> str | None:
    """What rows that keep a longer distance than `timeframe` look like; None if they keep none.

    ts: opens of bars, int64 nanoseconds, in any order.
    """
    steps = np.diff(np.unique(ts))
    if len(steps) < _LEAST:
        return None
    median = int(np.sort(steps)[len(steps) // 2])
    alike = np.abs(steps - median) <= median * _ABOUT
    if median < _SPARSE * timeframe.step or np.count_nonzero(alike) < _MOST * len(steps):
        return None
    # Bars of a day have holes at weekends, and those of hours at night; a distance of days is none of these.
    days = round(median / DAY)
    if days > 7:
        name = {28: "monthly", 29: "monthly", 30: "monthly", 31: "monthly"}.get(days, f"bars of {days} days")
        name = "quarterly" if 89 <= days <= 93 else "yearly" if 360 <= days <= 370 else name
        kind = name if name.startswith("bars") else f"{name} bars"
        return (
            f"the series is of {timeframe} bars, and the rows are about {days} days apart: they look like "
            f"{kind}, which no series holds (timeframes end at 1w); everything between them stays unknown"
        )
    other = _timeframe_of(WEEK if days in (6, 7) else median)
    if other is None:
        return None
    return (
        f"the series is of {timeframe} bars, and the rows are {other} apart: if they are bars of {other}, "
        f"name the series with :{other}; else everything between them stays unknown"
    )


def _timeframe_of(step: int) -> str | None:
    for size, unit in _LENGTHS:
        if step % size == 0:
            text = f"{step // size}{unit}"
            # Days and weeks come as one each; shorter bars divide a day.
            divides = step == size if unit in "wd" else DAY % step == 0
            return text if divides else None
    return None
