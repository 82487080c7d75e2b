"""Bad input, a case a line: each is told what, where and what to do next, and leaves nothing behind."""

from __future__ import annotations

import gzip
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import date, datetime, time
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

import qmtl
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.interfaces.cli.import_bars import import_bars
from qmtl.interfaces.cli.main import app
from qmtl.interfaces.cli.wording import in_words_of
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing import Deliver, FakeClock, ScriptedFeed, ScriptedVendor, Stop, synthetic_bars

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")
HOUR_OF_BARS = Span(DAWN, DAWN + HOUR)
ASKED = ("2024-01-01", "2024-01-01T01:00Z")

Make = Callable[..., qmtl.SeamlessDataProvider]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[qmtl.SeamlessDataProvider] = []

    def build(vendor: Any = None, store: str = "bars", **options: Any) -> qmtl.SeamlessDataProvider:
        provider = qmtl.SeamlessDataProvider(
            tmp_path / store,
            vendors=ScriptedVendor() if vendor is None else vendor,
            clock=FakeClock("2024-02-01T00:00:30Z"),
            metrics_registry=CollectorRegistry(),
            **options,
        )
        made.append(provider)
        return provider

    yield build
    for provider in made:
        provider.close()


def nothing_is_left(provider: qmtl.SeamlessDataProvider, series: str = SERIES) -> None:
    """No row, no word about any bar, no commit, no claim, no scratch file."""
    store = provider.store
    snapshot = store.read(SeriesId.parse(series), HOUR_OF_BARS)
    assert (snapshot.frame.height, list(snapshot.answers), store.newest().tx) == (0, [], 0)
    claims = store.path / "claims"
    assert not claims.exists() or list(claims.iterdir()) == []
    assert [path.name for path in store.path.iterdir() if path.suffix in (".tmp", ".part")] == []


def tells(error: qmtl.QmtlError, *words: str) -> None:
    """One message for a person: the facts, and what to do next."""
    assert error.next_step, str(error)
    for word in words:
        assert word in str(error)


# -- times, ranges, names and options of a request --------------------------------------------------------

# What is asked, and words of the message.
REQUESTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "reversed": (
        {"start": "2024-01-02", "end": "2024-01-01"},
        (SERIES, "start 2024-01-02", "end 2024-01-01", "exchange"),
    ),
    "wholly future": ({"start": "2025-01-01", "end": "2025-01-02"}, (SERIES, "2025-01-01", "future")),
    "an empty range in the future": ({"start": "2025-01-01", "end": "2025-01-01"}, ("future",)),
    "before int64": ({"start": "1677-01-01"}, ("1677-01-01", "outside 1677-09-22 to 2262-04-11")),
    "after int64": ({"end": "2262-04-12"}, ("2262-04-12", "outside")),
    "an int beyond int64": ({"start": 10**30}, ("outside",)),
    "the first date of Python": ({"start": date.min}, ("outside",)),
    "year 1 east of Greenwich": ({"start": "0001-01-01T00:00+14:00"}, ("outside",)),
    "no date": ({"start": "2024-02-30"}, ("'2024-02-30' is not a time",)),
    "leap day of a common year": ({"start": "2023-02-29"}, ("is not a time",)),
    "empty text": ({"start": ""}, ("is not a time",)),
    "none": ({"start": None}, ("is not a time",)),
    "a float": ({"start": 1.5}, ("is not a time", "a float has no unit")),
    "a truth": ({"start": True}, ("is not a time",)),
    "a list": ({"start": [1]}, ("is not a time",)),
    "bytes": ({"start": b"2024-01-01"}, ("is not a time",)),
    "a time without a date": ({"start": time(1)}, ("is not a time",)),
    "NaT": ({"start": pd.NaT}, ("is not a time",)),
    "numpy's time": ({"start": np.datetime64("2024-01-01")}, ("is not a time",)),
    "finer than nanoseconds": ({"start": "2024-01-01T00:00:00.1234567891Z"}, ("is not a time",)),
    "a NUL": ({"start": "2024-01-01\0"}, ("is not a time",)),
    "as_of no time": ({"as_of": "yesterday"}, ("as_of 'yesterday' is not a time",)),
    "as_of before 1970": (
        {"as_of": -1},
        (SERIES, "as_of -1 is 1969-12-31T23:59:59.999999999Z", "give a time of `commits(...)`"),
    ),
    "as_of a date before 1970": ({"as_of": "1969-01-01"}, (SERIES, "no commit lies before 1970")),
    "as_of a float": ({"as_of": 1.7e18}, ("as_of 1.7e+18 is not a time", "a float has no unit")),
    "as_of far in the future": ({"as_of": 10**20}, ("is outside 1677-09-22 to 2262-04-11",)),
    "as_of a text of digits": ({"as_of": "1704067200"}, ("is not a time", "have 19 digits")),
    "as_of in the future": ({"as_of": "2030-01-01"}, (SERIES, "as_of 2030-01-01 lies in the future")),
    "strategy": ({"strategy": "FASTEST"}, ("'FASTEST'", "FAIL_FAST, AUTO_BACKFILL")),
    "strategy of another type": ({"strategy": ["SEAMLESS"]}, ("is not known",)),
    "fill": ({"fill": "zero"}, (SERIES, "'zero'")),
    "sla as a mapping": ({"sla": {"total": "2s"}}, (SERIES, "SLAPolicy")),
    "an unknown calendar": ({"calendars": {"*": "XNYC"}}, (SERIES, "'XNYC'", "'qmtl calendars'")),
    "a calendar that is like no other": ({"calendars": {"*": "Q"}}, (SERIES, "'Q'", "'qmtl calendars'")),
    "beyond what a calendar knows": (
        {"calendars": {"*": "XSHG"}, "start": "2024-01-01", "end": "2200-01-01"},
        (SERIES, "[2024-01-01, 2200-01-01)", "known within", "ask for a range within"),
    ),
    "before the calendar begins": (
        {"calendars": {"*": "XNYS"}, "start": "1850-01-01", "end": "1851-01-01"},
        ("XNYS", "known within"),
    ),
}


ONLY_FETCH = {"strategy", "fill", "sla", "as_of"}
FACES = [
    (face, name)
    for name, (given, _) in REQUESTS.items()
    for face in ("fetch", "coverage", "backfill")
    if face == "fetch" or not ONLY_FETCH & set(given)
]


@pytest.mark.parametrize(("face", "name"), FACES)
def test_a_request_that_cannot_be(make: Make, face: str, name: str) -> None:
    given, words = REQUESTS[name]
    asked = {"start": ASKED[0], "end": ASKED[1], **given}
    provider = make(calendars=asked.pop("calendars", None))
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        getattr(provider, face)(SERIES, **asked)
    tells(refused.value, *words)
    nothing_is_left(provider)


def test_a_calendar_of_another_type(make: Make) -> None:
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        make(calendars={"ohlcv:test:*": 5})
    tells(refused.value, "'ohlcv:test:*'", "int", "sessions(span)")


NODES: dict[str, tuple[object, str]] = {
    "nothing": ("", "fewer than four fields"),
    "one word": ("BTC", "fewer than four fields"),
    "no symbol": ("ohlcv:test::1m", "symbol ''"),
    "an unknown kind": ("quotes:test:BTC:1m", "'quotes' is not known"),
    "another case": ("OHLCV:test:BTC:1m", "'OHLCV' is not known"),
    "a blank in front": (" ohlcv:test:BTC:1m", "is not known"),
    "a venue that is a path": ("ohlcv:../x:BTC:1m", "venue '../x'"),
    "an unknown timeframe": ("ohlcv:test:BTC:1M", "'1M' is not known"),
    "a timeframe that does not divide a day": ("ohlcv:test:BTC:7m", "'7m'"),
    "no time at all": ("ohlcv:test:BTC:0m", "'0m'"),
    "a newline at the end": ("ohlcv:test:BTC:1m\n", "is not known"),
    "digits of another script": ("ohlcv:test:BTC:1\u0660m", "is not known"),
    "a number beyond measure": ("ohlcv:test:BTC:" + "9" * 5000 + "m", "is not known"),
    "a NUL": ("ohlcv:test:a\0b:1m", "control characters"),
    "a symbol beyond measure": ("ohlcv:test:" + "x" * 201 + ":1m", "over 200 bytes"),
    "bytes that are no text": ("ohlcv:test:\udcff:1m", "UTF-8"),
    "a number": (5, "not a node id"),
    "bytes": (b"ohlcv:test:BTC:1m", "not a node id"),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_id_that_is_none(make: Make, name: str) -> None:
    node, words = NODES[name]
    provider = make()
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        provider.fetch(node, *ASKED)  # type: ignore[arg-type]  # that is the point
    tells(refused.value, words)
    nothing_is_left(provider)


@pytest.mark.parametrize(
    "symbol", ["..", "../../etc/passwd", "/etc/passwd", "~", "a b", "é", "%2e%2e", "A:B:C"]
)
def test_a_symbol_never_leaves_its_folder(make: Make, tmp_path: Path, symbol: str) -> None:
    from qmtl.runtime.io.vendors.files import FilesVendor

    series = SeriesId.parse(f"ohlcv:..:{symbol}:1d")
    vendor = FilesVendor(str(tmp_path / "data" / "{venue}" / "{symbol}" / "{timeframe}.csv"))
    path = Path(os.path.normpath(vendor.path_of(series)))
    assert path.parts[: len((tmp_path / "data").parts)] == (tmp_path / "data").parts
    assert len(path.parts) == len((tmp_path / "data").parts) + 3
    result = make().fetch(series, "2024-01-01", "2024-01-03")
    assert result.frame.height == 2
    assert SeriesId.from_address(series.address) == series


def test_several_series(make: Make) -> None:
    provider = make()
    with pytest.raises(qmtl.InvalidRequestError, match="takes several series"):
        provider.fetch_many(SERIES, *ASKED)
    with pytest.raises(qmtl.InvalidRequestError, match="'x' is not a node id"):
        provider.fetch_many([SERIES, "x"], *ASKED)
    none = provider.fetch_many([], *ASKED).frame
    assert (none.height, none.columns[:2]) == (0, ["series", "ts"])
    twice = provider.fetch_many([SERIES, SERIES], *ASKED)
    assert (twice.frame.height, list(twice.results)) == (60, [SERIES])


def test_one_of_several_series_fails(make: Make) -> None:
    other = "ohlcv:other:X:1m"
    provider = make({"ohlcv:test:*": ScriptedVendor()})
    with pytest.raises(qmtl.MissingDataError) as refused:
        provider.fetch_many([SERIES, other], *ASKED)
    tells(refused.value, other, "no vendor")
    partial = provider.fetch_many([SERIES, other], *ASKED, partial_ok=True)
    assert [partial[name].frame.height for name in (SERIES, other)] == [60, 0]


def test_a_venue_that_nobody_serves(make: Make) -> None:
    provider = make({"ohlcv:other:*": ScriptedVendor()})
    with pytest.raises(qmtl.MissingDataError) as refused:
        provider.fetch(SERIES, *ASKED)
    tells(refused.value, SERIES, "[2024-01-01, 2024-01-01T01:00:00Z)", "no vendor", "qmtl.yml")
    nothing_is_left(provider)


def test_a_point_in_time_before_anything(make: Make) -> None:
    provider = make()
    provider.fetch(SERIES, *ASKED)
    with pytest.raises(qmtl.MissingDataError) as refused:
        provider.fetch(SERIES, *ASKED, as_of="2020-01-01")
    tells(refused.value, SERIES, "60 unknown", "the store is read as it was at")
    assert refused.value.next_step is not None
    assert "BACKFILL" not in refused.value.next_step, "no strategy asks a vendor about the past of a store"


# -- edges of time that are no mistakes -------------------------------------------------------------------


EDGES: dict[str, tuple[str, Any, Any, int]] = {
    "start is end": ("1m", "2024-01-01", "2024-01-01", 0),
    "within one bar": ("1h", "2024-01-01T00:10Z", "2024-01-01T00:20Z", 0),
    "begun after the last closed bar": ("1w", "2024-01-31T12:00Z", None, 0),
    "before 1970": ("1d", "1965-01-01", "1965-02-01", 31),
    "across 1970": ("1m", "1969-12-31T23:00Z", "1970-01-01T01:00Z", 120),
    "weeks before 1970 open on Mondays": ("1w", "1969-12-01", "1970-01-10", 6),
    "the earliest day": ("1d", "1677-09-22", "1677-10-02", 10),
    "the earliest weeks": ("1w", "1677-09-22", "1677-10-22", 4),
    "weeks to the end of time": ("1w", "2024-01-01", "2262-04-11", 4),
    "leap day": ("1d", "2020-02-28", "2020-03-02", 3),
    "no leap day": ("1d", "1900-02-27", "1900-03-02", 3),
    "into the future": ("1d", "2024-01-30", "2030-01-01", 2),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_time(make: Make, name: str) -> None:
    timeframe, start, end, rows = EDGES[name]
    provider = make()
    frame = provider.fetch(f"ohlcv:test:X:{timeframe}", start, end).frame
    assert frame.height == rows
    assert frame.columns == ["ts", "open", "high", "low", "close", "volume"]
    if timeframe == "1w":
        assert set(frame["ts"].dt.weekday()) <= {1}


def test_a_naive_datetime_is_utc(make: Make) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", qmtl.NaiveTimeWarning)
        result = make().fetch(SERIES, datetime(2024, 1, 1), datetime(2024, 1, 1, 1))
    assert result.receipt.span == HOUR_OF_BARS


def test_hours_of_a_day_when_clocks_change(make: Make) -> None:
    for day, hours in (("2023-03-12", 23), ("2023-11-05", 25)):
        start = pd.Timestamp(day, tz="America/New_York")
        end = start + pd.DateOffset(days=1)
        assert make(store=day).fetch("ohlcv:test:X:1h", start, end).frame.height == hours


def test_closed_bars_are_not_filled(make: Make) -> None:
    weekend = Coverage.of(Span(to_ns("2024-01-06"), to_ns("2024-01-08")))
    provider = make(ScriptedVendor(no_trade=weekend), calendars={"*": "FX"})
    result = provider.fetch("ohlcv:test:X:1h", "2024-01-05", "2024-01-09", fill="flat", partial_ok=True)
    assert result.coverage.counts["closed"] == 46
    assert result.frame["filled"].sum() == result.coverage.counts["no_trade"] == 2


def test_a_volume_that_no_source_has_is_not_filled_in(make: Make) -> None:
    silent = Coverage.of(Span(DAWN + MINUTE, DAWN + 2 * MINUTE))
    whole = ScriptedVendor(no_trade=silent)

    class WithoutVolume:
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            yield Page(whole.bars(series, span).drop("volume"), span)

    provider = make(WithoutVolume(), declared=[("*", SeriesFacts(has_volume=False))])
    frame = provider.fetch(SERIES, *ASKED, fill="flat", partial_ok=True).frame
    assert frame["filled"].sum() == 1
    assert frame["volume"].null_count() == 60


# -- vendors ----------------------------------------------------------------------------------------------


def first_half(span: Span) -> tuple[Span, Span]:
    middle = span.start + span.length // 2
    return Span(span.start, middle), Span(middle, span.end)


def cast_ts(bars: pl.DataFrame, how: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
    return bars.with_columns(how(pl.col("ts")))


# What a vendor hands over, given its right rows and its span; and words of the refusal.
BROKEN_PAGES: dict[str, tuple[Callable[[pl.DataFrame, Span], Any], str]] = {
    "no page": (lambda bars, span: 1, "it is a int"),
    "none": (lambda bars, span: None, "it is a NoneType"),
    "a frame": (lambda bars, span: bars, "it is a polars.DataFrame"),
    "a pandas frame": (lambda bars, span: Page(bars.to_pandas(), span), "pandas.DataFrame"),  # type: ignore[arg-type]  # the point
    "a lazy frame": (lambda bars, span: Page(bars.lazy(), span), "LazyFrame"),  # type: ignore[arg-type]  # the point
    "answered is a tuple": (lambda bars, span: Page(bars, tuple(span)), "its answered is a tuple"),  # type: ignore[arg-type]  # the point
    "absent is a list": (lambda bars, span: Page(bars, span, [span]), "its absent is a list"),  # type: ignore[arg-type]  # the point
    "no ts": (lambda bars, span: Page(bars.drop("ts"), span), "its ts column is None"),
    "no volume": (lambda bars, span: Page(bars.drop("volume"), span), "no column volume"),
    "no prices": (lambda bars, span: Page(bars.select("ts"), span), "no column open, high, low, close"),
    "naive stamps": (
        lambda bars, span: Page(cast_ts(bars, lambda ts: ts.dt.replace_time_zone(None)), span),
        "must be a UTC datetime column",
    ),
    "stamps of New York": (
        lambda bars, span: Page(cast_ts(bars, lambda ts: ts.dt.convert_time_zone("America/New_York")), span),
        "America/New_York",
    ),
    "integer stamps": (
        lambda bars, span: Page(cast_ts(bars, lambda ts: ts.to_physical()), span),
        "its ts column is Int64",
    ),
    "stamps that are null": (
        lambda bars, span: Page(bars.with_columns(ts=pl.lit(None, dtype=bars.schema["ts"])), span),
        "rows without a ts",
    ),
    "microseconds beyond int64 nanoseconds": (
        lambda bars, span: Page(
            cast_ts(bars, lambda ts: (ts.to_physical() + 2**60).cast(pl.Datetime("us", "UTC"))), span
        ),
        "nanoseconds cannot tell",
    ),
    "decimal prices": (
        lambda bars, span: Page(bars.with_columns(pl.col("open").cast(pl.Decimal(20, 4))), span),
        "open is Decimal",
    ),
    "text prices": (
        lambda bars, span: Page(bars.with_columns(pl.col("open").cast(pl.String)), span),
        "open is String",
    ),
    "integer volumes": (
        lambda bars, span: Page(bars.with_columns(pl.col("volume").cast(pl.Int64)), span),
        "volume is Int64",
    ),
    "rows outside its answer": (lambda bars, span: Page(bars, first_half(span)[0]), "a row at"),
    "an answer outside the question": (
        lambda bars, span: Page(bars, Span(span.start - DAY, span.end)),
        "not within the range",
    ),
    "absent outside its answer": (
        lambda bars, span: Page(bars.head(30), first_half(span)[0], Coverage.of(span)),
        "absent",
    ),
}


class Handing:
    """A vendor that hands over what `give` makes of the right rows."""

    name = "own"

    def __init__(self, *give: Callable[[pl.DataFrame, Span], Any]) -> None:
        self._give = give

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Any]:
        for give in self._give:
            yield give(synthetic_bars(series, span), span)


@pytest.mark.parametrize("name", BROKEN_PAGES)
def test_a_broken_page_is_refused_whole(make: Make, name: str) -> None:
    give, words = BROKEN_PAGES[name]
    provider = make(Handing(give))
    with pytest.raises(qmtl.SourceUnavailableError) as refused:
        provider.fetch(SERIES, *ASKED)
    assert refused.value.source == "own"
    tells(refused.value, SERIES, "[2024-01-01, 2024-01-01T01:00:00Z)", "own is refused", words)
    nothing_is_left(provider)
    partial = provider.fetch(SERIES, *ASKED, partial_ok=True)
    assert partial.frame.height == 0
    first, second = partial.receipt.violations
    assert words in first
    assert second.startswith("bars are missing: 60 unknown")


UNUSUAL_PAGES: dict[str, tuple[Callable[[pl.DataFrame, Span], Any], ...]] = {
    "newest first": (lambda bars, span: Page(bars.reverse(), span),),
    "every row twice": (lambda bars, span: Page(pl.concat([bars, bars]), span),),
    "the same page twice": (lambda bars, span: Page(bars, span),) * 2,
    "pages out of order": (
        lambda bars, span: Page(bars.tail(30), first_half(span)[1]),
        lambda bars, span: Page(bars.head(30), first_half(span)[0]),
    ),
    "empty pages": (
        lambda bars, span: Page(pl.DataFrame(), Span(span.start, span.start)),
        lambda bars, span: Page(bars, span),
        lambda bars, span: Page(bars.clear(), Span(span.end, span.end)),
    ),
    "milliseconds, then nanoseconds": (
        lambda bars, span: Page(
            cast_ts(bars.head(30), lambda ts: ts.dt.cast_time_unit("ms")), first_half(span)[0]
        ),
        lambda bars, span: Page(bars.tail(30), first_half(span)[1]),
    ),
    "columns more, and in another order": (
        lambda bars, span: Page(
            bars.head(30).select("volume", "ts", "close", "low", "high", "open", pl.lit(1).alias("trades")),
            first_half(span)[0],
        ),
        lambda bars, span: Page(bars.tail(30), first_half(span)[1]),
    ),
}


@pytest.mark.parametrize("name", UNUSUAL_PAGES)
def test_an_unusual_page_is_taken(make: Make, name: str) -> None:
    frame = make(Handing(*UNUSUAL_PAGES[name])).fetch(SERIES, *ASKED).frame
    assert frame.equals(synthetic_bars(SERIES, HOUR_OF_BARS))


class NoVendor:
    pass


class ReturnsAList:
    def pages(self, series: SeriesId, span: Span) -> list[Page]:
        return [Page(synthetic_bars(series, span), span)]


class IsACoroutine:
    async def pages(self, series: SeriesId, span: Span) -> list[Page]:
        return []


class RaisesAtOnce:
    def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        raise RuntimeError("not today")


class Raises:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        raise self._error
        yield


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    "vendor",
    [
        NoVendor(),
        ReturnsAList(),
        IsACoroutine(),
        RaisesAtOnce(),
        [ScriptedVendor()],
        *map(Raises, (MemoryError(), StopIteration(), SystemExit(3), GeneratorExit(), KeyboardInterrupt())),
    ],
    ids=lambda vendor: f"{type(vendor).__name__} {type(getattr(vendor, '_error', vendor)).__name__}",
)
def test_a_vendor_that_is_none_or_fails_oddly_is_a_source_that_failed(make: Make, vendor: Any) -> None:
    provider = make(vendor)
    with pytest.raises(qmtl.SourceUnavailableError) as refused:
        provider.fetch(SERIES, *ASKED)
    tells(refused.value, SERIES, "failed", "repair the vendor")
    nothing_is_left(provider)


def test_a_vendor_that_cancels_itself_is_a_source_that_failed(make: Make) -> None:
    import asyncio

    with pytest.raises(qmtl.SourceUnavailableError, match="CancelledError"):
        make(Raises(asyncio.CancelledError())).fetch(SERIES, *ASKED)


def test_a_plain_async_iterator_will_do(make: Make) -> None:
    class Once:
        def __init__(self, page: Page) -> None:
            self._pages = [page]

        def __aiter__(self) -> Once:
            return self

        async def __anext__(self) -> Page:
            if not self._pages:
                raise StopAsyncIteration
            return self._pages.pop()

    class Plain:
        def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            return Once(Page(synthetic_bars(series, span), span))

    assert make(Plain()).fetch(SERIES, *ASKED).frame.height == 60


def test_an_error_of_a_vendor_is_reported_where_it_happened(make: Make) -> None:
    error = qmtl.InvalidRequestError("the symbol is not listed", next_step="see the venue's list")
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        make(Raises(error)).fetch(SERIES, *ASKED)
    tells(refused.value, SERIES, "[2024-01-01, 2024-01-01T01:00:00Z)")


LAST_BAR = Span(to_ns("2024-01-31T23:59Z"), to_ns("2024-02-01"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (ValueError("a bug"), "ValueError: a bug"),
        (SystemExit(1), "SystemExit"),
        (Deliver(0, "no frame"), "it is a str"),  # type: ignore[arg-type]  # the point
        (Deliver(0, pl.DataFrame({"a": [1]})), "columns are missing"),
        (
            Deliver(
                0, synthetic_bars(SERIES, LAST_BAR).with_columns(pl.col("ts").dt.replace_time_zone(None))
            ),
            "not a UTC datetime",
        ),
    ],
    ids=["raises", "exits", "no frame", "other columns", "naive stamps"],
)
def test_a_broken_feed_is_a_source_that_failed(make: Make, line: Any, words: str) -> None:
    provider = make({}, live=ScriptedFeed([line]))
    with pytest.raises(qmtl.SourceUnavailableError) as refused:
        provider.fetch(SERIES, LAST_BAR.start)
    tells(refused.value, SERIES, "ScriptedFeed", words)
    nothing_is_left(provider)


class Nonsense:
    """A calendar that says anything."""

    def __init__(self, message: Any) -> None:
        self._said = message

    def sessions(self, span: Span) -> Any:
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


@pytest.mark.parametrize("message", [None, [], [(1, 2)], "open", ValueError("boom")], ids=repr)
@pytest.mark.parametrize("anchor", ["clock", "session"])
def test_a_calendar_that_says_nonsense(make: Make, message: Any, anchor: Any) -> None:
    provider = make(calendars={"*": Nonsense(message)}, declared=[("*", SeriesFacts(anchor=anchor))])
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        provider.fetch(SERIES, *ASKED)
    tells(refused.value, "the calendar Nonsense cannot be used")
    nothing_is_left(provider)


def test_two_declarations_that_disagree(make: Make) -> None:
    provider = make(calendars={"*": "FX"}, declared=[("ohlcv:test:*", SeriesFacts(calendar="XNYS"))])
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        provider.fetch(SERIES, *ASKED)
    tells(refused.value, SERIES, "'FX'", "'XNYS'", "calendars=", "seamless.series")
    nothing_is_left(provider)


# -- files ------------------------------------------------------------------------------------------------

HEAD = "ts,open,high,low,close,volume\n"
ROW = "2024-01-01T00:00:00Z,2,3,1,2,5\n"
NEXT = "2024-01-01T00:01:00Z,2,3,1,2,5\n"

# Name and content of a file, the exit code, and words of the message (the file is always named).
FILES: dict[str, tuple[str, str | bytes, int, tuple[str, ...]]] = {
    "missing column": ("x.csv", "ts,open,high,low,volume\n1,1,1,1,1\n", 2, ("'close'", "--columns close=")),
    "mixed zones": ("x.csv", HEAD + ROW + NEXT.replace("Z", ""), 2, ("line 3", "'ts'", "mixed")),
    "text in numbers": (
        "x.csv",
        HEAD + ROW + NEXT.replace(",3,", ",three,"),
        2,
        ("line 3", "'high'", "'three'"),
    ),
    "a byte order mark and no body": ("x.csv", b"\xef\xbb\xbf" + HEAD.encode(), 2, ("no bars",)),
    "a byte order mark alone": ("x.csv", b"\xef\xbb\xbf", 2, ("empty",)),
    "empty": ("x.csv", "", 2, ("empty",)),
    "empty body": ("x.csv", HEAD, 2, ("holds no bars",)),
    "no header": ("x.csv", ROW, 2, ("line 1", "--columns ts,open")),
    "a short line": ("x.csv", HEAD + ROW + "2024-01-01T00:01:00Z,2,3\n", 2, ("line 3",)),
    "a long line": ("x.csv", HEAD + ROW + NEXT.replace("\n", ",9\n"), 2, ("line 3",)),
    "line ends of old Macs": ("x.csv", (HEAD + ROW + NEXT).replace("\n", "\r"), 2, ("line 1", "CSV")),
    "a quote without end": ("x.csv", '"' + "a," * 100_000, 2, ("line 1",)),
    "a header beyond measure": ("x.csv", "ts,open,high,low,close," + "v" * 200_000 + "\n", 2, ("line 1",)),
    "UTF-16 cut in half a letter": ("x.csv", (HEAD + ROW).encode("utf-16")[:-1], 2, ("utf-16",)),
    "Latin 1": ("x.csv", HEAD.encode() + b"\xe9,1,1,1,1,1\n", 2, ()),
    "integer stamps": ("x.csv", HEAD + "1704067200,2,3,1,2,5\n", 2, ("--unit",)),
    "American dates": ("x.csv", HEAD + "01/02/2024 00:00,2,3,1,2,5\n", 2, ("day and month",)),
    "gzip that is none": ("x.csv.gz", HEAD + ROW, 2, ("unpacked",)),
    "gzip cut short": ("x.csv.gz", gzip.compress((HEAD + ROW * 99).encode())[:60], 2, ("unpacked",)),
    "zip that is none": ("x.zip", HEAD + ROW, 2, ("unpacked",)),
    "Parquet that is none": ("x.parquet", HEAD + ROW, 2, ("Parquet",)),
    "Arrow that is none": ("x.arrow", HEAD + ROW, 2, ("Arrow",)),
    "JSON that is none": ("x.jsonl", '{"ts": 1}\n{"ts": \n', 2, ("line 2",)),
    "JSON that nests": (
        "x.jsonl",
        '{"ts": "2024-01-01T00:00:00Z", "open": 1}\n{"ts": "2024-01-01T00:01:00Z", "open": [1]}\n',
        2,
        ("line 2", "open holds a list or an object"),
    ),
    "rows of a shorter timeframe": (
        "x.csv",
        HEAD + "".join(ROW.replace("00:00Z", f"00:{second:02}Z") for second in range(0, 60, 10)),
        2,
        (SERIES, "a shorter timeframe than 1m", "10 seconds"),
    ),
    "JSON too deep": ("x.jsonl", '{"ts":' + "[" * 5000 + "]" * 5000 + "}\n", 2, ("line 1",)),
    "a JSON array of nothing": ("x.json", "[{}]", 2, ("x.json",)),
    "an unknown format": ("x.xlsx", HEAD + ROW, 2, ("'.xlsx'",)),
    "NaN": ("x.csv", HEAD + ROW + NEXT.replace(",3,", ",NaN,"), 4, ("line 3", "quality.non_finite_price")),
    "infinity": (
        "x.csv",
        HEAD + ROW + NEXT.replace(",3,", ",inf,"),
        4,
        ("line 3", "quality.non_finite_price"),
    ),
    "a negative price": ("x.csv", HEAD + ROW + NEXT.replace(",1,", ",-1,"), 4, ("line 3", "nonpositive")),
    "high below low": ("x.csv", HEAD + ROW + NEXT.replace(",3,", ",0.5,"), 4, ("line 3", "quality.")),
    "two rows for one bar": ("x.csv", HEAD + ROW + ROW.replace(",5", ",6"), 4, ("2, 3", "conflicting")),
    "off the grid": ("x.csv", HEAD + ROW.replace("00:00Z", "00:07Z"), 4, ("line 2", "temporal.off_grid")),
    "a bar of the future": ("x.csv", HEAD + ROW.replace("2024", "2224"), 4, ("line 2", "forming")),
    "one bad line among good ones": (
        "x.csv",
        HEAD + ROW + NEXT.replace(",1,", ",0,"),
        4,
        ("line 3", "1 of 2 rows", "nothing was imported", "--partial-ok"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_imported_leaves_nothing(tmp_path: Path, name: str) -> None:
    called, content, code, words = FILES[name]
    path = tmp_path / called
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    kind = qmtl.InvalidRequestError if code == 2 else qmtl.ConformancePipelineError
    with EmbeddedStore(tmp_path / "bars") as store:
        with pytest.raises(kind) as refused:
            qmtl.import_file(store, path, SERIES)
        assert refused.value.next_step
        message = in_words_of(signature(import_bars).parameters, str(refused.value))
        assert [word for word in (str(path), *words) if word not in message] == []
        assert store.newest().tx == 0
        assert store.facts(SeriesId.parse(SERIES)) is None
    reported = CliRunner().invoke(
        app, ["--store", str(tmp_path / "bars"), "import", str(path), "--series", SERIES]
    )
    assert reported.exit_code == code, reported.output
    assert "Traceback" not in reported.output
    for word in (str(path), "next:", *words):
        assert word in reported.stderr
    with EmbeddedStore(tmp_path / "bars") as store:
        assert store.newest().tx == 0


def test_damage_that_makes_a_reader_panic_is_bad_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A byte of a Parquet file's footer changed: some of the readers' own checks are assertions."""
    whole = tmp_path / "whole.parquet"
    synthetic_bars(SERIES, HOUR_OF_BARS).write_parquet(whole)
    content = whole.read_bytes()
    with EmbeddedStore(tmp_path / "bars") as store:
        for place in range(len(content) - 1100, len(content) - 600, 2):
            broken = tmp_path / "broken.parquet"
            broken.write_bytes(content[:place] + bytes([content[place] ^ 0x7F]) + content[place + 1 :])
            with suppress(qmtl.QmtlError):  # some damage cannot be seen; anything else is a failure
                qmtl.import_file(store, broken, SERIES, partial_ok=True)
    capfd.readouterr()


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd.csv"))
    path.write_text(HEAD + ROW)
    with (
        EmbeddedStore(tmp_path / "bars") as store,
        pytest.raises(qmtl.InvalidRequestError, match="not UTF-8"),
    ):
        qmtl.import_file(store, path, SERIES)


# -- the directory of the store ---------------------------------------------------------------------------


def a_file(place: Path) -> None:
    place.write_text("not a directory")


def a_foreign_folder(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("precious")


def a_foreign_format(place: Path) -> None:
    place.mkdir()
    (place / "bars.sqlite").write_text("ts,open\n" * 500)


def a_newer_version(place: Path) -> None:
    EmbeddedStore(place).close()
    connection = sqlite3.connect(place / "bars.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("prepare", [a_file, a_foreign_folder, a_foreign_format, a_newer_version])
def test_a_store_that_is_none(make: Make, tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    place = tmp_path / "odd"
    prepare(place)
    before = {path.name: path.read_bytes() for path in [place, *place.rglob("*.t*")] if path.is_file()}
    with pytest.raises(qmtl.StoreError) as refused:
        make(store="odd")
    tells(refused.value, str(place))
    reported = CliRunner().invoke(app, ["--store", str(place), "fetch", SERIES, *ASKED])
    assert reported.exit_code == 7
    assert str(place) in reported.stderr
    assert "Traceback" not in reported.output
    after = {path.name: path.read_bytes() for path in [place, *place.rglob("*.t*")] if path.is_file()}
    assert after == before
    assert not (place / "claims").exists()


# -- settings ---------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "a typo": ("seamless:\n  storee: x\n", (":2", "'seamless.storee'", "did you mean 'store'?")),
    "a section that is none": ("seamles: {}\n", (":1", "'seamless'")),
    "a key of a vendor": (
        'seamless:\n  vendors:\n    - {match: "*", kind: files, path: x, colums: y}\n',
        (":3", "colums", "did you mean 'columns'?"),
    ),
    "a value of a key": ("seamless: {cache_bytes: lots}\n", (":1", "seamless.cache_bytes")),
    "one pattern twice": (
        'seamless: {series: [{match: "*", calendar: FX}, {match: "*", calendar: XNYS}]}\n',
        ("two entries", "'*'"),
    ),
    "an SLA's key": ("seamless:\n  sla: {totl: 2s}\n", (":2", "'totl'", "'total'")),
    "no YAML": ("a: [1\n", ("not YAML",)),
    "no sections": ("- 1\n", ("sections",)),
    "no text": (b"\xff\xfe\0", ("cannot be read",)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    content, words = SETTINGS[name]
    config = tmp_path / "qmtl.yml"
    config.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(qmtl.SettingsError) as refused:
        qmtl.SeamlessDataProvider.from_settings(config)
    for word in (str(config), *words):
        assert word in str(refused.value)
    reported = CliRunner().invoke(
        app, ["--config", str(config), "--store", str(tmp_path / "bars"), "fetch", SERIES, *ASKED]
    )
    assert reported.exit_code == 2
    assert "Traceback" not in reported.output
    assert not (tmp_path / "bars").exists()


# -- the command line -------------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "reversed": (("fetch", SERIES, "2024-01-02", "2024-01-01"), 2, (SERIES, "exchange")),
    "future": (("fetch", SERIES, "2200-01-01", "2200-01-02"), 2, (SERIES, "future")),
    "out of range": (("coverage", SERIES, "1066-01-01", "2024-01-01"), 2, ("outside",)),
    "no node": (("fetch", "BTC", *ASKED), 2, ("'BTC' is not a node id",)),
    "bytes that are no text": (("fetch", "ohlcv:test:\udcff:1m", *ASKED), 2, ("UTF-8",)),
    "an unknown timeframe": (("fetch", "ohlcv:test:BTC:1M", *ASKED), 2, ("'1M'",)),
    "an unknown venue": (("fetch", SERIES, *ASKED), 3, (SERIES, "no vendor")),
    "nobody to ask": (("backfill", SERIES, *ASKED), 2, (SERIES, "no vendor")),
    "a strategy": (("fetch", SERIES, *ASKED, "--strategy", "best"), 2, ("FAIL_FAST",)),
    "a fill": (("fetch", SERIES, *ASKED, "--fill", "best"), 2, ("--fill",)),
    "a point in the future": (("fetch", SERIES, *ASKED, "--as-of", "2200-01-01"), 2, ("as_of",)),
    "a point before 1970": (
        ("fetch", SERIES, *ASKED, "--as-of", "-1"),
        2,
        (SERIES, "no commit lies before 1970", "give a time of 'qmtl commits'"),
    ),
    "a pin before 1970": (("store", "pin", "x", "--as-of", "1969-12-31"), 2, ("no commit lies before 1970",)),
    "a diff from before 1970": (
        ("diff", SERIES, "1969-01-01", "2024-01-01"),
        2,
        (SERIES,),
    ),
    "a point as few digits": (("coverage", SERIES, *ASKED, "--as-of", "5"), 2, ("have 19 digits",)),
    "an SLA file that is not there": (("fetch", SERIES, *ASKED, "--sla", "none.yml"), 2, ("none.yml",)),
    "an output of no format": (("fetch", SERIES, *ASKED, "-o", "x.docx"), 2, ("x.docx",)),
    "a file that is not there": (("import", "none.csv", "--series", SERIES), 2, ("none.csv",)),
    "a diff of no times": (("diff", SERIES, "then", "now"), 2, ("'then' is not a time",)),
    "a report of nothing": (("reports", "show", "nothing"), 2, ("'nothing'",)),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    words, code, message = COMMANDS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qmtl.yml").write_text("seamless:\n  vendors:\n    - {match: none, kind: files, path: x}\n")
    EmbeddedStore(tmp_path / "bars").close()
    reported = CliRunner().invoke(app, ["--store", "bars", *words])
    assert reported.exit_code == code, reported.output
    assert reported.stdout == ""
    assert "Traceback" not in reported.output
    for word in message:
        assert word in reported.stderr
    with EmbeddedStore(tmp_path / "bars") as store:
        assert store.newest().tx == 0


def test_a_page_that_stops_leaves_claims_to_nobody(make: Make) -> None:
    provider = make(ScriptedVendor(faults={0: Stop()}))
    with pytest.raises(qmtl.MissingDataError) as refused:
        provider.fetch(SERIES, *ASKED)
    tells(refused.value, SERIES, "60 unknown")
    nothing_is_left(provider)
