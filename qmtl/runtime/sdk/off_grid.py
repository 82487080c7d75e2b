"""Stamps that lie where no bar may open: how far off they are, in words, and what usually explains it."""

from __future__ import annotations

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import DAY, iso

_SHOWN = 3
_LOOKED_AT = 10_000  # the first rows of a file show how it is written


def beside_grid(ts: Int64Array, grid: Grid) -> str:
    """The first three stamps off the grid, each between the opens beside it; empty if there are none.

    ts: int64 nanoseconds, any order.
    """
    ts = ts[:_LOOKED_AT]
    astray = ts[~grid.on_grid(ts)][:_SHOWN] if len(ts) else ts
    between = []
    for stamp in astray.tolist():
        before = grid.floor(stamp)
        between.append(f"{iso(stamp)} lies between {iso(before)} and {iso(grid.after(before))}")
    return "; ".join(between)


def advice_off_grid(grid: Grid, label: str) -> str:
    """What to declare, for bars of this grid whose stamps were read by `label`, if all are off it."""
    if not grid.timeframe.is_intraday and label == "close":
        return (
            "the close of a day is midnight, or the close of a session of the exchange's `calendar=`; if the "
            "stamps lie in the sessions of their bars, say `label=session`"
        )
    if not grid.timeframe.is_intraday:
        return (
            "if the stamps lie in the sessions of their bars, say `label=session`, with the exchange's "
            "`calendar=` where they are no midnights"
        )
    steps = ["`label=close` if they are the closes of bars"]
    if grid.anchor == "clock":
        steps.append("`calendar=` and `anchor=session` if bars are counted from the open of each session")
    if grid.step >= DAY // 48:
        steps.append("`tz=ZONE` if they are local times (`tz=Asia/Kolkata` is 5:30 ahead of UTC)")
    return f"say {', '.join(steps)}; else the timeframe of the series is another"
