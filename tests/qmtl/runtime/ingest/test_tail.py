"""The live tail leaves nothing running behind it, and tells a feed's own endings from ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES, empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, SECOND, to_ns
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.ingest.tail import Tail
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.base import LiveFeed, Update
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Deliver, ScriptedFeed

BOTH_ENGINES = True

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
NOW = to_ns("2024-02-01")
MISSING = Coverage.of(Span(NOW - 2 * MINUTE, NOW))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2024-02-01T00:00:30Z")


@pytest.fixture
def store(open_store: Callable[..., KeptStore], clock: FakeClock) -> KeptStore:
    return open_store(clock=clock)


def tail_of(feed: LiveFeed, clock: FakeClock) -> Tail:
    return Tail(
        feed,
        SERIES,
        source="feed",
        grid=Grid(SERIES.timeframe),
        facts=SeriesFacts(),
        clock=clock,
        settlement=SettlementPolicy(),
    )


async def listened(feed: LiveFeed, store: KeptStore, clock: FakeClock, seconds: float) -> Tail:
    tail = tail_of(feed, clock)
    try:
        async with asyncio.timeout(seconds):
            await tail.store_missing(MISSING, store)
    finally:
        await tail.close()
    return tail


def run(clock: FakeClock, work: Any) -> Any:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(work)


def test_waiting_in_vain_leaves_no_task_behind(store: KeptStore, clock: FakeClock) -> None:
    feed = ScriptedFeed([])

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await listened(feed, store, clock, 5.0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(clock, story())
    assert feed.open_calls == 0


def test_a_feed_that_ends_leaves_no_task_behind(store: KeptStore, clock: FakeClock) -> None:
    async def story() -> None:
        await listened(ScriptedFeed([], ends=True), store, clock, 5.0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(clock, story())


class Cancelled:
    """Raises a cancellation of its own: nobody has cancelled us."""

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        await asyncio.sleep(1.0)
        if series == SERIES:
            raise asyncio.CancelledError
        yield Update(empty_bars(), closed=True)


def test_a_feed_that_cancels_itself_is_a_feed_that_failed(store: KeptStore, clock: FakeClock) -> None:
    with pytest.raises(SourceUnavailableError, match="live feed"):
        run(clock, listened(Cancelled(), store, clock, 5.0))


LAST_TWO = synthetic_bars(SERIES, MISSING.hull)


def without_values(bars: pl.DataFrame, value: float | None) -> pl.DataFrame:
    return bars.with_columns(pl.lit(value, dtype=pl.Float64).alias(name) for name in VALUES)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_row_without_any_price_is_an_answer_once_its_bar_has_settled(
    store: KeptStore, clock: FakeClock, value: float | None
) -> None:
    """The clock stands 30 s after the end of the second bar: a trade in that one may still come."""
    feed = ScriptedFeed([Deliver(0.0, without_values(LAST_TWO, value)), Deliver(1.0, LAST_TWO[1:])])
    run(clock, listened(feed, store, clock, 5.0))
    stored = store.read(SERIES, MISSING.hull)
    assert_frame_equal(stored.frame, LAST_TWO[1:])
    assert stored.answered == MISSING, "the first bar did not trade, and the second came after all"
    assert store.quarantined(SERIES, MISSING.hull).height == 0


def test_a_row_without_any_price_for_a_bar_that_closed_just_now_answers_nothing(
    store: KeptStore, clock: FakeClock
) -> None:
    feed = ScriptedFeed([Deliver(0.0, without_values(LAST_TWO[1:], None))])
    with pytest.raises(TimeoutError):
        run(clock, listened(feed, store, clock, 5.0))
    assert store.newest().tx == 0


def test_impossible_rows_are_kept_aside_and_what_is_stored_keeps_its_answer(
    store: KeptStore, clock: FakeClock
) -> None:
    before = Span(NOW - 3 * MINUTE, NOW - 2 * MINUTE)
    good = synthetic_bars(SERIES, before)
    store.commit(SERIES, Write("v", NOW, good, Coverage.of(before)))
    bars = synthetic_bars(SERIES, Span(before.start, NOW - MINUTE))
    impossible = bars.with_columns(high=pl.col("low") / 2)
    feed = ScriptedFeed([Deliver(0.0, impossible), Deliver(0.0, LAST_TWO)])
    tail = run(clock, listened(feed, store, clock, 5.0))
    assert tail.refused == 2
    stored = store.read(SERIES, Span(before.start, NOW))
    assert_frame_equal(stored.frame, pl.concat([good, LAST_TWO]))
    assert stored.answered == Coverage.of(Span(before.start, NOW))


@pytest.mark.parametrize(
    ("update", "refused"),
    [(LAST_TWO.drop("volume"), 2), (LAST_TWO.with_columns(pl.col("close").cast(pl.String)), 2), ("bars", 0)],
    ids=["a column less", "a column of text", "no frame"],
)
def test_an_update_that_is_no_bars_is_refused_and_its_rows_are_counted(
    store: KeptStore, clock: FakeClock, update: Any, refused: int
) -> None:
    async def story() -> int:
        tail = tail_of(ScriptedFeed([Deliver(0.0, update)]), clock)
        with pytest.raises(SourceUnavailableError, match="an update of the live feed feed is refused"):
            await tail.store_missing(MISSING, store)
        await tail.close()
        return tail.refused

    assert run(clock, story()) == refused


def test_a_bar_that_came_live_keeps_the_time_at_which_it_came(store: KeptStore, clock: FakeClock) -> None:
    """Not the time at which somebody took it from the queue, nor that of its commit."""

    async def story() -> None:
        tail = tail_of(ScriptedFeed([Deliver(1.0, LAST_TWO[:1]), Deliver(2.0, LAST_TWO[1:])]), clock)
        await asyncio.sleep(10)
        await tail.store_missing(MISSING, store)
        await tail.close()

    began = clock.now()
    run(clock, story())
    delivered = store.deliveries(SERIES, MISSING.hull)
    assert delivered["delivered_at"].to_physical().to_list() == [began + SECOND, began + 3 * SECOND]
