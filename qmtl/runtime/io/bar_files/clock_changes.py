"""Wall clock times at a change of clocks: an hour that is skipped, and an hour that comes twice.

Which pass of the repeated hour a stamp is of is certain only where both passes are there, one behind the
other: then each stamp of it occurs exactly twice, and only one reading of the file keeps its rows in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.frames import TS, VALUES
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import iso
from qmtl.runtime.io.bar_files.option_values import Zone

_NAIVE = pl.Datetime("ns")
_UNKNOWN = np.iinfo(np.int64).min


class WallClock(NamedTuple):
    """`wall` gives naive nanoseconds on the clock of `zone`."""

    wall: pl.Expr
    zone: Zone

    def instants(self, ambiguous: str) -> pl.Expr:
        """UTC; null where the clock skips the time.

        ambiguous: which of two instants: "earliest", "latest", or "null" for neither.
        """
        theirs = (self.wall.cast(pl.Int64) - self.zone.ahead).cast(_NAIVE) if self.zone.ahead else self.wall
        local = theirs.dt.replace_time_zone(self.zone.name, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
        return local.dt.convert_time_zone("UTC")


class Passes(NamedTuple):
    """rows: with the instants of repeated times that are certain. why_not: by line, for all that are not."""

    rows: pl.DataFrame
    why_not: Mapping[int, str]


def with_both_passes(
    rows: pl.DataFrame, clock: WallClock, select: Callable[[pl.Expr, pl.Expr], pl.DataFrame]
) -> Passes:
    """Fill in the instants of an hour that comes twice, where both passes are there in order.

    rows: all rows in the order of the file, with `line`, `ts` (null where it is not certain) and the values.
    select: the two instants of the rows that have two, with their lines: `line`, `first`, `second`.
    """
    repeated = select(clock.instants("earliest"), clock.instants("latest"))
    if repeated.is_empty():
        return Passes(rows, {})
    lines = repeated["line"].to_numpy()
    first, second = (repeated[name].to_numpy().view(np.int64) for name in ("first", "second"))
    why_not = _why_not(rows, lines, first)
    if why_not:
        return Passes(rows, why_not)
    place = np.flatnonzero(rows["line"].is_in(lines).to_numpy())
    ts = rows["ts"].cast(pl.Int64).fill_null(_UNKNOWN).to_numpy()
    _, pass_of = _counted(first)
    readings = []
    for rising in (True, False):
        read = ts.copy()
        read[place] = np.where((pass_of == 0) == rising, first, second)
        if _in_order(read, place, rising):
            readings.append(read)
    if len(readings) != 1:
        return Passes(rows, dict.fromkeys(lines.tolist(), "the rows are not in the order of the two passes"))
    filled = pl.Series("ts", readings[0])
    return Passes(rows.with_columns(filled.set(filled == _UNKNOWN, None).cast(TS)), {})


def _why_not(rows: pl.DataFrame, lines: Int64Array, first: Int64Array) -> dict[int, str]:
    """Lines whose time does not occur exactly twice, or in rows that may be one bar, written twice."""
    counts, _ = _counted(first)
    found = {}
    for line, count in zip(lines.tolist(), counts.tolist(), strict=True):
        if count != 2:
            found[line] = "the file has it once" if count == 1 else f"the file has it {count} times"
    if found:
        return found
    order = np.argsort(first, kind="stable")
    values = rows.filter(pl.col("line").is_in(lines)).select(VALUES)
    one, other = values[order[0::2]], values[order[1::2]]
    if one.equals(other):
        why = "both rows of each time are the same, so that they may be one bar, written twice"
        return dict.fromkeys(lines.tolist(), why)
    return {}


def _counted(times: Int64Array) -> tuple[Int64Array, Int64Array]:
    """How often each of the times occurs, and how many like it stand before it."""
    _, inverse, counts = np.unique(times, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(times), dtype=np.int64)
    rank[order] = np.arange(len(times)) - np.repeat(starts, counts)
    return counts[inverse], rank


def _in_order(ts: Int64Array, places: Int64Array, rising: bool) -> bool:
    """Whether the rows at these places lie in order between their neighbours, as far as those are known."""
    step = np.diff(ts) if rising else -np.diff(ts)
    known = (ts[1:] != _UNKNOWN) & (ts[:-1] != _UNKNOWN)
    beside = np.zeros(len(ts) + 1, dtype=bool)
    beside[places] = beside[places + 1] = True  # the steps before and behind each place
    return bool((step[known & beside[1:-1]] > 0).all())


def about_change(
    text: str, clock: WallClock, first: int | None, second: int | None, why: str | None
) -> tuple[str, str, str]:
    """What to say of a time that has no certain instant: what, why, and what next.

    first, second: its instants (ns), None if the clock skips it. why: it is not certain which is meant.
    """
    zone = clock.zone
    if first is None or second is None:
        return (
            f"{text!r} does not exist in {zone}",
            "the clock was put forward then, and skipped that hour",
            f"check `tz=`: stamps of UTC, or of a clock that is never changed, are not of {zone}; "
            "else export the file with times in UTC",
        )
    return (
        f"{text!r} comes twice in {zone}",
        f"the clock was put back: it is {iso(first)} or {iso(second)}, and {why or 'nothing tells which'}",
        "export the file with times in UTC, or with the offset behind each; where both passes of that hour "
        "stand in it, one behind the other, it is read",
    )
