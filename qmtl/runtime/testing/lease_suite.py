"""What every `ShardLeases` must do: inherit this suite, and give it a fixture `connect`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import pytest

from qmtl.foundation.errors import LeaseError
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.coordination.shard_leases import Claimed, Done, Granted, Held, ShardLeases, ShardRequest
from qmtl.runtime.coordination.shards import shard_span
from qmtl.runtime.io.store.fencing import SHARD_STEPS

T = TypeVar("T")

# Another worker's view of the same leases.
Connect: TypeAlias = Callable[[], ShardLeases]

SERIES = "ohlcv:test:BTC/USDT:1m"


def cells_of(shard: int, bars: int = 60, *, series: str = SERIES) -> Coverage:
    """The first bars of a shard."""
    step = SeriesId.parse(series).timeframe.step
    start = shard_span(shard, SHARD_STEPS * step).start
    return Coverage.of(Span(start, start + bars * step))


def request(
    shard: int,
    *,
    store: str = "store",
    series: str = SERIES,
    cells: Coverage | None = None,
    read_as_of: int = 0,
) -> ShardRequest:
    """For the cells, or for the first bars of the shard."""
    wanted = cells_of(shard, series=series) if cells is None else cells
    return ShardRequest(LeaseKey(store, series, shard), wanted, read_as_of)


def granted(answers: Sequence[Claimed]) -> list[Granted]:
    """The answers, all of which must be grants."""
    assert all(isinstance(answer, Granted) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Granted)]


@contextmanager
def claimed_elsewhere(leases: ShardLeases, key: LeaseKey) -> Iterator[None]:
    """While the block runs, somebody else holds the shard. Used where no event loop runs."""
    grants = granted(asyncio.run(leases.claim([ShardRequest(key, EMPTY, 0)], claim_id="elsewhere")))
    try:
        yield
    finally:
        asyncio.run(leases.fail(grants, why="given up"))


class LeaseSuite:
    """Inherit it, and override the fixture `connect`: each call gives another worker of the same leases.

    remembers: whether `claim` answers `Done` for cells that somebody has completed since they were read.
    """

    remembers = False

    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError("give a fixture `connect`")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def test_a_shard_has_one_holder_at_a_time(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            (grant,) = granted(await one.claim([request(7)], claim_id="one"))
            assert (grant.key, grant.claim_id) == (request(7).key, "one")
            for worker in (one, two):
                (answer,) = await worker.claim([request(7)], claim_id="two")
                assert isinstance(answer, Held)
                assert answer.key == request(7).key
                assert answer.holder
                assert answer.retry_after_s > 0
            await one.fail([grant], why="given up")
            granted(await two.claim([request(7)], claim_id="two"))

        self.run(story())

    def test_a_claim_that_asks_again_is_granted_what_it_holds(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            first = granted(await one.claim([request(7)], claim_id="one"))
            await one.renew(first, ShardProgress(3, 9))
            assert granted(await one.claim([request(7), request(8)], claim_id="one"))[:1] == first
            (answer,) = await two.claim([request(7)], claim_id="two")
            assert isinstance(answer, Held)
            assert answer.progress == ShardProgress(3, 9), "nothing has changed"
            await one.complete(first, as_of=50)
            granted(await two.claim([request(7, read_as_of=50)], claim_id="two"))

        self.run(story())

    def test_store_series_and_shard_make_a_lease(self, connect: Connect) -> None:
        async def story() -> None:
            requests = [
                request(7),
                request(8),
                request(-7),
                request(7, store="another"),
                request(7, series="ohlcv:test:BTC/USDT:5m"),
            ]
            answers = granted(await connect().claim(requests, claim_id="one"))
            assert [grant.key for grant in answers] == [one.key for one in requests]

        self.run(story())

    def test_answers_are_in_the_order_of_the_requests(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            granted(await one.claim([request(2)], claim_id="one"))
            answers = await two.claim([request(3), request(2), request(1)], claim_id="two")
            assert [type(answer) for answer in answers] == [Granted, Held, Granted]
            assert [answer.key.shard for answer in answers] == [3, 2, 1]

        self.run(story())

    def test_others_see_how_far_the_holder_is(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            grants = granted(await one.claim([request(7), request(8)], claim_id="one"))
            for progress in (ShardProgress(40, 100_000), ShardProgress(7, 9)):
                await one.renew(grants, progress)
                for answer in await two.claim([request(7), request(8)], claim_id="two"):
                    assert isinstance(answer, Held)
                    assert answer.progress == progress

        self.run(story())

    def test_what_is_completed_is_free_again(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            grants = granted(await one.claim([request(7)], claim_id="one"))
            await one.complete(grants, as_of=50)
            # A worker that has read the store since finds bars that were reopened, and may claim them.
            granted(await two.claim([request(7, read_as_of=50)], claim_id="two"))

        self.run(story())

    def test_done_is_answered_for_cells_completed_since_they_were_read(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            await one.complete(granted(await one.claim([request(7)], claim_id="one")), as_of=50)
            (answer,) = await two.claim([request(7, read_as_of=49)], claim_id="two")
            if self.remembers:
                assert answer == Done(request(7).key, 50)
                further = request(7, cells=cells_of(7, bars=61), read_as_of=49)
                granted(await two.claim([further], claim_id="two"))
            else:
                assert isinstance(answer, Granted)

        self.run(story())

    def test_a_lease_that_has_ended_is_nobody_s(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            grants = granted(await one.claim([request(7)], claim_id="one"))
            await one.fail(grants, why="given up")
            theirs = granted(await two.claim([request(7)], claim_id="two"))
            with pytest.raises(LeaseError):
                one.still_held(grants)
            two.still_held(theirs)
            with pytest.raises(LeaseError):
                await one.renew(grants, ShardProgress(1, 2))
            with pytest.raises(LeaseError):
                await one.complete(grants, as_of=50)
            await one.fail(grants, why="once more, and late")
            (answer,) = await connect().claim([request(7)], claim_id="three")
            assert isinstance(answer, Held), "what is theirs was left alone"
            await two.complete(theirs, as_of=60)

        self.run(story())

    def test_no_progress_is_kept_where_one_lease_is_lost(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            kept, lost = granted(await one.claim([request(7), request(8)], claim_id="one"))
            await one.renew([kept], ShardProgress(1, 9))
            await one.fail([lost], why="given up")
            with pytest.raises(LeaseError) as refused:
                await one.renew([kept, lost], ShardProgress(5, 9))
            assert refused.value.lease_key == str(lost.key)
            (answer,) = await two.claim([request(7)], claim_id="two")
            assert isinstance(answer, Held)
            assert answer.progress == ShardProgress(1, 9), "all are renewed, or none"

        self.run(story())

    @pytest.mark.parametrize("ends", ["complete", "fail"])
    def test_a_new_holder_begins_without_progress(self, connect: Connect, ends: str) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            grants = granted(await one.claim([request(7)], claim_id="one"))
            await one.renew(grants, ShardProgress(40, 100))
            if ends == "complete":
                await one.complete(grants, as_of=50)
            else:
                await one.fail(grants, why="given up")
            granted(await two.claim([request(7, read_as_of=50)], claim_id="two"))
            (answer,) = await one.claim([request(7, read_as_of=50)], claim_id="three")
            assert isinstance(answer, Held)
            assert answer.progress in (None, ShardProgress(0, 0)), "that was the progress of another claim"

        self.run(story())

    def test_nothing_is_renewed_where_one_lease_is_lost(self, connect: Connect) -> None:
        async def story() -> None:
            one, two = connect(), connect()
            lost, kept = granted(await one.claim([request(7), request(8)], claim_id="one"))
            await one.fail([lost], why="given up")
            with pytest.raises(LeaseError) as refused:
                await one.complete([kept, lost], as_of=50)
            assert refused.value.lease_key == str(lost.key)
            (answer,) = await two.claim([request(8)], claim_id="two")
            assert isinstance(answer, Held), "the other one is still held"

        self.run(story())

    def test_any_number_of_workers_share_the_shards_out(self, connect: Connect) -> None:
        async def story() -> None:
            workers = [connect() for _ in range(8)]
            wanted = [request(number) for number in range(20)]
            claims = [worker.claim(wanted, claim_id=str(n)) for n, worker in enumerate(workers)]
            answers = [answer for each in await asyncio.gather(*claims) for answer in each]
            owners = [answer.key.shard for answer in answers if isinstance(answer, Granted)]
            assert sorted(owners) == list(range(20))

        self.run(story())

    def test_nothing_is_claimed_by_asking_for_nothing(self, connect: Connect) -> None:
        worker = connect()
        assert self.run(worker.claim([], claim_id="one")) == []
        assert worker.most_at_once >= 1
        granted(self.run(worker.claim([request(7, cells=EMPTY)], claim_id="one")))
