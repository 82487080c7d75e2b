"""The live tail leaves nothing running behind it, and tells a feed's own endings from ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.coordination.tail import Tail
from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.io.vendors.base import LiveFeed, Update
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedFeed

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
NOW = to_ns("2024-02-01")
MISSING = Coverage.of(Span(NOW - 2 * MINUTE, NOW))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2024-02-01T00:00:30Z")


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "bars", clock=clock) as store:
        yield store


async def listened(feed: LiveFeed, store: EmbeddedStore, clock: FakeClock, seconds: float) -> None:
    tail = Tail(feed, SERIES, source="feed")
    try:
        async with asyncio.timeout(seconds):
            await tail.store_missing(
                MISSING,
                series=SERIES,
                grid=Grid(SERIES.timeframe),
                facts=SeriesFacts(),
                store=store,
                clock=clock,
            )
    finally:
        await tail.close()


def run(clock: FakeClock, work: Any) -> Any:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(work)


def test_waiting_in_vain_leaves_no_task_behind(store: EmbeddedStore, clock: FakeClock) -> None:
    feed = ScriptedFeed([])

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await listened(feed, store, clock, 5.0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(clock, story())
    assert feed.open_calls == 0


def test_a_feed_that_ends_leaves_no_task_behind(store: EmbeddedStore, clock: FakeClock) -> None:
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


def test_a_feed_that_cancels_itself_is_a_feed_that_failed(store: EmbeddedStore, clock: FakeClock) -> None:
    with pytest.raises(SourceUnavailableError, match="live feed"):
        run(clock, listened(Cancelled(), store, clock, 5.0))
