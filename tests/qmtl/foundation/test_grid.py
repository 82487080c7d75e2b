"""The grid against a naive one that walks bar by bar and asks the calendar's timetable about each."""

from __future__ import annotations

import itertools
import warnings
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import ALWAYS_OPEN, FX, Calendar, ExchangeCalendar
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.states import STATES, bar_states, whole_cells
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, EARLIEST, HOUR, LATEST, MINUTE, iso, to_ns

TIMEFRAMES = [Timeframe.parse(text) for text in ("5m", "1h", "90m", "4h", "1d", "1w")]


@dataclass(frozen=True)
class Timetable:
    """A user's own calendar: a list of sessions; cuts its answer to what was asked, or tells all it knows."""

    open: Coverage
    cuts: bool

    def sessions(self, span: Span) -> Coverage:
        return self.open.clip(span) if self.cuts else self.open


@cache
def new_york() -> tuple[list[tuple[int, int]], list[int]]:
    """Sessions and their dates, straight from the package that knows them, row by row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import exchange_calendars

        schedule = exchange_calendars.get_calendar("XNYS", start="2001-01-01", end="2024-12-31").schedule
        rows = [(row.open.value, row.close.value) for row in schedule.itertuples()]
        return rows, [to_ns(date.date()) for date in schedule.index]


@cache
def fx_weeks() -> list[tuple[int, int]]:
    """Each week by New York's clock; summer time begins and ends as the almanac says."""
    weeks = []
    for week in range(-2, 53 * 5):
        sunday = to_ns("2022-01-02") + week * 7 * DAY
        summer = [
            (to_ns("2022-03-13"), to_ns("2022-11-06")),
            (to_ns("2023-03-12"), to_ns("2023-11-05")),
            (to_ns("2024-03-10"), to_ns("2024-11-03")),
            (to_ns("2025-03-09"), to_ns("2025-11-02")),
            (to_ns("2026-03-08"), to_ns("2026-11-01")),
        ]
        hour = 21 if any(a <= sunday < b for a, b in summer) else 22
        friday_hour = 21 if any(a <= sunday + 5 * DAY < b for a, b in summer) else 22
        weeks.append((sunday + hour * HOUR, sunday + 5 * DAY + friday_hour * HOUR))
    return weeks


@dataclass(frozen=True, repr=False)
class Naive:
    """The same grid, bar by bar."""

    grid: Grid
    sessions: list[tuple[int, int]]
    dates: list[int] | None = None

    def __repr__(self) -> str:
        return f"Naive({self.grid})"  # the sessions of years would drown a failure

    def bars(self, low: int, high: int) -> list[tuple[int, int]]:
        """Cells that open within [low, high)."""
        step, origin = self.grid.step, self.grid.timeframe.origin
        if self.grid.anchor == "clock" or not self.grid.timeframe.is_intraday:
            first = low + (origin - low) % step
            return [(ts, ts + step) for ts in range(first, high, step)]
        anchors = []
        opens = [o for o, _ in self.sessions]
        for o, following in itertools.pairwise([*opens, LATEST]):
            anchors.append(o)
            midnight = (o + 14 * DAY) // DAY * DAY
            if midnight < following:
                anchors.append(midnight)
        if not anchors or anchors[0] > low:
            anchors.insert(0, low // DAY * DAY)
        cells = []
        at = anchors[bisect_right(anchors, low) - 1]
        while at < high:
            i = bisect_right(anchors, at)
            end = min([at + step, *anchors[i : i + 1]])
            if at >= low:
                cells.append((at, end))
            at = end
        return cells

    def expects(self, start: int, end: int) -> bool:
        if self.dates is not None and not self.grid.timeframe.is_intraday:
            return any(start <= date < end for date in self.dates)
        return any(o < end and c > start for o, c in self.sessions)


def stretch(low: str, high: str) -> st.SearchStrategy[tuple[int, int]]:
    """A window of up to twelve days, cut at any second."""
    return st.tuples(st.integers(to_ns(low), to_ns(high)), st.integers(0, 12 * DAY)).map(
        lambda pair: (pair[0] // 10**9 * 10**9, pair[1] // 10**9 * 10**9)
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Naive, Span]:
    timeframe = draw(st.sampled_from(TIMEFRAMES))
    anchor = draw(st.sampled_from(["clock", "session"]))
    kind = draw(st.sampled_from(["always", "own", "FX", "XNYS"]))
    if kind == "always":
        start, length = draw(stretch("1999-01-01", "2030-01-01"))
        whole = [(to_ns("1990-01-01"), to_ns("2040-01-01"))]
        # A venue that never opens has no open to count from: its sessions lie on the clock.
        naive = Naive(Grid(timeframe, ALWAYS_OPEN, anchor), whole if anchor == "clock" else [])
        if anchor == "session":
            naive = Naive(Grid(timeframe, ALWAYS_OPEN), whole)
        return naive, Span(start, start + length)
    if kind == "FX":
        start, length = draw(
            st.one_of(
                stretch("2022-01-10", "2026-11-20"),
                stretch("2024-03-04", "2024-03-14"),
                stretch("2024-10-28", "2024-11-08"),
            )
        )
        return Naive(Grid(timeframe, FX, anchor), fx_weeks()), Span(start, start + length)
    if kind == "XNYS":
        start, length = draw(
            st.one_of(
                stretch("2001-02-01", "2024-12-01"),
                stretch("2001-09-01", "2001-09-20"),
                stretch("2023-11-20", "2023-11-26"),
                stretch("2024-03-04", "2024-03-14"),
            )
        )
        sessions, dates = new_york()
        low, high = start - 40 * DAY, start + length + 40 * DAY
        near = [pair for pair in sessions if low < pair[0] < high]
        naive = Naive(Grid(timeframe, ExchangeCalendar("XNYS"), anchor), near, dates)
        return naive, Span(start, start + length)
    base = to_ns("2024-01-01")
    cuts = sorted(
        set(draw(st.lists(st.integers(0, 60 * 24 * 60), max_size=16)))
        | set(draw(st.lists(st.integers(0, 12 * 24).map(lambda n: n * 300), max_size=4)))
    )
    pairs = [(base + a * MINUTE, base + b * MINUTE) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    start, length = draw(stretch("2023-12-20", "2024-03-10"))
    own = Timetable(Coverage(pairs), draw(st.booleans()))
    return Naive(Grid(timeframe, own, anchor), [tuple(s) for s in own.open.spans]), Span(
        start, start + length
    )


def shown(cells: list[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(iso(a), iso(b)) for a, b in cells]


@given(cases())
def test_bars_and_cells(case: tuple[Naive, Span]) -> None:
    naive, span = case
    grid = naive.grid
    bars = naive.bars(span.start, span.end)
    aligned = grid.align(span)
    stamps = grid.stamps(Coverage.of(aligned))
    assert shown([(s, grid.after(s)) for s in stamps.tolist()]) == shown(bars)
    assert grid.count(Coverage.of(aligned)) == len(bars)
    assert grid.cells(stamps) == Coverage.of(aligned) == Coverage(bars)
    chosen = bars[::3]
    assert grid.cells(np.array([s for s, _ in chosen], dtype=np.int64)) == Coverage(chosen)
    if bars:
        assert aligned == (bars[0][0], bars[-1][1])


@given(cases(), st.lists(st.floats(0, 1), max_size=8))
def test_every_instant_has_its_bar(case: tuple[Naive, Span], places: list[float]) -> None:
    naive, span = case
    grid = naive.grid
    bars = naive.bars(span.start - 8 * DAY, span.end + 8 * DAY)
    starts = [s for s, _ in bars]
    instants = [span.start + int(place * span.length) // 10**9 * 10**9 for place in places]
    instants += [s for s in starts if span.start <= s < span.end][:4]
    for instant in instants:
        start, end = bars[bisect_right(starts, instant) - 1]
        assert iso(grid.floor(instant)) == iso(start)
        assert iso(grid.ceil(instant)) == iso(start if instant == start else end)
    array = np.array(instants, dtype=np.int64)
    assert grid.floors(array).tolist() == [grid.floor(i) for i in instants]
    assert grid.ceils(array).tolist() == [grid.ceil(i) for i in instants]
    assert grid.on_grid(array).tolist() == [i in starts for i in instants]


@given(cases())
def test_expected_bars_are_those_that_meet_a_session(case: tuple[Naive, Span]) -> None:
    naive, span = case
    bars = naive.bars(span.start, span.end)
    expected = [bar for bar in bars if naive.expects(*bar)]
    found = naive.grid.expected(naive.grid.align(span))
    assert shown(list(found.spans)) == shown(list(Coverage(expected).spans))


@given(cases(), st.data())
def test_the_states_are_a_partition_and_say_what_each_bar_says(
    case: tuple[Naive, Span], data: st.DataObject
) -> None:
    naive, span = case
    grid = naive.grid
    bars = naive.bars(span.start, span.end)
    instants = st.integers(span.start - DAY, span.end + DAY).map(lambda t: t // MINUTE * MINUTE)
    words = st.lists(st.tuples(instants, instants).map(sorted), max_size=4)
    answered, absent = Coverage(data.draw(words)), Coverage(data.draw(words))
    rows = [s for s, _ in bars if data.draw(st.booleans())] if len(bars) < 40 else [s for s, _ in bars][::5]
    states = bar_states(span, grid, np.array(rows, dtype=np.int64), answered, absent)
    message: dict[str, list[tuple[int, int]]] = {name: [] for name in STATES}
    for start, end in bars:
        if start in rows:
            state = "present"
        elif not naive.expects(start, end):
            state = "closed"
        elif answered.contains(Span(start, end)):
            state = "no_trade"
        elif absent.contains(Span(start, end)):
            state = "absent"
        else:
            state = "unknown"
        message[state].append((start, end))
    assert {name: shown(list(cells.spans)) for name, cells in states.items()} == {
        name: shown(list(Coverage(cells).spans)) for name, cells in message.items()
    }
    assert states.counts == {name: len(cells) for name, cells in message.items()}
    assert sum(states.counts.values()) == len(bars)


def test_a_cell_is_answered_only_as_a_whole() -> None:
    grid = Grid(Timeframe.parse("1h"))
    span = Span(0, 10 * HOUR)
    message = Coverage([(HOUR + 1, 4 * HOUR - 1), (5 * HOUR, 6 * HOUR), (8 * HOUR, 11 * HOUR)])
    assert whole_cells(message, grid, span) == Coverage(
        [(2 * HOUR, 3 * HOUR), (5 * HOUR, 6 * HOUR), (8 * HOUR, 10 * HOUR)]
    )
    assert whole_cells(EMPTY, grid, span) == EMPTY


def test_new_yorks_early_close_in_hours() -> None:
    day = Span(to_ns("2023-11-24"), to_ns("2023-11-25"))  # 09:30 to 13:00 New York, 14:30 to 18:00 UTC
    clock = Grid(Timeframe.parse("1h"), ExchangeCalendar("XNYS"))
    assert [iso(s)[11:16] for s in clock.stamps(clock.expected(day)).tolist()] == [
        "14:00",
        "15:00",
        "16:00",
        "17:00",
    ]
    session = Grid(Timeframe.parse("1h"), ExchangeCalendar("XNYS"), "session")
    assert [iso(s)[11:16] for s in session.stamps(session.expected(session.align(day))).tolist()] == [
        "14:30",
        "15:30",
        "16:30",
        "17:30",
    ]


def test_four_hours_of_fx_over_a_clock_change() -> None:
    """Counted from the session's open, 17:00 New York; on the clock, the bars stay where they are."""
    session = Grid(Timeframe.parse("4h"), FX, "session")
    assert iso(session.floor(to_ns("2024-03-08T12:00:00Z"))) == "2024-03-08T10:00:00Z"
    assert iso(session.floor(to_ns("2024-03-11T12:00:00Z"))) == "2024-03-11T09:00:00Z"
    last_of_the_week = session.floor(to_ns("2024-03-08T21:59:00Z"))
    assert (iso(last_of_the_week), iso(session.after(last_of_the_week))) == (
        "2024-03-08T18:00:00Z",
        "2024-03-08T22:00:00Z",
    )
    before_the_open = session.floor(to_ns("2024-03-10T20:59:00Z"))
    assert (iso(before_the_open), iso(session.after(before_the_open))) == (
        "2024-03-10T18:00:00Z",
        "2024-03-10T21:00:00Z",
    ), "cut short by the open"


@pytest.mark.parametrize("calendar", [ALWAYS_OPEN, FX, ExchangeCalendar("XNYS")])
def test_weeks_open_on_monday(calendar: Calendar) -> None:
    grid = Grid(Timeframe.parse("1w"), calendar)
    span = grid.align(Span(to_ns("2001-09-04"), to_ns("2001-10-02")))
    weeks = grid.stamps(grid.expected(span)).tolist()
    assert [iso(week) for week in weeks] == ["2001-09-10", "2001-09-17", "2001-09-24", "2001-10-01"]


@pytest.mark.parametrize("text", ["1s", "1m", "4h", "1d"])
def test_the_ends_of_time(text: str) -> None:
    grid = Grid(Timeframe.parse(text))
    for edge in (Span(EARLIEST, EARLIEST + DAY), Span(LATEST - DAY, LATEST)):
        assert grid.align(edge) == edge
        assert grid.count(grid.expected(edge)) == DAY // grid.step
    fx = Grid(Timeframe.parse(text), FX)
    assert fx.expected(Span(LATEST - 7 * DAY, LATEST))
    assert fx.expected(Span(EARLIEST, EARLIEST + 7 * DAY))


def test_a_closure_of_months_goes_back_to_the_clock() -> None:
    """However far back somebody looks, the same instant has the same bar."""
    reopening = Coverage.of(Span(to_ns("2024-01-01T09:17:00Z"), to_ns("2024-01-01T17:00:00Z")))
    for cuts in (True, False):
        grid = Grid(Timeframe.parse("1h"), Timetable(reopening, cuts), "session")
        assert iso(grid.floor(to_ns("2024-01-10T12:30:00Z"))) == "2024-01-10T12:17:00Z"
        assert iso(grid.floor(to_ns("2024-02-10T12:30:00Z"))) == "2024-02-10T12:00:00Z"
        assert iso(grid.after(to_ns("2024-01-14T23:17:00Z"))) == "2024-01-15", "cut short, once"
        whole = grid.align(Span(to_ns("2024-01-01"), to_ns("2024-03-01")))
        stamps = grid.stamps(Coverage.of(whole))
        assert grid.on_grid(stamps).all()
        assert all(grid.floor(s) == s for s in stamps.tolist()[::17])


def test_a_market_that_never_closes_lies_on_the_clock_whatever_its_anchor() -> None:
    grid = Grid(Timeframe.parse("1h"), ALWAYS_OPEN, "session")
    assert iso(grid.floor(to_ns("2024-01-10T12:34:56Z"))) == "2024-01-10T12:00:00Z"
