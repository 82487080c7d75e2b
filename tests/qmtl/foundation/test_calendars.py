"""Calendars against days that history books know, and against the local clock hour by hour."""

from __future__ import annotations

import pickle
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import (
    ALWAYS_OPEN,
    FX,
    AlwaysOpen,
    Calendar,
    DatedCalendar,
    ExchangeCalendar,
    WeeklyCalendar,
    calendar_named,
)
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, iso, to_ns


def span(start: str, end: str) -> Span:
    return Span(to_ns(start), to_ns(end))


def spoken(coverage: Coverage) -> list[tuple[str, str]]:
    return [(iso(s), iso(e)) for s, e in coverage.spans]


def days(calendar: DatedCalendar, start: str, end: str) -> list[str]:
    return [iso(day) for day in calendar.dates(span(start, end))]


XNYS = ExchangeCalendar("XNYS")


def test_new_york_was_closed_after_the_eleventh_of_september() -> None:
    assert days(XNYS, "2001-09-08", "2001-09-19") == ["2001-09-10", "2001-09-17", "2001-09-18"]
    assert not XNYS.sessions(span("2001-09-10T20:00:00Z", "2001-09-17T13:30:00Z"))
    assert spoken(XNYS.sessions(span("2001-09-17", "2001-09-18"))) == [
        ("2001-09-17T13:30:00Z", "2001-09-17T20:00:00Z")
    ]


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2023-11-24", "14:30:00", "18:00:00"),  # the day after Thanksgiving
        ("2018-12-24", "14:30:00", "18:00:00"),  # Christmas Eve
        ("2013-07-03", "13:30:00", "17:00:00"),  # before Independence Day
        ("1999-11-26", "14:30:00", "18:00:00"),
        ("2024-03-08", "14:30:00", "21:00:00"),  # the Friday before the clocks change
        ("2024-03-11", "13:30:00", "20:00:00"),  # the Monday after
    ],
)
def test_new_york_early_closes_and_clock_changes(day: str, opens: str, closes: str) -> None:
    start = to_ns(day)
    assert spoken(XNYS.sessions(Span(start, start + DAY))) == [(f"{day}T{opens}Z", f"{day}T{closes}Z")]


@pytest.mark.parametrize(
    "day",
    ["1990-01-01", "1985-09-27", "2007-01-02", "2012-10-29", "2012-10-30", "2018-12-05", "2022-06-20"],
)
def test_new_york_holidays_hurricanes_and_funerals(day: str) -> None:
    start = to_ns(day)
    assert not XNYS.sessions(Span(start, start + DAY))
    assert len(XNYS.dates(Span(start, start + DAY))) == 0


def test_new_york_since_1990_has_its_known_number_of_sessions() -> None:
    # 252 or 253 most years; 248 in 2001.
    for year, sessions in [(1990, 253), (2001, 248), (2012, 250), (2020, 253), (2023, 250)]:
        assert len(days(XNYS, f"{year}-01-01", f"{year + 1}-01-01")) == sessions


def test_sydneys_monday_opens_on_sunday() -> None:
    sydney = ExchangeCalendar("XASX")
    assert days(sydney, "2024-01-26", "2024-01-31") == ["2024-01-29", "2024-01-30"]  # the 26th: Australia Day
    # 2024-02-12 is a Monday; summer time is eleven hours ahead.
    assert spoken(sydney.sessions(span("2024-02-11", "2024-02-12"))) == [
        ("2024-02-11T23:00:00Z", "2024-02-12")
    ]


def test_tokyo_goes_to_lunch() -> None:
    tokyo = ExchangeCalendar("XTKS")
    assert spoken(tokyo.sessions(span("2024-01-04", "2024-01-05"))) == [
        ("2024-01-04", "2024-01-04T02:30:00Z"),
        ("2024-01-04T03:30:00Z", "2024-01-04T06:00:00Z"),
    ]
    assert days(tokyo, "2023-12-29", "2024-01-06") == ["2023-12-29", "2024-01-04", "2024-01-05"]


def test_chicago_futures_open_the_evening_before() -> None:
    chicago = ExchangeCalendar("CMES")
    assert days(chicago, "2024-01-05", "2024-01-09") == ["2024-01-05", "2024-01-08"]
    monday = chicago.sessions(span("2024-01-05T23:00:00Z", "2024-01-08T12:00:00Z"))
    assert spoken(monday) == [("2024-01-07T23:00:00Z", "2024-01-08T12:00:00Z")]


def test_what_is_not_published_is_not_guessed() -> None:
    known = XNYS.known
    assert known.start == to_ns("1900-01-01")
    today = time.time_ns()
    assert today + 300 * DAY < known.end < today + 400 * DAY
    for beyond in (Span(known.start - 1, known.start + DAY), Span(known.end, known.end + 1)):
        with pytest.raises(InvalidRequestError) as caught:
            XNYS.sessions(beyond)
        assert str(known) in str(caught.value)
        assert caught.value.span == beyond
        with pytest.raises(InvalidRequestError):
            XNYS.dates(beyond)
    assert ExchangeCalendar("XTKS").known.start == to_ns("1997-01-01"), "the package goes no further back"


def test_repeated_questions_are_quick() -> None:
    year = span("2020-01-01", "2021-01-01")
    for calendar in (XNYS, FX):
        calendar.sessions(year)
        began = time.process_time()
        for _ in range(100):
            calendar.sessions(year)
        assert time.process_time() - began < 0.5, "each answer should take tens of microseconds"


def test_fx_follows_new_yorks_clock_changes() -> None:
    # Clocks went forward on Sunday 2024-03-10 and back on Sunday 2024-11-03, both before the open.
    assert spoken(FX.sessions(span("2024-03-04", "2024-03-16"))) == [
        ("2024-03-04", "2024-03-08T22:00:00Z"),
        ("2024-03-10T21:00:00Z", "2024-03-15T21:00:00Z"),
    ]
    assert spoken(FX.sessions(span("2024-10-28", "2024-11-09"))) == [
        ("2024-10-28", "2024-11-01T21:00:00Z"),
        ("2024-11-03T22:00:00Z", "2024-11-08T22:00:00Z"),
    ]


WEEKLY = st.sampled_from(
    [
        FX,
        WeeklyCalendar("Australia/Lord_Howe", ("Monday", "09:30"), ("Tuesday", "03:15")),
        WeeklyCalendar("Europe/Berlin", ("Saturday", "22:00"), ("Wednesday", "01:00")),  # over the week's end
        WeeklyCalendar("Asia/Kathmandu", ("Sunday", "23:59"), ("Sunday", "23:58")),  # nearly always
        WeeklyCalendar("UTC", ("Friday", "00:00"), ("Monday", "00:00")),
    ]
)
HOURS = st.integers(to_ns("1971-01-01") // HOUR, to_ns("2037-01-01") // HOUR)


@given(WEEKLY, HOURS, st.integers(0, 400))
def test_weekly_sessions_agree_with_the_local_clock(calendar: WeeklyCalendar, hour: int, count: int) -> None:
    """At each quarter of an hour, ask the local clock; skip instants near a clock change (tested by name)."""
    asked = Span(hour * HOUR, (hour + count) * HOUR)
    instants = np.arange(asked.start, asked.end, HOUR // 4)
    open_now = calendar.sessions(asked).holds(instants)
    zone = ZoneInfo(calendar.zone)
    weekdays = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    opens, closes = ((weekdays.index(day), at) for day, at in (calendar.open, calendar.close))
    for instant, is_open in zip(instants.tolist(), open_now.tolist(), strict=True):
        local = datetime.fromtimestamp(instant / 1e9, UTC).astimezone(zone)
        now = (local.weekday(), f"{local:%H:%M}")
        expected = opens <= now < closes if opens < closes else now >= opens or now < closes
        near = any((local + timedelta(hours=h)).utcoffset() != local.utcoffset() for h in (-1, 1))
        assert is_open == expected or near, (iso(instant), now)


@given(WEEKLY, HOURS, HOURS, HOURS)
def test_a_part_of_an_answer_is_the_answer_of_the_part(
    calendar: WeeklyCalendar, a: int, b: int, c: int
) -> None:
    low, mid, high = sorted(hour * HOUR for hour in (a, b, c))
    whole = calendar.sessions(Span(low, high))
    assert whole == calendar.sessions(Span(low, mid)) | calendar.sessions(Span(mid, high))


def test_extreme_ranges_of_a_weekly_calendar() -> None:
    whole = FX.sessions(span("1677-09-22", "2262-04-11"))
    assert 30_500 < len(whole) < 30_530
    with pytest.raises(InvalidRequestError):
        ExchangeCalendar("XNYS").sessions(span("1677-09-22", "2262-04-11"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WeeklyCalendar("America/New_Amsterdam", ("Sunday", "17:00"), ("Friday", "17:00")),
        lambda: WeeklyCalendar("../etc/passwd", ("Sunday", "17:00"), ("Friday", "17:00")),
        lambda: WeeklyCalendar("UTC", ("Sun", "17:00"), ("Friday", "17:00")),
        lambda: WeeklyCalendar("UTC", ("Sunday", "25:00"), ("Friday", "17:00")),
        lambda: WeeklyCalendar("UTC", ("Sunday", "17:00"), ("Sunday", "17:00")),
    ],
)
def test_weekly_calendars_that_cannot_be(wrong) -> None:
    with pytest.raises(InvalidRequestError):
        wrong()


class TestNames:
    def test_the_names_of_the_default(self) -> None:
        assert calendar_named(None) is calendar_named("24x7") is ALWAYS_OPEN
        assert calendar_named("FX") is FX

    def test_a_mic(self) -> None:
        assert calendar_named("XNYS") == XNYS
        assert calendar_named("XNAS").sessions(span("2001-09-10", "2001-09-18"))

    def test_a_calendar_of_ones_own_goes_first(self) -> None:
        class Mine:
            def sessions(self, span: Span) -> Coverage:
                return Coverage.of(span)

        mine = Mine()
        assert calendar_named("FX", {"FX": mine}) is mine
        assert calendar_named("mine", {"mine": mine}) is mine
        assert isinstance(mine, Calendar)
        assert not isinstance(mine, DatedCalendar)

    @pytest.mark.parametrize(("typed", "meant"), [("xnys", "XNYS"), ("fx", "FX"), ("24x", "24x7")])
    def test_the_nearest_name_is_reported(self, typed: str, meant: str) -> None:
        with pytest.raises(InvalidRequestError, match="not known") as caught:
            calendar_named(typed)
        assert caught.value.next_step == f"did you mean '{meant}'?"

    def test_ones_own_may_be_the_nearest(self) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            calendar_named("my_venu", {"my_venue": ALWAYS_OPEN})
        assert caught.value.next_step == "did you mean 'my_venue'?"

    @pytest.mark.parametrize("typed", ["XNSE", "XTSY", "XNYZ", "NYSF", "XXXX", "JSE", "nowhere", "../XNYS"])
    def test_another_exchange_is_never_suggested(self, typed: str) -> None:
        """XNSE is in Mumbai, and one letter from Toronto's XTSE; JSE is in Johannesburg, SSE in Shanghai."""
        with pytest.raises(InvalidRequestError, match="not known") as caught:
            calendar_named(typed)
        assert "did you mean" not in str(caught.value)
        assert "qmtl calendars" in str(caught.value.next_step)

    def test_a_calendar_of_an_unknown_exchange_cannot_be_made(self) -> None:
        with pytest.raises(InvalidRequestError):
            ExchangeCalendar("NOWHERE")


@pytest.mark.parametrize("calendar", [ALWAYS_OPEN, FX, XNYS])
def test_calendars_are_values(calendar: Calendar) -> None:
    copy = pickle.loads(pickle.dumps(calendar))
    assert copy == calendar
    assert hash(copy) == hash(calendar)
    assert AlwaysOpen() == ALWAYS_OPEN
    assert FX != XNYS
