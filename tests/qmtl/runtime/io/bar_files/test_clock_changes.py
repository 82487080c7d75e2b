"""An hour that comes twice is read where both passes are there in order, and refused where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.bar_files import read_bar_file

CASES = Path(__file__).parents[1] / "cases"
HEADER = "time,open,high,low,close,volume\n"
# Zones, and an instant at which each of them puts its clock back: by an hour, and by half of one.
BACK = {
    "America/New_York": "2024-11-03T06:00Z",
    "Europe/Berlin": "2024-10-27T01:00Z",
    "Australia/Lord_Howe": "2024-04-06T15:00Z",
}


def walls(zone: str, instants: Sequence[datetime]) -> list[str]:
    return [instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") for instant in instants]


def around(zone: str, minutes: int, before: int = 6, count: int = 14) -> list[datetime]:
    """Instants of bars around the change."""
    middle = datetime.fromisoformat(BACK[zone])
    return [middle + timedelta(minutes=minutes * k) for k in range(-before, count - before)]


def written(path: Path, times: Sequence[str], volumes: Sequence[int] | None = None) -> Path:
    volumes = volumes or range(len(times))
    path.write_text(HEADER + "".join(f"{time},1,1,1,1,{v}\n" for time, v in zip(times, volumes, strict=True)))
    return path


def opens(path: Path, minutes: int, tz: str) -> list[int]:
    timeframe = f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
    return stamps(read_bar_file(path, timeframe=timeframe, tz=tz).frame).tolist()  # type: ignore[no-any-return]


class TestBothPasses:
    @pytest.mark.parametrize(
        ("zone", "minutes"),
        # Lord Howe's clock goes back by half an hour, which bars of an hour do not repeat.
        [(zone, m) for zone in BACK for m in (60, 30, 15, 1) if m <= 30 or zone != "Australia/Lord_Howe"],
    )
    @pytest.mark.parametrize("step", [1, -1])
    def test_they_are_read_in_either_order_of_the_rows(self, zone, minutes, step, tmp_path):
        instants = around(zone, minutes, before=3 * 60 // minutes, count=6 * 60 // minutes)[::step]
        path = written(tmp_path / "a.csv", walls(zone, instants))
        assert opens(path, minutes, zone) == [to_ns(one.isoformat()) for one in instants]

    def test_of_a_file_of_half_hours(self):
        """1:00, 1:30, 1:00, 1:30: every half hour of the night is there."""
        found = opens(CASES / "15-time-forms/fallback.csv", 30, "America/New_York")
        assert found == [to_ns("2024-11-03T04:00Z") + k * 30 * MINUTE for k in range(len(found))]

    def test_of_a_server_clock(self, tmp_path):
        """New York and 7 hours: the clock of many brokers is put back when New York's is."""
        instants = around("America/New_York", 60)
        times = [
            (datetime.strptime(text, "%Y-%m-%d %H:%M") + timedelta(hours=7)).strftime("%Y-%m-%d %H:%M")
            for text in walls("America/New_York", instants)
        ]
        path = written(tmp_path / "a.csv", times)
        assert opens(path, 60, "America/New_York+7h") == [to_ns(one.isoformat()) for one in instants]

    def test_of_stamps_in_two_columns(self, tmp_path):
        instants = around("Europe/Berlin", 15)
        times = [text.replace(" ", ";") for text in walls("Europe/Berlin", instants)]
        lines = [f"{text};1;1;1;1;{k}\n" for k, text in enumerate(times)]
        path = tmp_path / "a.csv"
        path.write_text("date;hour;open;high;low;close;volume\n" + "".join(lines))
        file = read_bar_file(path, timeframe="15m", tz="Europe/Berlin", date="date", time="hour")
        assert stamps(file.frame).tolist() == [to_ns(one.isoformat()) for one in instants]

    @settings(deadline=None, max_examples=40)
    @given(data=st.data(), zone=st.sampled_from(sorted(BACK)), minutes=st.sampled_from([1, 5, 15, 30]))
    def test_nothing_but_the_truth_is_read(self, data, zone, minutes, tmp_path_factory):
        """Rows left out anywhere: each is read as the instant that it is of, or the file is refused."""
        instants = around(zone, minutes, before=8, count=20)
        kept = data.draw(st.lists(st.sampled_from(instants), unique=True, min_size=1).map(sorted))
        path = written(tmp_path_factory.mktemp("a") / "a.csv", walls(zone, kept))
        try:
            found = opens(path, minutes, zone)
        except InvalidRequestError as error:
            refusal = error.what
        else:
            refusal = None
            assert found == [to_ns(one.isoformat()) for one in kept]
        assert refusal is None or "comes twice" in refusal


class TestRefused:
    def refused(self, path: Path, minutes: int = 60, tz: str = "America/New_York") -> InvalidRequestError:
        with pytest.raises(InvalidRequestError) as caught:
            opens(path, minutes, tz)
        return caught.value

    def test_one_pass_only(self, tmp_path):
        times = [f"2024-11-03 0{hour}:00" for hour in range(6)]
        error = self.refused(written(tmp_path / "a.csv", times))
        assert "line 3" in error.what
        assert "'2024-11-03 01:00' comes twice in America/New_York" in error.what
        assert "it is 2024-11-03T05:00:00Z or 2024-11-03T06:00:00Z, and the file has it once" in error.why
        assert "lines concerned: 3" in error.why.replace("line concerned", "lines concerned")
        assert "in UTC" in error.next_step

    def test_an_hour_that_is_skipped(self, tmp_path):
        times = [f"2024-03-10 0{hour}:00" for hour in range(6)]
        error = self.refused(written(tmp_path / "a.csv", times))
        assert "line 4" in error.what
        assert "'2024-03-10 02:00' does not exist in America/New_York" in error.what
        assert "put forward" in error.why
        assert "`tz=`" in error.next_step

    def test_times_three_times(self, tmp_path):
        times = ["2024-11-03 00:00", *["2024-11-03 01:00"] * 3, "2024-11-03 02:00"]
        assert "the file has it 3 times" in self.refused(written(tmp_path / "a.csv", times)).why

    def test_bars_that_are_written_twice_are_no_two_passes(self, tmp_path):
        times = ["2024-11-03 00:00", *["2024-11-03 01:00"] * 2, "2024-11-03 02:00"]
        error = self.refused(written(tmp_path / "a.csv", times, [1, 2, 2, 3]))
        assert "may be one bar, written twice" in error.why

    def test_each_row_beside_its_like_is_not_the_order_of_two_passes(self, tmp_path):
        times = [f"2024-11-03 01:{minute:02d}" for minute in (0, 0, 15, 15, 30, 30, 45, 45)]
        path = written(tmp_path / "a.csv", ["2024-11-03 00:45", *times, "2024-11-03 02:00"])
        assert "not in the order of the two passes" in self.refused(path, 15).why

    def test_two_rows_alone_tell_no_order(self, tmp_path):
        """Rising and falling fit alike."""
        path = written(tmp_path / "a.csv", ["2024-11-03 01:00"] * 2)
        assert "not in the order" in self.refused(path).why
