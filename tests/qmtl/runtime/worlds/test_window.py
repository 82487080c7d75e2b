"""How far back history and warm-up reach, in bars that a calendar expects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, MINUTE, iso, to_ns
from qmtl.runtime.worlds.window import Window, bars_back

MINUTES = Grid(SeriesId.parse("ohlcv:a:X:1m").timeframe)
SESSIONS = Grid(SeriesId.parse("ohlcv:a:X:1d").timeframe, calendar_named("XNYS"))
HOURS = Grid(SeriesId.parse("ohlcv:a:X:1h").timeframe, calendar_named("XNYS"))
NOW = to_ns("2024-03-01T12:00:30Z")


def test_history_reaches_back_as_far_as_it_has_to() -> None:
    whole = to_ns("2024-03-01T12:00Z")
    assert Window().history(MINUTES, NOW) == Span(whole, whole)
    assert Window(min_history=3600.0).history(MINUTES, NOW) == Span(whole - 60 * MINUTE, whole)
    assert Window(500, min_history=3600.0).history(MINUTES, NOW) == Span(whole - 500 * MINUTE, whole)
    started = Window(500, 3600.0, to_ns("2024-01-01"))
    assert started.history(MINUTES, NOW) == Span(to_ns("2024-01-01"), whole)


def test_the_newest_bars_are_held_back() -> None:
    held = Window(2, stabilization_bars=3).history(MINUTES, NOW)
    assert held == Span(to_ns("2024-03-01T11:55Z"), to_ns("2024-03-01T11:57Z"))
    # Friday 2024-03-01 has not closed; Thursday and Wednesday are held back.
    assert iso(Window(stabilization_bars=2).end(SESSIONS, NOW)) == "2024-02-28"


def test_sessions_are_counted_and_not_days() -> None:
    # 2024-02-19 is Presidents' Day.
    history = Window(10).history(SESSIONS, to_ns("2024-02-26T12:00Z"))
    assert [iso(edge) for edge in history] == ["2024-02-09", "2024-02-26"]
    assert SESSIONS.count(SESSIONS.expected(history)) == 10


@given(
    grid=st.sampled_from([MINUTES, SESSIONS, HOURS]),
    bars=st.integers(0, 700),
    day=st.integers(0, 1500),
)
def test_as_many_bars_back_are_as_many_expected_bars(grid: Grid, bars: int, day: int) -> None:
    end = grid.floor(to_ns("2018-01-01") + day * DAY)
    start = bars_back(grid, end, bars)
    assert grid.count(grid.expected(Span(start, end))) == bars
    assert bars == 0 or grid.count(grid.expected(Span(start + grid.step, end))) < bars


def test_a_warm_up_that_is_longer_than_history_is_refused() -> None:
    window = Window(500, backfill_start=to_ns("2024-03-01T06:00Z"))
    with pytest.raises(InvalidRequestError) as refused:
        window.history(MINUTES, NOW)
    assert refused.value.what == "a warm-up of 500 bars is longer than history"
    assert refused.value.why == (
        "from 2024-03-01T06:00:00Z to 2024-03-01T12:00:00Z the calendar expects 360 bars"
    )
    assert "2024-03-01T03:40:00Z or earlier" in (refused.value.next_step or "")
    with pytest.raises(InvalidRequestError, match="longer than history"):
        window.warmup_start(MINUTES, to_ns("2024-03-01T10:00Z"))
    assert window.warmup_start(MINUTES, to_ns("2024-03-02")) == to_ns("2024-03-01T15:40Z")


def test_history_that_cannot_reach_back_so_far_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="min_history reaches back to 2024-01-31T12:00:00Z"):
        Window(0, 30 * 86_400.0, to_ns("2024-02-01")).history(MINUTES, NOW)
    with pytest.raises(InvalidRequestError, match="history begins at 2024-03-02, where no bar"):
        Window(backfill_start=to_ns("2024-03-02")).history(MINUTES, NOW)


@pytest.mark.parametrize("grid", [MINUTES, SESSIONS, HOURS])
@pytest.mark.parametrize("power", [12, 18, 30])
def test_what_reaches_back_beyond_all_times_is_refused(grid: Grid, power: int) -> None:
    for window in (Window(10**power), Window(stabilization_bars=10**power), Window(min_history=10.0**power)):
        with pytest.raises(InvalidRequestError) as refused:
            window.history(grid, NOW)
        assert refused.value.next_step


def test_a_calendar_that_is_hardly_ever_open_is_refused() -> None:
    class Never:
        def sessions(self, span: Span) -> object:
            from qmtl.foundation.timeline import EMPTY

            return EMPTY

    grid = Grid(MINUTES.timeframe, Never(), "clock", SeriesId.parse("ohlcv:a:X:1m"))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="expects fewer than 5 bars before"):
        bars_back(grid, NOW, 5)
