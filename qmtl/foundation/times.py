"""Instants at the door: what people write, as int nanoseconds UTC, and back."""

from __future__ import annotations

import re
import sys
import warnings
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.instants import DAY as DAY
from qmtl.foundation.instants import EARLIEST as EARLIEST
from qmtl.foundation.instants import HOUR as HOUR
from qmtl.foundation.instants import LATEST as LATEST
from qmtl.foundation.instants import MINUTE as MINUTE
from qmtl.foundation.instants import SECOND as SECOND
from qmtl.foundation.instants import WEEK as WEEK
from qmtl.foundation.instants import iso as iso

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"[.,](\d{7,})(?=$|[Zz+-])")
_MIDNIGHT_24 = re.compile(r"[T ]24(?=$|[:0-9Zz+-])")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

# Seconds, milliseconds and microseconds of our days, read as nanoseconds, all lie before this.
SMALL_INT = 120 * DAY

_naive_seen = False
_small_int_seen = False


class NaiveTimeWarning(UserWarning):
    """A time without a zone was read as UTC. Warned once per process."""


class SmallIntWarning(UserWarning):
    """Ints that are probably seconds, ms or us were read as nanoseconds. Warned once per process."""


def warn_of_small_ints(*given: Any) -> None:
    """Warn if all ints of a request lie in the first months of 1970, before any bar and any commit.

    They are read as nanoseconds all the same: a unit is never guessed from a magnitude.
    """
    global _small_int_seen
    ints = [value for value in given if hasattr(value, "__index__")]
    if _small_int_seen or not any(ints) or not all(0 <= value < SMALL_INT for value in ints):
        return
    _small_int_seen = True
    value = next(value for value in ints if value)
    warnings.warn(
        f"the int {value} is nanoseconds, which is {iso(int(value))}; for seconds write {value} * 10**9, "
        "for milliseconds * 10**6, or give an ISO time",
        SmallIntWarning,
        stacklevel=_level_of_caller(),
    )


def _level_of_caller() -> int:
    """The `stacklevel` with which whoever asks this names the line outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("qmtl."):
        frame, level = frame.f_back, level + 1
    return level


def to_ns(value: Any, *, name: str = "time") -> int:
    """Nanoseconds since 1970-01-01 UTC of what a person may write.

    `date` and "2024-01-01" are UTC midnight; a `datetime`, a pandas Timestamp or an ISO 8601 text with a
    zone is converted; without one it is UTC and warns once. An int is nanoseconds already. Raises
    `InvalidRequestError` for anything else and for instants outside 1677-09-22 to 2262-04-11.
    """
    if type(value) is int:
        instant = value
    elif isinstance(value, bool):
        raise _unusable(value, name)
    elif isinstance(value, str):
        instant = _from_text(value, name)
    elif isinstance(value, datetime):
        if value != value:  # pandas.NaT is a datetime, and is no time
            raise _unusable(value, name)
        instant = _from_datetime(value)
    elif isinstance(value, date):
        instant = (value.toordinal() - 719_163) * DAY
    else:
        try:
            instant = value.__index__()
        except (AttributeError, TypeError):  # an array of several has one, and raises
            raise _unusable(value, name) from None
    if not EARLIEST <= instant <= LATEST:
        raise InvalidRequestError(
            f"{name} {value!r} is outside 1677-09-22 to 2262-04-11",
            why="nanoseconds since 1970 reach no further in 64 bits",
            next_step="give an ISO time such as 2024-01-01T09:30:00Z; an int is read as nanoseconds",
        )
    return instant


@lru_cache(maxsize=1024)
def _from_text(text: str, name: str) -> int:
    text = text.strip()
    # The standard library reads microseconds only; the rest of a nanosecond fraction is added by hand.
    extra, fraction = 0, _FRACTION.search(text)
    if fraction and len(fraction[1]) > 9:
        raise _unusable(text, name)  # finer than nanoseconds
    if fraction:
        digits = fraction[1].ljust(9, "0")
        extra = int(digits[6:])
        text = f"{text[: fraction.start(1)]}{digits[:6]}{text[fraction.end(1) :]}"
    if _MIDNIGHT_24.search(text):
        raise _unusable(text, name)  # newer Pythons read it as the next day
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _unusable(text, name) from None
    if len(text) <= 10 and "T" not in text:
        moment = moment.replace(tzinfo=UTC)
    return _from_datetime(moment) + extra


def _from_datetime(moment: datetime) -> int:
    if moment.tzinfo is None:
        _warn_naive(moment)
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    nanosecond = int(getattr(moment, "nanosecond", 0))  # pandas.Timestamp keeps them beside its microseconds
    whole = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000
    return whole + nanosecond


def _warn_naive(moment: datetime) -> None:
    global _naive_seen
    if not _naive_seen:
        _naive_seen = True
        warnings.warn(
            f"{moment.isoformat()} has no zone and is read as UTC; write {moment.isoformat()}Z to be sure",
            NaiveTimeWarning,
            stacklevel=_level_of_caller(),
        )


def _unusable(value: object, name: str) -> InvalidRequestError:
    why = None
    if isinstance(value, str) and value.strip().isdecimal():
        why = "a text of digits is read as a date such as 20240101; nanoseconds of our days have 19 digits"
    elif isinstance(value, float):
        why = "a float has no unit, and cannot hold the nanoseconds of our days exactly"
    return InvalidRequestError(
        f"{name} {value!r} is not a time",
        why=why,
        next_step="give a date, a datetime, an ISO text such as 2024-01-01T09:30:00Z, or int nanoseconds",
    )


def to_seconds(value: Any, *, name: str = "duration") -> float:
    """Seconds of a number (seconds already), a `timedelta`, or a text such as "250ms", "2s", "1.5h"."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNIT_SECONDS[match[2]]
    else:
        raise InvalidRequestError(
            f"{name} {value!r} is not a duration",
            next_step='give seconds, a timedelta, or a text such as "2s"',
        )
    if not 0 <= seconds < float("inf"):
        raise InvalidRequestError(
            f"{name} {value!r} is not a duration of zero or more seconds",
            next_step="give zero, or more, and less than infinity",
        )
    return seconds
