"""A file of each source that the page on files names, in its documented form, read by its line there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

FILES = Path(__file__).parent / "sources"
PAGE = Path(__file__).parents[5] / "docs" / "en" / "how-to" / "files.md"

Row = tuple[str, float, float, float, float, float]


def lines_of_the_page() -> dict[str, list[str]]:
    """The options that the table of the page gives for each source."""
    table = (
        PAGE.read_text(encoding="utf-8").partition("## From where is your file?")[2].partition("\n\n- ")[0]
    )
    found = {}
    for line in table.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) == 5 and cells[1] not in ("source", "---"):
            found[cells[1]] = [] if cells[3] == "nothing" else shlex.split(cells[3].strip("`"))
    return found


# Source, its file, the timeframe, how many bars, the first and the last.
SOURCES: tuple[tuple[str, str, str, int, Row, Row], ...] = (
    (
        "Binance, klines until 2024",
        "binance-2024-12.csv",
        "1m",
        8,
        ("2024-12-31T23:52", 41999.99, 42000.0, 41999.94, 41999.95, 100.5),
        ("2024-12-31T23:59", 42000.06, 42000.08, 42000.03, 42000.06, 191.5),
    ),
    (
        "Binance, klines since 2025",
        "binance-2025-01.csv",
        "1m",
        8,
        ("2025-01-01T00:00", 42009.99, 42010.0, 42009.94, 42009.95, 100.5),
        ("2025-01-01T00:07", 42010.06, 42010.08, 42010.03, 42010.06, 191.5),
    ),
    (
        "Binance, futures",
        "binance-futures.csv",
        "1m",
        8,
        ("2024-03-04T00:00", 41999.99, 42000.0, 41999.94, 41999.95, 100.5),
        ("2024-03-04T00:07", 42000.06, 42000.08, 42000.03, 42000.06, 191.5),
    ),
    (
        "Kraken OHLCVT",
        "kraken-XBTUSD_60.zip",
        "1h",
        7,
        ("2024-03-04T00:00", 41999.99, 42000.0, 41999.94, 41999.95, 100.125),
        ("2024-03-04T07:00", 42000.06, 42000.08, 42000.03, 42000.06, 191.125),
    ),
    (
        "CryptoDataDownload",
        "cryptodatadownload.csv",
        "1h",
        8,
        ("2024-03-04T00:00", 41999.99, 42000.0, 41999.94, 41999.95, 100.125),
        ("2024-03-04T07:00", 42000.06, 42000.08, 42000.03, 42000.06, 191.125),
    ),
    (
        "Kaggle, Bitstamp until 2021",
        "kaggle-bitstamp-2021.csv",
        "1m",
        5,
        ("2012-01-01T10:01", 4.38, 4.39, 4.33, 4.34, 100.5),
        ("2012-01-01T10:08", 4.45, 4.47, 4.42, 4.45, 191.5),
    ),
    (
        "Kaggle, Bitstamp",
        "kaggle-bitstamp.csv",
        "1m",
        8,
        ("2012-01-01T10:01", 4.38, 4.39, 4.33, 4.34, 100.5),
        ("2012-01-01T10:08", 4.45, 4.47, 4.42, 4.45, 191.5),
    ),
    (
        "Yahoo, download",
        "yahoo.csv",
        "1d",
        7,
        ("2024-03-06T00:00", 169.990001, 170.000001, 169.940001, 169.950001, 1000000.0),
        ("2024-03-15T00:00", 170.060001, 170.080001, 170.030001, 170.060001, 1910000.0),
    ),
    (
        "yfinance, `Ticker.history`",
        "yfinance-history.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 169.99, 170.0, 169.94, 169.95, 1000000.0),
        ("2024-03-15T00:00", 170.06, 170.08, 170.03, 170.06, 1910000.0),
    ),
    (
        "yfinance, `download`",
        "yfinance-download.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 169.99, 170.0, 169.94, 169.95, 1000000.0),
        ("2024-03-15T00:00", 170.06, 170.08, 170.03, 170.06, 1910000.0),
    ),
    (
        "Stooq, days",
        "stooq-daily.txt",
        "1d",
        8,
        ("2024-03-06T00:00", 169.99, 170.0, 169.94, 169.95, 1000000.0),
        ("2024-03-15T00:00", 170.06, 170.08, 170.03, 170.06, 1910000.0),
    ),
    (
        "Stooq, minutes",
        "stooq-5min.txt",
        "5m",
        8,
        ("2024-03-04T14:30", 169.99, 170.0, 169.94, 169.95, 10000.0),
        ("2024-03-04T15:05", 170.06, 170.08, 170.03, 170.06, 19100.0),
    ),
    (
        "MetaTrader 4",
        "metatrader4.csv",
        "1m",
        8,
        ("2024-03-04T21:56", 1.08449, 1.0845, 1.08444, 1.08445, 100.0),
        ("2024-03-04T22:03", 1.08456, 1.08458, 1.08453, 1.08456, 191.0),
    ),
    (
        "MetaTrader 5",
        "metatrader5.csv",
        "1m",
        8,
        ("2024-03-04T21:56", 1.08449, 1.0845, 1.08444, 1.08445, 100.0),
        ("2024-03-04T22:03", 1.08456, 1.08458, 1.08453, 1.08456, 191.0),
    ),
    (
        "Dukascopy, GMT",
        "dukascopy-gmt.csv",
        "1m",
        8,
        ("2024-03-13T22:56", 1.08449, 1.0845, 1.08444, 1.08445, 100.75),
        ("2024-03-13T23:03", 1.08456, 1.08458, 1.08453, 1.08456, 191.75),
    ),
    (
        "Dukascopy, local time",
        "dukascopy-local.csv",
        "1m",
        8,
        ("2024-03-13T20:56", 1.08449, 1.0845, 1.08444, 1.08445, 100.75),
        ("2024-03-13T21:03", 1.08456, 1.08458, 1.08453, 1.08456, 191.75),
    ),
    (
        "HistData",
        "histdata.csv",
        "1m",
        8,
        ("2024-03-04T23:56", 1.08449, 1.0845, 1.08444, 1.08445, 0.0),
        ("2024-03-05T00:03", 1.08456, 1.08458, 1.08453, 1.08456, 0.0),
    ),
    (
        "TradingView, hours of stocks",
        "tradingview.csv",
        "1h",
        8,
        ("2024-03-07T19:30", 169.99, 170.0, 169.94, 169.95, 100.0),
        ("2024-03-08T19:30", 170.06, 170.08, 170.03, 170.06, 191.0),
    ),
    (
        "TradingView, UNIX time",
        "tradingview-unix.csv",
        "4h",
        8,
        ("2024-03-04T00:00", 41999.99, 42000.0, 41999.94, 41999.95, 100.0),
        ("2024-03-05T04:00", 42000.06, 42000.08, 42000.03, 42000.06, 191.0),
    ),
    (
        "NinjaTrader",
        "ninjatrader.txt",
        "1m",
        8,
        ("2024-03-04T14:30", 5130.24, 5130.25, 5130.19, 5130.2, 100.0),
        ("2024-03-04T14:37", 5130.31, 5130.33, 5130.28, 5130.31, 191.0),
    ),
    (
        "Alpha Vantage, minutes",
        "alphavantage.csv",
        "1m",
        8,
        ("2024-03-04T20:52", 169.99, 170.0, 169.94, 169.95, 100.0),
        ("2024-03-04T20:59", 170.06, 170.08, 170.03, 170.06, 191.0),
    ),
    (
        "Nasdaq",
        "nasdaq.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 169.99, 170.0, 169.94, 169.95, 1000000.0),
        ("2024-03-15T00:00", 170.06, 170.08, 170.03, 170.06, 1910000.0),
    ),
    (
        "Investing.com",
        "investing.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 1169.99, 1170.0, 1169.94, 1169.95, 10000000.0),
        ("2024-03-15T00:00", 1170.06, 1170.08, 1170.03, 1170.06, 19100000.0),
    ),
    (
        "Barchart",
        "barchart.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 169.99, 170.0, 169.94, 169.95, 1000000.0),
        ("2024-03-15T00:00", 170.06, 170.08, 170.03, 170.06, 1910000.0),
    ),
    (
        "Excel, German",
        "excel-german.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 1169.99, 1170.0, 1169.94, 1169.95, 100000.0),
        ("2024-03-15T00:00", 1170.06, 1170.08, 1170.03, 1170.06, 191000.0),
    ),
    (
        "Excel, dates as numbers",
        "excel-serial.csv",
        "1d",
        8,
        ("2024-03-06T00:00", 169.99, 170.0, 169.94, 169.95, 100.0),
        ("2024-03-15T00:00", 170.06, 170.08, 170.03, 170.06, 191.0),
    ),
    (
        "Interactive Brokers",
        "interactive-brokers.csv",
        "5m",
        8,
        ("2024-03-08T14:30", 169.99, 170.0, 169.94, 169.95, 100.0),
        ("2024-03-08T15:05", 170.06, 170.08, 170.03, 170.06, 191.0),
    ),
    (
        "Interactive Brokers, before 2023",
        "interactive-brokers-old.csv",
        "5m",
        8,
        ("2024-03-08T14:30", 169.99, 170.0, 169.94, 169.95, 100.0),
        ("2024-03-08T15:05", 170.06, 170.08, 170.03, 170.06, 191.0),
    ),
    (
        "R, `write.csv`",
        "r-write-csv.csv",
        "1h",
        8,
        ("2024-03-04T21:00", 169.99, 170.0, 169.94, 169.95, 100.0),
        ("2024-03-05T04:00", 170.06, 170.08, 170.03, 170.06, 191.0),
    ),
    (
        "Polygon, flat files",
        "polygon-flat.csv",
        "1m",
        5,
        ("2024-03-04T14:30", 149.99, 150.0, 149.94, 149.95, 100.0),
        ("2024-03-04T14:34", 150.0, 150.02, 149.94, 149.97, 152.0),
    ),
    (
        "Databento, CSV",
        "databento-raw.csv",
        "1m",
        7,
        ("2024-03-04T14:30", 5130.24, 5130.25, 5130.19, 5130.2, 100.0),
        ("2024-03-04T14:37", 5130.31, 5130.33, 5130.28, 5130.31, 191.0),
    ),
    (
        "Databento, CSV with `pretty_px`, `pretty_ts`",
        "databento-pretty.csv",
        "1m",
        8,
        ("2024-03-04T14:30", 5130.24, 5130.25, 5130.19, 5130.2, 100.0),
        ("2024-03-04T14:37", 5130.31, 5130.33, 5130.28, 5130.31, 191.0),
    ),
    (
        "Klines in JSON",
        "klines.json",
        "1m",
        8,
        ("2024-03-04T00:00", 41999.99, 42000.0, 41999.94, 41999.95, 100.5),
        ("2024-03-04T00:07", 42000.06, 42000.08, 42000.03, 42000.06, 191.5),
    ),
)


def test_each_line_of_the_page_has_a_file():
    assert [source for source, *_ in SOURCES] + ["pandas, Parquet"] == list(lines_of_the_page())


@pytest.mark.parametrize(
    ("source", "file", "timeframe", "count", "first", "last"),
    SOURCES,
    ids=[str(file) for _, file, *_ in SOURCES],
)
def test_a_file_of(source, file, timeframe, count, first, last, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    series = f"ohlcv:mine:X:{timeframe}"
    words = ["--store", "bars", "import", str(FILES / file), "--series", series, *lines_of_the_page()[source]]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    bars = stored(series)
    assert bars.height == count
    assert row(bars, 0) == first
    assert row(bars, -1) == last


class TestParquetOfPandas:
    """pandas writes its index as a column: under its name, or as `__index_level_0__`, or as metadata only."""

    TIMES = pd.date_range("2024-03-04 09:30", periods=4, freq="min", tz="America/New_York")
    VALUES = pd.DataFrame(
        {
            "open": [10.0, 10.5, 11.0, 11.5],
            "high": [10.8, 11.3, 11.8, 12.3],
            "low": [9.9, 10.4, 10.9, 11.4],
            "close": [10.5, 11.0, 11.5, 12.0],
            "volume": [5, 6, 7, 8],
        }
    )

    def frames(self) -> dict[str, tuple[pd.DataFrame, list[str]]]:
        indexed = self.VALUES.set_axis(self.TIMES)
        both = pd.concat({"A": indexed, "B": indexed + 1}, names=["symbol", "ts"])
        return {
            "a range": (self.VALUES.assign(ts=self.TIMES), []),
            "times without a name": (indexed, []),
            "times with a name": (indexed.rename_axis("when"), ["--columns", "ts=when"]),
            "microseconds": (indexed.set_axis(self.TIMES.as_unit("us")), []),
            "two levels": (both, ["--where", "symbol=A"]),
        }

    @pytest.mark.parametrize(
        "kind", ["a range", "times without a name", "times with a name", "microseconds", "two levels"]
    )
    def test_a_file_with_an_index_of(self, kind, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        frame, options = self.frames()[kind]
        frame.to_parquet("frame.parquet")
        words = ["--store", "bars", "import", "frame.parquet", "--series", "ohlcv:mine:X:1m", *options]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        bars = stored("ohlcv:mine:X:1m")
        assert bars.height == 4
        assert row(bars, 0) == ("2024-03-04T14:30", 10.0, 10.8, 9.9, 10.5, 5.0)
        assert row(bars, -1) == ("2024-03-04T14:33", 11.5, 12.3, 11.4, 12.0, 8.0)


def stored(series: str) -> pl.DataFrame:
    with EmbeddedStore("bars") as store:
        return store.read(SeriesId.parse(series), Span(to_ns("2000-01-01"), to_ns("2030-01-01"))).frame


def row(bars: pl.DataFrame, number: int) -> tuple[object, ...]:
    ts = int(stamps(bars)[number])
    return (
        pl.Series([ts]).cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%dT%H:%M").item(),
        *bars.row(number)[1:],
    )
