"""How Polygon writes aggregates: paths, timespans, and rows with New York's days: pure.

Taken from its public documentation of `/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}`.
Both ends are included. Stamps are milliseconds; a daily bar is stamped with New York's midnight. `limit`
counts the minutes (or days) from which a bar is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.frames import VALUES, bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, EARLIEST, HOUR, LATEST, MINUTE, SECOND
from qmtl.runtime.io.vendors.misplaced_rows import UNITS_FOR_MILLISECONDS, misplaced_rows

# The most that one request may ask for.
MOST_ROWS = 50_000

MILLISECOND = SECOND // 1000
NEW_YORK = ZoneInfo("America/New_York")

# Trading after hours ends at 20:00 in New York; the bar of the day is final then.
_DAY_ENDS = time(20)

_FIELDS = ("o", "h", "l", "c", "v")

Refuse = Callable[[str], SourceUnavailableError]


class Timespan(NamedTuple):
    """`multiplier` and `unit` as the path has them; `base_bars` are counted by `limit` for each bar."""

    multiplier: int
    unit: str
    base_bars: int

    @property
    def is_daily(self) -> bool:
        return self.unit == "day"


def timespan_of(series: SeriesId) -> Timespan:
    """The timespan of a series. Raises `InvalidRequestError` for a timeframe that is not served."""
    step = series.timeframe.step
    if step == DAY:
        return Timespan(1, "day", 1)
    if step == HOUR:
        return Timespan(1, "hour", 60)
    if step % MINUTE == 0 and HOUR % step == 0:
        return Timespan(step // MINUTE, "minute", step // MINUTE)
    raise InvalidRequestError(
        f"the vendor polygon serves no bars of {series.timeframe}",
        series=series,
        why="longer bars of this source begin with New York's day, and not on the clock",
        next_step="use 1d, 1h, or minutes that divide an hour",
    )


def closed_until(timespan: Timespan, grid: Grid, now: int) -> int:
    """The end of the last bar that is final at `now` (ns)."""
    if not timespan.is_daily:
        return grid.floor(now)
    here = datetime.fromtimestamp(now // SECOND, UTC).astimezone(NEW_YORK)
    today = _midnight_utc(here)
    return today + DAY if here.time() >= _DAY_ENDS else today


def _midnight_utc(moment: datetime) -> int:
    return (moment.date().toordinal() - 719_163) * DAY


def aggregates_path(series: SeriesId, timespan: Timespan, span: Span, *, adjusted: bool) -> str:
    """The path and query for the bars that open within `span`, which lies on the grid."""
    last = span.end - series.timeframe.step
    first, final = (_date(ts) if timespan.is_daily else str(ts // MILLISECOND) for ts in (span.start, last))
    query = urlencode({"adjusted": str(adjusted).lower(), "sort": "asc", "limit": MOST_ROWS})
    return (
        f"/v2/aggs/ticker/{quote(series.symbol, safe='')}/range/{timespan.multiplier}/{timespan.unit}"
        f"/{first}/{final}?{query}"
    )


def _date(ts: int) -> str:
    return datetime.fromtimestamp(ts // SECOND, UTC).date().isoformat()


def frame_of(
    answer: Mapping[str, Any], timespan: Timespan, asked: Span, *, adjusted: bool, refuse: Refuse
) -> pl.DataFrame:
    """The rows of an answer as BAR_SCHEMA, sorted. Raises what `refuse` makes of an answer that is none."""
    if answer.get("adjusted", adjusted) is not adjusted:
        kinds = ("adjusted", "unadjusted") if adjusted else ("unadjusted", "adjusted")
        raise refuse("it was asked for {} bars, and answered with {} ones".format(*kinds))
    rows = answer.get("results") or []
    count = answer.get("resultsCount", len(rows))
    if count != len(rows):
        raise refuse(f"it says that it has {count} rows, and sends {len(rows)}")
    try:
        ts = np.array([int(row["t"]) for row in rows], dtype=object) * MILLISECOND
        columns = {
            name: pl.Series(name, [row[field] for row in rows], dtype=pl.Float64)
            for name, field in zip(VALUES, _FIELDS, strict=True)
        }
    except (TypeError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise refuse(f"it sent rows that are no bars: {type(error).__name__}: {error}") from error
    if not len(rows):
        return bars(np.array([], dtype=np.int64), columns)
    low, high = min(ts), max(ts)
    if low < EARLIEST or high > LATEST:
        raise refuse(misplaced_rows(len(rows), low, high, asked, UNITS_FOR_MILLISECONDS))
    opens = ts.astype(np.int64)
    if timespan.is_daily:
        opens = _session_dates(opens)
    outside = (opens < asked.start) | (opens >= asked.end)
    if outside.any():
        raise refuse(
            "it answered with "
            + misplaced_rows(int(outside.sum()), int(low), int(high), asked, UNITS_FOR_MILLISECONDS)
        )
    return bars(opens, columns).sort("ts")


def _session_dates(ts: Any) -> Any:
    """The date in New York of each stamp, as midnight UTC."""
    local = pl.Series(ts).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone("America/New_York")
    return local.dt.date().cast(pl.Datetime("ns")).to_physical().to_numpy()
