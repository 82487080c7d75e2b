"""A scripted source does what its script says, and tells what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar, cast

import polars as pl
import pytest

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Page, Update
from qmtl.runtime.testing import (
    Change,
    Deliver,
    FakeClock,
    Hang,
    Raise,
    ScriptedFeed,
    ScriptedVendor,
    Stop,
    synthetic_bars,
)
from qmtl.runtime.testing import vendors as scripted

SERIES = SeriesId.parse("ohlcv:sim:BTC/USDT:1m")
START = to_ns("2024-01-01")
DAY = Span(START, START + 24 * HOUR)

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T], clock: FakeClock | None = None) -> T:
    with asyncio.Runner(loop_factory=(clock or FakeClock()).new_event_loop) as runner:
        return runner.run(coroutine)


async def collect(vendor: ScriptedVendor, span: Span = DAY) -> list[Page]:
    async with aclosing(cast("AsyncGenerator[Page, None]", vendor.pages(SERIES, span))) as pages:
        return [page async for page in pages]


def test_pages_partition_the_span_and_hold_its_bars() -> None:
    vendor = ScriptedVendor(page_rows=500, seed=3)
    pages = run(collect(vendor))
    assert [page.frame.height for page in pages] == [500, 500, 440]
    assert pl.concat([page.frame for page in pages]).equals(synthetic_bars(SERIES, DAY, seed=3))
    assert [page.answered.end for page in pages] == [
        pages[1].answered.start,
        pages[2].answered.start,
        DAY.end,
    ]
    assert vendor.calls == [(SERIES, DAY)]
    assert (vendor.served, vendor.open_calls, vendor.most_at_once) == (3, 0, 1)


def test_minutes_without_trades_and_absent_ranges() -> None:
    quiet, gone = Span(START, START + HOUR), Span(START + 2 * HOUR, START + 3 * HOUR)
    vendor = ScriptedVendor(no_trade=Coverage.of(quiet), absent=Coverage.of(gone))
    (page,) = run(collect(vendor))
    assert page.answered == DAY
    assert page.absent == Coverage.of(gone)
    assert page.frame.height == 22 * 60
    assert not Coverage.of(quiet, gone).holds(stamps(page.frame)).any()


def test_own_frames_and_later_corrections() -> None:
    own = synthetic_bars(SERIES, DAY, seed=9).head(10)
    vendor = ScriptedVendor({str(SERIES): own})
    assert vendor.bars(SERIES, DAY).equals(own)
    corrected = own.slice(4, 1).with_columns(volume=pl.lit(7.0))
    vendor.correct(SERIES, corrected)
    (page,) = run(collect(vendor))
    assert page.frame.equals(pl.concat([own.head(4), corrected, own.slice(5)]))


def test_faults_come_once_and_in_their_place() -> None:
    vendor = ScriptedVendor(page_rows=720, faults={1: Raise(ConnectionResetError("cut")), 2: Stop()})
    with pytest.raises(ConnectionResetError):
        run(collect(vendor))
    assert (vendor.served, vendor.open_calls) == (1, 0)
    assert run(collect(vendor)) == []
    assert len(run(collect(vendor))) == 2


def test_delays_and_hanging_take_virtual_time_only() -> None:
    clock = FakeClock()
    run(collect(ScriptedVendor(page_rows=60, delay=600.0)), clock)
    assert clock.monotonic() == pytest.approx(24 * 600.0)

    vendor = ScriptedVendor(faults={0: Hang()})
    with pytest.raises(TimeoutError):
        run(asyncio.wait_for(collect(vendor), 3600.0), clock)
    assert vendor.open_calls == 0


def test_a_deaf_vendor_swallows_its_cancellation() -> None:
    async def scene() -> list[Page]:
        call = asyncio.ensure_future(collect(ScriptedVendor(faults={0: Hang(deaf=True)})))
        await asyncio.sleep(1.0)
        call.cancel()
        return await call

    assert len(run(scene())) == 1


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (scripted.doubled, lambda f, _: f.height == 2880),
        (scripted.contradicting, lambda f, _: f.filter(pl.col("ts") == f["ts"][0])["close"].n_unique() == 2),
        (scripted.unsorted, lambda f, _: not f["ts"].is_sorted() and f.height == 1440),
        (scripted.rows_outside, lambda f, answered: int(stamps(f).max()) >= answered.end),
        (scripted.partly_answered, lambda f, answered: f.height == 720 and answered.end == START + 12 * HOUR),
        (scripted.with_value("close", float("nan"), 7), lambda f, _: f["close"].is_nan().arg_true()[0] == 7),
        (scripted.high_below_low, lambda f, _: f["high"][0] < f["low"][0] and f.height == 1440),
    ],
)
def test_each_change_breaks_what_it_says(change: Any, check: Any) -> None:
    (page,) = run(collect(ScriptedVendor(faults={0: Change(change)})))
    assert check(page.frame, page.answered)


def test_a_feed_tells_its_script_then_falls_silent() -> None:
    clock = FakeClock("2024-01-01T00:00:00Z")
    bars = synthetic_bars(SERIES, DAY)
    feed = ScriptedFeed([Deliver(30.0, bars.head(1), closed=False), Deliver(31.0, bars.head(1))])

    async def scene() -> list[tuple[Update, int]]:
        heard: list[tuple[Update, int]] = []
        async with aclosing(cast("AsyncGenerator[Update, None]", feed.bars(SERIES))) as updates:
            try:
                async with asyncio.timeout(3600.0):
                    async for update in updates:
                        heard.append((update, clock.now()))
            except TimeoutError:
                return heard
        raise AssertionError("a feed never ends")

    heard = run(scene(), clock)
    assert [(update.closed, at - START) for update, at in heard] == [
        (False, MINUTE // 2),
        (True, 61 * MINUTE // 60),
    ]
    assert (feed.calls, feed.open_calls) == ([SERIES], 0)


def test_a_feed_breaks_and_ends_by_script() -> None:
    async def listen(feed: ScriptedFeed) -> int:
        return len([update async for update in feed.bars(SERIES)])

    one = synthetic_bars(SERIES, DAY).head(1)
    assert run(listen(ScriptedFeed([Deliver(1.0, one)], ends=True))) == 1
    with pytest.raises(ConnectionResetError):
        run(listen(ScriptedFeed([Deliver(1.0, one), ConnectionResetError("cut")])))
