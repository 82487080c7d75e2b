"""Bars of many series that are ready together are one transaction, and each series keeps its promises."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, SECOND
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, Held, ShardRequest
from qmtl.runtime.coordination.shards import shard_numbers
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.io.vendors.base import Page, Update
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.several import AT_ONCE
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_proxy import StoreProxy
from qmtl.runtime.testing.vendors import Deliver, ScriptedFeed, ScriptedVendor

from .panel_children import NAMES, SPAN

ROUNDS = 8
PATIENCE_S = 60.0
BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]


class Watched(StoreProxy):
    """Notes which series each transaction wrote; `before` is called as one begins."""

    def __init__(self, inner: KeptStore) -> None:
        super().__init__(inner)
        self.transactions: list[list[str]] = []
        self.before: Callable[[list[str]], None] = lambda _: None

    def commit(self, series: SeriesId, write: Write) -> Commit:
        return self._watched({series: write})[series]

    def commit_many(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        return self._watched(writes)

    def _watched(self, writes: Mapping[SeriesId, Write]) -> dict[SeriesId, Commit]:
        names = [series.text for series in writes]
        self.before(names)
        made = self.inner.commit_many(writes)
        self.transactions.append(names)
        return made


@pytest.fixture
def store(open_store: Callable[..., KeptStore], clock: FakeClock) -> Watched:
    return Watched(open_store(clock=clock))


def claims(folder: Path, store_id: str, name: str) -> list[Claimed]:
    """What somebody else hears who asks for the shards of the span now."""
    numbers = shard_numbers(Coverage.of(SPAN), SHARD_STEPS * MINUTE)
    wanted = [ShardRequest(LeaseKey(store_id, name, number), EMPTY, 0) for number in numbers]

    async def ask() -> list[Claimed]:
        leases = LocalLeases(folder / "claims")
        answers = await leases.claim(wanted, claim_id="another")
        await leases.fail([one for one in answers if isinstance(one, Granted)], why="only looking")
        return answers

    return asyncio.run(ask())


class InStep(ScriptedVendor):
    """Its pages come for as many series at once as a provider asks for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[None]] = []

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        mine = asyncio.get_running_loop().create_future()
        self.waiting.append(mine)
        if len(self.waiting) == AT_ONCE:
            for one in self.waiting:
                one.set_result(None)
            self.waiting.clear()
        await mine
        async for page in super().pages(series, span):
            yield page


def test_chunks_of_a_panel_share_transactions_and_stay_claimed_until_then(make: Make, store: Watched) -> None:
    vendor, names = InStep(), NAMES[: 6 * AT_ONCE]
    provider = make(vendor, store=store)
    folder = store.inner.folder
    assert folder is not None
    free: list[str] = []

    def look(names: list[str]) -> None:
        heard = {name: claims(folder, store.place_id, name) for name in names}
        free.extend(name for name, answers in heard.items() if not all(isinstance(a, Held) for a in answers))

    store.before = look
    answer = provider.backfill(names, *SPAN)
    assert list(answer.states) == names
    assert free == [], "no shard is free before what was written for it is durable"
    assert sorted(name for batch in store.transactions for name in batch) == names
    assert store.newest().tx == len(names), "each series has a commit of its own"
    assert [len(batch) for batch in store.transactions] == [AT_ONCE] * 6
    for name in names:
        assert_frame_equal(provider.fetch(name, *SPAN, strategy="FAIL_FAST").frame, vendor.bars(name, SPAN))
        assert all(isinstance(one, Granted) for one in claims(folder, store.place_id, name))


@pytest.mark.parametrize("count", [AT_ONCE, 100])
def test_bars_that_close_together_are_one_transaction(
    make: Make, store: Watched, clock: FakeClock, count: int
) -> None:
    """However many series ask a vendor at once: all wait for the last bar together."""
    names = [f"ohlcv:panel:T{number:03}/USDT:1m" for number in range(count)]
    now = clock.now()
    last = Span(now // MINUTE * MINUTE - MINUTE, now // MINUTE * MINUTE)
    span = Span(last.start - HOUR, last.end)
    asking: list[int] = [0]
    listening: list[int] = [0]

    class Lagging(ScriptedVendor):
        """Does not answer for the last bar yet."""

        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            asking.append(asking[-1] + 1)
            try:
                await asyncio.sleep(0.01)
                async for page in super().pages(series, Span(span.start, last.start)):
                    yield page
            finally:
                asking.append(asking[-1] - 1)

    class Feed:
        """Each series closes its last bar five seconds from the beginning."""

        async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
            listening.append(listening[-1] + 1)
            left = (now - clock.now()) / SECOND + 5.0
            try:
                async for update in ScriptedFeed([Deliver(left, synthetic_bars(series, last))]).bars(series):
                    yield update
            finally:
                listening.append(listening[-1] - 1)

    provider = make(Lagging(), store=store, live=Feed())
    answer = provider.fetch_many(names, *span)
    assert not answer.errors
    for name in names:
        assert answer[name].frame["ts"].to_physical()[-1] == last.start
    assert sorted(store.transactions[-1]) == names, "all last bars, and nothing else"
    assert max(asking) == AT_ONCE
    assert max(listening) == count
    assert (asking[-1], listening[-1]) == (0, 0)


def test_a_panel_that_is_killed_has_what_it_acknowledged(tmp_path: Path) -> None:
    dice = random.Random(11)
    cut_short = 0
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        count = dice.randrange(1, 40)
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.qmtl.stories.panel_children", str(folder), str(count + 4)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = []
        for _ in range(count):
            lines.append(child.stdout.readline().strip())
        child.send_signal(signal.SIGKILL)
        lines += [line.strip() for line in child.stdout]
        child.wait(PATIENCE_S)
        child.stdout.close()
        done = [line.removeprefix("done ") for line in lines if line.startswith("done ")]
        assert done, lines
        vendor = ScriptedVendor()
        with SeamlessDataProvider(folder, vendors=vendor, metrics_registry=CollectorRegistry()) as provider:
            assert provider.store.verify().is_sound
            kept = {one.series.text: one.rows for one in provider.store.list_series()}
            assert set(done) <= set(kept)
            cut_short += len(kept) < len(NAMES)
            assert set(kept.values()) <= {0, 240}, "of a series all was kept, or nothing"
            provider.backfill(NAMES, *SPAN)
            asked = {call.series.text for call in vendor.calls}
            assert asked == {name for name in NAMES if kept.get(name) != 240}
            for name in NAMES:
                frame = provider.fetch(name, *SPAN, strategy="FAIL_FAST").frame
                assert_frame_equal(frame, vendor.bars(name, SPAN))
    assert cut_short > ROUNDS / 2
