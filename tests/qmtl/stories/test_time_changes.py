"""Own calendars over changes of the clocks, and clocks that are set while a provider is at work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

# -- own calendars over changes of the clocks -------------------------------------------------------------


@dataclass(frozen=True)
class Local:
    """A session per day by the local clock; one that closes before it opens ends on the next day."""

    zone: str
    opens: time
    closes: time

    def of(self, day: date) -> tuple[datetime, datetime]:
        zone = ZoneInfo(self.zone)
        later = day if self.closes > self.opens else day + timedelta(days=1)
        return tuple(
            datetime.combine(on, at, tzinfo=zone).astimezone(UTC)
            for on, at in ((day, self.opens), (later, self.closes))
        )  # type: ignore[return-value]  # two of them

    def sessions(self, span: Span) -> Coverage:
        first = datetime.fromtimestamp(span.start / SECOND, UTC).date() - timedelta(days=2)
        days = [first + timedelta(days=n) for n in range(span.length // DAY + 5)]
        return Coverage((to_ns(opens), to_ns(closes)) for opens, closes in map(self.of, days))


CALENDARS = {
    "New York's day": Local("America/New_York", time(9, 30), time(16, 0)),
    "a night in Chicago": Local("America/Chicago", time(17, 0), time(16, 0)),
    "a night in London": Local("Europe/London", time(22, 10), time(6, 20)),
    "half an hour on Lord Howe": Local("Australia/Lord_Howe", time(0, 0), time(12, 0)),
}
# From a few days before a change to a few days after it.
CHANGES = {
    "spring": ("2024-03-07", "2024-04-02"),
    "autumn": ("2024-10-03", "2024-11-06"),
}
SERIES = "ohlcv:test:X:30m"
STEP = 30 * MINUTE


def naive_stamps(calendar: Local, span: Span, anchor: str) -> list[int]:
    """Bar by bar: those that open within a session, or hold its open where bars lie on the clock."""
    reported = set()
    first = datetime.fromtimestamp(span.start / SECOND, UTC).date() - timedelta(days=2)
    for n in range(span.length // DAY + 5):
        opens, closes = map(to_ns, calendar.of(first + timedelta(days=n)))
        at = opens if anchor == "session" else opens // STEP * STEP
        while at < closes:
            reported.add(at)
            at += STEP
    return sorted(ts for ts in reported if span.start <= ts < span.end)


@pytest.mark.parametrize("anchor", ["clock", "session"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", CALENDARS)
def test_each_bar_of_a_local_session_and_no_other(make: Make, name: str, change: str, anchor: Any) -> None:
    calendar, span = CALENDARS[name], Span(*map(to_ns, CHANGES[change]))
    vendor = ScriptedVendor(grid=Grid(Timeframe.parse("30m"), calendar, anchor))
    facts = [("*", qmtl.SeriesFacts(anchor=anchor))]
    provider = make(
        vendor, calendars={"*": calendar}, declared=facts, clock=FakeClock("2025-01-01"), store=change + name
    )
    result = provider.fetch(SERIES, *span)
    assert stamps(result.frame).tolist() == naive_stamps(calendar, span, anchor)
    counts = result.coverage.counts
    assert (counts["present"], counts["unknown"], counts["absent"]) == (result.frame.height, 0, 0)
    asked = len(vendor.calls)
    middle = Span(span.start + 5 * DAY, span.end - 3 * DAY)
    assert_frame_equal(
        provider.fetch(SERIES, *middle).frame,
        result.frame.filter(Coverage.of(middle).holds(stamps(result.frame))),
    )
    assert len(vendor.calls) == asked, "what is closed is not asked for again"


# -- clocks that are set ----------------------------------------------------------------------------------

MINUTES = "ohlcv:test:BTC/USDT:1m"
NOON = to_ns("2024-02-01T12:00Z")


class SetClock(FakeClock):
    """Its wall time can be set, forwards and backwards; its monotonic time cannot."""

    off = 0

    def now(self) -> int:
        return super().now() + self.off


class TrueTime(ScriptedVendor):
    """Has what has closed by the true time, whatever the clock here says."""

    def __init__(self, clock: SetClock, **options: Any) -> None:
        super().__init__(**options)
        self.clock = clock

    def bars(self, series: SeriesId | str, span: Span) -> Any:
        closed = (self.clock.now() - self.clock.off) // MINUTE * MINUTE
        return super().bars(series, Span(span.start, max(span.start, min(span.end, closed))))


@pytest.fixture
def set_clock() -> SetClock:
    return SetClock("2024-02-01T12:00:30Z")


def test_a_clock_that_is_set_back_loses_nothing(make: Make, set_clock: SetClock) -> None:
    vendor = TrueTime(set_clock)
    provider = make(vendor, clock=set_clock)
    before = provider.fetch(MINUTES, NOON - 6 * HOUR)
    assert before.frame.height == 360
    set_clock.off = -2 * HOUR
    early = provider.fetch(MINUTES, NOON - 6 * HOUR)
    assert early.frame.height == 240, "by this clock the others have not closed"
    assert provider.store.verify().is_sound
    set_clock.off = 0
    asked = len(vendor.calls)
    assert_frame_equal(provider.fetch(MINUTES, NOON - 6 * HOUR, NOON).frame, before.frame)
    assert len(vendor.calls) == asked


def test_points_in_time_stay_what_they_were_when_the_clock_is_set_back(
    make: Make, set_clock: SetClock
) -> None:
    provider = make(TrueTime(set_clock), clock=set_clock)
    span = Span(NOON - 6 * HOUR, NOON - 3 * HOUR)
    first = provider.fetch(MINUTES, *span)
    set_clock.off = -HOUR
    provider.fetch(MINUTES, span.start - HOUR, span.end)
    later = provider.fetch(MINUTES, span.start - HOUR, span.end)
    assert later.receipt.as_of > first.receipt.as_of, "commits are in order, whatever the clock says"
    set_clock.off = 0
    set_clock.advance(60)
    then = provider.fetch(MINUTES, *span, as_of=first.receipt.as_of)
    assert_frame_equal(then.frame, first.frame)
    assert provider.store.verify().is_sound


@pytest.mark.parametrize("step", [-DAY, -HOUR, HOUR, DAY], ids=["-1d", "-1h", "+1h", "+1d"])
def test_a_step_in_the_middle_of_a_fetch_spends_no_budget(make: Make, set_clock: SetClock, step: int) -> None:
    class Steps(TrueTime):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            async for page in super().pages(series, span):
                yield page
                self.clock.off = step

    vendor = Steps(set_clock, page_rows=60, delay=0.5)
    provider = make(vendor, clock=set_clock)
    span = Span(NOON - 6 * HOUR - 2 * DAY, NOON - 2 * DAY)
    result = provider.fetch(MINUTES, *span, sla=qmtl.SLAPolicy(total=10.0))
    assert_frame_equal(result.frame, synthetic_bars(MINUTES, span))
    assert result.receipt.breach is None
    assert provider.store.verify().is_sound


def test_an_absence_outlives_no_step_forwards(make: Make, set_clock: SetClock) -> None:
    span = Span(NOON - 6 * HOUR, NOON - 4 * HOUR)
    vendor = TrueTime(set_clock, absent=Coverage.of(span))
    provider = make(vendor, clock=set_clock)
    assert provider.fetch(MINUTES, *span, partial_ok=True).coverage.counts["absent"] == 120
    vendor.absent = Coverage()
    for off in (-HOUR, 0):
        set_clock.off = off
        assert provider.fetch(MINUTES, *span, partial_ok=True).coverage.counts["absent"] == 120
    set_clock.off = 2 * DAY
    assert provider.fetch(MINUTES, *span).coverage.counts["present"] == 120
