"""The shards of one backfill: claimed up to a bound, shown while they are held, and freed however it ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from qmtl.foundation.errors import InvalidRequestError, LeaseError, StaleFenceError
from qmtl.foundation.grid import Grid
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import MINUTE
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import Done, Granted, Held, ShardRequest
from qmtl.runtime.ingest.held_shards import HeldShards
from qmtl.runtime.ingest.threads import end_threads
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
WIDTH = 10 * MINUTE


class FewLeases(MemoryLeases):
    most_at_once = 3


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def minutes(*ranges: tuple[int, int]) -> Coverage:
    return Coverage((a * MINUTE, b * MINUTE) for a, b in ranges)


async def taken(leases: MemoryLeases, *shards: int) -> list[Granted]:
    requests = [ShardRequest(LeaseKey("s", SERIES.text, shard), EMPTY, 0) for shard in shards]
    return [one for one in await leases.claim(requests, claim_id="theirs") if isinstance(one, Granted)]


async def claimed(leases: MemoryLeases, wanted: Coverage, read_as_of: int = 0) -> HeldShards:
    shards = HeldShards(leases, SERIES, WIDTH)
    await shards.claim(wanted, wanted, store_id="s", read_as_of=read_as_of)
    return shards


def test_as_many_are_claimed_as_one_worker_may_hold_and_those_of_others_are_passed_over() -> None:
    async def story() -> None:
        leases = FewLeases()
        await taken(leases, 1, 2)
        shards = await claimed(leases, minutes((0, 60)))
        assert [grant.key.shard for grant in shards.grants] == [0, 3, 4]
        assert [(type(other), other.key.shard) for other in shards.waiting] == [(Held, 1), (Held, 2)]
        assert shards.time == minutes((0, 10), (30, 50))
        assert len({grant.claim_id for grant in shards.grants}) == 1

    run(story())


def test_what_others_have_completed_since_the_read_is_done() -> None:
    async def story() -> None:
        leases = MemoryLeases()
        first = await claimed(leases, minutes((0, 10)))
        await first.complete(as_of=50)
        later = await claimed(leases, minutes((3, 5)), read_as_of=49)
        assert (later.grants, later.done) == ([], [Done(LeaseKey("s", SERIES.text, 0), 50)])
        assert [
            grant.key.shard for grant in (await claimed(leases, minutes((3, 5)), read_as_of=50)).grants
        ] == [0]

    run(story())


def test_each_shard_shows_which_part_of_its_wanted_bars_is_known() -> None:
    async def story() -> None:
        registry = CollectorRegistry()
        metrics, grid = Metrics(registry), Grid(SERIES.timeframe)
        wanted = minutes((5, 10), (10, 20))

        def gauges() -> dict[str, float]:
            return {
                sample.labels["lease_key"]: sample.value
                for metric in registry.collect()
                for sample in metric.samples
                if sample.name == "backfill_completion_ratio"
            }

        shards = await claimed(MemoryLeases(), wanted)
        shards.show(metrics, grid, wanted, wanted)
        assert gauges() == {f"s/{SERIES}/0": 0.0, f"s/{SERIES}/1": 0.0}
        shards.show(metrics, grid, wanted, minutes((5, 6), (15, 20)))
        assert gauges() == {f"s/{SERIES}/0": 0.8, f"s/{SERIES}/1": 0.5}
        await shards.complete(as_of=1)
        shards.hide(metrics)
        assert gauges() == {}

    run(story())


def test_a_year_of_backfills_leaves_no_gauge_behind() -> None:
    """A shard an hour, each another one; every third fails, and every fifth is hidden twice."""

    async def story() -> None:
        registry = CollectorRegistry()
        metrics, grid, leases = Metrics(registry), Grid(SERIES.timeframe), MemoryLeases()
        children = metrics._family("backfill_completion_ratio")._metrics
        for hour in range(365 * 24):
            wanted = minutes((10 * hour + 3, 10 * hour + 15))
            shards = await claimed(leases, wanted)
            shards.show(metrics, grid, wanted, wanted)
            shards.show(metrics, grid, wanted, minutes((10 * hour + 5, 10 * hour + 15)))
            assert len(children) == 2
            if hour % 3:
                await shards.complete(as_of=hour + 1)
            else:
                await shards.fail(why="the venue is down")
            for _ in range(1 + (hour % 5 == 0)):
                shards.hide(metrics)
            assert not children

    run(story())


def test_the_keys_of_a_commit_are_those_of_the_shards_that_it_touches() -> None:
    async def story() -> None:
        shards = await claimed(MemoryLeases(), minutes((0, 40)))
        assert shards.keys_of(minutes((9, 11))) == [f"s/{SERIES}/0", f"s/{SERIES}/1"]

    run(story())


def test_others_see_the_progress() -> None:
    async def story() -> None:
        leases = MemoryLeases()
        shards = await claimed(leases, minutes((0, 10)))
        await shards.renew(ShardProgress(3, 10))
        (other,) = (await claimed(leases, minutes((0, 10)))).waiting
        assert other.progress == ShardProgress(3, 10)

    run(story())


def test_shards_stay_held_until_the_commit_under_way_has_ended() -> None:
    async def story() -> None:
        leases = MemoryLeases()
        shards = await claimed(leases, minutes((0, 10)))
        commit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        freed = shards.fail(why="left", after=commit)
        assert shards.fail(why="once more") is freed
        await asyncio.sleep(0.01)
        assert await taken(leases, 0) == []
        commit.set_result(None)
        await freed
        assert len(await taken(leases, 0)) == 1

    run(story())


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_loop_that_cancels_everything_leaves_no_shard_held(steps: int) -> None:
    async def story() -> None:
        leases = MemoryLeases()
        shards = await claimed(leases, minutes((0, 10)))
        commit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        freed = shards.fail(why="left", after=commit)
        for _ in range(steps):
            await asyncio.sleep(0)
        freed.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(await taken(leases, 0)) == 1

    run(story())


def test_what_was_completed_is_not_failed_afterwards() -> None:
    async def story() -> None:
        leases = MemoryLeases()
        shards = await claimed(leases, minutes((0, 10)))
        await shards.complete(as_of=7)
        theirs = await claimed(leases, minutes((0, 10)), read_as_of=7)
        assert len(theirs.grants) == 1
        await shards.fail(why="late")
        (other,) = (await claimed(leases, minutes((0, 10)))).waiting
        assert other.key.shard == 0, "it is theirs still"

    run(story())


def test_a_write_carries_the_tokens_of_the_shards_that_it_touches() -> None:
    """By what it speaks of and by its rows; the open end of an answer touches nothing."""

    async def story() -> None:
        store = MemoryStore()
        shards = await claimed(MemoryLeases(), minutes((0, 40)))
        await shards.open_fences(store)
        tokens = store.open_fence(SERIES, range(4), shards.claim_id)
        assert shards.fences == tokens
        row = synthetic_bars(SERIES, minutes((35, 36)).hull)
        write = Write("test", 1, frame=row, answered=minutes((5, 10)), retracted=minutes((10, 12)))
        assert shards.fenced(write).fences == {shard: tokens[shard] for shard in (0, 1, 3)}
        assert shards.fenced(Write("test", 1)).fences == {}
        end_threads(asyncio.get_running_loop())

    run(story())


def test_a_backfill_without_a_fence_is_refused() -> None:
    """To a store, a write without any token is an import, which needs none."""

    async def story() -> None:
        shards = await claimed(MemoryLeases(), minutes((0, 20)))
        write = Write("test", 1, answered=minutes((0, 20)))
        with pytest.raises(InvalidRequestError, match="without a fencing token") as refused:
            shards.fenced(write)
        assert "2 shards that it touches, such as 0" in str(refused.value)
        await shards.open_fences(MemoryStore())
        assert shards.fenced(write).fences.keys() == {0, 1}
        with pytest.raises(InvalidRequestError, match="1 shard that it touches, such as 2"):
            shards.fenced(Write("test", 1, answered=minutes((0, 21))))
        end_threads(asyncio.get_running_loop())

    run(story())


def test_a_shard_that_somebody_else_has_taken_over_refuses_the_write() -> None:
    async def story() -> None:
        store = MemoryStore()
        shards = await claimed(MemoryLeases(), minutes((0, 20)))
        await shards.open_fences(store)
        write = shards.fenced(Write("test", 1, answered=minutes((0, 20))))
        store.open_fence(SERIES, [1], "theirs")
        with pytest.raises(StaleFenceError) as refused:
            store.commit(SERIES, write)
        assert refused.value.stale == {1: shards.fences[1]}
        assert store.newest().tx == 0
        end_threads(asyncio.get_running_loop())

    run(story())


class LosableLeases(MemoryLeases):
    """All leases are lost once `let_go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def _lost(self) -> LeaseError:
        await self.let_go.wait()
        return LeaseError("lost", lease_key="s/x/1")

    def lost(self, grants: Sequence[Granted]) -> Any:
        return self._lost()


class Work:
    """Waits until it is told to end; `deaf`: also when it is cancelled."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.end, self.cancelled, self.deaf = asyncio.Event(), 0, deaf

    async def do(self) -> None:
        while not self.end.is_set():
            try:
                await self.end.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.deaf:
                    raise


@pytest.mark.parametrize("kind", [MemoryLeases, LosableLeases])
def test_work_that_ends_before_its_lease_is_lost_ends_as_ever(kind: type[MemoryLeases]) -> None:
    async def story() -> None:
        shards, work = await claimed(kind(), minutes((0, 10))), Work()
        done = asyncio.ensure_future(shards.while_held(work.do()))
        await asyncio.sleep(0)
        work.end.set()
        await done

        async def fails() -> None:
            raise ValueError("of the work")

        with pytest.raises(ValueError, match="of the work"):
            await shards.while_held(fails())
        await asyncio.sleep(0)  # for what is cancelled to end
        assert len(asyncio.all_tasks()) == 1, "nothing goes on behind it"

    run(story())


@pytest.mark.parametrize("deaf", [False, True])
def test_work_is_cancelled_when_its_lease_is_lost(deaf: bool) -> None:
    async def story() -> None:
        leases = LosableLeases()
        shards, work = await claimed(leases, minutes((0, 10))), Work(deaf=deaf)
        done = asyncio.ensure_future(shards.while_held(work.do()))
        await asyncio.sleep(0)
        leases.let_go.set()
        with pytest.raises(LeaseError, match="lost"):
            await done
        assert work.cancelled == 1
        work.end.set()

    run(story())


@pytest.mark.parametrize("who", ["lease", "caller"])
def test_an_error_of_work_that_nobody_waits_for_any_more_is_logged(
    caplog: pytest.LogCaptureFixture, who: str
) -> None:
    forgotten: list[object] = []

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("of the work")

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, facts: forgotten.append(facts))
        leases = LosableLeases()
        shards = await claimed(leases, minutes((0, 10)))
        done = asyncio.ensure_future(shards.while_held(fails()))
        await asyncio.sleep(0.01)
        if who == "lease":
            leases.let_go.set()
        else:
            done.cancel()
        with pytest.raises(LeaseError if who == "lease" else asyncio.CancelledError):
            await done

    run(story())
    gc.collect()
    assert forgotten == []
    (record,) = caplog.records
    assert record.getMessage().startswith("backfill.failed node_id=ohlcv:test:BTC/USDT:1m")
    assert vars(record)["error"] == "ValueError: of the work"


@pytest.mark.parametrize("kind", [MemoryLeases, LosableLeases])
def test_who_is_cancelled_cancels_the_work(kind: type[MemoryLeases]) -> None:
    async def story() -> None:
        shards, work = await claimed(kind(), minutes((0, 10))), Work()
        done = asyncio.ensure_future(shards.while_held(work.do()))
        await asyncio.sleep(0.01)
        done.cancel()
        with pytest.raises(asyncio.CancelledError):
            await done
        assert work.cancelled == 1
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run(story())
