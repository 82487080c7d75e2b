"""Files that are not read are refused with their place, and with the option that would read them."""

# ruff: noqa: E501 - a table is read line by line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files import read_bar_file

CASES = Path(__file__).parent / "cases"
BARS = "ts,open,high,low,close,volume"

REFUSED: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("04-cryptodatadownload/Binance_BTCUSDT_1h.csv", "1h", {}, ("line 1", "CryptoDataDownload.com", "`skip_head=N`")),
    ("06-stooq/aapl5.us.txt", "5m", {}, ("'<DATE>', '<TIME>'", "`date=<DATE>` `time=<TIME>`")),
    ("09-us-text-formats/barchart.csv", "1d", {"columns": "close=Latest"}, ("line 63", "1 field", "`skip_foot=N`")),
    ("09-us-text-formats/thousands.csv", "1d", {}, ("line 2", "'8,118,000'", "`thousands=,`")),
    ("09-us-text-formats/yahoo_web.csv", "1d", {}, ("line 5", "'null'", "`null=WORD`")),
    ("10-excel-german/kurse.csv", "1d", {}, ("line 1", "not UTF-8", "`encoding=cp1252`")),
    ("10-excel-german/commas.csv", "1d", {}, ("line 2", "10 fields")),
    ("13-json/polygon.json", "1m", {"table": "result"}, ("nothing at 'result'", "'results'")),
    ("15-time-forms/h24.csv", "1m", {}, ("line 122", "'2024-03-04 24:00'")),
    ("15-time-forms/leap1s.csv", "1s", {}, ("line 122", "'2016-12-31 23:59:60'")),
    ("15-time-forms/leap1s.csv", "1s", {"ts_format": "%Y-%m-%d %H:%M:%S"}, ("line 122", "out of range")),
    ("15-time-forms/midnight_dateonly.csv", "1m", {}, ("line 122", "'2024-03-05'", "`ts_format=A|B`")),
    ("15-time-forms/monthname.csv", "1m", {}, ("'04-Mar-2024 22:00'", "`ts_format=")),
    ("17-kraken-zip-gz/Kraken_OHLCVT.zip", "1m", {}, ("3 files", "XBTUSD_5.csv", "`table=XBTUSD_1.csv`")),
    ("17-kraken-zip-gz/x.tar.gz", "1m", {}, ("archive of several files", "zip")),
    ("17-kraken-zip-gz/tgz.csv.gz", "1m", {}, ("archive of several files", "zip")),
    ("18-tradingview-ninja-alpha-ib/alphavantage_limit.csv", "1m", {}, ("message", "25 requests per day")),
    ("18-tradingview-ninja-alpha-ib/html.csv", "1m", {}, ("web page", "Too Many Requests, 429")),
    ("18-tradingview-ninja-alpha-ib/tv_ES1_1D.csv", "1d", {"unit": "s", "label": "session"}, ("2024-03-03T23:00:00Z", "`calendar=")),
    ("20-json-more/dupkeys.jsonl", "1m", {"unit": "s"}, ("line 1", "'close' is there twice")),
    ("20-json-more/nan.jsonl", "1m", {"unit": "s"}, ("line 6", "NaN is not JSON")),
    ("30-csv-odds/comment.csv", "1m", {}, ("'# source: vendor X'", "`skip_head=N`")),
    ("30-csv-odds/cr.csv", "1m", {}, ("line 1", "line ends")),
    ("30-csv-odds/dup_header_name.csv", "1m", {}, ("2 columns for 'volume'",)),
    ("30-csv-odds/leap.csv", "1s", {}, ("line 7", "23:59:60")),
    ("30-csv-odds/total_row.csv", "1m", {}, ("line 32", "'Total'", "`skip_foot=N`")),
    ("30-csv-odds/trailing_comma.csv", "1m", {}, ("line 2", "7 fields")),
    ("30-csv-odds/two_files_cat.csv", "1m", {}, ("line 17", "header is repeated")),
    ("31-sec60-and-files-vendor/sec60.csv", "1m", {}, ("line 2", "15:00:60", "30 in all")),
    ("31-sec60-and-files-vendor/sec61.csv", "1m", {}, ("line 2", "15:00:61")),
    ("31-sec60-and-files-vendor/sec60.csv", "1m", {"ts_format": "%Y-%m-%d %H:%M:%S"}, ("line 2", "out of range")),
]  # fmt: skip


@pytest.mark.parametrize(("file", "timeframe", "options", "facts"), REFUSED)
def test_what_is_not_read_is_refused_with_its_place_and_what_would_read_it(
    file: str, timeframe: str, options: dict[str, Any], facts: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_bar_file(CASES / file, timeframe=timeframe, **options)
    for fact in facts:
        assert fact in str(caught.value)
    assert caught.value.next_step


SERIES = [
    ("11-databento-parent/both.csv", {"columns": "ts=ts_event", "unit": "ns"}, "symbol", ("ESH4", "ESM4")),
    (
        "11-databento-parent/disjoint.csv",
        {"columns": "ts=ts_event", "unit": "ns"},
        "symbol",
        ("ESH4", "ESM4"),
    ),
    ("11-databento-parent/roll.csv", {"columns": "ts=ts_event", "unit": "ns"}, "symbol", ("ESH4", "ESM4")),
    ("12-many-symbols/2024-03-04.csv", {"columns": "ts=window_start", "unit": "ns"}, "ticker", ("A", "AA")),
    ("12-many-symbols/all_stocks.csv", {"timeframe": "1d"}, "Name", ("AAL", "AAPL")),
    (
        "31-sec60-and-files-vendor/day.csv",
        {"columns": "ts=window_start", "unit": "ns"},
        "ticker",
        ("A", "AA"),
    ),
]


@pytest.mark.parametrize(("file", "options", "column", "values"), SERIES)
def test_several_series_in_one_file_are_refused(
    file: str, options: dict[str, Any], column: str, values: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequestError, match="holds several series") as caught:
        read_bar_file(CASES / file, **{"timeframe": "1m", **options})
    assert f"column {column!r}" in str(caught.value)
    assert all(repr(value) in str(caught.value) for value in values)
    assert f"`where={column}=" in str(caught.value)


def test_a_change_of_unit_is_refused_at_its_line_with_the_two_parts(tmp_path: Path) -> None:
    folder = CASES / "03-binance-ms-us"
    joined = tmp_path / "joined.csv"
    joined.write_bytes(b"".join(path.read_bytes() for path in sorted(folder.iterdir())))
    for unit in ("ms", "us"):
        with pytest.raises(InvalidRequestError) as caught:
            read_bar_file(joined, timeframe="1m", unit=unit, columns=BARS)
        for fact in ("line 601", "unit of the stamps changes", "head -n 600", "tail -n +601"):
            assert fact in str(caught.value), unit


HEADER = "ts,open,high,low,close,volume\n"
MIXED = HEADER.replace(",", ";") + "2024-01-01;1,5;2,5;1,5;2,5;3\n2024-01-02;1.5;2,5;1,5;2,5;3\n"
HALF = HEADER + "01.02.2024,1,2,1,2,3\n2024-02-02,1,2,1,2,3\n03.02.2024,1,2,1,2,3\n2024-02-04,1,2,1,2,3\n"
GOOD = HEADER + "2024-01-01,1,2,1,2,3\n"


@pytest.mark.parametrize(
    ("content", "options", "facts"),
    [
        (MIXED, {"decimal": ","}, ("line 3, column 'open'", "'1.5'", "`decimal=`")),
        (MIXED, {}, ("line 2, column 'open'", "'1,5'", "`decimal=,`")),
        (MIXED, {"decimal": ",", "thousands": "."}, ("line 3, column 'open'", "'1.5'")),
        (HALF, {"ts_format": "%d.%m.%Y"}, ("line 3, column 'ts'", "'2024-02-02'", "lines concerned: 3, 5")),
        (GOOD, {"where": "ticker=A"}, ("no columns 'ticker'", "its columns are 'ts'")),
        (GOOD, {"where": "volume=4"}, ("meets `where=`", "'volume' is to be '4', and holds '3'")),
        (
            b"ts,open,high,low,close,volume\n2024-01-01,1,2,1,2,\x81\n",
            {"encoding": "cp1252"},
            ("line 2", "not cp1252"),
        ),
        (b"\xff\xfet\x00s\x00\n", {}, ("line 1", "not utf-16")),
        (GOOD.encode("utf-8-sig"), {"encoding": "cp1252"}, ("mark at its start", "utf-8")),
        (GOOD, {"skip_head": 5}, ("2 lines", "`skip_head=5`")),
        (GOOD, {"skip_foot": 1}, ("no bars",)),
        (GOOD, {"separator": ";"}, ("no separator", "';'")),
        (GOOD, {"table": "x"}, ("`table=` is for zip and JSON",)),
        (GOOD, {"ts_format": "%H:%M"}, ("no year, month and day",)),
        (GOOD, {"ts_format": "%Y-%m-%d %Q"}, ("%Q is not known",)),
        (GOOD, {"ts_format": "%d.%m.%Y", "unit": "s"}, ("give one of them",)),
        (GOOD, {"date": "ts"}, ("`time=` must name",)),
        (GOOD, {"encoding": "rot13"}, ("'rot13' is not known",)),
        (GOOD, {"thousands": "."}, ("'.' is the decimal mark",)),
        (GOOD, {"decimal": "x"}, ("'x' is none of",)),
        (GOOD, {"tz": "America/New_York+7x"}, ("is not known",)),
        (GOOD, {"where": "ticker"}, ("is not COLUMN=VALUE",)),
        (GOOD, {"where": ["a=1", "a=2"]}, ("at once",)),
        (GOOD, {"skip_head": -1}, ("is not a number of lines",)),
    ],
)
def test_bad_input(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], facts: tuple[str, ...]
) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidRequestError) as caught:
        read_bar_file(path, timeframe="1d", **options)
    for fact in facts:
        assert fact in str(caught.value)


@pytest.mark.parametrize("text", ["-", ".", "$", "e5", "+", "K"])
def test_a_value_without_a_digit_is_no_zero(tmp_path: Path, text: str) -> None:
    lines = [BARS, "2024-01-01 00:00:00,1,2,1,2,1.5K", f"2024-01-01 00:01:00,1,2,1,2,{text}"]
    file = tmp_path / "bars.csv"
    file.write_text("\n".join(lines))
    with pytest.raises(InvalidRequestError) as caught:
        read_bar_file(file, timeframe="1m")
    for fact in ("line 3", repr(text), "null="):
        assert fact in str(caught.value)
