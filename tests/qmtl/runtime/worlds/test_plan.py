"""What filling a history takes: pages overlap by a bar, closed hours cost nothing, limits may be unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Paging
from qmtl.runtime.io.vendors.paging_evidence import PagingState, Proof, next_request, read
from qmtl.runtime.worlds.plan import Cost, cost_of, requests, together

SERIES = SeriesId.parse("ohlcv:a:X:1m")
GRID = Grid(SERIES.timeframe)
START = to_ns("2024-01-02")


def hours(first: float, last: float) -> Coverage:
    return Coverage.of(Span(START + round(first * 60) * MINUTE, START + round(last * 60) * MINUTE))


def test_what_is_there_costs_nothing_and_absent_bars_are_not_asked_for() -> None:
    day = Span(START, START + DAY)
    stamps = GRID.stamps(hours(0, 6))
    states = bar_states(day, GRID, stamps, hours(0, 8), hours(10, 12))
    cost = cost_of(states, Paging(1000, per_second=2.0), bytes_per_bar=5.0)
    assert (cost.expected, cost.answered, cost.to_fetch) == (1440, 480, 840)
    # Two hours between the answers and the absence, and twelve after it: one page each.
    assert (cost.requests, cost.seconds, cost.bytes) == (2, 1.0, 4200)


def test_nights_and_weekends_do_not_cut_a_request_in_two() -> None:
    grid = Grid(SeriesId.parse("ohlcv:a:X:1d").timeframe, calendar_named("XNYS"))
    year = Span(to_ns("2023-01-01"), to_ns("2024-01-01"))
    cost = cost_of(bar_states(year, grid, grid.stamps(EMPTY), EMPTY, EMPTY), Paging(1000, 1.0), 6.0)
    assert (cost.expected, cost.to_fetch, cost.requests) == (250, 250, 1)


def test_a_vendor_that_does_not_say_how_it_may_be_asked() -> None:
    states = bar_states(Span(START, START + DAY), GRID, GRID.stamps(EMPTY), EMPTY, EMPTY)
    cost = cost_of(states, None, 6.0)
    assert (cost.requests, cost.seconds, cost.to_fetch) == (None, None, 1440)
    done = Cost(10, 10, 0, None, None, 0)
    paid = Cost(10, 5, 5, 2, 4.0, 30)
    assert together([paid, done]) == Cost(20, 15, 5, 2, 4.0, 30), "what asks for nothing needs no limit"
    assert together([paid, cost]).requests is None
    assert together([]) == Cost(0, 0, 0, 0, 0.0, 0)


@given(bars=st.integers(0, 400), rows=st.integers(2, 50))
def test_as_many_requests_as_a_source_that_trades_each_minute_is_asked(bars: int, rows: int) -> None:
    """Counted on the paging of exchanges itself."""
    end = START + bars * MINUTE
    paging, asked = PagingState(Span(START, end), rows, SERIES.timeframe), 0
    market = GRID.stamps(Coverage.of(Span(START - 100 * MINUTE, end + 100 * MINUTE)))
    while not paging.wanted.is_empty:
        request = next_request(paging)
        asked += 1
        page = market[market >= request.since][: request.limit]
        outcome = read(paging, page, now=end + DAY)
        assert isinstance(outcome, Proof)
        paging = outcome.paging
    assert asked == requests(bars, rows)


@pytest.mark.parametrize(
    ("bars", "rows", "asked"), [(0, 10, 0), (1, 10, 1), (9, 10, 1), (10, 10, 1), (11, 10, 2)]
)
def test_pages_of_ten(bars: int, rows: int, asked: int) -> None:
    assert requests(bars, rows) == asked
