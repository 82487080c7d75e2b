"""Daily bars that are stamped at the close of their session."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, iso, to_ns
from qmtl.runtime.io.bar_files import read_bar_file
from qmtl.runtime.io.bar_files.look import look_at

HEADER = "date,open,high,low,close,volume\n"
# Around the early closes of 2024-07-03 and 2024-11-29, and a change of clocks on 2024-11-03.
DATES = [f"2024-07-{day:02}" for day in (1, 2, 3, 5, 8)] + [
    f"2024-{day}" for day in ("11-01", "11-04", "11-27", "11-29", "12-02")
]
EARLY = {"2024-07-03", "2024-11-29"}


def local(hours: int = 0, seconds: int = 0) -> list[str]:
    """Wall clock times in New York at which the sessions close."""
    shift = timedelta(hours=hours, seconds=seconds)
    times = [timedelta(hours=13 if day in EARLY else 16) + shift for day in DATES]
    return [f"{day} {str(time).zfill(8)}" for day, time in zip(DATES, times, strict=True)]


def in_utc() -> list[str]:
    hours = [
        (17 if day < "2024-11" else 18) if day in EARLY else (20 if day < "2024-11-03" else 21)
        for day in DATES
    ]
    return [f"{day}T{hour}:00:00Z" for day, hour in zip(DATES, hours, strict=True)]


def written(folder: Path, times: list[str]) -> Path:
    path = folder / "bars.csv"
    path.write_text(HEADER + "".join(f"{time},1,2,1,2,{k + 1}\n" for k, time in enumerate(times)))
    return path


def opens(path: Path, **options: str) -> list[str]:
    file = read_bar_file(path, timeframe="1d", calendar=calendar_named("XNYS"), label="close", **options)
    return [iso(ts) for ts in stamps(file.frame).tolist()]


def test_the_close_of_a_session_means_that_session(tmp_path):
    assert opens(written(tmp_path, in_utc())) == DATES


def test_on_the_clock_of_the_exchange(tmp_path):
    assert opens(written(tmp_path, local()), tz="America/New_York") == DATES


def test_with_an_offset_behind_each(tmp_path):
    times = [f"{time.replace(' ', 'T')}-0{4 if time < '2024-11-03' else 5}:00" for time in local()]
    assert opens(written(tmp_path, times)) == DATES


def test_a_second_early(tmp_path):
    path = written(tmp_path, local(seconds=-1))
    assert opens(path, tz="America/New_York") == DATES


def test_midnights_close_the_day_before(tmp_path):
    """Of UTC, and of the clock that they are written on."""
    nights = ["2024-07-02", "2024-07-03", "2024-07-04"]
    assert opens(written(tmp_path, nights)) == ["2024-07-01", "2024-07-02", "2024-07-03"]
    zoned = written(tmp_path, [f"{night}T00:00:00-04:00" for night in nights])
    assert opens(zoned) == ["2024-07-01", "2024-07-02", "2024-07-03"]


def test_another_time_is_no_close(tmp_path):
    found = opens(written(tmp_path, [*in_utc()[:2], "2024-07-03T20:00:00Z"]))
    # An import refuses what is off the grid.
    assert found == ["2024-07-01", "2024-07-02", "2024-07-02T20:00:00Z"]


def test_the_start_of_a_pause_at_noon_is_no_close(tmp_path):
    path = written(tmp_path, ["2024-07-01T02:30:00Z"])
    file = read_bar_file(path, timeframe="1d", calendar=calendar_named("XTKS"), label="close")
    assert stamps(file.frame).tolist() == [to_ns("2024-06-30T02:30:00Z")]


@pytest.mark.parametrize("name", ["XNYS", "XTKS", "XLON", "XASX", "XHKG"])
def test_every_session_of_ten_years_is_known_by_its_close(name, tmp_path):
    calendar = calendar_named(name)
    span = Span(to_ns("2014-06-02"), to_ns("2024-06-03"))
    sessions, dates = calendar.sessions(span), calendar.dates(span)  # type: ignore[attr-defined]
    closes = {end // DAY: end for end in sessions.ends.tolist()}  # the last of each day
    path = written(tmp_path, [iso(one) for one in closes.values()])
    file = read_bar_file(path, timeframe="1d", calendar=calendar, label="close")
    assert stamps(file.frame).tolist() == dates.tolist()


def test_label_session_says_which_label_reads_a_close(tmp_path):
    with pytest.raises(InvalidRequestError, match="it is the close of a session") as refused:
        read_bar_file(
            written(tmp_path, in_utc()), timeframe="1d", calendar=calendar_named("XNYS"), label="session"
        )
    assert "`label=close`" in (refused.value.next_step or "")


def test_a_look_finds_the_label(tmp_path):
    look = look_at(written(tmp_path, in_utc()), series="ohlcv:mine:X:1d", calendar="XNYS")
    assert [one.options for one in look.readings] == [{"label": "close"}]
    assert look.readings[0].frame["ts"].dt.strftime("%Y-%m-%d").to_list() == DATES


MONDAY_TO_THURSDAY = ("2024-06-03", "2024-06-04", "2024-06-05", "2024-06-06")


@pytest.mark.parametrize("time", ["16:05:00", "16:15:00", "17:00:00", "18:30:00"])
def test_a_stamp_after_the_close_is_never_the_next_session(time: str, tmp_path: Path) -> None:
    path = written(tmp_path, [f"{day} {time}" for day in MONDAY_TO_THURSDAY])
    with pytest.raises(InvalidRequestError, match="names no session") as refused:
        read_bar_file(
            path, timeframe="1d", calendar=calendar_named("XNYS"), label="session", tz="America/New_York"
        )
    assert refused.value.why == "it lies after the close of one session, and not on the day of the next"


@pytest.mark.parametrize("time", ["00:00:01", "04:00:00", "09:30:00", "12:00:00"])
def test_a_stamp_of_the_day_itself_is_that_session(time: str, tmp_path: Path) -> None:
    path = written(tmp_path, [f"{day} {time}" for day in MONDAY_TO_THURSDAY])
    file = read_bar_file(
        path, timeframe="1d", calendar=calendar_named("XNYS"), label="session", tz="America/New_York"
    )
    assert [iso(ts) for ts in stamps(file.frame).tolist()] == list(MONDAY_TO_THURSDAY)


def read_session(path: Path, calendar: str, tz: str | None) -> list[str]:
    zone = {} if tz is None else {"tz": tz}
    file = read_bar_file(path, timeframe="1d", calendar=calendar_named(calendar), label="session", **zone)
    return [iso(ts) for ts in stamps(file.frame).tolist()]


# 20:00 in New York is midnight UTC in summer, and is a date as little as it is one in winter.
SUMMER, WINTER = MONDAY_TO_THURSDAY, ("2024-01-08", "2024-01-09", "2024-01-10", "2024-01-11")
NEXT_DAYS = {
    SUMMER: ["2024-06-04", "2024-06-05", "2024-06-06", "2024-06-07"],
    WINTER: ["2024-01-09", "2024-01-10", "2024-01-11", "2024-01-12"],
}


def evening(folder: Path, days: tuple[str, ...], *, has_zone: bool) -> Path:
    offset = ("-04:00" if days[0] > "2024-03" else "-05:00") if has_zone else ""
    return written(folder, [f"{day} 20:00:00{offset}" for day in days])


@pytest.mark.parametrize("has_zone", [False, True], ids=["tz", "offset"])
@pytest.mark.parametrize("days", [SUMMER, WINTER], ids=["summer", "winter"])
class TestEvenings:
    def test_an_evening_belongs_to_the_session_that_it_began(
        self, days: tuple[str, ...], has_zone: bool, tmp_path: Path
    ) -> None:
        zone = None if has_zone else "America/New_York"
        path = evening(tmp_path, days, has_zone=has_zone)
        assert read_session(path, "CMES", zone) == NEXT_DAYS[days]

    def test_an_evening_after_the_week_has_closed_is_no_session(
        self, days: tuple[str, ...], has_zone: bool, tmp_path: Path
    ) -> None:
        path = evening(tmp_path, (*days, NEXT_DAYS[days][-1]), has_zone=has_zone)
        with pytest.raises(InvalidRequestError, match="no session is open or opens within a day"):
            read_session(path, "CMES", None if has_zone else "America/New_York")

    def test_an_evening_after_the_close_of_a_day_is_never_the_next_day(
        self, days: tuple[str, ...], has_zone: bool, tmp_path: Path
    ) -> None:
        path = evening(tmp_path, days, has_zone=has_zone)
        with pytest.raises(InvalidRequestError, match="it lies after the close of one session") as refused:
            read_session(path, "XNYS", None if has_zone else "America/New_York")
        assert f"the stamp {NEXT_DAYS[days][0]}T0" in refused.value.what, "with its time"

    @pytest.mark.parametrize("calendar", ["FX", "24x7"])
    def test_a_calendar_without_dates_does_not_date_an_evening(
        self, days: tuple[str, ...], has_zone: bool, calendar: str, tmp_path: Path
    ) -> None:
        path = evening(tmp_path, days, has_zone=has_zone)
        with pytest.raises(InvalidRequestError, match="neither a date nor midnight") as refused:
            read_session(path, calendar, None if has_zone else "America/New_York")
        assert "the declared one has no dates" in str(refused.value.why)


def test_an_evening_among_midnights_is_told_from_them(tmp_path: Path) -> None:
    path = written(tmp_path, ["2024-06-03 00:00:00", "2024-06-03 20:00:00", "2024-06-05 00:00:00"])
    assert read_session(path, "CMES", "America/New_York") == ["2024-06-03", "2024-06-04", "2024-06-05"]


def test_an_open_in_tokyo_is_midnight_utc_and_of_that_day(tmp_path: Path) -> None:
    path = written(tmp_path, [f"{day} 09:00:00" for day in MONDAY_TO_THURSDAY])
    assert read_session(path, "XTKS", "Asia/Tokyo") == list(MONDAY_TO_THURSDAY)


def test_midnights_of_another_zone_are_the_dates_that_they_show(tmp_path: Path) -> None:
    path = written(tmp_path, [f"{day} 00:00:00" for day in MONDAY_TO_THURSDAY])
    file = read_bar_file(
        path, timeframe="1d", calendar=calendar_named("XNYS"), label="session", tz="Europe/Berlin"
    )
    assert [iso(ts) for ts in stamps(file.frame).tolist()] == list(MONDAY_TO_THURSDAY)
