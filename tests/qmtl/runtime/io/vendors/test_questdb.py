"""A desk's own table as a vendor keeps the promises of every vendor, and is left as it was."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from urllib.parse import quote
from uuid import uuid4

import numpy as np
import polars as pl
import pytest

import qmtl
from qmtl.foundation.errors import InvalidRequestError, MissingDataError, SourceUnavailableError, StoreError
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.questdb_login import QuestDBLogin
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, to_ns
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.wal import settle
from qmtl.runtime.io.vendors import questdb as module
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.io.vendors.questdb import QuestDBVendor
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.vendor_suite import Known, VendorSuite
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer

SERIES = SeriesId.parse("ohlcv:desk:BTC/USDT:1m")
OTHER = SeriesId.parse("ohlcv:desk:it's; DROP TABLE \\ --:1m")
START = to_ns("2024-01-01")
WHOLE = Span(START, START + 300 * MINUTE)
COLUMNS = "ts=timestamp,open=o,high=h,low=l,close=c,volume=v,symbol=sym"


def with_holes() -> pl.DataFrame:
    """300 minutes, of which some between the first and the last have no row."""
    minute = (stamps(bars := synthetic_bars(SERIES, WHOLE)) - WHOLE.start) // MINUTE
    return bars.filter(~pl.Series(np.isin(minute, [3, 4, 5, 100, 101, 298])))


class Desk:
    """What a desk does with its own server."""

    def __init__(self, server: QuestDBServer) -> None:
        self.server = server
        self.client = Client(QuestDBLogin("127.0.0.1", server.port, USER, PASSWORD))
        self.table = f"trades_{uuid4().hex}"

    def make(self, ts: str = "TIMESTAMP", price: str = "DOUBLE", more: str = "") -> None:
        self.client.query(
            f"CREATE TABLE {self.table} (timestamp {ts}, sym SYMBOL, o {price}, h {price}, l {price},"
            f" c {price}, v DOUBLE{more}) TIMESTAMP(timestamp) PARTITION BY DAY"
        )

    def insert(self, symbol: str, frame: pl.DataFrame, *more: str) -> None:
        """Rows, some at a time, as an address does not take very many."""
        unit = {"TIMESTAMP": 1000, "TIMESTAMP_NS": 1}[self.types()["timestamp"]]
        name = symbol.replace("'", "''")
        rows = [
            f"({ts // unit}, '{name}', {', '.join('null' if one is None else repr(one) for one in values)}"
            f"{''.join(f', {one}' for one in more)})"
            for ts, *values in frame.with_columns(pl.col("ts").cast(pl.Int64)).iter_rows()
        ]
        for first in range(0, len(rows), 100):
            self.client.query(f"INSERT INTO {self.table} VALUES {', '.join(rows[first : first + 100])}")
        settle(self.client, self.table)

    def types(self) -> dict[str, str]:
        return dict(self.client.query(f"SELECT \"column\", type FROM table_columns('{self.table}')"))

    def state(self) -> tuple[object, ...]:
        """All that anybody could have changed."""
        ask = self.client.query
        return (
            ask(f"SELECT * FROM {self.table}"),
            self.types(),
            ask(f"SHOW CREATE TABLE {self.table}"),
            ask(f"SELECT writerTxn, sequencerTxn FROM wal_tables() WHERE name = '{self.table}'"),
            ask("SELECT table_name FROM tables() ORDER BY 1"),
        )

    def url(self, columns: str = COLUMNS, password: str = PASSWORD, more: str = "") -> str:
        login = f"{USER}:{quote(password, safe='')}"
        return f"questdb://{login}@127.0.0.1:{self.server.port}?table={self.table}&columns={columns}{more}"


@pytest.fixture
def desk(questdb_server: QuestDBServer) -> Desk:
    return Desk(questdb_server)


@pytest.fixture(scope="module", params=["TIMESTAMP", "TIMESTAMP_NS"])
def filled(questdb_server: QuestDBServer, request: pytest.FixtureRequest) -> Desk:
    """A table of two symbols, one of which every statement would take for one of its own."""
    desk = Desk(questdb_server)
    desk.make(request.param)
    desk.insert(SERIES.symbol, with_holes())
    desk.insert(OTHER.symbol, synthetic_bars(OTHER, WHOLE))
    return desk


class TestRows(VendorSuite):
    @pytest.fixture
    def known(self) -> Known:
        return Known(SERIES, WHOLE, with_holes(), SeriesId.parse("ohlcv:desk:btc/USDT:1m"), no_trade=False)

    @pytest.fixture
    def new_vendor(self, filled: Desk) -> Callable[[], Vendor]:
        return lambda: QuestDBVendor(filled.url())


class TestComplete(VendorSuite):
    @pytest.fixture
    def known(self) -> Known:
        return Known(SERIES, WHOLE, with_holes(), SeriesId.parse("ohlcv:desk:SOL/USDT:1m"))

    @pytest.fixture
    def new_vendor(self, filled: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Vendor]:
        monkeypatch.setattr(module, "PAGE_ROWS", 17)
        return lambda: QuestDBVendor(filled.url(), holes="no_trade")


def collect(vendor: QuestDBVendor, span: Span = WHOLE, series: SeriesId = SERIES) -> list[Page]:
    async def gather() -> list[Page]:
        return [page async for page in vendor.pages(series, span)]

    return asyncio.run(gather())


def rows(pages: list[Page]) -> pl.DataFrame:
    return pl.concat([page.frame for page in pages])


@pytest.mark.parametrize("holes", ["unknown", "no_trade"])
def test_beside_its_rows_a_table_answers_for_nothing(filled, holes):
    vendor = QuestDBVendor(filled.url(), holes=holes)
    wide = Span(WHOLE.start - DAY, WHOLE.end + DAY)
    answered = Coverage(page.answered for page in collect(vendor, wide))
    assert answered.hull == WHOLE
    assert collect(vendor, Span(WHOLE.end, WHOLE.end + HOUR)) == []
    assert collect(vendor, Span(to_ns("1969-12-31"), to_ns("1970-01-02"))) == []


def test_a_row_off_the_clock_or_beyond_all_times_declares_no_bar(desk):
    desk.make()
    bars = synthetic_bars(SERIES, Span(START, START + MINUTE))
    desk.insert(SERIES.symbol, bars)
    desk.insert(SERIES.symbol, bars.with_columns(pl.col("ts").dt.offset_by("150s")))
    off = START + 150 * SECOND
    vendor = QuestDBVendor(desk.url(), holes="no_trade")
    assert [page.answered for page in collect(vendor)] == [Span(START, off + 1)]
    assert [page.answered for page in collect(QuestDBVendor(desk.url()))] == [
        Span(START, START + MINUTE),
        Span(off, off + 1),
    ]
    desk.client.query(f"INSERT INTO {desk.table} VALUES ('2300-01-01', 'BTC/USDT', 1, 1, 1, 1, 1)")
    settle(desk.client, desk.table)
    assert [page.answered for page in collect(vendor)] == [WHOLE]


def test_a_symbol_is_no_statement(filled):
    before = filled.state()
    assert rows(collect(QuestDBVendor(filled.url()), series=OTHER)).equals(synthetic_bars(OTHER, WHOLE))
    for symbol in ("' OR 1=1 --", "'; DROP TABLE x; --", "\\' OR ''='", 'a" OR "b'):
        with pytest.raises(InvalidRequestError, match="has no rows of the symbol"):
            collect(QuestDBVendor(filled.url()), series=SeriesId.parse(f"ohlcv:desk:{symbol}:1m"))
    assert filled.state() == before


@pytest.mark.parametrize("holes", ["unknown", "no_trade"])
def test_a_misspelt_symbol_is_refused_with_the_nearest(filled, holes):
    with pytest.raises(InvalidRequestError, match="did you mean BTC/USDT"):
        collect(QuestDBVendor(filled.url(), holes=holes), series=SeriesId.parse("ohlcv:desk:BTC/USD:1m"))


@pytest.mark.parametrize("most", [9, 147, 294])
def test_pages_are_bounded(filled, monkeypatch, most):
    monkeypatch.setattr(module, "PAGE_ROWS", most)
    pages = collect(QuestDBVendor(filled.url()))
    assert max(page.frame.height for page in pages) <= most
    assert rows(pages).equals(with_holes())


def test_a_table_is_left_as_it_was(filled, tmp_path, registry):
    before = filled.state()
    with qmtl.SeamlessDataProvider(
        tmp_path, QuestDBVendor(filled.url(), holes="no_trade"), metrics_registry=registry
    ) as provider:
        provider.fetch(SERIES, WHOLE.start, WHOLE.end)
        provider.refresh(SERIES, WHOLE.start, WHOLE.end)
        with pytest.raises(MissingDataError):
            provider.fetch(SERIES, WHOLE.start, WHOLE.end + HOUR)
    assert filled.state() == before


def test_what_was_fetched_is_checked_kept_and_not_asked_for_again(filled, tmp_path, registry):
    with qmtl.SeamlessDataProvider(
        tmp_path, QuestDBVendor(filled.url(), holes="no_trade"), metrics_registry=registry
    ) as provider:
        first = provider.fetch(SERIES, WHOLE.start, WHOLE.end)
        second = provider.fetch(SERIES, WHOLE.start, WHOLE.end)
    assert first.frame.equals(with_holes())
    assert first.coverage.counts["no_trade"] == WHOLE.length // MINUTE - with_holes().height
    assert [one.source for one in first.receipt.served] == [
        f"questdb://{USER}@127.0.0.1:{filled.client.address.port}?table={filled.table}"
    ]
    assert {one.tier for one in second.receipt.served} <= {"cache", "storage"}
    assert second.receipt.fingerprint == first.receipt.fingerprint
    assert PASSWORD not in f"{first.receipt} {first.report} {first!r}"


def test_a_hole_is_unknown_unless_declared(filled, tmp_path, registry):
    with qmtl.SeamlessDataProvider(
        tmp_path, QuestDBVendor(filled.url()), metrics_registry=registry
    ) as provider:
        result = provider.fetch(SERIES, WHOLE.start, WHOLE.end, partial_ok=True)
    assert result.frame.equals(with_holes())
    assert result.coverage.counts["no_trade"] == 0
    assert result.coverage.counts["unknown"] == WHOLE.length // MINUTE - with_holes().height


def test_the_newest_revision_holds_and_a_refresh_finds_it(desk, tmp_path, registry):
    desk.make(more=", written TIMESTAMP")
    bars = synthetic_bars(SERIES, Span(START, START + 10 * MINUTE))
    desk.insert(SERIES.symbol, bars, "null")
    desk.insert(SERIES.symbol, bars[3:5], "200")
    corrected = bars[3:5].with_columns(volume=pl.lit(7.0))
    url = desk.url(f"{COLUMNS},updated_at=written")
    with qmtl.SeamlessDataProvider(tmp_path, QuestDBVendor(url), metrics_registry=registry) as provider:
        first = provider.fetch(SERIES, START, START + 10 * MINUTE)
        desk.insert(SERIES.symbol, corrected, "253402300799000000")  # year 9999
        desk.insert(SERIES.symbol, bars[3:5].with_columns(volume=pl.lit(8.0)), "100")
        assert provider.refresh(SERIES, START, START + 10 * MINUTE) is not None
        second = provider.fetch(SERIES, START, START + 10 * MINUTE)
    assert first.frame.equals(bars)
    assert second.frame.equals(pl.concat([bars[:3], corrected, bars[5:]]))


def test_two_different_rows_for_a_bar_are_refused_and_equal_ones_are_one(desk):
    desk.make(more=", written TIMESTAMP")
    bars = synthetic_bars(SERIES, Span(START, START + 5 * MINUTE))
    desk.insert(SERIES.symbol, bars, "100")
    desk.insert(SERIES.symbol, bars[2:3], "200")
    assert rows(collect(QuestDBVendor(desk.url()))).equals(bars)
    desk.insert(SERIES.symbol, bars[2:3].with_columns(volume=pl.lit(7.5)), "200")
    with pytest.raises(
        InvalidRequestError, match="contradicts itself about the bar of 2024-01-01T00:02"
    ) as one:
        collect(QuestDBVendor(desk.url()))
    assert "7.5" in str(one.value)
    assert "updated_at=" in str(one.value)
    with pytest.raises(InvalidRequestError, match="of the same time of revision"):
        collect(QuestDBVendor(desk.url(f"{COLUMNS},updated_at=written")))
    assert rows(collect(QuestDBVendor(desk.url()), Span(START, START + 2 * MINUTE))).equals(bars[:2])


def test_a_bar_of_more_rows_than_a_page_is_refused(desk, monkeypatch):
    monkeypatch.setattr(module, "PAGE_ROWS", 3)
    desk.make()
    bars = synthetic_bars(SERIES, Span(START, START + 2 * MINUTE))
    for _ in range(4):
        desk.insert(SERIES.symbol, bars)
    with pytest.raises(InvalidRequestError, match="3 rows or more"):
        collect(QuestDBVendor(desk.url()))


def test_a_table_of_one_series_without_volume(desk):
    desk.make()
    bars = synthetic_bars(SERIES, WHOLE)[:50]
    desk.insert("whatever", bars)
    columns = COLUMNS.replace("volume=v", "volume=").removesuffix(",symbol=sym")
    vendor = QuestDBVendor(desk.url(columns, more=f"&series={SERIES}"))
    assert rows(collect(vendor)).equals(bars.with_columns(volume=pl.lit(None, dtype=pl.Float64)))
    with pytest.raises(InvalidRequestError, match="all its rows are of ohlcv:desk:BTC/USDT:1m"):
        collect(vendor, series=OTHER)


def test_whole_numbers_and_missing_values(desk):
    desk.make(price="LONG")
    bars = pl.DataFrame(
        [{"ts": START, "open": 1, "high": 3, "low": None, "close": 2, "volume": 0.5}],
        schema={"ts": pl.Int64, **dict.fromkeys(VALUES, pl.Object)},
    )
    desk.insert(SERIES.symbol, bars)
    found = rows(collect(QuestDBVendor(desk.url())))
    assert found.rows()[0][1:] == (1.0, 3.0, None, 2.0, 0.5)
    desk.insert(SERIES.symbol, bars.with_columns(ts=pl.lit(START + MINUTE), open=pl.lit(2**53 + 1)))
    with pytest.raises(InvalidRequestError, match="a value of the column 'o' is no float64"):
        collect(QuestDBVendor(desk.url()))


def test_rows_of_a_shorter_timeframe_are_no_bars(filled):
    hours = SeriesId.parse("ohlcv:desk:BTC/USDT:1h")
    with pytest.raises(InvalidRequestError, match="are no bars of 1h") as refused:
        collect(QuestDBVendor(filled.url()), series=hours)
    assert "60 s apart" in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (COLUMNS.replace("=o,", "=opening,"), ("no column 'opening'", "it has timestamp, sym, o, h")),
        (COLUMNS.replace("=o,", "=sym,"), ("'sym'", "cannot be read as open", "type SYMBOL")),
        (COLUMNS.replace("=timestamp,", "=day,"), ("'day'", "cannot be read as ts", "type DATE")),
        (COLUMNS.replace("=timestamp,", "=written,"), ("'written'", "not its designated timestamp")),
        (COLUMNS.replace("symbol=sym", "symbol=v"), ("'v'", "cannot be read as symbol", "type DOUBLE")),
        (f"{COLUMNS},updated_at=v", ("'v'", "cannot be read as updated_at", "type DOUBLE")),
    ],
)
def test_columns_that_cannot_be_read_are_named(desk, columns, told):
    desk.make(more=", written TIMESTAMP, day DATE")
    with pytest.raises(InvalidRequestError) as refused:
        collect(QuestDBVendor(desk.url(columns)))
    for words in told:
        assert words in str(refused.value)
    assert refused.value.next_step


def test_a_table_that_is_not_there_or_goes_away(desk):
    with pytest.raises(InvalidRequestError, match="QuestDB has no table"):
        collect(QuestDBVendor(desk.url()))
    desk.make()
    with pytest.raises(InvalidRequestError, match=f"did you mean {desk.table}"):
        collect(QuestDBVendor(desk.url().replace("=trades_", "=trade_")))
    desk.insert(SERIES.symbol, with_holes())
    vendor = QuestDBVendor(desk.url())
    assert collect(vendor)
    desk.client.query(f"ALTER TABLE {desk.table} RENAME COLUMN o TO first")
    settle(desk.client, desk.table)
    with pytest.raises(InvalidRequestError, match="no column 'o'"):
        collect(vendor)
    desk.client.query(f"DROP TABLE {desk.table}")
    desk.make("TIMESTAMP_NS")
    desk.insert(SERIES.symbol, with_holes())
    assert rows(collect(vendor)).equals(with_holes())
    desk.client.query(f"DROP TABLE {desk.table}")
    with pytest.raises(InvalidRequestError, match="QuestDB has no table"):
        collect(vendor)


def test_a_view_is_read_as_a_table_is(desk):
    desk.make()
    desk.insert(SERIES.symbol, with_holes())
    desk.client.query(f"CREATE VIEW {desk.table}_view AS (SELECT * FROM {desk.table})")
    assert rows(collect(QuestDBVendor(desk.url().replace("&columns", "_view&columns")))).equals(with_holes())


def test_a_wrong_password_and_a_server_away_are_told(filled):
    with pytest.raises(SourceUnavailableError, match="refuses the user") as refused:
        collect(QuestDBVendor(filled.url(password="wr0ng;word")))
    assert "wr0ng" not in f"{refused.value!r} {refused.value}"
    port = str(filled.client.address.port)
    with pytest.raises(SourceUnavailableError, match="QuestDB does not answer") as away:
        collect(QuestDBVendor(filled.url().replace(f":{port}?", ":9?")))
    for told in (refused.value, away.value):
        assert told.next_step
        assert told.source.startswith("questdb://")


def test_a_server_that_takes_no_statement_that_writes_is_enough(desk, monkeypatch):
    desk.make()
    desk.insert(SERIES.symbol, with_holes())
    monkeypatch.setenv("QDB_HTTP_SECURITY_READONLY", "true")
    desk.server.kill()
    desk.server.start()
    try:
        with pytest.raises(StoreError, match="Write permission denied"):
            desk.client.query("CREATE TABLE refused (x INT)")
        for holes in ("unknown", "no_trade"):
            assert rows(collect(QuestDBVendor(desk.url(), holes=holes))).equals(with_holes())
    finally:
        monkeypatch.undo()
        desk.server.kill()
        desk.server.start()


def test_a_suspended_table_declares_nothing(desk):
    """What it has taken, and does not show, would be taken for bars that did not trade."""
    desk.make()
    desk.insert(SERIES.symbol, with_holes())
    desk.client.query(f"ALTER TABLE {desk.table} SUSPEND WAL")
    desk.client.query(
        f"INSERT INTO {desk.table} VALUES ({START // 1000 + 180_000_000}, 'BTC/USDT', 1, 1, 1, 1, 1)"
    )
    with pytest.raises(SourceUnavailableError, match="has suspended the table"):
        collect(QuestDBVendor(desk.url(), holes="no_trade"))
    assert rows(collect(QuestDBVendor(desk.url()))).equals(with_holes())


def test_of_a_suspended_table_nobody_says_that_a_symbol_is_not_there(desk):
    desk.make()
    desk.client.query(f"ALTER TABLE {desk.table} SUSPEND WAL")
    desk.client.query(
        f"INSERT INTO {desk.table} VALUES ({START // 1000 + 180_000_000}, 'BTC/USDT', 1, 1, 1, 1, 1)"
    )
    with pytest.raises(SourceUnavailableError, match="has suspended the table"):
        collect(QuestDBVendor(desk.url()))


def test_it_travels_to_other_processes(filled):
    vendor = pickle.loads(pickle.dumps(QuestDBVendor(filled.url(), holes="no_trade")))
    assert Coverage(page.answered for page in collect(vendor)) == Coverage.of(WHOLE)
    assert PASSWORD not in repr(vendor)


def test_what_cannot_be_meant_is_refused(filled):
    with pytest.raises(InvalidRequestError, match="neither 'unknown' nor 'no_trade'"):
        QuestDBVendor(filled.url(), holes="none")
    with pytest.raises(InvalidRequestError, match="a store is no vendor"):
        QuestDBVendor("questdb://h:9000?catalog=/var/bars")
