"""From the stamp that a file gives a bar to the open of that bar."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.calendars import Calendar, DatedCalendar
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
    ts: Int64Array, reading: Reading, timeframe: Timeframe, calendar: Calendar | None, name: str
) -> tuple[Int64Array, tuple[str, ...]]:
    """The opens of bars (int64 nanoseconds) that are stamped `ts`, and what a person should know.

    calendar: of the series; asked where the stamps of daily bars are instants of their sessions. Raises
    `InvalidRequestError` where a stamp lies in no session.
    """
    if reading.label == "close":
        early = _early(ts, timeframe)
        opened = ts + (early - timeframe.step)
        return opened, (f"the stamps lie {_length(early)} before the close of their bars",) if early else ()
    if reading.label == "session":
        if timeframe.is_intraday:
            raise InvalidRequestError(
                f"`label=session` is for bars of a day or a week, and these are of {timeframe}",
                next_step="say `label=open` or `label=close`",
            )
        if timeframe.step > DAY:
            return ts - (ts - timeframe.origin) % timeframe.step, ()
        return _dates(ts, calendar, name), ()
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


def _dates(ts: Int64Array, calendar: Calendar | None, name: str) -> Int64Array:
    """The session dates of stamps that are dates already, or instants of the sessions."""
    instants = np.flatnonzero(ts % DAY != 0)
    if len(instants) == 0:
        return ts
    if not isinstance(calendar, DatedCalendar):
        what = "none is declared" if calendar is None else "the declared one has no dates"
        raise InvalidRequestError(
            f"{name}: the stamp {iso(int(ts[instants[0]]))} is neither a date nor midnight",
            why=f"a calendar tells the session that it lies in, and {what}",
            next_step="declare the exchange's, for example `calendar=XNYS` or `calendar=CMES`",
        )
    wanted = ts[instants]
    # Wide enough that no session is cut at its start.
    first, last = int(wanted.min()) - _WIDE, min(int(wanted.max()) + 3 * DAY, LATEST)
    sessions, dates = calendar.sessions(Span(first, last)), calendar.dates(Span(first, last))
    # The first session that has not closed at the stamp: open then, or the next to open.
    place = np.searchsorted(sessions.ends, wanted, "right")
    known = place < len(sessions.ends)
    place = np.minimum(place, len(sessions.ends) - 1)
    opens, closes = sessions.starts[place], sessions.ends[place]
    # A session bears the date on which it closes, wherever on earth it opened. Where sessions of a whole day
    # touch, the days are counted back from the last close.
    days = np.maximum(-(-(closes - opens) // DAY), 1)
    date = (closes - 1) // DAY * DAY - (days - 1 - np.maximum(wanted - opens, 0) // DAY) * DAY
    whole = (closes - opens <= DAY) | ((closes - opens) % DAY == 0)
    at_close = np.isin(wanted, sessions.ends) & ~np.isin(wanted, sessions.starts)
    fits = known & whole & (opens - wanted <= _AHEAD) & np.isin(date, dates) & ~at_close
    if not fits.all():
        first = int(np.flatnonzero(~fits)[0])
        closing = (
            "it is the close of a session" if at_close[first] else "no session is open or opens within a day"
        )
        raise InvalidRequestError(
            f"{name}: the stamp {iso(int(wanted[first]))} names no session",
            why=closing,
            next_step="check `calendar=`, or write the date of each bar into the file",
        )
    dated = ts.copy()
    dated[instants] = date
    return dated
