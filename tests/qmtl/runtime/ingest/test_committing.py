"""What is ready together is one transaction; an error and a cancellation stay with the one they belong to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import pytest

from qmtl.foundation.errors import InvalidRequestError, StaleFenceError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.ingest import committing
from qmtl.runtime.ingest.committing import committed
from qmtl.runtime.ingest.threads import end_threads
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.testing.store_proxy import StoreProxy
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

NAMES = [SeriesId.parse(f"ohlcv:test:S{number}/USDT:1m") for number in range(50)]


class Counting(StoreProxy):
    """Notes how many writes each transaction had; `gate` holds them up until it is set.

    begun: set by the first of them.
    """

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.transactions: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def commit(self, series: SeriesId, write: Write) -> Commit:
        return self._counted({series: write})[series]

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        return self._counted(writes)

    def _counted(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        self.begun.set()
        self.gate.wait(30)
        self.transactions.append(len(writes))
        return self.inner.commit_many(writes)


def bar(at: int = 0, count: int = 1, **more: object) -> Write:
    cells = Coverage.of(minutes(at, at + count))
    return Write("feed", 40 + at, some_bars(at, count), cells, **more)  # type: ignore[arg-type]  # by name


def run(store: Counting, story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            await story()
        finally:
            store.gate.set()
            end_threads(asyncio.get_running_loop())

    asyncio.run(whole())


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_is_ready_in_one_turn_is_one_transaction() -> None:
    store = Counting()

    async def story() -> None:
        made = await asyncio.gather(*(committed(store, name, bar()) for name in NAMES))
        assert [one.tx for one in made] == list(range(1, 51))
        assert [one.added for one in made] == [1] * 50

    run(store, story)
    assert store.transactions == [50]


def test_what_comes_while_a_transaction_is_under_way_is_the_next_one() -> None:
    store = Counting()

    async def story() -> None:
        store.gate.clear()
        first = committed(store, NAMES[0], bar())
        await turns()
        assert store.begun.wait(30)
        later = [committed(store, name, bar()) for name in NAMES[1:20]]
        await turns()
        later += [committed(store, name, bar()) for name in NAMES[20:]]
        store.gate.set()
        await asyncio.gather(first, *later)

    run(store, story)
    assert store.transactions == [1, 49]


def test_writes_of_one_series_keep_their_order() -> None:
    store = Counting()

    async def story() -> None:
        both = [committed(store, NAMES[0], bar(at)) for at in (0, 1, 2)]
        both.insert(1, committed(store, NAMES[1], bar()))
        made = await asyncio.gather(*both)
        assert sorted(one.tx for one in made) == [1, 2, 3, 4]
        assert made[0].tx < made[2].tx < made[3].tx

    run(store, story)
    assert sum(store.transactions) == 4


def test_a_transaction_has_so_many_rows_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "MOST_ROWS", 100)
    store = Counting()

    async def story() -> None:
        await asyncio.gather(*(committed(store, name, bar(count=40)) for name in NAMES[:5]))
        await committed(store, NAMES[9], bar(count=300))

    run(store, story)
    assert store.transactions == [2, 2, 1, 1]


def test_a_refused_write_takes_no_other_with_it() -> None:
    store = Counting()
    token = store.open_fence(NAMES[1], [0], "first")[0]
    store.open_fence(NAMES[1], [0], "second")
    given = {
        NAMES[0]: bar(),
        NAMES[1]: bar(fences={0: token}),
        NAMES[2]: Write("feed", 1, some_bars(0, 2).reverse()),
        NAMES[3]: bar(),
    }

    async def story() -> None:
        waiting = [committed(store, series, write) for series, write in given.items()]
        first, second, third, fourth = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(first, Commit)
        assert isinstance(fourth, Commit)
        assert isinstance(second, StaleFenceError)
        assert second.series == NAMES[1].text
        assert isinstance(third, InvalidRequestError)
        assert third.series == NAMES[2].text

    run(store, story)
    assert [one.series for one in store.list_series()] == [NAMES[0], NAMES[3]]


def test_a_locked_store_is_waited_for_once_and_each_hears_of_its_own_series() -> None:
    class Locked(Counting):
        def _counted(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
            self.transactions.append(len(writes))
            raise StoreLockedError("the store has been locked for 30 s", why="process 7 holds it")

    store = Locked()

    async def story() -> None:
        heard = await asyncio.gather(
            *(committed(store, name, bar()) for name in NAMES[:3]), return_exceptions=True
        )
        assert [type(one) for one in heard] == [StoreLockedError] * 3
        assert [one.series for one in heard if isinstance(one, StoreLockedError)] == [
            name.text for name in NAMES[:3]
        ]
        assert len({id(one) for one in heard}) == 3

    run(store, story)
    assert store.transactions == [3]


def test_what_was_handed_over_is_committed_though_nobody_waits() -> None:
    store = Counting()

    async def story() -> None:
        store.gate.clear()

        async def wait(name: SeriesId) -> None:
            await committed(store, name, bar())

        tasks = [asyncio.ensure_future(wait(name)) for name in NAMES[:4]]
        await turns()
        assert store.begun.wait(30)
        tasks.append(asyncio.ensure_future(wait(NAMES[4])))  # in the next transaction
        await turns()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        # The loop ends here: its threads finish what waits without another turn of it.

    run(store, story)
    assert store.transactions == [4, 1]
    assert len(store.list_series()) == 5


def test_two_stores_of_one_loop_have_nothing_to_do_with_each_other() -> None:
    first, second = Counting(), Counting()

    async def story() -> None:
        await asyncio.gather(committed(first, NAMES[0], bar()), committed(second, NAMES[1], bar()))

    run(first, story)
    assert first.transactions == second.transactions == [1]
    assert [one.series for one in second.list_series()] == [NAMES[1]]


def test_whatever_a_store_raises_nobody_waits_for_ever() -> None:
    class Panic(BaseException):
        """What a library of another language raises."""

    class Panicking(Counting):
        def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
            raise Panic

    store = Panicking()

    async def story() -> None:
        made = await asyncio.wait_for(
            asyncio.gather(*(committed(store, name, bar()) for name in NAMES[:3])), timeout=30
        )
        assert [one.added for one in made] == [1, 1, 1]
        assert (await asyncio.wait_for(committed(store, NAMES[0], bar(1)), timeout=30)).added == 1

    run(store, story)
    assert store.transactions == [1, 1, 1, 1]
