"""The moments of several series, against a list of all their cells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, LATEST, MINUTE, to_ns
from qmtl.runtime.replay.moments import Moment, moments

NAMES = ("ohlcv:x:A:1m", "ohlcv:x:B:5m", "ohlcv:x:C:1h")


@given(
    start=st.integers(0, 3_000),
    length=st.integers(0, 3_000),
    names=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
)
def test_each_cell_comes_once_with_those_that_end_together(start: int, length: int, names: list[str]) -> None:
    series = [SeriesId.parse(name) for name in names]
    span = Span(start * MINUTE, (start + length) * MINUTE)
    found = list(moments({one: Grid(one.timeframe) for one in series}, *span))
    expected: dict[int, dict[SeriesId, Span]] = {}
    for one in series:
        step = one.timeframe.step
        for ts in range(-(-span.start // step) * step, span.end, step):
            expected.setdefault(ts + step, {})[one] = Span(ts, ts + step)
    assert found == [Moment(at, cells) for at, cells in sorted(expected.items())]
    order = {one: place for place, one in enumerate(series)}
    assert all(list(moment.cells) == sorted(moment.cells, key=order.__getitem__) for moment in found)


def test_it_looks_no_further_than_it_is_asked() -> None:
    one = SeriesId.parse(NAMES[2])
    endless = moments({one: Grid(one.timeframe)}, 0, LATEST)
    assert next(endless).at == 60 * MINUTE


def test_nothing_is_awaited_while_a_venue_is_closed() -> None:
    one = SeriesId.parse("ohlcv:x:A:1d")
    grid = Grid(one.timeframe, calendar_named("XNYS"))
    friday = to_ns("2024-03-01")
    found = [
        cell.start
        for moment in moments({one: grid}, friday, friday + 7 * DAY)
        for cell in moment.cells.values()
    ]
    assert found == [friday, *(to_ns(f"2024-03-0{day}") for day in (4, 5, 6, 7))]
