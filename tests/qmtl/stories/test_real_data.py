"""Real bars, imported as a person would import them: what is wrong is found, what is clean raises nothing.

The files lie outside this project: in the folder that `QMTL_TEST_DATA` names, or in `../shared/data` beside
the checkout. To add a case, add a line to `CASES`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.states import BarStates, bar_states
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, iso, to_ns
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import RULES, SILENCE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.import_commit import ImportResult
from qmtl.runtime.sdk.importing import import_file

DATA = Path(os.environ.get("QMTL_TEST_DATA") or Path(__file__).parents[3].parent / "shared" / "data")

pytestmark = pytest.mark.skipif(
    not (DATA / "MANIFEST.md").is_file(), reason=f"no real market data in {DATA}; set QMTL_TEST_DATA"
)

FREQTRADE = "crypto/freqtrade/tests/testdata"
OCTOBOT = "crypto/OctoBot/octobot/strategy_optimizer/optimizer_data_files/AbstractExchangeHistoryCollector_"
CRYPTO = "crypto/Lean/Data/crypto"
EQUITY = "equity/Lean/Data/equity/usa"
FX = "fx/Lean/Data/forex"
NAUTILUS = "nautilus_trader/tests/test_data"

Prepare = Callable[[list[Path], Path], None]

# Options of the import. LEAN writes no header, dates such as `19980102 09:00`, and US prices times 10,000.
ORDER: Mapping[str, Any] = {"columns": "ts,open,high,low,close,volume"}
QUOTES: Mapping[str, Any] = {"columns": "ts,open,high,low,close,volume=", "calendar": "FX"}
XNYS: Mapping[str, Any] = {"calendar": "XNYS"}
US_SHARES: Mapping[str, Any] = {
    **ORDER,
    **XNYS,
    "scale": "open,high,low,close=0.0001",
    "tz": "America/New_York",
}
EPOCH_MS: Mapping[str, Any] = {"unit": "ms"}
COMPLETE: Mapping[str, Any] = {"holes": "no_trade"}


def days_together(files: list[Path], target: Path) -> None:
    """One file per day, each with milliseconds since midnight, as one CSV with milliseconds since 1970."""
    with target.open("w") as out:
        out.write("ts,open,high,low,close,volume\n")
        for path in files:
            midnight = to_ns(f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}") // 1_000_000
            with zipfile.ZipFile(path) as archive:
                for line in archive.read(archive.namelist()[0]).decode().splitlines():
                    since, *values = line.split(",")
                    out.write(",".join([str(midnight + int(since)), *values[:5]]) + "\n")


def local_days_together(files: list[Path], target: Path) -> None:
    """The same, with local times instead of milliseconds since 1970."""
    days_together(files, target)
    frame = pl.read_csv(target).with_columns(pl.from_epoch("ts", time_unit="ms"))
    frame.write_csv(target, datetime_format="%Y-%m-%d %H:%M:%S")


def ticker(name: str) -> Prepare:
    """The rows of one share from a file of many."""

    def prepare(files: list[Path], target: Path) -> None:
        pl.read_csv(files[0]).filter(pl.col("Ticker") == name).drop("Ticker").write_csv(target)

    return prepare


def recorded(timeframe: str) -> Prepare:
    """One timeframe of an SQLite file that keeps candles as JSON lists."""

    def prepare(files: list[Path], target: Path) -> None:
        connection = sqlite3.connect(f"file:{files[0]}?mode=ro", uri=True)
        try:
            query = "select candle from ohlcv where time_frame = ? order by timestamp"
            candles = [json.loads(candle) for (candle,) in connection.execute(query, (timeframe,))]
        finally:
            connection.close()
        rows = [",".join(map(str, [int(ts), *values])) for ts, *values in candles]
        target.write_text("\n".join(["ts,open,high,low,close,volume", *rows]))

    return prepare


@dataclass(frozen=True)
class Case:
    """files: a pattern below the data folder, of one file or, if they are prepared, of some.

    warned: every warning that is raised, by rule: the bars (for a silence, the starts of its spans).
    counts: some of the five states of the range.
    """

    name: str
    series: str
    files: str
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Prepare | None = None
    warned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


CASES = [
    # Clean crypto, and crypto that trades so seldom that its empty minutes mean nothing.
    *(
        Case(
            f"{pair} 5m",
            f"ohlcv:bittrex:{pair}:5m",
            f"{FREQTRADE}/{pair}-5m.feather",
            COMPLETE,
            counts=counts,
        )
        for pair, counts in {
            "ETH_BTC": {"present": 5760, "no_trade": 0},
            "LTC_BTC": {"present": 5760, "no_trade": 0},
            "DASH_BTC": {"present": 5758, "no_trade": 2},
            "TRX_BTC": {"present": 5754, "no_trade": 6},
            "XRP_ETH": {"present": 706, "no_trade": 6},
        }.items()
    ),
    Case("XRP_ETH 1m", "ohlcv:bittrex:XRP/ETH:1m", f"{FREQTRADE}/XRP_ETH-1m.feather", COMPLETE),
    Case("UNITTEST 30m", "ohlcv:bittrex:UNITTEST:30m", f"{FREQTRADE}/UNITTEST_BTC-30m.feather", COMPLETE),
    Case("UNITTEST 1m", "ohlcv:bittrex:UNITTEST:1m", f"{FREQTRADE}/UNITTEST_BTC-1m.feather", COMPLETE),
    Case(
        "XRP futures 1h", "ohlcv:x:XRP:1h", f"{FREQTRADE}/futures/XRP_USDT_USDT-1h-futures.feather", COMPLETE
    ),
    Case(
        "XRP futures 5m", "ohlcv:x:XRP:5m", f"{FREQTRADE}/futures/XRP_USDT_USDT-5m-futures.feather", COMPLETE
    ),
    Case(
        "ADA 1m",
        "ohlcv:bittrex:ADA/BTC:1m",
        f"{OCTOBOT}1581775117*",
        {"unit": "s", **COMPLETE},
        recorded("1m"),
    ),
    Case(
        "ADA 5m",
        "ohlcv:bittrex:ADA/BTC:5m",
        f"{OCTOBOT}1581775117*",
        {"unit": "s", **COMPLETE},
        recorded("5m"),
    ),
    Case(
        "BTC-PERP 1m over the end of a month",
        "ohlcv:x:BTC-PERP:1m",
        f"crypto/{NAUTILUS}/btc-perp-20211231-20220201_1m.csv.gz",
        COMPLETE,
        counts={"present": 45031, "no_trade": 0},
    ),
    Case(
        "binance BTCBUSD 1m",
        "ohlcv:binance:BTC/BUSD:1m",
        f"{CRYPTO}/binance/minute/btcbusd/*_trade.zip",
        EPOCH_MS,
        days_together,
    ),
    Case(
        "bybit BTCUSDT 1m",
        "ohlcv:bybit:BTC/USDT:1m",
        f"{CRYPTO}/bybit/minute/btcusdt/*_trade.zip",
        EPOCH_MS,
        days_together,
    ),
    Case(
        "binance BTCUSDT 1h", "ohlcv:binance:BTC/USDT:1h", f"{CRYPTO}/binance/hour/btcusdt_trade.zip", ORDER
    ),
    Case(
        "bitstamp 30m, naive, a column too many",
        "ohlcv:bitstamp:BTC/USD:30m",
        "crypto/pyalgotrade/testcases/data/30min-bitstampUSD-2.csv",
        counts={"present": 1968, "unknown": 3},
    ),
    # Outages and bad prints of crypto venues.
    Case(
        "coinbase BTC 1d: a print at 6 cents",
        "ohlcv:coinbase:BTC/USD:1d",
        f"{CRYPTO}/coinbase/daily/btcusd_trade.zip",
        ORDER,
        warned={"quality.price_spike": ("2017-04-15",)},
    ),
    *(
        Case(
            f"coinbase {pair} 1m: the hole of 2018-04-04",
            f"ohlcv:coinbase:{pair.upper()}:1m",
            f"{CRYPTO}/coinbase/minute/{pair}/2018040[456]_trade.zip",
            {**EPOCH_MS, **COMPLETE},
            days_together,
            warned={SILENCE: (f"2018-04-04T{since}:00Z",)},
        )
        for pair, since in (("btcusd", "16:48"), ("ethusd", "16:53"))
    ),
    Case(
        "binance ETHUSDT 1h: two outages",
        "ohlcv:binance:ETH/USDT:1h",
        f"{OCTOBOT}1581776676*",
        {"unit": "s", **COMPLETE},
        recorded("1h"),
        warned={SILENCE: ("2018-06-26T02:00:00Z", "2018-07-04T01:00:00Z")},
    ),
    # Shares. Splits that were not adjusted are jumps: warnings that a person may accept.
    Case(
        "LEAN AAPL 1d: bad lows",
        "ohlcv:usa:AAPL:1d",
        f"{EQUITY}/daily/aapl.zip",
        {**US_SHARES, **COMPLETE},
        warned={
            "quality.price_spike": ("2009-09-21", "2010-08-31", "2011-01-03"),
            "quality.price_jump": ("2000-06-21", "2000-09-29", "2005-02-28", "2014-06-09", "2020-08-31"),
        },
    ),
    Case(
        "LEAN GOOG 1d: a busted trade at one cent",
        "ohlcv:usa:GOOG:1d",
        f"{EQUITY}/daily/goog.zip",
        {**US_SHARES, **COMPLETE},
        warned={
            "quality.price_spike": ("2007-12-18", "2008-09-30"),
            "quality.price_jump": ("2014-04-03",),
        },
    ),
    Case("LEAN SPY 1d", "ohlcv:usa:SPY:1d", f"{EQUITY}/daily/spy.zip", {**US_SHARES, **COMPLETE}),
    Case(
        "LEAN SPY 1h: bad prints",
        "ohlcv:usa:SPY:1h",
        f"{EQUITY}/hour/spy.zip",
        {**US_SHARES, **COMPLETE},
        warned={
            "quality.price_spike": (
                "2000-12-18T14:00:00Z",
                "2002-01-28T14:00:00Z",
                "2002-01-28T17:00:00Z",
                "2002-04-02T20:00:00Z",
                "2002-06-06T14:00:00Z",
                "2003-09-05T19:00:00Z",
                "2004-12-02T15:00:00Z",
                "2004-12-02T16:00:00Z",
                "2004-12-02T17:00:00Z",
                "2004-12-20T16:00:00Z",
                "2005-09-06T19:00:00Z",
                "2005-09-21T17:00:00Z",
                "2005-10-27T13:00:00Z",
                "2006-02-09T16:00:00Z",
                "2006-10-05T19:00:00Z",
                "2007-01-25T15:00:00Z",
            )
        },
        counts={"present": 40832, "no_trade": 2},
    ),
    Case(
        "LEAN AAPL 1h: bad prints",
        "ohlcv:usa:AAPL:1h",
        f"{EQUITY}/hour/aapl.zip",
        {**US_SHARES, **COMPLETE},
        warned={
            "quality.price_spike": (
                "2009-09-21T13:00:00Z",
                "2010-08-31T18:00:00Z",
                "2011-01-03T18:00:00Z",
                "2016-04-29T15:00:00Z",
            ),
            "quality.price_jump": (
                "2000-06-21T13:00:00Z",
                "2000-09-29T13:00:00Z",
                "2005-02-28T14:00:00Z",
                "2014-06-09T13:00:00Z",
                "2020-08-31T13:00:00Z",
            ),
        },
        counts={"present": 40831, "no_trade": 3},
    ),
    *(
        Case(
            f"LEAN {share} 1m with hours before and after the session",
            f"ohlcv:usa:{share.upper()}:1m",
            f"{EQUITY}/minute/{share}/201*_trade.zip",
            {"tz": "America/New_York", "scale": "open,high,low,close=0.0001", **XNYS, **COMPLETE},
            local_days_together,
            warned=jumps,
        )
        for share, jumps in (
            ("spy", {}),
            ("aapl", {"quality.price_jump": ("2014-06-09T08:00:00Z",)}),
        )
    ),
    *(
        Case(
            f"bokeh {share} 1d",
            f"ohlcv:usa:{share}:1d",
            "equity/bokeh_sampledata/stocks.csv.gz",
            {**XNYS, **COMPLETE},
            ticker(share),
            warned={"quality.price_jump": jumps} if jumps else {},
            counts={"no_trade": 0},
        )
        for share, jumps in (
            # Two splits and, between them, the fall by 52 % on a warning of lower profits, which is real.
            ("AAPL", ("2000-06-21", "2000-09-29", "2005-02-28")),
            ("FB", ()),
            ("GOOG", ()),
            ("IBM", ()),
            ("MSFT", ("2003-02-18",)),
        )
    ),
    Case(
        "backtesting.py GOOG 1d, first column without a name",
        "ohlcv:usa:GOOG:1d",
        "equity/backtesting.py/backtesting/test/GOOG.csv",
        {**ORDER, **XNYS, **COMPLETE},
        counts={"present": 2148, "no_trade": 0},
    ),
    Case(
        "backtrader YHOO 1d",
        "ohlcv:usa:YHOO:1d",
        "equity/backtrader/datas/yhoo-1996-2014.txt.gz",
        {**XNYS, **COMPLETE},
        counts={"present": 4713},
    ),
    Case(
        "SPY 1m in UTC over a change of clocks",
        "ohlcv:usa:SPY:1m",
        "equity/pyalgotrade/testcases/data/nt-spy-minute-2011-03.csv.gz",
        {**ORDER, **XNYS, **COMPLETE, "label": "close"},
    ),
    # Currencies and futures.
    Case("OANDA EURUSD 1h", "ohlcv:oanda:EUR/USD:1h", f"{FX}/oanda/hour/eurusd.zip", QUOTES),
    Case(
        "backtesting.py EURUSD 1h, with the French election",
        "ohlcv:x:EUR/USD:1h",
        "fx/backtesting.py/backtesting/test/EURUSD.csv",
        {**ORDER, **COMPLETE, "calendar": "FX"},
        counts={"present": 5000, "no_trade": 48},
    ),
    Case(
        "6EH4 1m, labelled by the close",
        "ohlcv:xcme:6EH4:1m",
        f"futures/{NAUTILUS}/xcme/6EH4.XCME_1min_bars_20240101_20240131.csv.gz",
        {"columns": "ts=timestamp_utc", "label": "close", "calendar": "FX"},
    ),
]


@dataclass(frozen=True)
class Imported:
    """A case in a store of its own, and what the rules say of it, bar by bar."""

    result: ImportResult
    frame: pl.DataFrame
    states: BarStates
    warned: dict[str, tuple[str, ...]]


@pytest.fixture
def imported(tmp_path: Path) -> Iterator[Callable[..., Imported]]:
    stores = []

    def run(case: Case, **options: Any) -> Imported:
        files = sorted(DATA.glob(case.files))
        assert files, f"{case.files} is not among the data"
        path = files[0]
        if case.prepare is not None:
            path = tmp_path / "prepared.csv"
            case.prepare(files, path)
        store = EmbeddedStore(tmp_path / f"store {len(stores)}")
        stores.append(store)
        result = import_file(store, path, case.series, **{**case.options, **options})
        return look_at(store, result)

    yield run
    for store in stores:
        store.close()


def look_at(store: EmbeddedStore, result: ImportResult) -> Imported:
    facts = store.facts(result.series) or SeriesFacts()
    grid = Grid(result.series.timeframe, calendar_named(facts.calendar), facts.anchor or "clock")
    stored = store.read(result.series, result.span)
    states = bar_states(result.span, grid, stamps(stored.frame), stored.answered, Coverage())
    flags = ConformancePipeline().flag(stored.frame, grid=grid, facts=facts)
    warned = {}
    for finding in result.findings:
        if finding.severity != "info":
            assert finding.severity == RULES[finding.rule].severity
            if finding.rule in flags.spans:
                spans = (flags.spans[finding.rule] & states.no_trade).spans
                warned[finding.rule] = tuple(iso(span.start) for span in spans)
            else:
                warned[finding.rule] = tuple(map(iso, flags.stamps(finding.rule).tolist()))
    return Imported(result, stored.frame, states, warned)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_found_and_nothing_else(case: Case, imported: Callable[..., Imported]) -> None:
    seen = imported(case)
    assert seen.result.rows == seen.result.added == seen.frame.height
    assert seen.warned == dict(case.warned)
    counts = seen.states.counts
    assert counts == seen.result.counts
    assert {state: counts[state] for state in case.counts} == dict(case.counts)


def case_named(name: str) -> Case:
    (case,) = (case for case in CASES if case.name == name)
    return case


def test_trades_rolled_up_are_the_imported_bars(imported: Callable[..., Imported]) -> None:
    """The minutes without a trade are exactly those that the file answers for without a row."""
    seen = imported(case_named("XRP_ETH 1m"))
    trades = pl.read_ipc(DATA / FREQTRADE / "XRP_ETH-trades.feather")
    rolled = (
        trades.sort("timestamp", maintain_order=True)
        .group_by((pl.col("timestamp") // 60_000 * MINUTE // 1_000).alias("ts"), maintain_order=True)
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=pl.col("amount").sum(),
        )
        .with_columns(pl.from_epoch("ts", time_unit="us").dt.replace_time_zone("UTC").cast(BAR_SCHEMA["ts"]))
    )
    prices = ["ts", "open", "high", "low", "close"]
    assert seen.frame.select(prices).equals(rolled.select(prices))
    # Sums of floats depend on their order; the amounts have at most eight decimals.
    assert seen.frame["volume"].round(8).equals(rolled["volume"].round(8))
    traded = set(rolled["ts"].to_physical().to_list())
    empty = [ts for ts in range(seen.states.span.start, seen.states.span.end, MINUTE) if ts not in traded]
    assert len(empty) == seen.states.counts["no_trade"] == 1091
    assert seen.states.grid.stamps(seen.states.no_trade).tolist() == empty


def test_silence_of_a_file_proves_nothing(imported: Callable[..., Imported]) -> None:
    counts = imported(case_named("XRP_ETH 1m"), holes="unknown").states.counts
    assert (counts["unknown"], counts["no_trade"]) == (1091, 0)


def test_early_closes_are_closed_and_a_halt_is_not(imported: Callable[..., Imported]) -> None:
    """NASDAQ halted on 2013-08-22. On 2002-09-11 New York opened at noon; the calendar does not know it."""
    spy = imported(case_named("LEAN SPY 1h: bad prints")).states
    aapl = imported(case_named("LEAN AAPL 1h: bad prints")).states
    late_open = Span(to_ns("2002-09-11T13:00Z"), to_ns("2002-09-11T16:00Z"))
    halt = Span(to_ns("2013-08-22T17:00Z"), to_ns("2013-08-22T19:00Z"))
    assert (aapl.no_trade - Coverage.of(late_open)).spans == (halt,)
    assert late_open.contains(spy.no_trade.hull)
    early_close = Span(to_ns("2013-11-29T18:00Z"), to_ns("2013-11-29T21:00Z"))
    for states in (spy, aapl):
        assert states.closed.contains(early_close)
        assert not states.holes


def test_an_early_close_would_be_missed_by_a_plain_calendar(imported: Callable[..., Imported]) -> None:
    """Around the clock, the hours that a calendar knows as closed look like bars without trades."""
    states = imported(case_named("LEAN SPY 1h: bad prints"), calendar="24x7").states
    assert states.no_trade.contains(Span(to_ns("2013-11-29T18:00Z"), to_ns("2013-11-29T21:00Z")))


def test_payrolls_move_the_euro_when_they_are_published(imported: Callable[..., Imported]) -> None:
    """Bars labelled by their close have the jump of 13:30 at 13:31, unless the label is told."""
    case = case_named("6EH4 1m, labelled by the close")
    for label, moment in (("close", "2024-01-05T13:30:00Z"), ("open", "2024-01-05T13:31:00Z")):
        frame = imported(case, label=label).frame
        move = (frame["close"] / frame["open"]).log().abs()
        assert iso(stamps(frame)[move.arg_max()]) == moment


def test_the_currency_week_follows_new_york(imported: Callable[..., Imported]) -> None:
    seen = imported(case_named("OANDA EURUSD 1h"), **COMPLETE)
    grid, states = seen.states.grid, seen.states
    assert not states.present - grid.expected(states.span), "no bar lies outside the week"
    weekend = pl.col("ts").diff().dt.total_hours().is_between(48, 50)
    opens = seen.frame.filter(weekend)["ts"]
    assert set(opens.dt.hour()) == {21, 22}
    assert set(opens.dt.convert_time_zone("America/New_York").dt.to_string("%a %H:%M")) == {"Sun 17:00"}
    assert len(opens) == 613
    # What is empty in a week is empty at Christmas and New Year, or is one of these outages.
    holidays = Coverage(
        (to_ns(f"{year}-12-24") + 19 * HOUR, to_ns(f"{year + 1}-01-03")) for year in range(2006, 2019)
    )
    others = [iso(span.start) for span in states.no_trade - holidays]
    assert others == [
        "2007-01-08T23:00:00Z",
        "2015-08-20T19:00:00Z",
        "2016-12-11T22:00:00Z",
        "2017-03-31T04:00:00Z",
        "2017-10-06T04:00:00Z",
        "2018-06-08T04:00:00Z",
        "2018-10-28T21:00:00Z",
    ]


def test_an_outage_of_a_venue_is_silent_in_both_symbols(imported: Callable[..., Imported]) -> None:
    silent = []
    for pair in ("btcusd", "ethusd"):
        seen = imported(case_named(f"coinbase {pair} 1m: the hole of 2018-04-04"))
        (finding,) = (finding for finding in seen.result.findings if finding.rule == SILENCE)
        silent.append(Coverage.of(Span(finding.first_ts, finding.last_ts + MINUTE)))
    both = silent[0] & silent[1]
    assert both.spans == (Span(to_ns("2018-04-04T16:53Z"), to_ns("2018-04-05")),)


def test_a_file_that_holds_no_bars_of_the_series_is_refused(tmp_path: Path) -> None:
    funding = DATA / FREQTRADE / "futures/XRP_USDT_USDT-8h-funding_rate.feather"
    with closing(EmbeddedStore(tmp_path / "store")) as store:
        with pytest.raises(ConformancePipelineError) as caught:
            import_file(store, funding, "ohlcv:x:XRP:8h")
        rules = {finding.rule for finding in caught.value.report.findings}
        assert "temporal.off_grid" in rules, "funding is stamped some milliseconds late"
        with pytest.raises(InvalidRequestError, match="holds no bars"):
            import_file(store, DATA / FREQTRADE / "NOPAIR_XXX-4m.json", "ohlcv:x:NOPAIR:4m")
        assert store.newest().tx == 0
