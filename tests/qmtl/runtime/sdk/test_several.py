"""Several series at once: one bad series stops the others, or does not; and nothing hides anything."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.store.contract import ReadAbandonedError, Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.panel_size import ROW_BYTES
from qmtl.runtime.sdk.profile_table import ProfileRow
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.several import AT_ONCE, Place, for_each
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_proxy import StoreProxy
from qmtl.runtime.testing.vendors import Change, Raise, ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

A, B, C, BAD = (f"ohlcv:{venue}:X/USDT:1m" for venue in ("a", "b", "c", "bad"))
DAWN = to_ns("2024-01-01")
SPAN = Span(DAWN, DAWN + 4 * HOUR)
FACES = ["fetch_many", "fetch_many_async", "backfill"]


def ask(provider: SeamlessDataProvider, face: str, names: Any, **options: Any) -> Any:
    if face == "fetch_many_async":
        return asyncio.run(provider.fetch_many_async(names, *SPAN, **options))
    return getattr(provider, face)(names, *SPAN, **options)


def down(times: int = 1) -> ScriptedVendor:
    error = qmtl.SourceUnavailableError("the exchange is on holiday", source="x")
    return ScriptedVendor(faults=dict.fromkeys(range(times), Raise(error)))


class Unknown:
    """A vendor that does not know the series: an error of the request, even where holes are answered."""

    def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        raise qmtl.InvalidRequestError(f"no symbol {series.symbol!r}", series=series)


# -- with partial_ok


@pytest.mark.parametrize("face", FACES)
def test_one_bad_series_never_stops_the_others(make: Make, face: str) -> None:
    vendor = ScriptedVendor()
    provider = make({"ohlcv:bad:*": Unknown(), "*": vendor})
    names = [A, BAD, "nonsense", B, SeriesId.parse(C), A]
    result = ask(provider, face, names, partial_ok=True)
    answers = result.results if face != "backfill" else result.states
    assert list(answers) == [A, B, C]
    assert list(result.errors) == [BAD, "nonsense"]
    assert all(isinstance(error, qmtl.InvalidRequestError) for error in result.errors.values())
    assert "'nonsense' is not a node id" in str(result.errors["nonsense"])
    assert "no symbol" in str(result.errors[BAD])
    with pytest.raises(qmtl.InvalidRequestError, match="no symbol"):
        result[BAD]
    with pytest.raises(KeyError):
        result["never asked"]
    assert result[SeriesId.parse(A)] is result[A] is answers[A]
    assert (list(result), len(result)) == ([A, B, C], 3)
    assert A in result
    assert SeriesId.parse(A) in result
    assert BAD not in result
    for name in (A, B, C):
        kept = provider.fetch(name, *SPAN, strategy="FAIL_FAST").frame
        assert_frame_equal(kept, vendor.bars(name, SPAN))


class _Failing:
    def sessions(self, span: Span) -> Any:
        raise ValueError("no days to be had")


@pytest.mark.parametrize("calendar", [_Failing(), "XNYS"])
@pytest.mark.parametrize("face", [*FACES, "scan_many"])
def test_a_calendar_that_cannot_be_used_stops_one_series(make: Make, face: str, calendar: Any) -> None:
    """It is asked where a panel is measured, where its rows are read together, and where each is answered."""
    span = Span(to_ns("1850-01-01"), to_ns("1850-02-01"))  # before any session of XNYS that is known
    good, bad = "ohlcv:a:X/USDT:1d", "ohlcv:bad:X/USDT:1d"
    for room in (2 * 31 * ROW_BYTES, 31 * ROW_BYTES):  # the calendars need not be asked for the size, or must
        options = {} if face in ("scan_many", "backfill") else {"max_bytes": room}
        provider = make(
            ScriptedVendor(),
            f"{room}",
            calendars={"ohlcv:bad:*": calendar},
            clock=FakeClock("2024-06-01"),
            **options,
        )
        if face == "scan_many":
            (result,) = provider.scan_many([bad, good], *span, partial_ok=True)
        elif face == "fetch_many_async":
            result = asyncio.run(provider.fetch_many_async([bad, good], *span, partial_ok=True))
        else:
            result = getattr(provider, face)([bad, good], *span, partial_ok=True)
        answers = result.states if face == "backfill" else result.results
        assert list(answers) == [good]
        assert list(result.errors) == [bad]
        assert isinstance(result.errors[bad], qmtl.InvalidRequestError)
        assert "the calendar" in result.errors[bad].what


def test_the_answers_stand_side_by_side(make: Make) -> None:
    vendor = ScriptedVendor()
    provider = make({"ohlcv:bad:*": Unknown(), "*": vendor})
    result = provider.fetch_many([B, BAD, A], *SPAN, partial_ok=True)
    assert_frame_equal(
        result.frame,
        pl.concat(
            [vendor.bars(name, SPAN).select(pl.lit(name).alias("series"), pl.all()) for name in (B, A)]
        ),
    )
    assert result.to_pandas().equals(result.frame.to_pandas())
    assert result.to_arrow().num_rows == 480
    assert list(result.receipts) == [B, A]
    assert result.receipts[A].fingerprint == provider.fetch(A, *SPAN).receipt.fingerprint


def test_the_provider_may_be_partial_for_all(make: Make) -> None:
    provider = make({"ohlcv:bad:*": Unknown(), "*": ScriptedVendor()}, partial_ok=True)
    assert list(provider.fetch_many([A, BAD], *SPAN).errors) == [BAD]
    assert list(provider.backfill([A, BAD], *SPAN).errors) == [BAD]
    with pytest.raises(qmtl.InvalidRequestError, match="no symbol"):
        provider.fetch_many([A, BAD], *SPAN, partial_ok=False)


def test_a_source_that_is_down_is_holes_of_a_fetch_and_an_error_of_a_backfill(make: Make) -> None:
    provider = make({"ohlcv:bad:*": down(2), "*": ScriptedVendor()})
    fetched = provider.fetch_many([BAD, A], *SPAN, partial_ok=True)
    assert (list(fetched.results), dict(fetched.errors)) == ([BAD, A], {})
    assert fetched[BAD].coverage.counts["unknown"] == 240
    assert fetched.receipts[BAD].violations[0] == "the exchange is on holiday"
    filled = provider.backfill([BAD, A], *SPAN, partial_ok=True)
    assert list(filled.states) == [A]
    assert type(filled.errors[BAD]) is qmtl.SourceUnavailableError


def test_every_series_may_be_bad(make: Make) -> None:
    result = make(Unknown()).fetch_many([A, B], *SPAN, partial_ok=True)
    assert (list(result.results), list(result.errors)) == ([], [A, B])
    assert result.frame.height == 0
    assert result.to_pandas("close").empty


# -- without


@pytest.mark.parametrize("face", FACES)
def test_without_it_the_first_error_is_raised_when_the_others_have_ended(make: Make, face: str) -> None:
    """A has committed two pages and waits for its third; B fails. Nothing goes on once that is heard."""
    committed = threading.Event()
    ended: list[str] = []

    class Slow(ScriptedVendor):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            try:
                half = Span(span.start, span.start + HOUR)
                yield Page(self.bars(series, half), half)
                committed.set()
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(0)
                ended.append(series.text)

    class Fails:
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            await asyncio.to_thread(committed.wait, 10)
            raise qmtl.SourceUnavailableError("the exchange is on holiday", source="x", series=series)
            yield

    provider = make({"ohlcv:bad:*": Fails(), "*": Slow()})
    with pytest.raises(qmtl.SourceUnavailableError, match="on holiday") as refused:
        ask(provider, face, [A, BAD])
    assert ended == [A], "its generator was closed before the caller heard of it"
    assert refused.value.series == BAD
    calls = make(ScriptedVendor())
    assert calls.fetch(A, *SPAN).frame.height == 240


@pytest.mark.parametrize("leaves", [True, False])
def test_who_has_left_a_place_makes_room_for_one_more(leaves: bool) -> None:
    begun: list[str] = []

    async def work(name: str, place: Place) -> None:
        begun.append(name)
        if leaves:
            place.leave()
            place.leave()
        await asyncio.get_running_loop().create_future()

    async def story() -> None:
        names = [str(number) for number in range(3 * AT_ONCE)]
        every = asyncio.ensure_future(for_each(names, work, partial_ok=True))
        for _ in range(10 * len(names)):
            await asyncio.sleep(0)
        assert begun == (names if leaves else names[:AT_ONCE])
        every.cancel()
        await asyncio.wait({every})

    asyncio.run(story())


def test_a_venue_that_does_not_answer_holds_up_no_other() -> None:
    hanging = [f"ohlcv:hangs:{number}/USDT:1h" for number in range(3 * AT_ONCE)]
    others = [f"ohlcv:answers:{number}/USDT:1h" for number in range(3)]
    begun: list[str] = []

    async def run() -> None:
        let_go, answered = asyncio.Event(), asyncio.Event()

        async def work(name: str, place: Place) -> str:
            begun.append(name)
            if name in hanging:
                await let_go.wait()
            elif name == others[-1]:
                answered.set()
            return name

        every = asyncio.ensure_future(for_each([*hanging, *others, "no node id"], work, partial_ok=True))
        async with asyncio.timeout(60):
            await answered.wait()
        assert begun == [*hanging[:AT_ONCE], *others, "no node id"]
        let_go.set()
        assert list((await every)[0]) == [*hanging, *others, "no node id"]

    asyncio.run(run())


def test_no_more_work_at_once_than_there_are_places() -> None:
    """Also once some have left theirs before the end."""
    at_work, most = 0, 0

    async def work(name: str, place: Place) -> None:
        nonlocal at_work, most
        at_work, most = at_work + 1, max(most, at_work + 1)
        await asyncio.sleep(0)
        at_work -= 1
        if int(name) % 2:
            place.leave()
            await asyncio.sleep(0)

    names = [str(number) for number in range(5 * AT_ONCE)]
    asyncio.run(for_each(names, work, partial_ok=False))
    assert most == AT_ONCE


def test_errors_of_those_that_were_cancelled_are_listed() -> None:
    async def work(name: str, _: Place) -> None:
        if name == "first":
            await asyncio.sleep(0)
            raise qmtl.SourceUnavailableError("down", source="x", series=A)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise qmtl.StoreError("the disk is full", series=B) from None

    with pytest.raises(qmtl.SourceUnavailableError, match="down") as refused:
        asyncio.run(for_each(["second", "first"], work, partial_ok=False))
    assert [other.what for other in refused.value.others] == ["the disk is full"]
    assert f"also:   {B}: the disk is full" in str(refused.value)


def test_a_defect_is_not_taken_for_an_error_of_a_series(make: Make) -> None:
    provider = make(ScriptedVendor())

    def broken(_: object) -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError):
        provider.fetch_many([A, B], *SPAN, partial_ok=True, on_progress=broken)
    with pytest.raises(TypeError, match=r"no option 'strat'; it has strategy"):
        provider.fetch_many([A], *SPAN, strat="SEAMLESS", partial_ok=True)  # type: ignore[call-arg]


COMMON: dict[str, tuple[tuple[Any, Any], dict[str, Any], str]] = {
    "start after end": ((SPAN.end, SPAN.start), {}, "comes after end"),
    "no time": (("yesterday", SPAN.end), {}, "yesterday"),
    "strategy": (SPAN, {"strategy": "FAST"}, "strategy 'FAST'"),
    "fill": (SPAN, {"fill": "zero"}, "fill 'zero'"),
    "sla": (SPAN, {"sla": 3}, "is not an SLAPolicy"),
    "as_of": (SPAN, {"as_of": "then"}, "then"),
}


@pytest.mark.parametrize("name", COMMON)
def test_what_is_wrong_for_all_is_no_fault_of_a_series(make: Make, name: str) -> None:
    span, options, words = COMMON[name]
    with pytest.raises(qmtl.InvalidRequestError, match=words):
        make(ScriptedVendor()).fetch_many([A, B], *span, partial_ok=True, **options)


@pytest.mark.parametrize("face", ["fetch_many", "fetch_many_async"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (A, "takes several series"),
        (SeriesId.parse(A), "takes several series"),
        (7, "no collection of series"),
        ([A, 7], "7 is not a node id"),
    ],
)
def test_what_is_no_collection_of_series(make: Make, face: str, given: Any, words: str) -> None:
    with pytest.raises(qmtl.InvalidRequestError, match=words):
        ask(make(ScriptedVendor()), face, given, partial_ok=True)


def test_any_collection_will_do(make: Make) -> None:
    provider = make(ScriptedVendor())
    for names in ((A, B), {A: 1, B: 2}, (name for name in (A, B))):
        assert list(provider.fetch_many(names, *SPAN).results) == [A, B]
        assert list(provider.backfill([A, B], *SPAN).states) == [A, B]
    assert list(provider.fetch_many([A, SeriesId.parse(A), B, A], *SPAN).results) == [A, B]


@pytest.mark.parametrize("face", FACES)
def test_no_series_at_all(make: Make, face: str) -> None:
    result = ask(make(ScriptedVendor()), face, [])
    assert dict(result.errors) == {}
    assert "0 series" in repr(result)
    if face != "backfill":
        assert (result.frame.height, result.frame.columns[:2]) == (0, ["series", "ts"])
        wide = result.to_pandas("close")
        assert (len(wide), list(wide.columns), str(wide.index.dtype)) == (0, [], "datetime64[ns, UTC]")


def test_a_closed_provider_says_so(make: Make) -> None:
    provider = make(ScriptedVendor())
    provider.close()
    for face in FACES:
        with pytest.raises(qmtl.InvalidRequestError, match="closed"):
            ask(provider, face, [A], partial_ok=True)


# -- wide


@pytest.mark.parametrize("column", VALUES)
def test_wide_is_a_column_per_series(make: Make, column: str) -> None:
    hour = "ohlcv:b:X/USDT:1h"
    quiet = qmtl.Coverage.of(Span(DAWN + HOUR, DAWN + HOUR + 5 * MINUTE))
    vendors = {"ohlcv:a:*": ScriptedVendor(no_trade=quiet), "ohlcv:bad:*": Unknown(), "*": ScriptedVendor()}
    provider = make(vendors)
    result = provider.fetch_many([hour, A, BAD, "ohlcv:c:LATE:1m"], *SPAN, partial_ok=True)
    wide = result.to_pandas(wide=column)
    assert list(wide.columns) == [hour, A, "ohlcv:c:LATE:1m"], "in the order asked"
    assert (wide.index.name, wide.columns.name) == ("ts", "series")
    assert str(wide.index.dtype) == "datetime64[ns, UTC]"
    assert wide.index.is_monotonic_increasing
    assert wide.index.is_unique
    assert (wide.dtypes == "float64").all()
    for name in wide.columns:
        expected = result[name].to_pandas()[column]
        pd.testing.assert_series_equal(wide[name].dropna(), expected, check_names=False, check_freq=False)
    assert wide[A].isna().sum() == 5
    assert wide.loc[pd.Timestamp(DAWN, tz="UTC"), A] == result[A].frame[column][0]
    assert len(wide) == 240


def test_a_series_without_a_bar_has_a_column_without_a_value(make: Make) -> None:
    provider = make({"ohlcv:a:*": ScriptedVendor()})
    wide = provider.fetch_many([B, A], *SPAN, partial_ok=True).to_pandas("close")
    assert list(wide.columns) == [B, A]
    assert wide[B].isna().all()
    assert len(wide) == 240


@pytest.mark.parametrize("name", ["price", "ts", "series", ""])
def test_wide_names_a_column_of_bars(make: Make, name: str) -> None:
    result = make(ScriptedVendor()).fetch_many([A], *SPAN)
    with pytest.raises(
        qmtl.InvalidRequestError, match=r"no column of bars[\s\S]*open, high, low, close, volume"
    ):
        result.to_pandas(wide=name)


# -- looks and travels


def test_it_travels(make: Make) -> None:
    provider = make({"ohlcv:bad:*": Unknown(), "*": ScriptedVendor()})
    for result in (
        provider.fetch_many([A, BAD, B], *SPAN, partial_ok=True),
        provider.backfill([A, BAD, B], *SPAN, partial_ok=True),
    ):
        for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
            assert again == result
            assert repr(again) == repr(result)
            assert list(again.errors) == [BAD]
            assert again._repr_html_() == result._repr_html_()
            with pytest.raises(qmtl.InvalidRequestError, match="no symbol"):
                again[BAD]


@pytest.mark.slow
def test_its_text_fits_a_screen_and_what_failed_comes_first(make: Make) -> None:
    provider = make({"ohlcv:bad:*": Unknown(), "*": ScriptedVendor()})
    names = [f"ohlcv:a:{'LONG' * 30}{number}:1h" for number in range(60)]
    for result in (
        provider.fetch_many([*names, BAD], *SPAN, partial_ok=True),
        provider.backfill([*names, BAD], *SPAN, partial_ok=True),
    ):
        lines = repr(result).splitlines()
        assert len(lines) == 24
        assert max(map(len, lines)) <= 100
        assert "60 series" in lines[0]
        assert "1 error" in lines[0]
        assert BAD in lines[1]
        assert lines[-1] == "... and 39 more lines"


# -- one breach never hides another


def spiked(page: Page) -> Page:
    mark = pl.int_range(page.frame.height) == 30
    high = pl.when(mark).then(pl.col("high") * 100).otherwise("high").alias("high")
    return Page(page.frame.with_columns(high), page.answered, page.absent)


def everything(make: Make) -> SeamlessDataProvider:
    """An hour comes with a spike, then the source breaks off for good."""
    broken = Raise(qmtl.SourceUnavailableError("the exchange is on holiday", source="x", why="a feast"))
    return make(
        ScriptedVendor(page_rows=60, faults={0: Change(spiked), **dict.fromkeys(range(1, 9), broken)})
    )


POLICY = qmtl.SLAPolicy(min_coverage=0.9)
TOLD = [
    "min_coverage: 0.25 of the bars, limit 0.9",
    "the exchange is on holiday",
    "bars are missing: 180 unknown",
]


def test_the_first_in_order_is_raised_and_the_others_are_listed(make: Make) -> None:
    with pytest.raises(qmtl.SeamlessSLAExceeded) as refused:
        everything(make).fetch(A, *SPAN, sla=POLICY)
    error = refused.value
    assert [type(other) for other in error.others] == [
        qmtl.SourceUnavailableError,
        qmtl.MissingDataError,
        qmtl.ConformancePipelineError,
    ]
    missing, found = error.others[1:]
    assert isinstance(missing, qmtl.MissingDataError)
    assert missing.holes["unknown"].length == 3 * HOUR
    assert isinstance(found, qmtl.ConformancePipelineError)
    assert found.report.warnings == 1
    for words in (*TOLD, "the data does not conform: warning quality.price_spike"):
        assert words in str(error)
    assert str(error).count("also:") == 3


def test_without_a_budget_the_source_is_the_first(make: Make) -> None:
    with pytest.raises(qmtl.SourceUnavailableError) as refused:
        everything(make).fetch(A, *SPAN)
    assert [type(other).__name__ for other in refused.value.others] == [
        "MissingDataError",
        "ConformancePipelineError",
    ]
    assert refused.value.why == "a feast"


def test_an_error_without_others_is_the_very_one(make: Make) -> None:
    with pytest.raises(qmtl.MissingDataError) as refused:
        make().fetch(A, *SPAN)
    assert refused.value.others == ()
    assert "also:" not in str(refused.value)


def test_a_partial_answer_lists_them_all(make: Make) -> None:
    provider = everything(make)
    result = provider.fetch(A, *SPAN, sla=POLICY, partial_ok=True)
    assert len(result.receipt.violations) == 4
    for violation, words in zip(result.receipt.violations, TOLD, strict=False):
        assert words in violation
    assert "quality.price_spike" in result.receipt.violations[3]
    assert provider.fetch_many([A], *SPAN, sla=POLICY, partial_ok=True).receipts[A].violations[0] == TOLD[0]


def test_a_breach_that_is_answered_leaves_the_rest_to_be_judged(make: Make) -> None:
    """What a budget left behind is answered with it; impossible or suspicious data is not."""
    policy = qmtl.SLAPolicy(min_coverage=0.9, on_breach="partial")
    with pytest.raises(qmtl.ConformancePipelineError) as refused:
        everything(make).fetch(A, *SPAN, sla=policy)
    assert [type(other).__name__ for other in refused.value.others] == [
        "SeamlessSLAExceeded",
        "SourceUnavailableError",
        "MissingDataError",
    ]


def test_two_callers_of_one_flight_do_not_see_each_others_lists(make: Make) -> None:
    """The failure is the same error for both; what else is wrong differs."""
    provider = everything(make)
    provider.fetch(A, *SPAN, partial_ok=True)

    async def both() -> list[Any]:
        return await asyncio.gather(
            provider.fetch_async(A, *SPAN, sla=POLICY),
            provider.fetch_async(A, *SPAN),
            return_exceptions=True,
        )

    first, second = asyncio.run(both())
    assert (type(first).__name__, len(first.others)) == ("SeamlessSLAExceeded", 3)
    assert (type(second).__name__, len(second.others)) == ("SourceUnavailableError", 2)


class OneSlowPass(StoreProxy):
    """A read of several series takes five seconds, and heeds that it is given up."""

    def __init__(self, inner: Store, clock: FakeClock) -> None:
        super().__init__(inner)
        self._clock = clock

    def read_many(self, *args: Any, **options: Any) -> Any:
        self._clock.advance(5.0)
        if options["cancelled"]():
            raise ReadAbandonedError("a read was abandoned")
        return self.inner.read_many(*args, **options)


@pytest.mark.parametrize("other", [None, qmtl.SLAPolicy(storage_wait=60.0)])
def test_the_budget_of_one_series_is_not_that_of_another(
    make: Make, clock: FakeClock, other: qmtl.SLAPolicy | None
) -> None:
    store = MemoryStore(clock=clock)
    make(ScriptedVendor(), store=store).fetch_many([A, B], *SPAN)
    rows = [
        ProfileRow(name, "test", sla=sla) for name, sla in ((A, qmtl.SLAPolicy(storage_wait=1.0)), (B, other))
    ]
    provider = make(None, store=OneSlowPass(store, clock), profiles=rows)
    answers = provider.fetch_many([A, B], *SPAN, partial_ok=True)
    assert answers[B].frame.height == 240
    assert answers[B].receipt.breach is None
    breach = answers[A].receipt.breach
    assert breach is not None
    assert breach.phase == "storage_wait"
