"""The pure parts of a look: times, marks in numbers, layouts, and documents that are cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.bar_files.look.contents import contents_of
from qmtl.runtime.io.bar_files.look.documents import closed, parts_of
from qmtl.runtime.io.bar_files.look.layout import layout_of
from qmtl.runtime.io.bar_files.look.times import is_falling, readings_of
from qmtl.runtime.io.bar_files.look.values import marks_of, null_words

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(rows=st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=2, max_size=6), data=st.data())
def test_a_document_that_is_cut_is_closed_behind_a_whole_value(rows, data):
    text = json.dumps({"s": "ok", "rows": rows})
    first = len(json.dumps({"s": "ok", "rows": rows[:1]})) - 2
    cut = data.draw(st.integers(first, len(text)))
    found = json.loads(closed(text[:cut]))
    whole = found["rows"][:-1]  # the last one may be cut inside
    assert whole == rows[: len(whole)]


def test_rows_of_a_document_that_is_cut_are_whole():
    (part,) = parts_of('{"data": {"bars": [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], [13, 14', whole=False)
    assert part.keys == ("data", "bars")
    assert part.rows == (("1", "2", "3", "4", "5", "6"), ("7", "8", "9", "10", "11", "12"))


@pytest.mark.parametrize(
    ("stamps", "options"),
    [
        (["2024-03-04 09:30:00"], [{"ts_format": "%Y-%m-%d %H:%M:%S"}]),
        (["20240304093000"], [{"ts_format": "%Y%m%d%H%M%S"}, {"unit": "us"}, {"unit": "ns"}]),
        (["13.03.2024", "04.03.2024"], [{"ts_format": "%d.%m.%Y"}]),
        (["03/04/2024"], [{"ts_format": "%d/%m/%Y"}, {"ts_format": "%m/%d/%Y"}]),
        (["2024-03-04", "2024-03-04 09:30:00"], [{"ts_format": "%Y-%m-%d %H:%M:%S|%Y-%m-%d"}]),
        (["04-Mar-2024 22:00"], [{"ts_format": "%d-%b-%Y %H:%M"}]),
        (["Mon 2024-03-04 22:00"], [{"ts_format": "%a %Y-%m-%d %H:%M"}]),
        (["2024-03-04 10-PM"], [{"ts_format": "%Y-%m-%d %I-%p"}]),
        (["04.03.2024 09:30 GMT+0200"], [
            {"ts_format": "%d.%m.%Y %H:%M GMT%z"},
            {"ts_format": "%m.%d.%Y %H:%M GMT%z"},
        ]),
        (["04.13.2024 09:30 EST"], [{"ts_format": "%m.%d.%Y %H:%M EST", "tz": "EST"}]),
        (["45293", "45294"], [{"unit": "excel"}, *({"unit": unit} for unit in ("s", "ms", "us", "ns"))]),
        (["1709564400000"], [{"unit": "ms"}, {"unit": "us"}, {"unit": "ns"}]),
        (["10.5", "11.5"], []),
        (["noon"], []),
    ],
)  # fmt: skip
def test_every_way_to_read_a_stamp_is_given(stamps, options):
    assert [one.options for one in readings_of(stamps)] == options


@pytest.mark.parametrize(
    ("numbers", "marks"),
    [
        (["1.5", "20"], [{}]),
        (["1,5", "20"], [{"decimal": ","}]),
        (["1.234,50"], [{"decimal": ",", "thousands": "."}]),
        (["1,234.50"], [{"thousands": ","}]),
        (["1,234"], [{"thousands": ","}, {"decimal": ","}]),
        (["1 234.5"], [{"thousands": " "}]),
        (["1.2K", "-0.5%"], [{}]),
        (["$1.25", "n/a"], [{}]),
        (["1,5", "1.5"], []),
    ],
)
def test_every_way_to_write_numbers_that_fits_all_of_them_is_given(numbers, marks):
    assert list(marks_of(numbers)) == marks


def test_words_for_nothing():
    assert null_words(["1", "N/A", "-", "nan", "", "N/A"]) == ("-", "N/A")


def test_a_layout_finds_header_rows_and_foot():
    text = ["# made up", "t;o;h;l;c;v", "1;1,5;2,5;0,5;1,5;9", "2;1,5;2,5;0,5;1,5;9", "sum;;;;;18"]
    layout = layout_of(text)
    assert layout is not None
    assert (layout.separator, layout.names, layout.skip_head, layout.foot) == (";", tuple("tohlcv"), 1, 1)
    assert [len(row) for row in layout.rows] == [6, 6]


def test_marks_of_formats():
    assert contents_of(b"PAR1....").kind == "parquet"
    assert contents_of(b'[[1,"2"]]').kind == "json"
    assert contents_of(b"<DATE>\t<TIME>\n").kind == "text"
    assert contents_of(b"\xff\xfet\0i\0").kind == "text"


def test_the_order_of_stamps_follows_from_those_that_are_there():
    assert is_falling(["", "1709564520", "1709564460", ""])
    assert not is_falling(["1709564460", "1709564520", ""])
    assert not is_falling(["", "1709564460"])
