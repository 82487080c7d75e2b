"""Files as a vendor keep the promises of every vendor, and answer for nothing that they do not hold."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.io.vendors.files import PAGE_ROWS, FilesVendor
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.vendor_suite import Known, VendorSuite

SERIES = SeriesId.parse("ohlcv:mine:BTC/USDT:1m")
START = to_ns("2024-01-01")
WHOLE = Span(START, START + 500 * MINUTE)


def minutes(first: int, end: int) -> Span:
    return Span(START + first * MINUTE, START + end * MINUTE)


def with_holes() -> pl.DataFrame:
    """500 minutes, of which 3 to 5 and 100 to 299 have no row."""
    minute = (stamps(bars := synthetic_bars(SERIES, WHOLE)) - START) // MINUTE
    return bars.filter(~pl.Series(((minute >= 3) & (minute < 6)) | ((minute >= 100) & (minute < 300))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "BTC%2FUSDT-1m.csv"
    with_holes().sample(fraction=1, shuffle=True, seed=1).write_csv(
        path, datetime_format="%Y-%m-%dT%H:%M:%S%.9fZ"
    )
    return tmp_path


class FilesSuite(VendorSuite):
    holes: str
    no_trade: bool

    @pytest.fixture
    def known(self) -> Known:
        unknown = SeriesId.parse("ohlcv:mine:ETH/USDT:1m")
        return Known(SERIES, WHOLE, with_holes(), unknown, no_trade=self.no_trade)

    @pytest.fixture
    def new_vendor(self, folder: Path) -> Callable[[], Vendor]:
        return lambda: FilesVendor(f"{folder}/{{symbol}}-{{timeframe}}.csv", holes=self.holes)


class TestSilenceProvesNothing(FilesSuite):
    holes, no_trade = "unknown", False


class TestSilenceIsAnAnswer(FilesSuite):
    holes, no_trade = "no_trade", True


def collect(vendor: FilesVendor, span: Span, series: SeriesId = SERIES) -> list[Page]:
    async def gather() -> list[Page]:
        return [page async for page in vendor.pages(series, span)]

    return asyncio.run(gather())


def write(folder: Path, frame: pl.DataFrame) -> FilesVendor:
    frame.write_parquet(folder / "bars.parquet")
    return FilesVendor(f"{folder}/bars.parquet")


def test_beyond_the_file_nothing_is_answered(folder):
    vendor = FilesVendor(f"{folder}/{{symbol}}-{{timeframe}}.csv", holes="no_trade")
    wide = Span(WHOLE.start - 10 * MINUTE, WHOLE.end + 10 * MINUTE)
    assert Coverage(page.answered for page in collect(vendor, wide)) == Coverage.of(WHOLE)
    assert collect(vendor, Span(WHOLE.end, WHOLE.end + MINUTE)) == []


def test_pages_are_bounded_and_join_without_a_seam(tmp_path):
    whole = Span(START, START + (2 * PAGE_ROWS + 7) * MINUTE)
    frame = synthetic_bars(SERIES, whole)
    pages = collect(write(tmp_path, frame), whole)
    assert [page.frame.height for page in pages] == [PAGE_ROWS, PAGE_ROWS, 7]
    assert Coverage(page.answered for page in pages) == Coverage.of(whole)
    assert pl.concat([page.frame for page in pages]).equals(frame)


def test_rows_off_the_clock_answer_for_no_bar(tmp_path):
    """Two of them must not close over the bar between them."""
    frame = synthetic_bars(SERIES, minutes(0, 3)).with_columns(pl.col("ts") + pl.duration(seconds=30))
    pages = collect(write(tmp_path, frame), minutes(0, 5))
    assert [page.answered.length for page in pages] == [1, 1, 1]
    assert sum(page.frame.height for page in pages) == 3


def test_two_rows_for_one_bar_are_handed_on(tmp_path):
    frame = synthetic_bars(SERIES, minutes(0, 2))
    twice = pl.concat([frame, frame.with_columns(pl.col("close") + 1)])
    (page,) = collect(write(tmp_path, twice), minutes(0, 2))
    assert page.frame.height == 4
    assert np.all(np.diff(stamps(page.frame)) >= 0)


def test_a_file_is_read_again_when_it_changes(tmp_path):
    vendor = write(tmp_path, synthetic_bars(SERIES, minutes(0, 2)))
    assert sum(page.frame.height for page in collect(vendor, minutes(0, 9))) == 2
    write(tmp_path, synthetic_bars(SERIES, minutes(0, 4)))
    os.utime(tmp_path / "bars.parquet", ns=(START, START))
    assert sum(page.frame.height for page in collect(vendor, minutes(0, 9))) == 4


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("ohlcv:mine:BTC/USDT:USDT:1m", "mine/BTC%2FUSDT%3AUSDT-1m.csv"),
        ("ohlcv:..:..:1m", "%2E%2E/%2E%2E-1m.csv"),
        ("ohlcv:mine:../../etc/passwd:1m", "mine/..%2F..%2Fetc%2Fpasswd-1m.csv"),
        ("ohlcv:mine:~root:1m", "mine/~root-1m.csv"),
        ("ohlcv:mine:{venue}:1m", "mine/%7Bvenue%7D-1m.csv"),
    ],
)
def test_no_symbol_leads_out_of_the_folder(node, expected):
    vendor = FilesVendor("/data/{venue}/{symbol}-{timeframe}.csv")
    assert vendor.path_of(SeriesId.parse(node)) == Path("/data", expected)


def test_a_symbol_names_no_home_folder():
    series = SeriesId.parse("ohlcv:mine:~root:1m")
    assert FilesVendor("{symbol}/bars.csv").path_of(series) == Path("~root/bars.csv")
    assert FilesVendor("~/{symbol}.csv").path_of(series) == Path.home() / "~root.csv"


def test_a_missing_file_names_itself(tmp_path):
    vendor = FilesVendor(f"{tmp_path}/{{symbol}}.csv")
    with pytest.raises(InvalidRequestError, match=r"BTC%2FUSDT\.csv") as caught:
        collect(vendor, WHOLE)
    assert caught.value.series == SERIES.text


def test_what_is_wrong_with_a_file_is_reported_with_its_line(tmp_path):
    (tmp_path / "bars.csv").write_text("ts,open,high,low,close,volume\n2024-01-01T00:00Z,1,1,1,one,1\n")
    with pytest.raises(InvalidRequestError, match=r"bars.csv, line 2, column 'close'"):
        collect(FilesVendor(f"{tmp_path}/bars.csv"), WHOLE)


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("{symbl}.csv", {}),
        ("{symbol.csv", {}),
        ("bars}/{symbol}.csv", {}),
        ("{symbol}.csv", {"where": {"ticker": "symbol}"}}),
        ("{symbol.__class__}.csv", {}),
        ("{symbol}.csv", {"holes": "closed"}),
        ("{symbol}.csv", {"unit": "minutes"}),
        ("{symbol}.csv", {"colour": "red"}),
    ],
)
def test_a_slip_in_the_configuration_is_reported_at_once(path, options):
    with pytest.raises(InvalidRequestError):
        FilesVendor(path, **options)


def test_reading_options_apply(tmp_path):
    (tmp_path / "bars.csv").write_text("1704067260000;10000;20000;5000;15000\n")
    vendor = FilesVendor(
        f"{tmp_path}/bars.csv",
        columns="ts,open,high,low,close,volume=",
        unit="ms",
        label="close",
        scale="open,high,low,close=0.0001",
    )
    (page,) = collect(vendor, WHOLE)
    assert page.answered == minutes(0, 1)
    assert page.frame.row(0)[1:] == (1.0, 2.0, 0.5, 1.5, None)
    assert page.frame.schema == empty_bars().schema


def test_a_file_of_another_year_proves_nothing(tmp_path: Path) -> None:
    for holes in ("unknown", "no_trade"):
        bars = synthetic_bars("ohlcv:mine:A:1m", Span(to_ns("2023-01-01"), to_ns("2023-01-02")))
        bars.write_csv(tmp_path / "A.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
        vendor = FilesVendor(str(tmp_path / "{symbol}.csv"), holes=holes)

        async def pages(vendor: FilesVendor = vendor) -> list[Page]:
            asked = Span(to_ns("2024-01-01"), to_ns("2024-02-01"))
            return [page async for page in vendor.pages(SeriesId.parse("ohlcv:mine:A:1m"), asked)]

        assert asyncio.run(pages()) == []
