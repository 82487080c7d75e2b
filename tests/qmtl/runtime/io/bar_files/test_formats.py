"""Several formats of stamps: a row that two of them read as different times is refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.times import DAY
from qmtl.runtime.io.bar_files import read_bar_file

HEADER = "date,open,high,low,close,volume\n"
FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d", "%y/%m/%d", "%d/%m/%y", "%Y%m%d", "%d%m%Y", "%d.%m.%Y")


def written(folder: Path, texts: list[str]) -> Path:
    path = folder / "bars.csv"
    path.write_text(HEADER + "".join(f"{text},1,2,1,2,{k}\n" for k, text in enumerate(texts)))
    return path


def meanings(text: str, formats: list[str]) -> list[date]:
    """What the standard library reads, without its leniency: a number of one digit may only stand alone."""
    found = []
    for form in formats:
        try:
            day = datetime.strptime(text, form)
        except ValueError:
            continue
        if day.strftime(form) == text and day.year >= 1678:  # what nanoseconds hold
            found.append(day.date())
    return found


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    formats=st.lists(st.sampled_from(FORMATS), min_size=1, max_size=3, unique=True),
    days=st.lists(
        st.tuples(st.dates(date(2001, 1, 1), date(2031, 12, 31)), st.integers(0, 2)), min_size=1, max_size=6
    ),
)
def test_rows_are_read_if_all_formats_that_fit_agree(formats, days, tmp_path):
    texts = [day.strftime(formats[which % len(formats)]) for day, which in days]
    path, form = written(tmp_path, texts), "|".join(formats)
    read = [set(meanings(text, formats)) for text in texts]
    unclear = [place for place, found in enumerate(read) if len(found) != 1]
    if not unclear:
        expected = [(found.pop() - date(1970, 1, 1)) // timedelta(days=1) * DAY for found in read]
        assert stamps(read_bar_file(path, timeframe="1d", ts_format=form).frame).tolist() == expected
        return
    with pytest.raises(InvalidRequestError) as refused:
        read_bar_file(path, timeframe="1d", ts_format=form)
    assert f"line {unclear[0] + 2}, column 'date': {texts[unclear[0]]!r}" in refused.value.what
    for day in read[unclear[0]]:
        assert day.isoformat() in (refused.value.why or "")


def test_the_first_row_with_two_meanings_is_named_with_both(tmp_path):
    path = written(tmp_path, [f"01/{day:02}/2024" for day in range(1, 21)])
    with pytest.raises(InvalidRequestError, match=r"line 3, column 'date': '01/02/2024'") as refused:
        read_bar_file(path, timeframe="1d", ts_format="%d/%m/%Y|%m/%d/%Y")
    assert refused.value.why is not None
    assert refused.value.why.startswith(
        "it is 2024-02-01 (%d/%m/%Y) or 2024-01-02 (%m/%d/%Y); lines concerned: 3,"
    )


def test_offsets_belong_to_the_format_that_fits(tmp_path):
    path = written(tmp_path, ["13/01/2024 10:00 +0200", "01/14/2024 10:00 -0500"])
    bars = read_bar_file(path, timeframe="1m", ts_format="%d/%m/%Y %H:%M %z|%m/%d/%Y %H:%M %z").frame
    assert bars["ts"].dt.strftime("%d %H").to_list() == ["13 08", "14 15"]


class TestNoBarIsAdvisedAway:
    """Lines that look like rows are never to be skipped."""

    def test_where_day_and_month_change_places(self, tmp_path):
        path = written(tmp_path, [f"01/{day:02}/2024" for day in range(1, 21)])
        with pytest.raises(InvalidRequestError, match="line 14") as refused:
            read_bar_file(path, timeframe="1d", ts_format="%d/%m/%Y")
        assert refused.value.next_step == (
            "if the month stands where this format has the day, say `ts_format='%m/%d/%Y'`"
        )

    @pytest.mark.parametrize(
        ("last", "form"),
        [("20-01-2024", "%d.%m.%Y"), ("20-01-2024", "%d-%b-%Y|%d.%m.%Y"), ("32.01.2024", "%d.%m.%Y")],
    )
    def test_where_the_last_row_is_written_otherwise(self, last, form, tmp_path):
        path = written(tmp_path, ["18.01.2024", "19.01.2024", last])
        with pytest.raises(InvalidRequestError, match="line 4") as refused:
            read_bar_file(path, timeframe="1d", ts_format=form)
        assert "skip" not in str(refused.value)

    def test_where_rows_have_more_fields_than_the_first(self, tmp_path):
        path = written(tmp_path, ["2024-01-18", "2024-01-19"])
        path.write_text(path.read_text() + "2024-01-20,1,2,1,2,7,8\n")
        with pytest.raises(InvalidRequestError, match="line 4") as refused:
            read_bar_file(path, timeframe="1d")
        assert "skip" not in str(refused.value)

    def test_where_blanks_separate_the_fields(self, tmp_path):
        path = tmp_path / "bars.csv"
        path.write_text("2024-01-18 1 2 1 2 7\n2024-01-19 1 2 1 2 7\n")
        with pytest.raises(InvalidRequestError, match="no separator") as refused:
            read_bar_file(path, timeframe="1d")
        assert "skip" not in str(refused.value)
        assert "`separator=' '`" in str(refused.value)

    @pytest.mark.parametrize("foot", ["Downloaded from a vendor,,,,,", "Total,,,,,120", "Average,1,2,1,2,7"])
    def test_lines_that_are_none_still_are(self, foot, tmp_path):
        path = written(tmp_path, ["18.01.2024", "19.01.2024"])
        path.write_text(path.read_text() + foot + "\n")
        with pytest.raises(InvalidRequestError) as refused:
            read_bar_file(path, timeframe="1d", ts_format="%d.%m.%Y")
        assert "`skip_foot=N`" in str(refused.value)
