"""Files in the form that each program writes are read exactly: every row equals what a naive reader finds.

The files are our own, in `cases`, with made-up numbers. The naive reader is the standard library's `csv` and
`datetime`, given by hand what each file means.
"""

# ruff: noqa: E501 - a table is read line by line

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from qmtl.foundation.calendars import ExchangeCalendar
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.times import SECOND
from qmtl.runtime.io.bar_files import read_bar_file

CASES = Path(__file__).parent / "cases"
BARS = "ts,open,high,low,close,volume"
NEW_YORK = ZoneInfo("America/New_York")

Row = list[str]
Stamp = Callable[[Row], int]


def ns(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000


def written(form: str, *places: int, zone: Any = None, ahead: int = 0) -> Stamp:
    """The stamp of a row, joined from fields, in a format of Python."""

    def stamp(row: Row) -> int:
        moment = datetime.strptime(" ".join(row[place].strip() for place in places or (0,)), form)
        moment -= timedelta(hours=ahead)
        return ns(moment if moment.tzinfo or zone is None else moment.replace(tzinfo=zone))

    return stamp


def counted(per_second: int, place: int = 0) -> Stamp:
    return lambda row: int(float(row[place]) if "." in row[place] else int(row[place])) * SECOND // per_second


def plain(text: str) -> float:
    return float(text) if text not in ("null", "N/A") else float("nan")


def american(text: str) -> float:
    text = text.strip("$").replace(",", "")
    return float(f"{text[:-1]}e6") if text.endswith("M") else float(text)


def german(text: str) -> float:
    return float(text.replace(".", "").replace(",", "."))


def billionth(text: str) -> float:
    return int(text) / 1e9


class Case:
    """What a file means: which fields are the values, how a stamp and a number are read, which lines are rows."""

    def __init__(
        self,
        file: str,
        timeframe: str,
        stamp: Stamp,
        values: str = "1 2 3 4 5",
        *,
        number: Callable[[str], float] = plain,
        volume: Callable[[str], float] | None = None,
        skip: int = 1,
        foot: int = 0,
        delimiter: str = ",",
        decoded: str = "utf-8-sig",
        only: Callable[[Row], bool] = lambda row: True,
        calendar: str | None = None,
        **options: Any,
    ) -> None:
        self.file, self.timeframe, self.stamp, self.options = file, timeframe, stamp, options
        self.places = [int(place) for place in values.split()]
        self.number, self.volume = number, volume or number
        self.skip, self.foot, self.delimiter, self.decoded = skip, foot, delimiter, decoded
        self.only, self.calendar = only, calendar

    def expected(self) -> tuple[list[int], np.ndarray[Any, Any]]:
        with (CASES / self.file).open(encoding=self.decoded, newline="") as stream:
            rows = [row for row in csv.reader(stream, delimiter=self.delimiter) if row]
        rows = [row for row in rows[self.skip : len(rows) - self.foot] if self.only(row)]
        values = [[self.number(row[i]) for i in self.places[:4]] for row in rows]
        for bar, row in zip(values, rows, strict=True):
            bar.append(self.volume(row[self.places[4]]))
        return [self.stamp(row) for row in rows], np.array(values)


DAY = "%Y-%m-%d"
MINUTES = "%Y-%m-%d %H:%M:%S"
ALL = [
    Case("01-yfinance-daily-offset/AAPL.csv", "1d", lambda row: ns(datetime.strptime(row[0][:10], DAY)), label="session"),
    Case("02-yfinance-multiheader/MSFT.csv", "1d", written(DAY), "4 2 3 1 5", skip=3, skip_head=3,
         columns="ts,close,high,low,open,volume"),
    Case("03-binance-ms-us/BTCUSDT-1m-2024-12.csv", "1m", counted(10**3), skip=0, unit="ms", columns=BARS),
    Case("03-binance-ms-us/BTCUSDT-1m-2025-01.csv", "1m", counted(10**6), skip=0, unit="us", columns=BARS),
    Case("03-binance-ms-us/BTCUSDT-1m-2025-01.csv", "1m", counted(10**6), skip=0, unit="us", label="close",
         columns=",open,high,low,close,volume,ts"),
    Case("04-cryptodatadownload/Binance_BTCUSDT_1h.csv", "1h", counted(10**3), "3 4 5 6 7", skip=2, skip_head=1,
         unit="ms", columns="ts=Unix,volume=Volume BTC"),
    Case("05-kaggle-bitstamp-epoch-float/btcusd_1-min_data.csv", "1m", counted(1), unit="s"),
    Case("05-kaggle-bitstamp-epoch-float/bitstampUSD_1-min_data_2012-01-01_to_2021-03-31.csv", "1m", counted(1),
         unit="s", columns="volume=Volume_(BTC)"),
    Case("06-stooq/aapl.us.txt", "1d", written("%Y%m%d %H%M%S", 2, 3), "4 5 6 7 8", date="<DATE>", time="<TIME>",
         columns="volume=<VOL>"),
    Case("06-stooq/aapl5.us.txt", "5m", written("%Y%m%d %H%M%S", 2, 3), "4 5 6 7 8", date="<DATE>", time="<TIME>",
         columns="volume=<VOL>"),
    Case("07-metatrader5/EURUSD1.csv", "1m", written("%Y.%m.%d %H:%M", 0, 1), "2 3 4 5 6", skip=0, date="column 1",
         time="column 2", columns=",,open,high,low,close,volume"),
    Case("07-metatrader5/EURUSD_M1.csv", "1m", written("%Y.%m.%d %H:%M:%S", 0, 1, zone=NEW_YORK, ahead=7),
         "2 3 4 5 6", delimiter="\t", date="DATE", time="TIME", columns="volume=TICKVOL", tz="America/New_York+7h"),
    Case("07-metatrader5/EURUSD_M1_utf16.csv", "1m", written("%Y.%m.%d %H:%M:%S", 0, 1), "2 3 4 5 6",
         delimiter="\t", decoded="utf-16", date="DATE", time="TIME", columns="volume=TICKVOL"),
    Case("08-dukascopy/EURUSD_gmt.csv", "1m", written("%d.%m.%Y %H:%M:%S.%f"), columns="ts=Gmt time",
         ts_format="%d.%m.%Y %H:%M:%S.%f"),
    Case("08-dukascopy/EURUSD_local.csv", "1m", written("%d.%m.%Y %H:%M:%S.%f GMT%z"), columns="ts=Local time",
         ts_format="%d.%m.%Y %H:%M:%S.%f GMT%z"),
    Case("09-us-text-formats/HistoricalData_nasdaq.csv", "1d", written("%m/%d/%Y"), "3 4 5 1 2", number=american,
         columns="close=Close/Last", ts_format="%m/%d/%Y"),
    Case("09-us-text-formats/barchart.csv", "1d", written(DAY), "1 2 3 4 7", foot=1, skip_foot=1,
         columns="close=Latest"),
    Case("09-us-text-formats/investing.csv", "1d", written("%m/%d/%Y"), "2 3 4 1 5", number=american,
         columns="close=Price,volume=Vol.", ts_format="%m/%d/%Y"),
    Case("09-us-text-formats/thousands.csv", "1d", written(DAY), number=american, thousands=","),
    Case("09-us-text-formats/yahoo_web.csv", "1d", written(DAY), "1 2 3 4 6", null="null"),
    Case("10-excel-german/kurse.csv", "1d", written("%d.%m.%Y"), number=german, delimiter=";", decoded="cp1252", encoding="cp1252",
         columns="ts=Datum,open=Eröffnung,high=Hoch,low=Tief,close=Schluss,volume=Stück", decimal=",", thousands=".",
         ts_format="%d.%m.%Y") ,
    Case("10-excel-german/kurse_utf8.csv", "1d", written(DAY), number=german, delimiter=";", decimal=",",
         columns="ts=Datum,open=Eröffnung,high=Hoch,low=Tief,close=Schluss,volume=Stück"),
    Case("10-excel-german/serial.csv", "1d", lambda row: ns(datetime(1899, 12, 30) + timedelta(days=int(row[0]))),
         delimiter=";", unit="excel"),
    Case("11-databento-parent/both.csv", "1m", counted(10**9), "4 5 6 7 8", only=lambda row: row[9] == "ESH4",
         columns="ts=ts_event", unit="ns", where="symbol=ESH4"),
    Case("11-databento-parent/fixed.csv", "1m", counted(10**9), "4 5 6 7 8", number=billionth, volume=float,
         columns="ts=ts_event", unit="ns", scale="open,high,low,close=0.000000001"),
    Case("12-many-symbols/2024-03-04.csv", "1m", counted(10**9, 6), "2 4 5 3 1", only=lambda row: row[0] == "AA",
         columns="ts=window_start", unit="ns", where={"ticker": "AA"}),
    Case("12-many-symbols/all_stocks.csv", "1d", written(DAY), only=lambda row: row[6] == "AAL", where=["Name=AAL"]),
    Case("15-time-forms/ampm.csv", "1h", written("%Y-%m-%d %I-%p"), ts_format="%Y-%m-%d %I-%p"),
    Case("15-time-forms/comma_ms.csv", "1m", written("%Y-%m-%d %H:%M:%S,%f")),
    Case("15-time-forms/est_text.csv", "1m", lambda row: written(MINUTES)([row[0][:19]]) + 5 * 3600 * SECOND),
    Case("15-time-forms/isoz_frac.csv", "1m", lambda row: ns(datetime.fromisoformat(row[0][:19]))),
    Case("15-time-forms/kibot_dots.csv", "1m", written("%Y.%m.%d %H:%M")),
    Case("15-time-forms/midnight_dateonly.csv", "1m", lambda row: ns(datetime.fromisoformat(row[0])),
         ts_format="%Y-%m-%d %H:%M:%S|%Y-%m-%d"),
    Case("15-time-forms/mixed_offset.csv", "1m", written("%Y-%m-%dT%H:%M:%S%z")),
    Case("15-time-forms/monthname.csv", "1m", written("%d-%b-%Y %H:%M"), ts_format="%d-%b-%Y %H:%M"),
    Case("15-time-forms/ns_frac.csv", "1m", lambda row: ns(datetime.fromisoformat(row[0][:19]))),
    Case("15-time-forms/plus0000.csv", "1m", written("%Y-%m-%dT%H:%M:%S%z")),
    Case("15-time-forms/quoted_int.csv", "1m", counted(1), unit="s"),
    Case("15-time-forms/sec59.csv", "1m", lambda row: written(MINUTES)(row) - 59 * SECOND, label="close"),
    Case("15-time-forms/slash_iso.csv", "1m", written("%Y/%m/%d %H:%M:%S")),
    Case("15-time-forms/utc_text.csv", "1m", written("%Y-%m-%d %H:%M:%S UTC")),
    Case("15-time-forms/weekday.csv", "1m", written("%a %Y-%m-%d %H:%M"), ts_format="%a %Y-%m-%d %H:%M"),
    Case("15-time-forms/yy.csv", "1m", written("%d.%m.%y %H:%M"), ts_format="%d.%m.%y %H:%M"),
    Case("15-time-forms/yyyymmddhhmmss.csv", "1m", written("%Y%m%d%H%M%S"), ts_format="%Y%m%d%H%M%S"),
    Case("16-histdata-mt-zone/broker_h1.csv", "1h", written("%Y.%m.%d %H:%M", zone=NEW_YORK, ahead=7),
         tz="America/New_York+7h"),
    Case("16-histdata-mt-zone/histdata_h1.csv", "1h", written("%Y%m%d %H%M%S", zone=timezone(timedelta(hours=-5))),
         skip=0, delimiter=";", tz="EST", columns=BARS),
    Case("18-tradingview-ninja-alpha-ib/alphavantage.csv", "1m", written(MINUTES, zone=NEW_YORK), tz="US/Eastern"),
    Case("18-tradingview-ninja-alpha-ib/ib_5m.csv", "5m", written("%Y%m%d  %H:%M:%S", zone=NEW_YORK),
         tz="US/Eastern"),
    Case("18-tradingview-ninja-alpha-ib/ib_5m_new.csv", "5m",
         written("%Y%m%d %H:%M:%S US/Eastern", zone=NEW_YORK)),
    Case("18-tradingview-ninja-alpha-ib/tv_1h.csv", "1h", written("%Y-%m-%dT%H:%M:%S%z"), "1 2 3 4 6"),
    # Globex opens at 18:00 in New York, on the evening before the date of its session.
    Case("18-tradingview-ninja-alpha-ib/tv_ES1_1D.csv", "1d",
         lambda row: (int(row[0]) + 6 * 3600) // 86_400 * 86_400 * SECOND, unit="s", label="session", calendar="CMES"),
    Case("18-tradingview-ninja-alpha-ib/weekly_fri.csv", "1w",
         lambda row: written(DAY)(row) - 4 * 86_400 * SECOND, label="session"),
    Case("18-tradingview-ninja-alpha-ib/weekly_yahoo_tue.csv", "1w",
         lambda row: ns((day := datetime.strptime(row[0], DAY)) - timedelta(days=day.weekday())), label="session"),
    Case("30-csv-odds/blank_lines.csv", "1m", written(MINUTES)),
    Case("30-csv-odds/bom.csv", "1m", written(MINUTES)),
    Case("30-csv-odds/comment.csv", "1m", written(MINUTES), skip=3, skip_head=2),
    Case("30-csv-odds/index_col.csv", "1m", written(MINUTES, 1), "2 3 4 5 6"),
    Case("30-csv-odds/inf_text.csv", "1m", written(MINUTES), null=["N/A"]),
    Case("30-csv-odds/pipe.csv", "1m", written(MINUTES), delimiter="|"),
    Case("30-csv-odds/sci_volume.csv", "1m", written(MINUTES)),
    Case("30-csv-odds/sep_line.csv", "1m", written(MINUTES), skip=2),
    Case("30-csv-odds/sierra.txt", "1m", written("%Y/%m/%d %H:%M:%S.%f", 0, 1), "2 3 4 5 6", date="Date",
         time="Time", columns="close=Last"),
    Case("30-csv-odds/total_row.csv", "1m", written(MINUTES), foot=1, skip_foot=1),
]  # fmt: skip


@pytest.mark.parametrize("case", ALL, ids=[f"{case.file} {' '.join(case.options)}" for case in ALL])
def test_every_row_is_read_as_a_naive_reader_reads_it(case: Case) -> None:
    calendar = {} if case.calendar is None else {"calendar": ExchangeCalendar(case.calendar)}
    file = read_bar_file(CASES / case.file, timeframe=case.timeframe, **calendar, **case.options)
    opens, values = case.expected()
    assert len(opens) >= 10
    assert stamps(file.frame).tolist() == opens
    read = np.column_stack([file.frame[name].fill_null(float("nan")).to_numpy() for name in VALUES])
    np.testing.assert_array_equal(read, values)


def test_24_is_the_midnight_that_ends_its_day_where_the_format_is_declared() -> None:
    file = read_bar_file(CASES / "15-time-forms/h24.csv", timeframe="1m", ts_format="%Y-%m-%d %H:%M")
    first = ns(datetime(2024, 3, 4, 22))
    assert stamps(file.frame).tolist() == [first + minute * 60 * SECOND for minute in range(240)]


KLINES = "ts=t,open=o,high=h,low=l,close=c,volume=v"


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("13-json/binance_klines.json", {"unit": "ms", "columns": BARS}),
        ("20-json-more/arr.jsonl", {"unit": "ms", "columns": BARS}),
        ("13-json/float.jsonl", {"unit": "s"}),
        ("13-json/polygon.json", {"unit": "ms", "columns": KLINES}),
        ("13-json/polygon.json", {"unit": "ms", "columns": KLINES, "table": "results"}),
        ("13-json/records.json", {"unit": "s"}),
        ("13-json/records_indent.json", {"unit": "s"}),
        ("13-json/udf.json", {"unit": "s", "columns": KLINES}),
    ],
)
def test_json_of_every_shape_holds_the_same_bars(file: str, options: dict[str, Any]) -> None:
    frame = read_bar_file(CASES / file, timeframe="1m", **options).frame
    first = ns(datetime(2024, 3, 4, 15))
    assert stamps(frame).tolist() == [first + minute * 60 * SECOND for minute in range(100)]
    assert frame.row(0)[1:] == (42000.0, 42072.3904, 41999.1641, 42054.1038, 8118.0)
    assert frame.row(99)[1:] == (41696.4421, 41720.1844, 41673.893, 41675.5158, 2811.0)


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("XBTUSD_1.csv", {}),
        ("Kraken_OHLCVT.zip", {"table": "XBTUSD_1.csv"}),
        ("one_in_folder.zip", {}),
        ("with_checksum.zip", {}),
        ("multi.csv.gz", {}),
        ("padded.csv.gz", {}),
        ("x.csv.bz2", {}),
        ("x.csv.zst", {}),
    ],
)
def test_every_packing_holds_the_same_bars(file: str, options: dict[str, Any]) -> None:
    expected = Case("17-kraken-zip-gz/XBTUSD_1.csv", "1m", counted(1), skip=0).expected()
    frame = read_bar_file(
        CASES / "17-kraken-zip-gz" / file, timeframe="1m", unit="s", columns=BARS, **options
    ).frame
    assert stamps(frame).tolist() == expected[0]
    assert frame.select(VALUES).to_numpy().tolist() == expected[1].tolist()
