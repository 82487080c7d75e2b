"""One backfill at a time: claims of others, chunks, broken connections, odd pages, and what operators see."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import SourceUnavailableError, StaleFenceError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.observability.catalog import LOG_FIELDS
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, to_ns
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, ShardRequest
from qmtl.runtime.ingest.backfill import GIVE_WAY_S, Backfill
from qmtl.runtime.ingest.backfill_result import BackfillResult, Progress
from qmtl.runtime.ingest.chunk import COMMIT_ROWS
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.lease_suite import claimed_elsewhere
from qmtl.runtime.testing.vendors import (
    Change,
    Fault,
    Hang,
    Raise,
    ScriptedVendor,
    Stop,
    rows_outside,
    with_value,
)

BOTH_ENGINES = True

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
DAWN = to_ns("2024-01-01")
WIDTH = SHARD_STEPS * MINUTE
SHARD = DAWN // WIDTH


@dataclass
class Place:
    """A store, a clock, and one way to run a backfill on them."""

    store: KeptStore
    clock: FakeClock
    registry: CollectorRegistry
    leases: LocalLeases
    seen: list[Progress] = field(default_factory=list)

    def fill(
        self, vendor: Vendor, missing: Coverage | Span, filling: BackfillResult | None = None, **options: Any
    ) -> Coroutine[Any, Any, None]:
        series = options.pop("series", SERIES)
        grid = options.pop("grid", Grid(series.timeframe))
        backfill = Backfill(self.store, self.leases, self.clock, Metrics(self.registry), SettlementPolicy())
        cells = Coverage.of(missing) if isinstance(missing, Span) else missing
        filling = BackfillResult("vendor") if filling is None else filling
        options.setdefault("on_progress", self.seen.append)
        return backfill.run(series, grid, SeriesFacts(), cells, vendor, filling, **options)

    def claimed_by_another(self, shard: int) -> Callable[[], None]:
        """Claim a shard as another process would; what gives it back."""
        other = ExitStack()
        key = LeaseKey(self.store.place_id, SERIES.text, shard)
        other.enter_context(claimed_elsewhere(LocalLeases(self.store.folder / "claims"), key))
        return other.close

    async def is_free(self, shard: int) -> bool:
        request = ShardRequest(LeaseKey(self.store.place_id, SERIES.text, shard), EMPTY, 0)
        (answer,) = await self.leases.claim([request], claim_id="looking")
        if not isinstance(answer, Granted):
            return False
        await self.leases.fail([answer], why="only looking")
        return True

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=self.clock.new_event_loop) as runner:
            return runner.run(work)

    def rows(self, span: Span, series: SeriesId = SERIES) -> pl.DataFrame:
        return self.store.read(series, span).frame

    def gauges(self) -> list[float]:
        return [
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "backfill_completion_ratio"
        ]


@pytest.fixture
def place(open_store: Callable[..., KeptStore]) -> Place:
    clock = FakeClock("2024-02-01T00:00:30Z")
    store = open_store(clock=clock)
    return Place(store, clock, CollectorRegistry(), LocalLeases(store.folder / "claims"))


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """What was logged, as (event, record) pairs."""
    with caplog.at_level(logging.INFO, logger="seamless.backfill"):
        yield lambda: [
            (record.getMessage().split()[0], record)
            for record in caplog.records
            if record.name == "seamless.backfill"
        ]


@dataclass
class Pages:
    """A vendor that hands over these pages to its first question, and nothing to later ones."""

    script: list[Page | BaseException]
    asked: list[Span] = field(default_factory=list)

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        self.asked.append(span)
        script, self.script = self.script, []
        for page in script:
            if isinstance(page, BaseException):
                raise page
            yield page


def hours(first: float, last: float) -> Span:
    return Span(DAWN + int(first * HOUR), DAWN + int(last * HOUR))


def page(span: Span, **options: Any) -> Page:
    return Page(synthetic_bars(SERIES, span), span, **options)


# -- claims of others -------------------------------------------------------------------------------------


def test_what_somebody_else_left_undone_is_asked_for_once_the_claim_is_free(place: Place) -> None:
    vendor, filling = ScriptedVendor(), BackfillResult("vendor")
    shard = DAWN // (SHARD_STEPS * MINUTE)
    release = place.claimed_by_another(shard)

    async def somebody_else() -> None:
        await asyncio.sleep(1.0)
        assert vendor.calls == [], "nothing is asked while another holds the claim"
        done = hours(1, 2)
        write = Write("them", place.clock.now(), synthetic_bars(SERIES, done), answered=Coverage.of(done))
        place.store.commit(SERIES, write)
        await asyncio.to_thread(release)

    async def both() -> None:
        await asyncio.gather(somebody_else(), place.fill(vendor, hours(0, 3), filling))

    place.run(both())
    assert [call.span for call in vendor.calls] == [hours(0, 1), hours(2, 3)]
    assert filling.waited_for > 0
    assert filling.asked == [hours(0, 1), hours(2, 3)]
    assert_frame_equal(place.rows(hours(0, 3)), synthetic_bars(SERIES, hours(0, 3)))


def test_free_shards_are_filled_while_another_is_waited_for(place: Place) -> None:
    vendor = ScriptedVendor()
    edge = (DAWN // (SHARD_STEPS * MINUTE) + 1) * SHARD_STEPS * MINUTE
    span = Span(edge - HOUR, edge + HOUR)
    release = place.claimed_by_another(edge // (SHARD_STEPS * MINUTE))

    async def let_go() -> None:
        await asyncio.sleep(1.0)
        assert [call.span for call in vendor.calls] == [Span(edge - HOUR, edge)]
        await asyncio.to_thread(release)

    async def both() -> None:
        await asyncio.gather(let_go(), place.fill(vendor, span))

    place.run(both())
    assert all(progress.lost is None for progress in place.seen), "who lets go in order is not lost"
    assert [call.span for call in vendor.calls] == [Span(edge - HOUR, edge), Span(edge, edge + HOUR)]
    assert list((place.store.folder / "claims").iterdir()) == []


def test_one_question_crosses_the_borders_of_shards(place: Place) -> None:
    vendor = ScriptedVendor()
    edge = (DAWN // (SHARD_STEPS * MINUTE) + 1) * SHARD_STEPS * MINUTE
    place.run(place.fill(vendor, Span(edge - HOUR, edge + HOUR)))
    assert [call.span for call in vendor.calls] == [Span(edge - HOUR, edge + HOUR)]


def test_a_holder_that_died_is_shown_once_with_what_it_left(place: Place, events: Any) -> None:
    shard = DAWN // (SHARD_STEPS * MINUTE)
    key = LeaseKey(place.store.place_id, SERIES.text, shard)
    claims = place.store.folder / "claims"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(claims), str(key)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        holder = other.stdout.readline().strip()

        async def dies() -> None:
            await asyncio.sleep(1.0)
            done = hours(1, 2)
            write = Write("them", place.clock.now(), synthetic_bars(SERIES, done), answered=Coverage.of(done))
            place.store.commit(SERIES, write)
            await asyncio.sleep(1.0)
            other.kill()
            await asyncio.to_thread(other.wait)

        async def both() -> None:
            await asyncio.gather(dies(), place.fill(ScriptedVendor(), hours(0, 3)))

        place.run(both())
    first = place.seen[0]
    assert (first.done, first.lost) == (60, None), "what others commit is shown while it waits"
    (lost,) = [progress.lost for progress in place.seen if progress.lost is not None]
    assert (lost.holder, lost.why, lost.left, lost.by) == (holder, "its process has ended", 120, None)
    assert lost.noticed_at <= place.clock.now()
    assert [event for event, _ in events()].count("backfill.holder_lost") == 1


# Claims a shard as a program of its own, says who it is, and waits to be killed.
HOLDS = """
import asyncio, os, socket, sys, time
from pathlib import Path
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import EMPTY
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import ShardRequest

leases = LocalLeases(Path(sys.argv[1]))
asyncio.run(leases.claim([ShardRequest(LeaseKey.parse(sys.argv[2]), EMPTY, 0)], claim_id="theirs"))
print(f"{socket.gethostname()}:{os.getpid()}", flush=True)
time.sleep(600)
"""


# -- chunks -----------------------------------------------------------------------------------------------


def test_a_chunk_is_committed_when_it_has_rows_enough(place: Place, events: Any) -> None:
    vendor = ScriptedVendor(page_rows=COMMIT_ROWS // 2 + 1)
    span = Span(DAWN - 90 * DAY, DAWN - 90 * DAY + 3 * (COMMIT_ROWS // 2 + 1) * MINUTE)
    place.run(place.fill(vendor, span))
    added = [record.added for event, record in events() if event == "backfill.committed"]
    assert added == [COMMIT_ROWS + 2, COMMIT_ROWS // 2 + 1]


@pytest.mark.parametrize("error", [None, OSError("broke off"), SourceUnavailableError("no more", source="x")])
def test_from_a_fast_source_as_much_is_read_as_is_committed_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Four pages of half a commit each: no fifth is asked for before the first two are durable."""
    reached, rows, commit = threading.Event(), COMMIT_ROWS // 2, place.store.commit

    class Watched(ScriptedVendor):
        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            async for page in super().pages(series, span):
                if self.served >= 4:
                    reached.set()
                yield page

    vendor = Watched(page_rows=rows, faults={4: Raise(error)} if error else {})
    served = []

    def slow_commit(series: SeriesId, write: Write) -> Commit:
        assert reached.wait(30), "the vendor was not asked while a commit was under way"
        served.append(vendor.served)
        return commit(series, write)

    monkeypatch.setattr(place.store, "commit", slow_commit)
    span = Span(DAWN - 90 * DAY, DAWN - 90 * DAY + 5 * rows * MINUTE)
    result = BackfillResult("vendor")
    work = place.fill(vendor, span, result)
    if not isinstance(error, SourceUnavailableError):
        place.run(work)
        assert len(place.rows(span)) == 5 * rows
    else:
        with pytest.raises(SourceUnavailableError, match="no more"):
            place.run(work)
        assert len(place.rows(span)) == 4 * rows
    assert served[0] == 4
    assert result.as_of == place.store.newest().as_of


def test_a_chunk_is_committed_when_it_is_old_enough(place: Place, events: Any) -> None:
    place.run(place.fill(ScriptedVendor(page_rows=60, delay=0.4), hours(0, 10)))
    added = [record.added for event, record in events() if event == "backfill.committed"]
    assert added == [180, 180, 180, 60]


# -- broken connections -----------------------------------------------------------------------------------


def test_what_came_before_the_connection_broke_is_kept_and_only_the_rest_is_asked_for(place: Place) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={3: Raise(ConnectionResetError("cut"))})
    place.run(place.fill(vendor, hours(0, 6)))
    assert [call.span for call in vendor.calls] == [hours(0, 6), hours(3, 6)]
    assert place.rows(hours(0, 6)).height == 360


@pytest.mark.parametrize(
    "fault",
    [
        Raise(ValueError("a bug")),
        Raise(SourceUnavailableError("down", source="vendor")),
        Change(rows_outside),
    ],
    ids=["a defect", "an outage", "a page that is refused"],
)
def test_what_came_before_a_failure_is_kept(place: Place, fault: Any) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={2: fault})
    with pytest.raises(SourceUnavailableError):
        place.run(place.fill(vendor, hours(0, 4)))
    assert_frame_equal(place.rows(hours(0, 4)), synthetic_bars(SERIES, hours(0, 2)))
    assert vendor.open_calls == 0
    place.run(place.fill(vendor, hours(0, 4)))
    assert vendor.calls[-1].span == hours(2, 4)


def test_holes_between_answers_are_asked_for_one_by_one_after_a_break(place: Place) -> None:
    first = Pages([page(hours(1, 2)), page(hours(3, 4)), ConnectionResetError("cut")])
    place.run(place.fill(first, hours(0, 5)))
    assert first.asked == [hours(0, 5), hours(0, 1), hours(2, 3), hours(4, 5)]


def test_after_a_break_nobody_is_asked_for_closed_hours_alone(place: Place) -> None:
    series = SeriesId.parse("ohlcv:test:EUR/USD:1h")
    grid = Grid(series.timeframe, calendar_named("FX", {}))
    friday, sunday = to_ns("2024-01-05T22:00Z"), to_ns("2024-01-07T22:00Z")
    span = Span(friday - 4 * HOUR, sunday + 8 * HOUR)
    vendor = ScriptedVendor(page_rows=8, grid=grid, faults={1: Raise(TimeoutError("slow"))})
    place.run(place.fill(vendor, grid.expected(span), series=series, grid=grid))
    assert [call.span for call in vendor.calls] == [span, Span(sunday, span.end)]
    assert_frame_equal(place.rows(span, series), synthetic_bars(series, span, grid=grid))


def test_a_connection_that_stays_broken_is_a_source_that_failed(place: Place) -> None:
    vendor = ScriptedVendor(page_rows=60, faults={n: Raise(TimeoutError("slow")) for n in range(1, 9)})
    with pytest.raises(SourceUnavailableError, match="broke off 4 times") as caught:
        place.run(place.fill(vendor, hours(0, 3)))
    assert caught.value.span == hours(1, 3), "the span is what was not answered"
    assert [call.span for call in vendor.calls] == [hours(0, 3), *[hours(1, 3)] * 3]
    labels = {"source": "vendor"}
    assert place.registry.get_sample_value("seamless_vendor_retries_total", labels) == 3.0


def test_an_error_of_our_own_is_not_blamed_on_the_vendor(place: Place) -> None:
    vendor = ScriptedVendor()

    def progress(_: Progress) -> None:
        raise BrokenPipeError("nobody reads the progress any more")

    with pytest.raises(BrokenPipeError):
        place.run(place.fill(vendor, hours(0, 1), on_progress=progress))
    assert len(vendor.calls) == 1
    assert place.gauges() == []


# -- odd pages --------------------------------------------------------------------------------------------


def test_pages_may_come_in_any_order_and_overlap(place: Place) -> None:
    vendor = Pages([page(hours(2, 4)), page(hours(0, 3)), Page(empty_bars(), Span(DAWN, DAWN))])
    place.run(place.fill(vendor, hours(0, 4)))
    assert_frame_equal(place.rows(hours(0, 4)), synthetic_bars(SERIES, hours(0, 4)))
    assert vendor.asked == [hours(0, 4)]
    assert [(p.done, p.total) for p in place.seen] == [(240, 240)]


def test_pages_that_contradict_each_other_within_a_chunk_are_believed_neither(place: Place) -> None:
    other = with_value("volume", 7.0)(page(hours(1, 2)))
    place.run(place.fill(Pages([page(hours(0, 2)), other]), hours(0, 2)))
    rows = place.rows(hours(0, 2))
    bar = Span(DAWN + HOUR, DAWN + HOUR + MINUTE)
    assert rows.height == 119
    assert set(place.store.quarantined(SERIES, hours(0, 2))["rule"]) == {"temporal.conflicting_rows"}
    assert not place.store.read(SERIES, bar).answered


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Page(empty_bars(), hours(0, 2)), "answers for"),
        (page(hours(0, 1), absent=Coverage.of(hours(0.5, 1.5))), "absent"),
        (Page(synthetic_bars(SERIES, hours(0, 1)), hours(0, 0.5)), "outside its answer"),
    ],
    ids=["answered outside the question", "absent outside answered", "rows outside answered"],
)
def test_a_page_that_contradicts_itself_or_the_question_is_refused(
    place: Place, wrong: Page, words: str
) -> None:
    with pytest.raises(SourceUnavailableError, match=words):
        place.run(place.fill(Pages([wrong]), hours(0, 1)))
    assert place.store.newest().tx == 0


def test_silence_counts_from_when_the_vendor_was_asked(place: Place) -> None:
    # It is 00:00:30: the last bar closed half a minute before the question, and the answer takes a minute.
    newest = Span(to_ns("2024-01-31T23:58Z"), to_ns("2024-02-01"))
    vendor = ScriptedVendor(no_trade=Coverage.of(newest), delay=61.0)
    place.run(place.fill(vendor, newest))
    assert place.store.read(SERIES, newest).answered == Coverage.of(Span(newest.start, newest.start + MINUTE))


# -- endings ----------------------------------------------------------------------------------------------


class Deaf:
    """Swallows its cancellation, and goes on as if nothing had happened."""

    def __init__(self, *, then: str) -> None:
        self.then = then
        self.asked: list[Span] = []

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        self.asked.append(span)
        yield page(Span(span.start, span.start + HOUR))
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self.then == "breaks off":
                raise ConnectionResetError("cut") from None
        if self.then == "goes on":
            yield page(Span(span.start + HOUR, span.end))


@pytest.mark.parametrize("then", ["goes on", "ends", "breaks off"])
def test_a_vendor_that_ignores_its_cancellation_brings_nothing_more(place: Place, then: str) -> None:
    vendor, filling = Deaf(then=then), BackfillResult("vendor")

    async def stopped() -> None:
        work = asyncio.ensure_future(place.fill(vendor, Coverage.of(hours(0, 2), hours(4, 6)), filling))
        await asyncio.sleep(0.5)
        filling.stop()
        work.cancel()
        await asyncio.wait({work})
        assert work.cancelled()

    place.run(stopped())
    assert vendor.asked == [hours(0, 2)], "no other question is put"
    assert_frame_equal(place.rows(hours(0, 6)), synthetic_bars(SERIES, hours(0, 1)))
    assert list((place.store.folder / "claims").iterdir()) == []
    assert place.gauges() == []


def test_progress_counts_each_wanted_bar_once(place: Place) -> None:
    first = Pages([page(hours(0, 2)), page(hours(0, 2)), page(hours(1, 3)), ConnectionResetError("cut")])
    place.run(place.fill(first, hours(0, 4)))
    assert [p.done for p in place.seen] == [180]
    assert {p.total for p in place.seen} == {240}


def test_progress_does_not_count_bars_that_nobody_wanted(place: Place) -> None:
    series = SeriesId.parse("ohlcv:test:EUR/USD:1h")
    grid = Grid(series.timeframe, calendar_named("FX", {}))
    span = Span(to_ns("2024-01-05"), to_ns("2024-01-09"))
    wanted = grid.expected(span)
    vendor = ScriptedVendor(page_rows=12, grid=grid, delay=1.0)
    place.run(place.fill(vendor, wanted, series=series, grid=grid))
    assert [call.span for call in vendor.calls] == [wanted.hull]
    done = [p.done for p in place.seen]
    assert done == sorted(done)
    assert done[-1] == grid.count(wanted)
    present = [grid.count(wanted.clip(Span(span.start, span.start + 12 * n * HOUR))) for n in range(1, 9)]
    assert done == present[: len(done)]


def test_the_gauge_is_there_while_it_lasts_and_gone_afterwards(place: Place) -> None:
    seen: list[list[float]] = []
    vendor = ScriptedVendor(page_rows=60, delay=1.0)
    place.run(place.fill(vendor, hours(0, 4), on_progress=lambda _: seen.append(place.gauges())))
    assert seen == [[0.25], [0.5], [0.75], [1.0]]
    assert place.gauges() == []


# -- what operators see -----------------------------------------------------------------------------------


def ended(place: Place, vendor: ScriptedVendor, *, cancel_after: float | None = None) -> None:
    async def fill() -> None:
        async with asyncio.timeout(cancel_after):
            await place.fill(vendor, hours(0, 3))

    try:
        place.run(fill())
    except (SourceUnavailableError, TimeoutError):
        return


ENDINGS: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]]]] = {
    "a break": (
        {"faults": {1: Raise(ConnectionResetError("cut"))}},
        [
            ("backfill.started", "2024-01-01", "2024-01-01T03:00:00Z"),
            ("backfill.committed", "2024-01-01", "2024-01-01T01:00:00Z"),
            ("backfill.retry", "2024-01-01T01:00:00Z", "2024-01-01T03:00:00Z"),
            ("backfill.committed", "2024-01-01T01:00:00Z", "2024-01-01T03:00:00Z"),
            ("backfill.completed", "2024-01-01", "2024-01-01T03:00:00Z"),
        ],
    ),
    "a failure": (
        {"faults": {1: Raise(ValueError("a bug"))}},
        [
            ("backfill.started", "2024-01-01", "2024-01-01T03:00:00Z"),
            ("backfill.committed", "2024-01-01", "2024-01-01T01:00:00Z"),
            ("backfill.failed", "2024-01-01", "2024-01-01T03:00:00Z"),
        ],
    ),
    "a cancellation": (
        {"faults": {0: Hang()}},
        [
            ("backfill.started", "2024-01-01", "2024-01-01T03:00:00Z"),
            ("backfill.cancelled", "2024-01-01", "2024-01-01T03:00:00Z"),
        ],
    ),
    "a short answer": (
        {"faults": {1: Stop()}},
        [
            ("backfill.started", "2024-01-01", "2024-01-01T03:00:00Z"),
            ("backfill.committed", "2024-01-01", "2024-01-01T01:00:00Z"),
            ("backfill.completed", "2024-01-01", "2024-01-01T03:00:00Z"),
        ],
    ),
}


@pytest.mark.parametrize("case", ENDINGS, ids=list(ENDINGS))
def test_every_event_tells_node_interval_start_and_end(place: Place, events: Any, case: str) -> None:
    options, expected = ENDINGS[case]
    ended(place, ScriptedVendor(page_rows=60, **options), cancel_after=5.0)
    logged = events()
    assert [(event, record.start, record.end) for event, record in logged] == expected
    for event, record in logged:
        assert record.node_id == str(SERIES)
        assert record.interval == "1m"
        for name in LOG_FIELDS:
            assert f"{name}={getattr(record, name)}" in record.getMessage(), event
    assert place.gauges() == []


def test_the_metrics_of_a_backfill(place: Place) -> None:
    """A snapshot: dashboards and alert rules name these."""
    emitted: set[tuple[str, tuple[tuple[str, str], ...]]] = set()

    def look(_: Progress) -> None:
        emitted.update(
            (sample.name, tuple(sorted(sample.labels.items())))
            for metric in place.registry.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        )

    faults: dict[int, Fault] = {
        0: Raise(ConnectionResetError("cut")),
        1: Change(with_value("close", float("nan"))),
    }
    place.run(place.fill(ScriptedVendor(page_rows=60, faults=faults), hours(0, 2), on_progress=look))
    node, source = ("node_id", str(SERIES)), ("source", "vendor")
    key = f"{place.store.place_id}/{SERIES}/{DAWN // (SHARD_STEPS * MINUTE)}"
    gauge = (
        "backfill_completion_ratio",
        (("interval", "1m"), ("lease_key", key), node),
    )
    assert emitted == {
        gauge,
        ("seamless_rows_committed_total", (node, source)),
        ("seamless_rows_quarantined_total", (node, source)),
        ("seamless_vendor_retries_total", (source,)),
    }
    look(Progress(SERIES, 0, 0))
    assert gauge in emitted
    assert place.gauges() == []


def test_nothing_missing_asks_nothing(place: Place) -> None:
    vendor = ScriptedVendor()
    place.run(place.fill(vendor, EMPTY))
    assert vendor.calls == []


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1_000, "seconds taken for milliseconds"), (10**6, "seconds taken for microseconds"), (1, None)],
)
def test_a_page_whose_rows_all_lie_elsewhere_says_where_and_why(
    place: Place, factor: int, unit: str | None
) -> None:
    span = hours(0, 1)
    rows = synthetic_bars(SERIES, span if unit else Span(span.start - DAY, span.end - DAY))
    wrong = rows.with_columns((pl.col("ts").to_physical() // factor).cast(rows.schema["ts"]))
    with pytest.raises(SourceUnavailableError, match="no row of it answers the question") as refused:
        place.run(place.fill(Pages([Page(wrong, span)]), span))
    why = str(refused.value.why)
    assert "60 rows from " in why
    assert f"none of them within {span}" in why
    assert (unit or "nothing") in why or unit is None
    assert ("stamps fit" in why) == (unit is not None)
    assert place.store.newest().tx == 0


@pytest.mark.parametrize("cancellations", [1, 2, 3])
@pytest.mark.parametrize("ends", [False, True], ids=["a page that came", "a commit under way"])
def test_shards_stay_claimed_until_the_last_commit_has_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch, cancellations: int, ends: bool
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    commit = place.store.commit

    def slowly(*args: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return commit(*args)

    monkeypatch.setattr(place.store, "commit", slowly)
    span = hours(0, 2)
    vendor = ScriptedVendor(page_rows=60, faults={} if ends else {1: Hang()})
    shard = DAWN // (SHARD_STEPS * MINUTE)

    async def story() -> BackfillResult:
        result = BackfillResult("vendor")
        task = asyncio.ensure_future(place.fill(vendor, span, result))
        while not (begun.is_set() if ends else vendor.served):
            await asyncio.sleep(0.01)
        for _ in range(cancellations):
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.to_thread(begun.wait, 30)
            await asyncio.sleep(0.01)
            assert not task.done()
            assert not await place.is_free(shard)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return result

    with asyncio.Runner() as runner:
        result = runner.run(story())
    assert asyncio.run(place.is_free(shard))
    assert place.rows(span).height == result.added == (120 if ends else 60)


# -- fences -----------------------------------------------------------------------------------------------


def test_each_commit_names_the_tokens_of_all_shards_that_it_touches(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fences: list[dict[int, int]] = []
    commit = place.store.commit

    def watched(series: SeriesId, write: Write) -> Any:
        fences.append(dict(write.fences))
        return commit(series, write)

    monkeypatch.setattr(place.store, "commit", watched)
    width = SHARD_STEPS * MINUTE
    border = (DAWN // width + 1) * width
    place.run(place.fill(ScriptedVendor(page_rows=60, delay=1.0), Span(border - 90 * MINUTE, border + HOUR)))
    last = border // width
    assert [sorted(each) for each in fences] == [[last - 1], [last - 1, last], [last]]
    assert len({token for each in fences for token in each.values()}) == 1, "one claim, one token"


def overtaken(place: Place, times: int, then: Callable[[int], None] = lambda token: None) -> ScriptedVendor:
    """Its third hour is overtaken: just before it is committed, somebody else opens the fence of its shard.

    then: what the other does with its token.
    """
    begun: list[int] = []

    def overtake(at: Page) -> Page:
        if at.answered.start == DAWN + 2 * HOUR and len(begun) < times:
            begun.append(len(begun))
            then(place.store.open_fence(SERIES, [SHARD], f"somebody else, {len(begun)}")[SHARD])
        return at

    return ScriptedVendor(page_rows=60, delay=1.0, faults={n: Change(overtake) for n in range(40)})


def test_a_backfill_that_was_overtaken_goes_on_where_the_other_stands_still(place: Place) -> None:
    vendor, result = overtaken(place, times=1), BackfillResult("vendor")
    before = place.clock.monotonic()
    place.run(place.fill(vendor, hours(0, 4), result))
    assert [call.span.start for call in vendor.calls] == [DAWN, DAWN + 2 * HOUR]
    assert place.clock.monotonic() - before >= GIVE_WAY_S[0]
    assert place.rows(hours(0, 4)).height == result.added == 240
    assert place.gauges() == []
    assert asyncio.run(place.is_free(SHARD))


def test_a_backfill_that_was_overtaken_takes_what_the_other_commits(place: Place) -> None:
    truth = ScriptedVendor()

    def commit(token: int) -> None:
        span = hours(2, 3)
        write = Write("v", 1, truth.bars(SERIES, span), Coverage.of(span), fences={SHARD: token})
        place.store.commit(SERIES, write)

    vendor, result = overtaken(place, times=1, then=commit), BackfillResult("vendor")
    place.run(place.fill(vendor, hours(0, 4), result))
    assert [call.span.start for call in vendor.calls] == [DAWN, DAWN + 3 * HOUR], "the third hour is theirs"
    assert result.added == 180
    assert_frame_equal(place.rows(hours(0, 4)), truth.bars(SERIES, hours(0, 4)))
    assert [progress.done for progress in place.seen] == [60, 120, 240]


def test_a_backfill_that_is_overtaken_again_and_again_gives_up(place: Place) -> None:
    """Nothing is written under a token that is not the newest."""
    vendor, result = overtaken(place, times=40), BackfillResult("vendor")
    before = place.clock.monotonic()
    with pytest.raises(StaleFenceError) as refused:
        place.run(place.fill(vendor, hours(0, 4), result))
    assert list(refused.value.stale) == [SHARD]
    assert len(vendor.calls) == 1 + len(GIVE_WAY_S)
    assert place.clock.monotonic() - before >= sum(GIVE_WAY_S)
    assert place.rows(hours(0, 4)).height == result.added == 120
    assert vendor.open_calls == 0
    assert asyncio.run(place.is_free(SHARD))


def test_a_commit_over_closed_hours_has_tokens_for_them_too(place: Place) -> None:
    """A shard in which nothing is missing lies between two that have missing bars."""
    series = SeriesId.parse("ohlcv:test:EUR/USD:1s")
    width = SHARD_STEPS * SECOND
    grid = Grid(series.timeframe, Paused(DAWN, DAWN + 5 * width))
    span = Span(DAWN - HOUR, DAWN + 5 * width + HOUR)
    place.run(place.fill(ScriptedVendor(grid=grid), grid.expected(span), series=series, grid=grid))
    stored = place.store.read(series, span)
    assert stored.answered == Coverage.of(span)
    assert stored.count == grid.count(grid.expected(span))


@dataclass(frozen=True)
class Paused:
    """Open all the time but from `closes` to `opens`."""

    closes: int
    opens: int

    def sessions(self, span: Span) -> Coverage:
        return Coverage.of(span) - Coverage.of(Span(self.closes, self.opens))


@dataclass
class Endings(LocalLeases):
    """Writes down what is told of each shard: as of when it was completed, or why it failed."""

    directory: Path
    completed: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.directory)

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        self.completed |= {grant.key.shard: as_of for grant in grants}
        await super().complete(grants, as_of=as_of)

    async def fail(self, grants: Sequence[Granted], *, why: str, is_away: bool = False) -> None:
        self.failed |= {grant.key.shard: why for grant in grants}
        await super().fail(grants, why=why, is_away=is_away)


def test_what_others_had_committed_is_complete_as_of_their_commit(place: Place) -> None:
    place.run(place.fill(ScriptedVendor(), hours(0, 2)))
    place.leases = endings = Endings(place.store.folder / "claims")
    vendor = ScriptedVendor()
    place.run(place.fill(vendor, hours(0, 2)))  # read before the others had committed
    assert vendor.calls == []
    assert list(endings.completed) == [SHARD]
    found = place.store.read(SERIES, hours(0, 2), as_of=endings.completed[SHARD])
    assert found.answered.contains(hours(0, 2))


def test_a_shard_of_which_the_vendor_left_bars_out_is_not_completed(place: Place) -> None:
    place.leases = endings = Endings(place.store.folder / "claims")
    border = (SHARD + 1) * WIDTH
    vendor = ScriptedVendor(page_rows=60, faults={1: Stop()})
    place.run(place.fill(vendor, Span(border - HOUR, border + HOUR)))
    assert list(endings.completed) == [SHARD]
    assert list(endings.failed) == [SHARD + 1]
    assert "60 bars" in endings.failed[SHARD + 1]
    assert list((place.store.folder / "claims").iterdir()) == []


class SecondBatchFails(LocalLeases):
    """Of two shards at once it grants the second, and can claim no more than those."""

    most_at_once = 2

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        if any(request.key.shard == SHARD + 2 for request in requests):
            raise StoreError("no more claims", next_step="try again")
        return await super().claim(requests, claim_id=claim_id)


def test_what_was_claimed_is_free_when_a_later_claim_fails(place: Place) -> None:
    place.leases = SecondBatchFails(place.store.folder / "claims")
    release = place.claimed_by_another(SHARD)
    three = Span(SHARD * WIDTH, (SHARD + 3) * WIDTH)

    async def whole() -> bool:
        with pytest.raises(StoreError, match="no more claims"):
            await place.fill(ScriptedVendor(), three)
        return await place.is_free(SHARD + 1)

    assert place.run(whole())
    release()
