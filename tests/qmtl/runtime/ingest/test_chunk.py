"""Pages of one question are committed together, once there are enough of them, whoever leaves meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from qmtl.foundation.errors import LeaseError, SourceUnavailableError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.conformance.screen import Screened
from qmtl.runtime.ingest.chunk import CHUNK_SECONDS, COMMIT_ROWS, Chunk, ChunkTarget, Known
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.ingest.threads import end_threads
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing import FakeClock
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
NOW = 2 * DAY


def minutes(first: int, end: int) -> Span:
    return Span(first * MINUTE, end * MINUTE)


def page(first: int, end: int, *, absent: Coverage = EMPTY) -> Page:
    span = minutes(first, end)
    rows = synthetic_bars(SERIES, span)
    return Page(rows.filter(pl.Series(~absent.holds(stamps(rows)))), span, absent)


class Bench:
    """A chunk over a store in memory, and what was saved. `gate` blocks commits until it is set."""

    def __init__(self, known: Known | None = None, fenced: Callable[[Write], Write] = lambda w: w) -> None:
        self.clock = FakeClock("1970-01-03")
        self.store = MemoryStore(clock=self.clock)
        self.saved: list[tuple[Coverage, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.known = known or Known()
        self.chunk = Chunk(
            ChunkTarget(
                store=self.store,
                clock=self.clock,
                series=SERIES,
                grid=Grid(SERIES.timeframe),
                facts=SeriesFacts(),
                source="vendor",
                settlement=SettlementPolicy(),
                known=self.known,
                fenced=fenced,
                on_saved=self._on_saved,
            )
        )
        plain = self.store.commit

        def commit(series: SeriesId, write: Write) -> Commit:
            self.gate.wait(30)
            return plain(series, write)

        self.store.commit = commit  # type: ignore[method-assign]  # to hold a commit up

    def _on_saved(self, answered: Coverage, screened: Screened, commit: Commit) -> None:
        self.saved.append((answered, commit.added))

    def stored(self) -> list[int]:
        frame = self.store.read(SERIES, Span(0, DAY)).frame
        return [ts // MINUTE for ts in stamps(frame).tolist()]

    def run(self, story: Callable[[], object]) -> None:
        async def whole() -> None:
            try:
                await story()  # type: ignore[misc]
            finally:
                self.gate.set()
                end_threads(asyncio.get_running_loop())

        asyncio.run(whole())


async def committed(chunk: Chunk) -> Coverage | None:
    chunk.begin()
    return await chunk.ended()


def test_a_chunk_is_large_by_its_rows_and_old_by_its_age_if_it_holds_anything() -> None:
    bench = Bench()
    bench.clock.advance(10 * CHUNK_SECONDS)
    assert not bench.chunk.is_old
    bench.chunk.add(page(0, 1), NOW)
    assert bench.chunk.is_old

    bench = Bench()
    bench.chunk.add(page(0, COMMIT_ROWS - 1), NOW)
    assert not bench.chunk.is_large
    bench.chunk.add(page(COMMIT_ROWS - 1, COMMIT_ROWS), NOW)
    assert bench.chunk.is_large
    assert not bench.chunk.is_old


def test_all_pages_are_one_commit_and_the_chunk_is_empty_after_it() -> None:
    bench = Bench()

    async def story() -> None:
        bench.chunk.add(page(5, 10), NOW)
        bench.chunk.add(page(0, 5), NOW)
        assert await committed(bench.chunk) == Coverage.of(minutes(0, 10))
        assert bench.chunk.pages == []
        assert bench.chunk.saving is None

    bench.run(story)
    assert bench.stored() == list(range(10))
    assert bench.saved == [(Coverage.of(minutes(0, 10)), 10)]
    assert bench.store.newest().tx == 1


def test_the_earliest_question_says_what_was_settled() -> None:
    """A page asked for at 00:03 proves no silence behind it, whatever later pages prove."""
    bench = Bench()

    async def story() -> None:
        empty = Page(pl.DataFrame(), minutes(0, 10))
        bench.chunk.add(empty, NOW)
        bench.chunk.add(empty, 3 * MINUTE)
        await committed(bench.chunk)

    bench.run(story)
    assert bench.store.read(SERIES, Span(0, DAY)).answered == Coverage.of(minutes(0, 2))


def test_nothing_is_committed_for_what_was_only_bridged() -> None:
    known = Known(bridged=Coverage.of(minutes(3, 6)))
    bench = Bench(known)

    async def story() -> None:
        bench.chunk.add(page(0, 10), NOW)
        assert await committed(bench.chunk) == Coverage.of(minutes(0, 3), minutes(6, 10))

    bench.run(story)
    assert bench.stored() == [0, 1, 2, 6, 7, 8, 9]
    answered = bench.store.read(SERIES, Span(0, DAY)).answered
    assert answered == Coverage.of(minutes(0, 3), minutes(6, 10))


def test_absences_and_tokens_go_into_the_write() -> None:
    writes = []

    def fenced(write: Write) -> Write:
        writes.append(write)
        return replace(write, source="fenced")

    bench = Bench(fenced=fenced)
    gone = Coverage.of(minutes(4, 8))

    async def story() -> None:
        bench.chunk.add(page(0, 8, absent=gone), NOW)
        await committed(bench.chunk)

    bench.run(story)
    (write,) = writes
    assert write.absent == gone
    assert {one.source for one in bench.store.read(SERIES, Span(0, DAY)).answers} == {"fenced"}


def test_pages_that_contradict_the_timeframe_are_refused_as_the_vendors() -> None:
    bench = Bench()
    seconds = synthetic_bars("ohlcv:test:A/B:1s", minutes(0, 2))

    async def story() -> None:
        bench.chunk.add(Page(seconds, minutes(0, 2)), NOW)
        with pytest.raises(SourceUnavailableError, match="shorter timeframe") as refused:
            await committed(bench.chunk)
        error = refused.value
        assert (error.source, error.series, error.span) == ("vendor", SERIES.text, minutes(0, 2))

    bench.run(story)
    assert bench.store.newest().tx == 0


def test_a_commit_that_fails_is_raised_and_saves_nothing() -> None:
    bench = Bench()
    bench.store.close()

    async def story() -> None:
        bench.chunk.add(page(0, 3), NOW)
        with pytest.raises(StoreError, match="closed"):
            await committed(bench.chunk)

    bench.run(story)
    assert bench.saved == []


async def cancelled_as_it_commits(bench: Bench, task: asyncio.Task[Coverage | None], times: int) -> None:
    """Cancel a task so often while the gate holds up its commit: it ends only once that has."""
    for _ in range(times):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.chunk.is_kept
    assert not task.done()
    bench.gate.set()
    await asyncio.wait({task})
    assert task.cancelled()


def test_a_commit_goes_on_though_its_caller_is_cancelled_again_and_again() -> None:
    bench = Bench()
    bench.gate.clear()

    async def story() -> None:
        bench.chunk.add(page(0, 3), NOW)
        task = asyncio.create_task(committed(bench.chunk))
        await cancelled_as_it_commits(bench, task, 3)
        assert not bench.chunk.is_kept

    bench.run(story)
    assert bench.stored() == [0, 1, 2]
    assert [added for _, added in bench.saved] == [3]


def test_who_leaves_keeps_what_has_come() -> None:
    bench = Bench()

    async def story() -> None:
        assert bench.chunk.keep() is None
        await bench.chunk.kept()  # nothing has come, so there is nothing to wait for
        bench.chunk.add(page(0, 3), NOW)
        await bench.chunk.kept()
        assert bench.chunk.pages == []

    bench.run(story)
    assert bench.stored() == [0, 1, 2]


def test_pages_are_read_while_those_before_them_are_committed() -> None:
    bench = Bench()
    bench.gate.clear()

    async def story() -> None:
        assert await bench.chunk.ended() is None
        bench.chunk.add(page(0, 3), NOW)
        bench.chunk.begin()
        bench.chunk.add(page(3, 5), NOW)
        assert bench.saved == []
        assert len(bench.chunk.pages) == 1
        bench.gate.set()
        assert await bench.chunk.ended() == Coverage.of(minutes(0, 3))
        assert await bench.chunk.ended() is None
        assert await committed(bench.chunk) == Coverage.of(minutes(3, 5))

    bench.run(story)
    assert bench.saved == [(Coverage.of(minutes(0, 3)), 3), (Coverage.of(minutes(3, 5)), 2)]


@pytest.mark.parametrize("cancellations", [1, 3])
def test_who_leaves_waits_for_the_commit_that_had_begun_as_well(cancellations: int) -> None:
    bench = Bench()
    bench.gate.clear()

    async def story() -> None:
        bench.chunk.add(page(0, 3), NOW)
        bench.chunk.begin()
        bench.chunk.add(page(3, 5), NOW)
        task = asyncio.create_task(bench.chunk.ended())
        await cancelled_as_it_commits(bench, task, cancellations)
        assert bench.chunk.saving is None

    bench.run(story)
    assert bench.stored() == [0, 1, 2, 3, 4]
    assert sorted(added for _, added in bench.saved) == [2, 3]


def test_pages_that_are_refused_when_somebody_leaves_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    async def story() -> None:
        bench.chunk.add(Page(synthetic_bars("ohlcv:test:A/B:1s", minutes(0, 2)), minutes(0, 2)), NOW)
        with caplog.at_level(logging.WARNING, logger="seamless.backfill"):
            assert bench.chunk.keep() is None

    bench.run(story)
    (record,) = caplog.records
    assert record.getMessage().startswith("backfill.failed node_id=ohlcv:test:A/B:1m interval=1m")
    assert vars(record)["end"] == "1970-01-01T00:02:00Z"
    assert bench.store.newest().tx == 0


def test_pages_whose_lease_is_lost_when_somebody_leaves_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def lost(write: Write) -> Write:
        raise LeaseError("not renewed in time", lease_key="s/x/1")

    bench = Bench(fenced=lost)

    async def story() -> None:
        bench.chunk.add(page(0, 2), NOW)
        with caplog.at_level(logging.WARNING, logger="seamless.backfill"):
            await bench.chunk.kept()

    bench.run(story)
    (record,) = caplog.records
    assert record.getMessage().startswith("backfill.failed node_id=ohlcv:test:A/B:1m interval=1m")
    assert vars(record)["error"] == "not renewed in time"
    assert vars(record)["end"] == "1970-01-01T00:02:00Z"
    assert bench.store.newest().tx == 0


def test_rows_of_an_hour_that_is_still_open_stay_out() -> None:
    bench = Bench()

    async def story() -> None:
        bench.chunk.add(page(0, 60), HOUR - 1)
        await committed(bench.chunk)

    bench.run(story)
    assert bench.stored() == list(range(59))
