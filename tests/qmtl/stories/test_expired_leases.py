"""A lease ends before its work does: whoever opened a fence last may write, and the data stay right."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.errors import LeaseError, StaleFenceError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, Held, ShardRequest
from qmtl.runtime.ingest.backfill import Backfill
from qmtl.runtime.ingest.backfill_result import BackfillResult
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.single_flight import SingleFlight
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Hang, ScriptedVendor

BOTH_ENGINES = True

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
DAWN = to_ns("2024-01-01")
SHARD = DAWN // (10_000 * MINUTE)


def hours(first: int, last: int) -> Span:
    return Span(DAWN + first * HOUR, DAWN + last * HOUR)


class ExpiringLeases(MemoryLeases):
    """Once the sleeper is granted a shard, its lease expires, and another worker is granted it."""

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        answers = await super().claim(requests, claim_id=claim_id)
        grants = [answer for answer in answers if isinstance(answer, Granted)]
        await super().fail(grants, why="not renewed in time")
        await super().claim(requests, claim_id="the other")
        return answers

    def still_held(self, grants: Sequence[Granted]) -> None:
        """Nobody has told the sleeper."""


@pytest.mark.parametrize("sleeper_opens_first", [False, True])
def test_one_of_two_workers_may_write_and_each_bar_is_a_vendor_s(
    open_store: Callable[..., KeptStore], clock: FakeClock, sleeper_opens_first: bool
) -> None:
    leases, vendor = ExpiringLeases(), ScriptedVendor(page_rows=60, delay=1.0)
    with open_store(clock=clock) as store:
        open_fence = store.open_fence
        theirs: dict[int, int] = {}

        def writes(first: int, last: int) -> Write:
            """What the other worker has from the same vendor."""
            span = hours(first, last)
            frame = vendor.bars(SERIES, span)
            return Write("vendor", clock.now(), frame=frame, answered=Coverage.of(span), fences=theirs)

        def opened(series: SeriesId, shards: Iterable[int], claim_id: str) -> dict[int, int]:
            """The sleeper wakes up: the other has opened its fence before, or opens it right afterwards."""
            assert vendor.calls == [], "a vendor is asked only once the fences are open"
            own = open_fence(series, shards, claim_id) if sleeper_opens_first else {}
            theirs.update(open_fence(series, [SHARD], "the other"))
            store.commit(SERIES, writes(0, 1))
            return own or open_fence(series, shards, claim_id)

        sleeper = Backfill(store, leases, clock, Metrics(CollectorRegistry()), SettlementPolicy())
        work = partial(
            sleeper.run,
            *(SERIES, Grid(SERIES.timeframe), SeriesFacts(), Coverage.of(hours(1, 4)), vendor),
            BackfillResult("vendor"),
        )
        with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=clock.new_event_loop) as loop:
            patch.setattr(store, "open_fence", opened)
            # Overtaken, it waits for the other, who has the lease; else it hears that it lost its own.
            with pytest.raises(TimeoutError if sleeper_opens_first else LeaseError):
                loop.run(asyncio.wait_for(work(), 300))

        # One hour of the sleeper was committed before it heard that its lease was lost, or none.
        assert len(vendor.calls) == 1, "it is not asked again"
        stored = hours(0, 1 if sleeper_opens_first else 2)
        assert store.read(SERIES, hours(0, 4)).answered == Coverage.of(stored)
        before = store.newest()
        if sleeper_opens_first:
            store.commit(SERIES, writes(3, 4))
            assert store.read(SERIES, hours(3, 4)).count == 60
        else:
            with pytest.raises(StaleFenceError):
                store.commit(SERIES, writes(3, 4))
            assert store.newest() == before
        frame = store.read(SERIES, hours(0, 4)).frame
        truth = vendor.bars(SERIES, hours(0, 4))
        assert_frame_equal(frame, truth.filter(truth["ts"].is_in(frame["ts"].implode())))
        assert len(set(stamps(frame).tolist())) == frame.height
        # The lease is the other's still.
        request = ShardRequest(LeaseKey(store.place_id, SERIES.text, SHARD), EMPTY, 0)
        (answer,) = asyncio.run(MemoryLeases.claim(leases, [request], claim_id="looking"))
        assert isinstance(answer, Held)


class LosableLeases(MemoryLeases):
    """All are lost once `let_go` is set: then nothing may be written."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    def still_held(self, grants: Sequence[Granted]) -> None:
        if self.let_go.is_set():
            raise LeaseError("not renewed in time", lease_key=str(grants[0].key))

    def lost(self, grants: Sequence[Granted]) -> Coroutine[Any, Any, LeaseError]:
        return self._lost(grants)

    async def _lost(self, grants: Sequence[Granted]) -> LeaseError:
        await self.let_go.wait()
        return LeaseError("not renewed in time", lease_key=str(grants[0].key))


@pytest.mark.parametrize("caller_leaves", [False, True])
def test_what_came_before_the_lease_was_lost_is_not_kept_and_the_work_ends(
    open_store: Callable[..., KeptStore],
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    caller_leaves: bool,
) -> None:
    """Pages have come, and wait for the next, as the lease is lost; the caller may leave at that moment."""
    leases, vendor = LosableLeases(), ScriptedVendor(page_rows=60, faults={1: Hang()})
    forgotten: list[object] = []
    with open_store(clock=clock) as store:
        backfill = Backfill(store, leases, clock, Metrics(CollectorRegistry()), SettlementPolicy())

        async def fill(result: BackfillResult) -> None:
            cells = Coverage.of(hours(0, 3))
            await backfill.run(SERIES, Grid(SERIES.timeframe), SeriesFacts(), cells, vendor, result)

        async def story() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, facts: forgotten.append(facts))
            fetch = asyncio.ensure_future(SingleFlight().share("key", BackfillResult("vendor"), fill))
            await asyncio.sleep(0.5)
            assert len(vendor.calls) == 1
            leases.let_go.set()
            if caller_leaves:
                fetch.cancel()
            with pytest.raises(asyncio.CancelledError if caller_leaves else LeaseError):
                await fetch
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing goes on behind it"
            request = ShardRequest(LeaseKey(store.store_id, SERIES.text, SHARD), EMPTY, 0)
            (answer,) = await leases.claim([request], claim_id="looking")
            assert isinstance(answer, Granted)

        with asyncio.Runner(loop_factory=clock.new_event_loop) as loop:
            loop.run(story())
        gc.collect()
        assert store.newest().tx == 0
    assert forgotten == []
    messages = [record.getMessage() for record in caplog.records]
    assert [text for text in messages if text.startswith("backfill.failed") and "not renewed" in text]
