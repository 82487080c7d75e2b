"""Vendors that do everything wrong: each is told with source, series and range, and the provider goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, ClassVar

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.ingest.stall_guard import FRUITLESS_PAGES
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedFeed, ScriptedVendor, Stop

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01T04:00Z"))
FIRST = Span(SPAN.start, SPAN.start + HOUR)
HONEST = ScriptedVendor()


class Panic(BaseException):
    """As pyo3 raises it for a panic in Rust: no `Exception`."""


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


@cache
def honest(span: Span) -> Page:
    return Page(HONEST.bars(SERIES, span), span)


def first_hour() -> Iterator[Page]:
    for start in range(FIRST.start, FIRST.end, 10 * MINUTE):
        yield honest(Span(start, start + 10 * MINUTE))


# -- pages that never end ---------------------------------------------------------------------------------


def repeated(span: Span) -> Iterator[Page]:
    while True:
        yield honest(FIRST)


def empty(span: Span) -> Iterator[Page]:
    while True:
        yield Page(empty_bars(), Span(span.start, span.start))


def slivers(span: Span) -> Iterator[Page]:
    yield honest(FIRST)
    for nanosecond in count(FIRST.end):
        yield Page(empty_bars(), Span(nanosecond, nanosecond + 1))


def back_and_forth(span: Span) -> Iterator[Page]:
    while True:
        yield from first_hour()


ENDLESS = {"repeated": repeated, "empty": empty, "slivers": slivers, "back and forth": back_and_forth}


@dataclass
class Plain:
    """Hands over what `script` gives."""

    script: Callable[[Span], Iterator[Page]]
    name: str = "wrong"
    read: int = 0

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        for page in self.script(span):
            self.read += 1
            assert self.read < 10_000, "it is read for ever"
            yield page


@pytest.mark.parametrize("case", ENDLESS)
def test_pages_that_bring_nothing_further_come_to_an_end(make: Make, case: str) -> None:
    vendor = Plain(ENDLESS[case])
    with pytest.raises(qmtl.SourceUnavailableError, match="nothing further") as caught:
        make(vendor).fetch(SERIES, *SPAN)
    error = caught.value
    assert (error.source, error.series) == ("wrong", SERIES)
    assert error.span is not None
    assert SPAN.contains(error.span)
    assert f"{vendor.read} pages were read" in str(error.why)
    assert error.next_step is not None
    further = {"repeated": 1, "empty": 0, "slivers": 2, "back and forth": 6}[case]
    assert vendor.read == further + FRUITLESS_PAGES


def test_rows_of_a_shorter_timeframe_are_refused_and_none_is_kept(make: Make) -> None:
    longer = SERIES.replace(":1m", ":5m")
    provider = make(Plain(lambda span: iter([honest(span)])))
    with pytest.raises(qmtl.SourceUnavailableError, match="a shorter timeframe than 5m") as caught:
        provider.fetch(longer, *SPAN)
    error = caught.value
    assert (error.source, error.series, error.span) == ("wrong", longer, SPAN)
    assert "60 seconds" in str(error.why)
    assert "repair the vendor wrong" in str(error.next_step)
    kept = provider.fetch(longer, *SPAN, partial_ok=True)
    assert kept.frame.is_empty()
    assert any("shorter timeframe" in violation for violation in kept.receipt.violations)


@pytest.mark.parametrize("case", ["repeated", "slivers", "back and forth"])
def test_what_came_before_them_is_kept(make: Make, case: str) -> None:
    provider = make(Plain(ENDLESS[case]))
    with pytest.raises(qmtl.SourceUnavailableError):
        provider.fetch(SERIES, *SPAN)
    assert provider.store.verify().is_sound
    kept = provider.fetch(SERIES, *SPAN, strategy="FAIL_FAST", partial_ok=True)
    assert_frame_equal(kept.frame, HONEST.bars(SERIES, FIRST))
    assert kept.coverage.unknown.hull == Span(FIRST.end, SPAN.end)


def test_who_has_answered_for_all_has_not_failed(make: Make) -> None:
    def all_then_for_ever(span: Span) -> Iterator[Page]:
        while True:
            yield honest(SPAN)

    result = make(Plain(all_then_for_ever)).fetch(SERIES, *SPAN)
    assert_frame_equal(result.frame, HONEST.bars(SERIES, SPAN))


def test_many_small_pages_that_go_on_are_read_to_the_end(make: Make) -> None:
    def one_by_one(span: Span) -> Iterator[Page]:
        for start in range(span.start, span.end, MINUTE):
            yield honest(Span(start, start + MINUTE))

    vendor = Plain(one_by_one)
    assert make(vendor).fetch(SERIES, *SPAN).frame.height == vendor.read == 240


# -- errors of any kind -----------------------------------------------------------------------------------

CAUSES: dict[str, BaseException] = {
    "a defect": ValueError("a bug"),
    "a panic": Panic("index out of bounds"),
    "a group": ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    "a group of anything": BaseExceptionGroup("several", [Panic("one"), KeyboardInterrupt()]),
    "an exit": SystemExit(3),
    "an interrupt": KeyboardInterrupt(),
    "a cancellation of its own": asyncio.CancelledError(),
    "a generator's end": GeneratorExit(),
    "an end of its own": StopAsyncIteration(),
    "another end": StopIteration(),
    "no message": Unreadable(),
    "no memory": MemoryError(),
    "a stack that is full": RecursionError("maximum recursion depth exceeded"),
    "a budget of its own": qmtl.SeamlessSLAExceeded("its own", phase="total", ledger={}),
    "holes of its own": qmtl.MissingDataError("its own", holes={"unknown": EMPTY}),
}


@dataclass
class Raises:
    """Raises `cause`, at one of the places where a vendor can."""

    cause: BaseException
    where: str
    name: str = "wrong"

    def pages(self, series: SeriesId, span: Span) -> Any:
        if self.where == "pages":
            raise self.cause
        return _Iterator(self)


@dataclass
class _Iterator:
    """An iterator by hand: nothing of Python's stands between what it raises and who reads it."""

    of: Raises
    reported: bool = False

    def __aiter__(self) -> _Iterator:
        if self.of.where == "aiter":
            raise self.of.cause
        return self

    def __anext__(self) -> Any:
        if self.of.where == "anext":
            raise self.of.cause
        return self._next()

    async def _next(self) -> Page:
        if not self.reported:
            self.reported = True
            return honest(FIRST)
        raise self.of.cause


PLACES = ["pages", "aiter", "anext", "later"]
# Where Python itself takes it for the end of the pages.
ENDS = {"an end of its own"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", [case for case in CAUSES if case not in ENDS])
def test_whatever_it_raises_is_its_failure(make: Make, case: str, place: str) -> None:
    provider = make({"ohlcv:test:*": Raises(CAUSES[case], place), "*": ScriptedVendor()})
    with pytest.raises(qmtl.SourceUnavailableError) as caught:
        provider.fetch(SERIES, *SPAN)
    error = caught.value
    assert (error.source, error.series, error.span) == ("wrong", SERIES, SPAN)
    # Python itself turns the end of a generator into a RuntimeError, where it comes out of a coroutine.
    assert type(CAUSES[case]).__name__ in str(error.why)
    assert error.next_step is not None
    assert provider.fetch("ohlcv:other:X:1m", *SPAN).frame.height == 240, "the provider goes on"
    kept = provider.coverage(SERIES, *SPAN).counts["present"]
    assert kept == (60 if place == "later" else 0), "what came before is kept"


@pytest.mark.parametrize("case", ["a panic", "a group", "an exit"])
def test_the_async_face_tells_the_same(make: Make, case: str) -> None:
    provider = make(Raises(CAUSES[case], "later"))
    with pytest.raises(qmtl.SourceUnavailableError) as caught:
        asyncio.run(provider.fetch_async(SERIES, *SPAN))
    assert caught.value.span == SPAN


def test_each_error_of_a_group_is_reported(make: Make) -> None:
    with pytest.raises(qmtl.SourceUnavailableError) as caught:
        make(Raises(CAUSES["a group"], "later")).fetch(SERIES, *SPAN)
    assert caught.value.why == "ExceptionGroup of ValueError: one; KeyError: 'two'"


def test_what_a_vendor_may_say_in_our_words_stays_as_it_is(make: Make) -> None:
    with pytest.raises(qmtl.InvalidRequestError, match="not known") as caught:
        make(Raises(qmtl.InvalidRequestError("not known"), "later")).fetch(SERIES, *SPAN)
    assert caught.value.span == SPAN


@pytest.mark.parametrize("answer", [None, 7, [], "pages"], ids=repr)
def test_what_is_no_iterator_of_pages_is_its_failure(make: Make, answer: Any) -> None:
    class Odd:
        name = "wrong"

        def pages(self, series: SeriesId, span: Span) -> Any:
            return answer

    with pytest.raises(qmtl.SourceUnavailableError) as caught:
        make(Odd()).fetch(SERIES, *SPAN)
    assert caught.value.span == SPAN


@pytest.mark.parametrize("cause", [TimeoutError("slow"), ConnectionResetError("cut"), OSError("gone")])
def test_what_breaks_a_feed_is_not_taken_for_a_budget(make: Make, cause: OSError) -> None:
    provider = make(ScriptedVendor(faults={0: Stop()}), live=ScriptedFeed([cause]))
    with pytest.raises(qmtl.SourceUnavailableError, match="broke off") as caught:
        provider.fetch(SERIES, "2024-01-31T23:00Z")
    assert caught.value.why == f"{type(cause).__name__}: {cause}"
    assert caught.value.span is not None


@pytest.mark.parametrize("policy", [None, qmtl.SLAPolicy(backfill_wait=60.0)], ids=["none", "budget"])
def test_what_a_callback_raises_is_not_taken_for_a_budget(make: Make, policy: Any) -> None:
    def progress(_: object) -> None:
        raise TimeoutError("the callback's own")

    with pytest.raises(TimeoutError, match="own"):
        make(ScriptedVendor()).fetch(SERIES, *SPAN, sla=policy, on_progress=progress)


# -- closing ----------------------------------------------------------------------------------------------


@dataclass
class ClosesBadly:
    """Tells all and ends, or an hour and raises `first`; closing it does `close`."""

    close: Callable[[], Any]
    first: BaseException | None = None
    name: str = "wrong"

    def pages(self, series: SeriesId, span: Span) -> Any:
        return _ClosesBadly(self, span)


class _ClosesBadly:
    def __init__(self, of: ClosesBadly, span: Span) -> None:
        self.of, self.rest, self.aclose = of, [honest(FIRST if of.first else span)], of.close

    def __aiter__(self) -> _ClosesBadly:
        return self

    async def __anext__(self) -> Page:
        if self.rest:
            return self.rest.pop()
        raise self.of.first or StopAsyncIteration


def raises(cause: BaseException) -> Callable[[], Any]:
    async def aclose() -> None:
        raise cause

    return aclose


def raises_at_once(cause: BaseException) -> Callable[[], Any]:
    def aclose() -> None:
        raise cause

    return aclose


CLOSINGS: dict[str, Callable[[], Any]] = {
    "a defect": raises(ValueError("close")),
    "a defect at once": raises_at_once(ValueError("close")),
    "a panic": raises(Panic("close")),
    "a group": raises(BaseExceptionGroup("close", [Panic("close")])),
    "a cancellation": raises(asyncio.CancelledError()),
    "a generator's end": raises(GeneratorExit()),
    "an end": raises_at_once(StopIteration()),
    "another end": raises(StopAsyncIteration()),
    "a broken connection": raises(ConnectionResetError("close")),
}


@pytest.fixture
def close_failed(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[Any]]]:
    """The events `backfill.close_failed` so far."""
    with caplog.at_level(logging.INFO, logger="seamless.backfill"):
        yield lambda: [r for r in caplog.records if r.getMessage().startswith("backfill.close_failed ")]


@pytest.mark.parametrize("case", CLOSINGS)
def test_the_first_error_is_reported_and_that_of_closing_is_logged(
    make: Make, case: str, close_failed: Callable[[], list[Any]]
) -> None:
    with pytest.raises(qmtl.SourceUnavailableError, match="the first"):
        make(ClosesBadly(CLOSINGS[case], RuntimeError("the first"))).fetch(SERIES, *SPAN)
    (event,) = close_failed()
    assert (event.source, event.node_id, event.interval) == ("wrong", SERIES, "1m")
    assert (event.start, event.end) == ("2024-01-01", "2024-01-01T04:00:00Z")
    assert event.error


@pytest.mark.parametrize("case", CLOSINGS)
def test_a_closing_that_fails_alone_costs_no_bar(
    make: Make, case: str, close_failed: Callable[[], list[Any]]
) -> None:
    result = make(ClosesBadly(CLOSINGS[case])).fetch(SERIES, *SPAN)
    assert_frame_equal(result.frame, HONEST.bars(SERIES, SPAN))
    assert len(close_failed()) == 1


@pytest.mark.parametrize("closed", [None, 7], ids=repr)
def test_closing_need_not_be_asynchronous(
    make: Make, closed: Any, close_failed: Callable[[], list[Any]]
) -> None:
    calls: list[str] = []

    def aclose() -> Any:
        calls.append("closed")
        return closed

    assert make(ClosesBadly(aclose)).fetch(SERIES, *SPAN).frame.height == 240
    assert (calls, close_failed()) == (["closed"], [])


def test_an_error_of_ours_is_not_hidden_by_one_of_closing(
    make: Make, close_failed: Callable[[], list[Any]]
) -> None:
    def progress(_: object) -> None:
        raise BrokenPipeError("nobody reads the progress any more")

    with pytest.raises(BrokenPipeError):
        make(ClosesBadly(CLOSINGS["a panic"])).fetch(SERIES, *SPAN, on_progress=progress)
    assert len(close_failed()) <= 1


@pytest.mark.parametrize("case", CLOSINGS)
def test_a_feed_that_closes_badly_costs_no_bar(make: Make, case: str) -> None:
    class Feed(ScriptedFeed):
        def bars(self, series: SeriesId) -> Any:
            return _ClosesBadly(ClosesBadly(CLOSINGS[case], ValueError("the feed")), FIRST)

    provider = make(ScriptedVendor(), live=Feed([]))
    assert provider.fetch(SERIES, "2024-01-31T23:00Z").frame.height == 60


class Vendor(ScriptedVendor):
    name: ClassVar[str] = "wrong"

    def __init__(self, close: Callable[[], Any]) -> None:
        super().__init__()
        self.aclose = close


@pytest.mark.parametrize("case", CLOSINGS)
def test_closing_the_provider_closes_all_the_rest(
    make: Make, case: str, close_failed: Callable[[], list[Any]]
) -> None:
    closed: list[str] = []
    last = Vendor(lambda: closed.append("last"))
    provider = make({"ohlcv:test:*": Vendor(CLOSINGS[case]), "*": last})
    provider.fetch(SERIES, *SPAN)
    provider.close()
    assert closed == ["last"]
    (event,) = close_failed()
    assert event.source == "wrong"
    with pytest.raises(qmtl.QmtlError):
        provider.store.read(SeriesId.parse(SERIES), SPAN)


def test_an_error_in_a_with_block_is_not_hidden_by_one_of_closing(make: Make) -> None:
    with pytest.raises(LookupError, match="the first"), make(Vendor(CLOSINGS["a panic"])):
        raise LookupError("the first")
