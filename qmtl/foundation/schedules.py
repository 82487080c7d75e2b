"""When exchanges trade, from the package `exchange_calendars`: computed once, and kept between processes."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import zstandard

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.compiled import Compiled, cache_folder, zone_digest
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import DAY, SECOND, to_ns

LIBRARY = "exchange_calendars"

# Raised whenever the form of the kept files, or what is computed for them, changes.
_FORMAT = "2"
# What the sessions depend on, beside the rules of the exchange's time zone.
_PACKAGES = ("exchange-calendars", "pandas", "numpy", "pyluach", "korean-lunar-calendar")
_INDEX = "all names"


class Schedule(NamedTuple):
    """All that is known of one exchange.

    known: the range in which its sessions are known. sessions: when it is open, UTC nanoseconds; a session
    with a lunch break is two spans. dates: UTC midnights of the dates of its sessions, ascending. zone: its
    local time.
    """

    known: Span
    sessions: Coverage
    dates: Int64Array
    zone: str


class Failure(NamedTuple):
    """Why a calendar cannot be built here: the error of the library, in one line."""

    why: str


class Summary(NamedTuple):
    """One line about a calendar. first, last: UTC midnights of its first and last date; zone: its local time.

    why: the error of the library, where it cannot be built here; then the others are None.
    """

    zone: str | None
    first: int | None
    last: int | None
    why: str | None


class Names(NamedTuple):
    """The names that the library comes with. aliases: other names, and the calendar each stands for."""

    calendars: tuple[str, ...]
    aliases: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether a calendar or an alias is called so."""
        return name in self.aliases or name in self.calendars


@dataclass
class _Entry:
    """What is in memory of one calendar, and the day on which it was computed."""

    found: Schedule | Failure
    day: date


class Schedules:
    """Schedules by the name of their calendar, kept in memory and in `cached`.

    The library computes sessions up to about a year after the day of the call. So what was computed
    on an earlier day holds for the ranges within it, and is computed anew for a range beyond.
    """

    def __init__(self, cached: Compiled) -> None:
        self._cached = cached
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    @cached_property
    def names(self) -> Names:
        """The names that the library comes with, without those that this process has registered with it."""
        body = self._cached.read(_INDEX)
        if body is not None:
            return Names(**json.loads(body))
        names = _own_names()
        self._cached.write(_INDEX, json.dumps(names._asdict()).encode())
        return names

    def knows(self, name: str) -> bool:
        """Whether there is a calendar of this name, or alias; the library itself decides."""
        return self.names.has(name) or _is_registered(name)

    def of(self, name: str, span: Span | None = None) -> Schedule:
        """The schedule of a calendar, as of today where an older one does not reach over `span`.

        Raises `InvalidRequestError` that names the library and its version if it cannot be built.
        """
        today = _today()

        def is_enough(entry: _Entry) -> bool:
            if isinstance(entry.found, Failure):
                return False
            return entry.day == today or (span is not None and entry.found.known.contains(span))

        found = self._find(name, is_enough)
        if isinstance(found, Failure):
            raise InvalidRequestError(
                f"the calendar {name} cannot be built",
                why=f"{LIBRARY} {library_version()} fails: {found.why}",
                next_step="declare another calendar, hand over one in Python, or install another version of "
                f"{LIBRARY}; 'qmtl calendars' lists those that can be built here",
            )
        return found

    def summary(self, name: str) -> Summary:
        """For a list of calendars: what was found when it was last computed, a failure included."""
        body = self._cached.read(self.names.aliases.get(name, name))
        if body is not None and _is_current(head := _head(body)):
            return Summary(**head["summary"])
        return _summary(self._find(name, lambda entry: True))

    def _find(self, name: str, is_enough: Callable[[_Entry], bool]) -> Schedule | Failure:
        name = self.names.aliases.get(name, name)
        with self._lock:  # computed once, although several threads may need it
            entry = self._entries.get(name) or self._read(name)
            if entry is None or not is_enough(entry):
                entry = self._compute(name, _today())
            self._entries[name] = entry
            return entry.found

    def _compute(self, name: str, today: date) -> _Entry:
        try:
            schedule, is_public = _build(name)
        except (MemoryError, OSError):
            raise  # a fault of the moment, and not of the calendar
        except Exception as error:  # noqa: BLE001 - whatever a foreign library raises is its own failure
            entry = _Entry(Failure(_in_one_line(error)), today)
            if name in self.names.calendars:
                self._cached.write(name, _encoded(entry))
            return entry
        entry = _Entry(schedule, today)
        if is_public:
            self._cached.write(name, _encoded(entry))
        return entry

    def _read(self, name: str) -> _Entry | None:
        body = self._cached.read(name)
        return None if body is None else _decoded(body)


def _today() -> date:
    return datetime.fromtimestamp(SystemClock.now() // SECOND, UTC).date()


@cache
def library_version() -> str:
    """The version of the library that is installed."""
    return version(LIBRARY)


@cache
def schedules() -> Schedules:
    """Those of this process, kept in the user's cache folder."""
    return Schedules(Compiled(cache_folder() / "calendars", compiled_key()))


@cache
def compiled_key() -> dict[str, str]:
    """The versions of all that a kept schedule depends on."""
    return {"format": _FORMAT, **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # the library came to do without it
        return ""


# -- the library ------------------------------------------------------------------------------------------


@contextmanager
def _library() -> Iterator[Any]:
    """The library, without its warnings of what pandas will give up: they are not the user's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        import exchange_calendars

        yield exchange_calendars


def _is_registered(name: str) -> bool:
    with _library() as library:
        return name in library.get_calendar_names()


def _own_names() -> Names:
    with _library() as library:
        # Its public functions would mix in what this process has registered, which no other process has.
        own = library.calendar_utils
        return Names(tuple(own._default_calendar_factories), dict(own._default_calendar_aliases))


def _build(name: str) -> tuple[Schedule, bool]:
    """The schedule of a calendar from 1900 (or as far back as it goes), and whether it is the library's own.

    A calendar that this process has registered with the library is code of the user's, and is not kept.
    """
    with _library() as library:
        bound = library.get_calendar(name).bound_min()
        first = date(1900, 1, 1) if bound is None else bound.date()
        found = library.get_calendar(name, start=first.isoformat())
        opens, closes = found.opens_nanos, found.closes_nanos
        dates = found.sessions.as_unit("ns").asi8
        lunch = found.break_starts_nanos > np.iinfo(np.int64).min  # NaT where there is none
        breaks = Coverage.from_arrays(found.break_starts_nanos[lunch], found.break_ends_nanos[lunch])
        zone = str(found.tz)
    dates.flags.writeable = False
    known = Span(to_ns(first), int(dates[-1]) + DAY)
    schedule = Schedule(known, Coverage.from_arrays(opens, closes) - breaks, dates, zone)
    return schedule, type(found).__module__.partition(".")[0] == LIBRARY


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}"


# -- the form of the kept files ---------------------------------------------------------------------------


def _summary(found: Schedule | Failure) -> Summary:
    if isinstance(found, Failure):
        return Summary(None, None, None, found.why)
    return Summary(found.zone, int(found.dates[0]), int(found.dates[-1]), None)


def _encoded(entry: _Entry) -> bytes:
    found = entry.found
    head: dict[str, Any] = {"day": entry.day.isoformat(), "summary": _summary(found)._asdict()}
    if isinstance(found, Failure):
        return json.dumps(head).encode() + b"\n"
    head |= {
        "known": list(found.known),
        "rules": zone_digest(found.zone),
        "sessions": len(found.sessions),
    }
    # Sessions are alike, so the steps between them pack to a few kilobytes.
    columns = (found.sessions.starts, found.sessions.ends, found.dates)
    steps = b"".join(np.diff(column, prepend=0).astype("<i8").tobytes() for column in columns)
    return json.dumps(head).encode() + b"\n" + zstandard.compress(steps)


def _head(body: bytes) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(body.partition(b"\n")[0])
    return head


def _is_current(head: Mapping[str, Any]) -> bool:
    """Whether the rules of the time zone are what they were; versions are part of the key."""
    zone = head["summary"]["zone"]
    return zone is None or bool(zone_digest(zone) == head["rules"])


def _decoded(body: bytes) -> _Entry | None:
    """None where it is not current; the checksum has vouched for the rest."""
    head = _head(body)
    if not _is_current(head):
        return None
    day, summary = date.fromisoformat(head["day"]), Summary(**head["summary"])
    if summary.zone is None:
        return _Entry(Failure(str(summary.why)), day)
    steps = np.frombuffer(zstandard.decompress(body.partition(b"\n")[2]), dtype="<i8")
    cuts = [head["sessions"], 2 * head["sessions"]]
    starts, ends, dates = (np.cumsum(part, dtype=np.int64) for part in np.split(steps, cuts))
    dates.flags.writeable = False
    sessions = Coverage.from_arrays(starts, ends)
    return _Entry(Schedule(Span(*head["known"]), sessions, dates, summary.zone), day)
