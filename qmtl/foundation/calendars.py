"""When a venue trades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

import numpy as np

from qmtl.foundation.compiled import zone_digest
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.schedules import LIBRARY, Schedule, compiled_key, schedules
from qmtl.foundation.spelling import near
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST, SECOND, WEEK, to_ns


@runtime_checkable
class Calendar(Protocol):
    """The sessions of a venue. A user's own calendar is any object with this one method."""

    def sessions(self, span: Span) -> Coverage:
        """The times at which the venue is open, at least within `span`; UTC nanoseconds, half-open."""
        ...


@runtime_checkable
class DatedCalendar(Calendar, Protocol):
    """A calendar whose sessions have dates of their own (Sydney's Monday opens on Sunday, UTC)."""

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
    """Nanoseconds UTC; the last week that int64 can represent is cut short."""
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


@dataclass(frozen=True)
class ExchangeCalendar:
    """The sessions of an exchange by its MIC, with holidays, early closes and lunch breaks.

    The days come from the package `exchange_calendars`, from 1900 (or as far back as it goes) to about a
    year after today; a request beyond raises `InvalidRequestError` with the bounds. A session that is
    interrupted for lunch counts as two.
    """

    mic: str

    def __post_init__(self) -> None:
        if not schedules().knows(self.mic):
            raise _unknown(self.mic)

    def sessions(self, span: Span) -> Coverage:
        return self._schedule(span).sessions.clip(span)

    def dates(self, span: Span) -> Int64Array:
        dates = self._schedule(span).dates
        first, last = np.searchsorted(dates, span)
        return dates[first:last]

    @property
    def zone(self) -> str:
        """The time zone of the exchange, an IANA name."""
        return schedules().of(self.mic).zone

    @property
    def known(self) -> Span:
        """The range that this calendar covers, as of today."""
        return schedules().of(self.mic).known

    def _schedule(self, span: Span) -> Schedule:
        schedule = schedules().of(self.mic, span)
        if not schedule.known.contains(span):
            raise InvalidRequestError(
                f"the calendar {self.mic} is known within {schedule.known} only",
                span=span,
                why=f"its holidays before and after are not published in the package {LIBRARY}",
                next_step="ask for a range within, update that package, or declare another calendar",
            )
        return schedule


def calendar_named(name: str | None, own: Mapping[str, Calendar] | None = None) -> Calendar:
    """The calendar of a name: one of the user's `own`, `24x7` (also None), `FX`, or a MIC such as `XNYS`.

    Raises `InvalidRequestError` for any other; it names another exchange only where capitals alone differ.
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
    if not schedules().knows(name):
        raise _unknown(name, also)
    return ExchangeCalendar(name)


def has_identity(calendar: Calendar) -> bool:
    """Whether `identity_of` knows of a calendar when it changes: of an object of the user's it does not."""
    return isinstance(calendar, AlwaysOpen | WeeklyCalendar | ExchangeCalendar)


def identity_of(calendar: Calendar) -> str:
    """A text that differs whenever the sessions of a calendar may: its name, versions, rules of its zone."""
    if isinstance(calendar, ExchangeCalendar):
        return f"{calendar.mic} {compiled_key()} {zone_digest(calendar.zone)}"
    if isinstance(calendar, WeeklyCalendar):
        return f"{calendar} {zone_digest(calendar.zone)}"
    return repr(calendar)


def _unknown(name: str, also: tuple[str, ...] = ()) -> InvalidRequestError:
    from qmtl.foundation.exchanges import EXCHANGES  # needed only to explain a slip

    names = schedules().names
    # Another exchange has other days, however alike the names are: XNSE is Mumbai, one letter from Toronto's
    # XTSE. Only a difference in capitals is certainly a typing error.
    meant = [each for each in (*names.calendars, *names.aliases) if each.casefold() == str(name).casefold()]
    meant = meant or near(str(name), (*also, "24x7", "FX"))
    exchange = EXCHANGES.get(str(name).upper())
    why = "a calendar is 24x7, FX, the MIC of an exchange such as XNYS, or one handed over in Python"
    if exchange is not None:
        why = f"it is the MIC of an exchange ({exchange.name}) of which {LIBRARY} has no calendar"
    country = f" {exchange.code}" if exchange is not None else ""
    return InvalidRequestError(
        f"the calendar {name!r} is not known",
        why=why,
        next_step=f"did you mean {meant[0]!r}?"
        if meant
        else f"'qmtl calendars{country}' lists those that there are, by exchange and country; "
        "or hand over a calendar in Python",
    )
