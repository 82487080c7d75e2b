"""When a venue trades."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Literal, NamedTuple, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import DAY, EARLIEST, LATEST, SECOND, WEEK, to_ns


@runtime_checkable
class Calendar(Protocol):
    """The sessions of a venue. A user's own calendar is any object with this one method."""

    def sessions(self, span: Span) -> Coverage:
        """The times at which the venue is open, at least within `span`; UTC nanoseconds, half-open."""
        ...


@runtime_checkable
class DatedCalendar(Calendar, Protocol):
    """A calendar whose sessions bear dates of their own (Sydney's Monday opens on Sunday, UTC)."""

    def dates(self, span: Span) -> Int64Array:
        """UTC midnights of the session dates within `span`, ascending, int64 nanoseconds."""
        ...


@dataclass(frozen=True)
class AlwaysOpen:
    """A venue that never closes: `24x7`."""

    def sessions(self, span: Span) -> Coverage:
        return Coverage.of(span)


ALWAYS_OPEN = AlwaysOpen()

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# Weeks are worked out this many at a time: about ten years.
_WEEKS_AT_ONCE = 512
_MONDAY = date(1970, 1, 5)


@dataclass(frozen=True)
class WeeklyCalendar:
    """One session a week, at the same local times all year round.

    zone: an IANA zone such as "America/New_York"; sessions follow its clock changes.
    open, close: weekday and local time, such as ("Sunday", "17:00"). A local time that a clock change skips
        or repeats is read as `zoneinfo` reads it: with the offset before the change.

    Raises `InvalidRequestError` for a zone, weekday or time that does not exist.
    """

    zone: str
    open: tuple[Weekday, str]
    close: tuple[Weekday, str]

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError) as error:
            raise InvalidRequestError(
                f"the zone {self.zone!r} is not known", next_step="give an IANA name such as America/New_York"
            ) from error
        if _in_week(self.open) == _in_week(self.close):
            raise InvalidRequestError(
                "a weekly calendar cannot close when it opens",
                next_step="use 24x7 for a venue that never closes",
            )

    def sessions(self, span: Span) -> Coverage:
        # A session may reach into the next week, so the one before counts too.
        first = (span.start - to_ns(_MONDAY) - 2 * WEEK) // WEEK // _WEEKS_AT_ONCE
        last = (span.end - to_ns(_MONDAY) + WEEK) // WEEK // _WEEKS_AT_ONCE
        return _concatenated(self, first, last).clip(span)


@lru_cache(maxsize=256)
def _concatenated(calendar: WeeklyCalendar, first: int, last: int) -> Coverage:
    blocks = [_weeks(calendar, block) for block in range(first, last + 1)]
    return Coverage.from_arrays(
        np.concatenate([opens for opens, _ in blocks]), np.concatenate([closes for _, closes in blocks])
    )


@lru_cache(maxsize=256)
def _weeks(calendar: WeeklyCalendar, block: int) -> tuple[Int64Array, Int64Array]:
    """Opens and closes of the sessions that open in one stretch of weeks."""
    zone = ZoneInfo(calendar.zone)
    opens, closes = _in_week(calendar.open), _in_week(calendar.close)
    if closes < opens:
        closes += timedelta(weeks=1)
    mondays = [
        datetime.combine(_MONDAY, time()) + timedelta(weeks=week)
        for week in range(block * _WEEKS_AT_ONCE, (block + 1) * _WEEKS_AT_ONCE)
    ]
    return (
        np.array([_instant(monday + opens, zone) for monday in mondays], dtype=np.int64),
        np.array([_instant(monday + closes, zone) for monday in mondays], dtype=np.int64),
    )


def _instant(local: datetime, zone: ZoneInfo) -> int:
    """Nanoseconds UTC; the last week that int64 can tell is cut short."""
    seconds = int(local.replace(tzinfo=zone).timestamp())
    return max(EARLIEST, min(LATEST, seconds * SECOND))


def _in_week(moment: tuple[str, str]) -> timedelta:
    """How long after Monday's midnight a weekday and a time are, by the local clock."""
    weekday, text = moment
    if weekday not in _WEEKDAYS:
        raise InvalidRequestError(
            f"{weekday!r} is not a weekday", next_step=f"write one of {', '.join(_WEEKDAYS)}"
        )
    try:
        at = time.fromisoformat(text)
    except (TypeError, ValueError):
        raise InvalidRequestError(f"{text!r} is not a time of day", next_step='write "17:00"') from None
    return timedelta(days=_WEEKDAYS.index(weekday), hours=at.hour, minutes=at.minute, seconds=at.second)


# Spot currencies: from Wellington's Monday morning to New York's Friday evening, by New York's clock.
FX = WeeklyCalendar("America/New_York", open=("Sunday", "17:00"), close=("Friday", "17:00"))


class _Schedule(NamedTuple):
    """All that is known of one exchange."""

    known: Span
    sessions: Coverage
    dates: Int64Array


@dataclass(frozen=True)
class ExchangeCalendar:
    """The sessions of an exchange by its MIC, with holidays, early closes and lunch breaks.

    The days come from the package `exchange_calendars`, from 1900 (or as far back as it goes) to about a
    year after today; a request beyond raises `InvalidRequestError` with the bounds. A session that is
    interrupted for lunch counts as two.
    """

    mic: str

    def __post_init__(self) -> None:
        if self.mic not in _exchange_names():
            raise _unknown(self.mic, _exchange_names())

    def sessions(self, span: Span) -> Coverage:
        return self._schedule(span).sessions.clip(span)

    def dates(self, span: Span) -> Int64Array:
        dates = self._schedule(span).dates
        first, last = np.searchsorted(dates, span)
        return dates[first:last]

    @property
    def known(self) -> Span:
        """The range in which this calendar can tell."""
        return _exchange_schedule(self.mic).known

    def _schedule(self, span: Span) -> _Schedule:
        schedule = _exchange_schedule(self.mic)
        if not schedule.known.contains(span):
            raise InvalidRequestError(
                f"the calendar {self.mic} is known within {schedule.known} only",
                span=span,
                why="its holidays before and after are not published in the package exchange_calendars",
                next_step="ask for a range within, update that package, or declare another calendar",
            )
        return schedule


_schedules_lock = threading.Lock()


def _exchange_schedule(mic: str) -> _Schedule:
    with _schedules_lock:  # built once, although threads ask at once
        return _build_schedule(mic)


@cache
def _build_schedule(mic: str) -> _Schedule:
    with warnings.catch_warnings():
        # The package uses pandas in ways that pandas will give up; that is not the user's concern.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        import exchange_calendars

        name = exchange_calendars.resolve_alias(mic)
        bound = exchange_calendars.get_calendar(name).bound_min()
        first = date(1900, 1, 1) if bound is None else bound.date()
        found = exchange_calendars.get_calendar(name, start=first.isoformat())
        opens, closes = found.opens_nanos, found.closes_nanos
        dates = found.sessions.as_unit("ns").asi8
        lunch = found.break_starts_nanos > np.iinfo(np.int64).min  # NaT where there is none
        breaks = Coverage.from_arrays(found.break_starts_nanos[lunch], found.break_ends_nanos[lunch])
    dates.flags.writeable = False
    known = Span(to_ns(first), int(dates[-1]) + DAY)
    return _Schedule(known, Coverage.from_arrays(opens, closes) - breaks, dates)


@cache
def _exchange_names() -> frozenset[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        import exchange_calendars

        return frozenset(exchange_calendars.get_calendar_names())


def calendar_named(name: str | None, own: Mapping[str, Calendar] | None = None) -> Calendar:
    """The calendar of a name: one of the user's `own`, `24x7` (also None), `FX`, or a MIC such as `XNYS`.

    Raises `InvalidRequestError` with the nearest name for any other.
    """
    if name is not None and own and name in own:
        return own[name]
    return _named(name, tuple(own or ()))


@lru_cache(maxsize=256)
def _named(name: str | None, also: tuple[str, ...]) -> Calendar:
    if name is None or name == "24x7":
        return ALWAYS_OPEN
    if name == "FX":
        return FX
    if name not in _exchange_names():
        raise _unknown(name, frozenset({*_exchange_names(), *also, "24x7", "FX"}))
    return ExchangeCalendar(name)


def _unknown(name: str, known: frozenset[str]) -> InvalidRequestError:
    by_capitals = {each.upper(): each for each in known}
    near = [by_capitals[each] for each in get_close_matches(str(name).upper(), by_capitals, n=1, cutoff=0.5)]
    return InvalidRequestError(
        f"the calendar {name!r} is not known",
        why="a calendar is 24x7, FX, the MIC of an exchange such as XNYS, or one handed over in Python",
        next_step=f"did you mean {near[0]!r}?"
        if near
        else "look its MIC up in ISO 10383, or hand over a calendar in Python",
    )
