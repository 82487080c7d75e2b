"""Instants in int64 nanoseconds since 1970-01-01 UTC: their units, their text, and spans of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, SupportsIndex

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

# The range of int64 nanoseconds, cut to whole days: pandas and polars share the same bounds.
EARLIEST = -106_751 * DAY
LATEST = 106_751 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(instant: int) -> str:
    """ISO 8601 in UTC with a Z: the shortest exact form, from the date to the nanosecond."""
    seconds, nanos = divmod(int(instant), SECOND)
    moment = _EPOCH + timedelta(seconds=seconds)
    if nanos:
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{f'{nanos:09d}'.rstrip('0')}Z"
    return f"{moment:%Y-%m-%d}" if instant % DAY == 0 else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class _Span(NamedTuple):
    start: int
    end: int


class Span(_Span):
    """A half-open range of time `[start, end)`, in int nanoseconds UTC; `start <= end`."""

    __slots__ = ()

    def __new__(cls, start: SupportsIndex, end: SupportsIndex) -> Span:
        # Plain ints only: numpy integers would overflow silently in later arithmetic.
        try:
            first, last = start.__index__(), end.__index__()
        except AttributeError:
            raise TypeError(f"a span is made of int nanoseconds UTC, not of {start!r} and {end!r}") from None
        if first > last:
            raise ValueError(f"a span cannot end before it starts: {iso(first)} > {iso(last)}")
        return tuple.__new__(cls, (first, last))

    @property
    def length(self) -> int:
        """Nanoseconds between start and end."""
        return self.end - self.start

    @property
    def is_empty(self) -> bool:
        return self.start == self.end

    def contains(self, other: Span) -> bool:
        """Whether every instant of `other` lies in this span."""
        return other.is_empty or (self.start <= other.start and other.end <= self.end)

    def clip(self, other: Span) -> Span:
        """The part inside `other`; where they do not meet, an empty span at the nearer edge."""
        start = min(max(self.start, other.start), other.end)
        return Span(start, max(start, min(self.end, other.end)))

    def __str__(self) -> str:
        return f"[{iso(self.start)}, {iso(self.end)})"
