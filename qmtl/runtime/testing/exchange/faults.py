"""What can go wrong between an exchange and its client, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from qmtl.foundation.timeline import Span

# One kline or trade as it goes over the wire, and a page of them.
Row: TypeAlias = Any
Rows: TypeAlias = list[Row]


@dataclass(frozen=True, slots=True)
class Status:
    """An error instead of the answer: 429 or 418 with `retry_after` seconds, 500, 503, ..."""

    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request is read, and never answered; the connection stays open until the client leaves."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed after `share` of the answer's bytes."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class ShortPage:
    """At most `rows` rows, though more were requested and exist."""

    rows: int


@dataclass(frozen=True, slots=True)
class Altered:
    """The page as `change` makes it of the rows."""

    change: Callable[[Rows], Rows]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The rows that lie `nanoseconds` later (or earlier, if negative), as if that had been requested."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class SinceIgnored:
    """The newest rows, `most` of them at most, whatever was requested."""

    most: int = 1000


@dataclass(frozen=True, slots=True)
class Cached:
    """A page that was an answer to another question: the `rows` bars from `start` (ns) on.

    So answers a proxy that does not look at the query.
    """

    start: int
    rows: int


@dataclass(frozen=True, slots=True)
class Outage:
    """A range that cannot be had while the outage lasts.

    Requests whose range meets `span` are answered with `status`; if that is None, the rows of `span` are
    missing from answers, as if nothing had been traded.
    """

    span: Span
    status: int | None = 503


Fault: TypeAlias = Status | NoAnswer | Cut | ShortPage | Altered | Elsewhere | SinceIgnored | Cached


# Changes for `Altered`. A kline is [open time in ms, open, high, low, close, volume, ...], prices as text.


def doubled(rows: Rows) -> Rows:
    """Every row twice."""
    return [row for row in rows for _ in range(2)]


def shuffled(rows: Rows) -> Rows:
    """The same rows in another order: the later half first, each half newest first."""
    half = len(rows) // 2
    return rows[half:][::-1] + rows[:half][::-1]


def high_below_low(rows: Rows) -> Rows:
    """High and low of the first kline have changed places."""
    first = rows[0]
    return [[*first[:2], first[3], first[2], *first[4:]], *rows[1:]]


def not_a_number(rows: Rows) -> Rows:
    """The first kline closes at "NaN"."""
    return [[*rows[0][:4], "NaN", *rows[0][5:]], *rows[1:]]


def negative_price(rows: Rows) -> Rows:
    """The first kline has a low below zero."""
    return [[*rows[0][:3], f"-{rows[0][3]}", *rows[0][4:]], *rows[1:]]


def shifted(milliseconds: int) -> Callable[[Rows], Rows]:
    """All klines are stamped that much later (or earlier, if negative) than they are."""

    def change(rows: Rows) -> Rows:
        return [[row[0] + milliseconds, *row[1:]] for row in rows]

    return change


def in_seconds(rows: Rows) -> Rows:
    """All klines are stamped in seconds, where the API promises milliseconds."""
    return [[row[0] // 1000, *row[1:]] for row in rows]


def in_microseconds(rows: Rows) -> Rows:
    """All klines are stamped in microseconds, where the API promises milliseconds."""
    return [[row[0] * 1000, *row[1:]] for row in rows]
