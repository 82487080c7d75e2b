"""From the stamp that a file gives a bar to the open of that bar."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.calendars import Calendar, DatedCalendar, ExchangeCalendar
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Int64Array, Span
from qmtl.foundation.times import DAY, LATEST, SECOND, iso
from qmtl.runtime.io.bar_files.options import Reading

# By how much some programs stamp a close too early: 23:59:59, and 23:59:59.999 and finer.
_EARLY = (0, 1, 1_000, 1_000_000, SECOND)

# A session opens within this of a stamp that stands before it on its date.
_AHEAD = DAY
_WIDE = 15 * DAY


def opens_of(
    ts: Int64Array,
    reading: Reading,
    timeframe: Timeframe,
    calendar: Calendar | None,
    name: str,
    no_date: npt.NDArray[np.bool_] | None = None,
) -> tuple[Int64Array, tuple[str, ...]]:
    """The opens of bars (int64 nanoseconds) that are stamped `ts`, and what a person should know.

    calendar: of the series; asked where the stamps of daily bars are instants of their sessions. no_date:
    which stamps are instants although they lie at midnight UTC; None if it is none of them. With
    `label="session"` raises `InvalidRequestError` where a stamp lies in no session; with `label="close"` a
    stamp that closes no session stays off the grid.
    """
    if reading.label == "close":
        early = _early(ts, timeframe)
        opened = ts + (early - timeframe.step)
        if timeframe.step == DAY and isinstance(calendar, DatedCalendar):
            early, opened = _closed_sessions(ts, opened, early, calendar)
        return opened, (f"the stamps lie {_length(early)} before the close of their bars",) if early else ()
    if reading.label == "session":
        if timeframe.is_intraday:
            raise InvalidRequestError(
                f"`label=session` is for bars of a day or a week, and these are of {timeframe}",
                next_step="say `label=open` or `label=close`",
            )
        if timeframe.step > DAY:
            return ts - (ts - timeframe.origin) % timeframe.step, ()
        is_instant = ts % DAY != 0 if no_date is None else (ts % DAY != 0) | no_date
        return _dates(ts, np.flatnonzero(is_instant), calendar, name), ()
    return ts, ()


def _early(ts: Int64Array, timeframe: Timeframe) -> int:
    """By how much all stamps come before the closes on the clock, if it is one of the usual amounts."""
    missing = (timeframe.origin - ts) % timeframe.step
    first = int(missing[0])
    usual = first in _EARLY and first < timeframe.step
    return first if usual and bool((missing == first).all()) else 0


def _length(early: int) -> str:
    names = {1: "a nanosecond", 1_000: "a microsecond", 1_000_000: "a millisecond", SECOND: "a second"}
    return names[early]


def _closed_sessions(
    ts: Int64Array, opened: Int64Array, early: int, calendar: DatedCalendar
) -> tuple[int, Int64Array]:
    """How early the stamps come, and the opens: at stamps that close a session, the date of that session.

    opened: the opens if days close at midnight, UTC, with stamps that come `early`.
    """
    places = np.flatnonzero(opened % DAY != 0)
    if len(places) == 0:
        return early, opened
    wanted = ts[places]
    first, last = int(wanted.min()) - _WIDE, min(int(wanted.max()) + 3 * DAY, LATEST)
    sessions, dates = calendar.sessions(Span(first, last)), calendar.dates(Span(first, last))
    # Of a day with a pause at noon, only its last close is that of its bar.
    ends = sessions.ends
    of_day = (ends - 1) // DAY
    ends = ends[np.append(of_day[1:] != of_day[:-1], True)] if len(ends) else ends
    early = next((some for some in _EARLY if np.isin(wanted + some, ends).all()), 0)
    closes = wanted + early
    date = (closes - 1) // DAY * DAY
    fits = np.isin(closes, ends) & np.isin(date, dates)
    opened = opened.copy()
    opened[places[fits]] = date[fits]
    return early, opened


def _dates(ts: Int64Array, instants: Int64Array, calendar: Calendar | None, name: str) -> Int64Array:
    """The session dates of stamps that are dates already, or, at the places `instants`, instants of them."""
    if len(instants) == 0:
        return ts
    if not isinstance(calendar, DatedCalendar):
        what = "none is declared" if calendar is None else "the declared one has no dates"
        raise InvalidRequestError(
            f"{name}: the stamp {_shown(ts[instants[0]])} is neither a date nor midnight on its own clock",
            why=f"a calendar tells the session that it lies in, and {what}",
            next_step="declare the exchange's, for example `calendar=XNYS` or `calendar=CMES`",
        )
    wanted = ts[instants]
    # Wide enough that no session is cut at its start or its end; sessions of days that touch last for a week.
    first, last = int(wanted.min()) - _WIDE, min(int(wanted.max()) + _WIDE, LATEST)
    sessions, dates = calendar.sessions(Span(first, last)), calendar.dates(Span(first, last))
    # The first session that has not closed at the stamp: open then, or the next to open.
    place = np.searchsorted(sessions.ends, wanted, "right")
    known = place < len(sessions.ends)
    place = np.minimum(place, len(sessions.ends) - 1)
    opens, closes = sessions.starts[place], sessions.ends[place]
    # A session has the date on which it closes, in whatever zone it opened. Where sessions of a whole day
    # touch, the days are counted back from the last close.
    days = np.maximum(-(-(closes - opens) // DAY), 1)
    date = (closes - 1) // DAY * DAY - (days - 1 - np.maximum(wanted - opens, 0) // DAY) * DAY
    is_full_day = (closes - opens <= DAY) | ((closes - opens) % DAY == 0)
    at_close = np.isin(wanted, sessions.ends) & ~np.isin(wanted, sessions.starts)
    fits = known & is_full_day & (opens - wanted <= _AHEAD) & np.isin(date, dates) & ~at_close
    # A stamp between two sessions belongs to the next one if it lies on its day: after a close it may mean
    # the session before.
    strange = fits & (wanted < opens) & ~_is_on(wanted, date, calendar)
    fits &= ~strange
    if not fits.all():
        first = int(np.flatnonzero(~fits)[0])
        why, step = "no session is open or opens within a day", "check `calendar=`"
        if strange[first]:
            why = "it lies after the close of one session, and not on the day of the next"
            step = "say `tz=` if the stamps are midnights of another zone"
        if at_close[first]:
            why, step = "it is the close of a session", "say `label=close`"
        raise InvalidRequestError(
            f"{name}: the stamp {_shown(wanted[first])} names no session",
            why=why,
            next_step=f"{step}, or write the date of each bar into the file",
        )
    dated = ts.copy()
    dated[instants] = date
    return dated


def _shown(ts: np.int64) -> str:
    """An instant with its time, even where that is midnight."""
    text = iso(int(ts))
    return text if "T" in text else f"{text}T00:00:00Z"


def _is_on(ts: Int64Array, date: Int64Array, calendar: DatedCalendar) -> npt.NDArray[np.bool_]:
    """Whether stamps lie on `date` on the clock of the exchange.

    A calendar of one's own has no clock: then nothing is known against it.
    """
    if not isinstance(calendar, ExchangeCalendar):
        return np.ones(len(ts), dtype=bool)
    return np.asarray(_wall(ts, calendar.zone) // DAY * DAY == date, dtype=bool)


def _wall(ts: Int64Array, zone: str) -> Int64Array:
    """What a clock in the zone shows, as nanoseconds since 1970 on that clock."""
    shown = pl.Series(ts, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(zone)
    return np.asarray(shown.dt.replace_time_zone(None).to_physical().to_numpy(), dtype=np.int64)
