"""A provider under random requests, faults, commits of others and passing time, against a naive record.

For each bar the record keeps its last reported state. Where a budget or a cancellation ends a step, a page
that was handed over may have been committed or not; then a bar has two possible pasts until the store shows
which one it was.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import QmtlError
from qmtl.foundation.frames import BAR_SCHEMA, VALUES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import SECOND, to_ns
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import (
    Change,
    Fault,
    Hang,
    Raise,
    ScriptedVendor,
    Stop,
    contradicting,
    doubled,
    high_below_low,
    partly_answered,
    rows_outside,
    unsorted,
    with_value,
)

CELLS = 72
SETTLE = 60 * SECOND
ABSENCE = 24 * 3600 * SECOND
FETCHING = ("AUTO_BACKFILL", "SEAMLESS")


class Market(NamedTuple):
    """A series, its calendar, the first of its cells, and the time at which its story begins."""

    series: str
    calendar: str
    first: str
    now: str


MARKETS = {
    "1m": Market("ohlcv:test:AAA/USDT:1m", "24x7", "2024-01-10T11:00Z", "2024-01-10T12:00:20Z"),
    "5m": Market("ohlcv:test:BBB/USDT:5m", "24x7", "2024-01-10T07:00Z", "2024-01-10T12:00:05Z"),
    "1h FX": Market("ohlcv:test:EUR/USD:1h", "FX", "2024-01-05T12:00Z", "2024-01-08T04:00:30Z"),
    "1d XNYS": Market("ohlcv:test:SPY:1d", "XNYS", "2023-11-10", "2024-01-12T00:00:10Z"),
}

# -- what the vendor does and remembers -------------------------------------------------------------------


class Question(NamedTuple):
    """The vendor was asked."""

    at: int
    span: Span


class Told(NamedTuple):
    """The vendor handed over a page, to a question of time `at`."""

    at: int
    page: Page


class Failure(NamedTuple):
    """The vendor failed for good."""


class Upcoming(dict[int, Fault]):
    """Faults for the next pages, whatever their numbers."""

    def __init__(self) -> None:
        self.queue: list[Fault] = []

    def get(self, number: int, default: Any = None) -> Any:
        return self.queue.pop(0) if self.queue else default


class RememberingVendor(ScriptedVendor):
    """Keeps a log of what it was asked and of what it said."""

    def __init__(self, clock: FakeClock, grid: Grid) -> None:
        super().__init__(grid=grid, page_rows=8, delay=0.4)
        self.clock = clock
        self.faults = self.upcoming = Upcoming()
        self.log: list[Question | Told | Failure] = []

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        asked_at = self.clock.now()
        self.log.append(Question(asked_at, span))
        async with aclosing(super().pages(series, span)) as pages:  # type: ignore[type-var]  # a generator
            try:
                async for page in pages:
                    self.log.append(Told(asked_at, page))
                    if is_refused(page):
                        self.log.append(Failure())
                    yield page
            except ValueError:
                self.log.append(Failure())
                raise


def is_refused(page: Page) -> bool:
    ts = stamps(page.frame)
    return bool(((ts < page.answered.start) | (ts >= page.answered.end)).any())


def nan(page: Page) -> Page:
    return with_value("close", float("nan"))(page) if page.frame.height else page


def contradicts(page: Page) -> Page:
    return contradicting(page) if page.frame.height else page


def crossed(page: Page) -> Page:
    return high_below_low(page) if page.frame.height else page


def stray(page: Page) -> Page:
    return rows_outside(page) if page.frame.height else page


FAULTS: dict[str, Callable[[], Fault]] = {
    "breaks off": lambda: Raise(ConnectionResetError("cut")),
    "fails": lambda: Raise(ValueError("a bug")),
    "stops": Stop,
    "hangs": Hang,
    "hangs, deaf": lambda: Hang(deaf=True),
    "doubled": lambda: Change(doubled),
    "unsorted": lambda: Change(unsorted),
    "short": lambda: Change(partly_answered),
    "NaN": lambda: Change(nan),
    "contradicting": lambda: Change(contradicts),
    "crossed": lambda: Change(crossed),
    "stray row": lambda: Change(stray),
}

# -- the record, bar by bar -------------------------------------------------------------------------------

Row = tuple[float, ...]


class Past(NamedTuple):
    """What may be known of one bar: its row, and the last word of a source."""

    row: Row | None = None
    word: str = "none"  # none, answered, absent
    at: int = 0  # when the source was asked

    def state(self, now: int, is_expected: bool) -> str:
        if self.row is not None:
            return "present"
        if not is_expected:
            return "closed"
        if self.word == "answered":
            return "no_trade"
        if self.word == "absent" and now < self.at + ABSENCE:
            return "absent"
        return "unknown"


def rows_at(frame: pl.DataFrame, ts: int) -> set[Row]:
    return set(frame.filter(pl.col("ts").to_physical() == ts).select(VALUES).iter_rows())


def is_spoilt(frame: pl.DataFrame, ts: int) -> bool:
    """Whether a page gives a bar a row that is impossible, or two rows."""
    rows = rows_at(frame, ts)
    return len(rows) > 1 or any(not is_possible(row) for row in rows)


def after_page(past: Past, reported: Told, ts: int, end: int) -> Past:
    """What is known of a bar once a page that answers for it is committed."""
    frame = reported.page.frame
    rows = rows_at(frame, ts)
    if not rows:
        if reported.page.absent.contains(Span(ts, end)):
            return Past(past.row, "absent", reported.at)
        return Past(past.row, "answered", reported.at) if end <= reported.at - SETTLE else past
    if is_spoilt(frame, ts):
        return past if past.row is not None else Past()
    return Past(next(iter(rows)), "answered", reported.at)


def is_possible(row: Row) -> bool:
    opened, high, low, close, _ = row
    return bool(np.isfinite(row).all()) and low <= min(opened, close) and high >= max(opened, close)


def rows_of(frame: pl.DataFrame) -> dict[int, Row]:
    return dict(zip(stamps(frame).tolist(), frame.select(VALUES).iter_rows(), strict=True))


class Seen(NamedTuple):
    """A receipt to come back to."""

    as_of: int
    span: Span
    frame: pl.DataFrame
    fingerprint: str


SLAS: dict[str, qmtl.SLAPolicy | None] = {
    "none": None,
    "roomy": qmtl.SLAPolicy(storage_wait=60, backfill_wait=120, total=240),
    "hasty": qmtl.SLAPolicy(backfill_wait=1.5),
    "hasty, partial": qmtl.SLAPolicy(backfill_wait=1.5, on_breach="partial"),
    "hasty total": qmtl.SLAPolicy(total=2.0),
    "hasty total, partial": qmtl.SLAPolicy(total=2.0, on_breach="partial"),
    "small gaps only": qmtl.SLAPolicy(sync_gap=10, backfill_wait=60),
    "half at least": qmtl.SLAPolicy(min_coverage=0.5, backfill_wait=60),
}

places = st.integers(0, CELLS - 1)
lengths = st.integers(1, CELLS)


class ProviderMachine(RuleBasedStateMachine):
    """One provider, another one on the same store, and one without a cache that only looks."""

    market: Market

    def __init__(self) -> None:
        super().__init__()
        market = self.market
        self.name = market.series
        self.series = SeriesId.parse(market.series)
        self.grid = Grid(self.series.timeframe, calendar_named(market.calendar, {}))
        self.calendar = market.calendar
        first = to_ns(market.first)
        self.window = Span(first, first + CELLS * self.grid.step)
        self.cells = range(first, self.window.end, self.grid.step)
        expected = self.grid.expected(self.window)
        self.is_expected = {ts: bool(expected.contains(Span(ts, ts + self.grid.step))) for ts in self.cells}
        self.clock = FakeClock(market.now)
        self.registry = CollectorRegistry()
        self.vendor = RememberingVendor(self.clock, self.grid)
        self.folder = Path(tempfile.mkdtemp(prefix="qmtl-model-"))
        self.provider = self.open()
        self.other = self.open()
        self.plain = self.open(cache_bytes=0)
        self.pasts: dict[int, set[Past]] = {ts: {Past()} for ts in self.cells}
        self.spoilt = Counter[int]()  # how often an impossible row came for a bar
        self.heard = 0
        self.seen: list[Seen] = []

    def open(self, **options: Any) -> SeamlessDataProvider:
        return SeamlessDataProvider(
            self.folder,
            vendors=self.vendor,
            calendars={"ohlcv:test:*": self.calendar},
            clock=self.clock,
            metrics_registry=self.registry,
            **options,
        )

    def teardown(self) -> None:
        for provider in (self.provider, self.other, self.plain):
            provider.close()
        shutil.rmtree(self.folder)

    # -- asking

    @rule(
        place=places,
        length=lengths,
        strategy=st.sampled_from(["SEAMLESS", "AUTO_BACKFILL", "PARTIAL_FILL", "FAIL_FAST"]),
        partial_ok=st.booleans(),
        sla=st.sampled_from(list(SLAS)),
        fill=st.sampled_from([None, None, "flat", "null"]),
        face=st.sampled_from(["sync", "async"]),
    )
    def fetch(
        self, place: int, length: int, strategy: str, partial_ok: bool, sla: str, fill: Any, face: str
    ) -> None:
        span = self.range(place, length)
        if span is None:
            return
        policy = SLAS[sla]
        may_hang = self.may_hang()
        if may_hang and (policy is None or policy.backfill_wait is policy.total is None):
            policy = SLAS["hasty"]
        opened = self.clock.now()
        before = self.states(opened)
        options: dict[str, Any] = {
            "strategy": strategy,
            "partial_ok": partial_ok,
            "sla": policy,
            "fill": fill,
        }
        result: FetchResult | None = None
        error: QmtlError | None = None
        try:
            if face == "sync":
                result = self.provider.fetch(self.name, *span, **options)
            else:
                result = asyncio.run(self.provider.fetch_async(self.name, *span, **options))
        except QmtlError as raised:
            error = raised
        began = self.heard
        breach = isinstance(error, qmtl.SeamlessSLAExceeded) or (
            result is not None and result.receipt.breach is not None
        )
        questions = [event for event in self.vendor.log[began:] if isinstance(event, Question)]
        assert self.vendor.open_calls == 0 or strategy == "PARTIAL_FILL"
        if strategy not in FETCHING:
            assert strategy == "PARTIAL_FILL" or not questions, "a vendor was asked"
            if result is not None and strategy == "PARTIAL_FILL":
                # What goes on behind must not change what was answered.
                findings = [(f.rule, f.count) for f in result.report.findings] if partial_ok else None
                self.check_answer(result, span, opened, self.pasts)
                breach = self.end_behind(result, may_hang=may_hang) or breach
                if findings is not None:
                    assert [(f.rule, f.count) for f in result.report.findings] == findings
        self.listen(certain=not breach, opened=opened)
        self.look()
        if result is not None and strategy != "PARTIAL_FILL":
            self.check_answer(result, span, opened, self.pasts)
            self.check_filled(result, fill)
        self.check_outcome(span, opened, before, strategy, partial_ok, policy, result, error, began)
        if result is not None and fill is None:
            self.seen.append(Seen(result.receipt.as_of, span, result.frame, result.receipt.fingerprint))
        self.compare_with_no_cache(span)

    def range(self, place: int, length: int) -> Span | None:
        """A range that has begun by now."""
        start = self.cells[place]
        if start >= self.clock.now():
            return None
        return Span(start, min(start + length * self.grid.step, self.window.end))

    def may_hang(self) -> bool:
        return any(isinstance(fault, Hang) for fault in self.vendor.upcoming.queue)

    def end_behind(self, result: FetchResult, *, may_hang: bool) -> bool:
        """Let the work behind an answer end; whether it had to be cancelled."""
        if not may_hang:
            try:
                result.pending.wait(60)
            except QmtlError:
                assert Failure() in self.vendor.log[self.heard :]
            return False
        result.pending.cancel()
        self.provider._parts.loop.run(asyncio.sleep(1.0))
        return True

    @rule(pick=st.integers(0, 1000))
    def read_as_of(self, pick: int) -> None:
        if not self.seen:
            return
        seen = self.seen[pick % len(self.seen)]
        if seen.as_of > self.clock.now():  # commits of one frozen instant are told apart by nanoseconds
            self.clock.advance(1.0)
        again = self.provider.fetch(self.name, *seen.span, as_of=seen.as_of, partial_ok=True)
        assert_frame_equal(again.frame, seen.frame)
        assert again.receipt.fingerprint == seen.fingerprint
        assert len(self.vendor.log) == self.heard, "a point in time asks no vendor"

    # -- what others do

    @rule(place=places, length=lengths)
    def another_provider_backfills(self, place: int, length: int) -> None:
        span = self.range(place, length)
        if span is None or self.may_hang():
            return
        opened = self.clock.now()
        self.other.fetch(self.name, *span, strategy="AUTO_BACKFILL", partial_ok=True)
        self.listen(certain=True, opened=opened)
        self.look()

    @rule(place=places)
    def somebody_commits_a_row(self, place: int) -> None:
        ts = self.cells[place]
        end = ts + self.grid.step
        if end > self.clock.now() or not self.is_expected[ts]:
            return
        row = ScriptedVendor(grid=self.grid).bars(self.series, Span(ts, end))
        row = row.with_columns(volume=pl.col("volume") + 3.0)
        now = self.clock.now()
        self.other.store.commit(self.series, Write("hand", now, row, answered=Coverage.of(Span(ts, end))))
        self.pasts[ts] = {Past(next(row.select(VALUES).iter_rows()), "answered", now)}

    @rule(place=places, length=lengths)
    def another_provider_asks_again(self, place: int, length: int) -> None:
        span = self.range(place, length)
        if span is None or self.may_hang():
            return
        opened = self.clock.now()
        answered = {
            ts for ts, states in self.states(opened).items() if states & {"present", "no_trade", "absent"}
        }
        try:
            self.other.refresh(self.name, *span)
        except QmtlError:
            assert Failure() in self.vendor.log[self.heard :]
        self.listen(certain=True, opened=opened, again=answered)
        self.look()

    @rule(place=places, length=lengths)
    def somebody_takes_an_answer_back(self, place: int, length: int) -> None:
        span = self.range(place, length)
        if span is None:
            return
        self.other.retract(self.name, *span, reason="a trial")
        for ts in self.cells:
            if span.start <= ts < span.end:
                self.pasts[ts] = {Past()}
        self.look()

    @rule()
    def the_store_is_compacted(self) -> None:
        self.other.store.compact()

    @rule()
    def the_provider_is_opened_anew(self) -> None:
        self.provider.close()
        self.provider = self.open()

    @rule()
    def the_cache_is_cleared(self) -> None:
        self.provider._parts.executor.local.cache.clear()

    # -- what the vendor and the world do

    @rule(name=st.sampled_from(list(FAULTS)), late=st.booleans())
    def something_will_go_wrong(self, name: str, late: bool) -> None:
        queue = self.vendor.upcoming.queue
        if len(queue) >= 3:  # four broken connections in a row are a failure
            return
        if late:
            queue.append(Change(lambda page: page))
        queue.append(FAULTS[name]())

    @rule(place=places, length=st.integers(1, 3))
    def nobody_trades(self, place: int, length: int) -> None:
        start = self.cells[place]
        self.vendor.no_trade |= Coverage.of(Span(start, start + length * self.grid.step))

    @rule(place=places, length=st.integers(1, 9))
    def the_vendor_has_lost(self, place: int, length: int) -> None:
        start = self.cells[place]
        self.vendor.absent |= Coverage.of(Span(start, start + length * self.grid.step))

    @rule()
    def the_vendor_finds_all_again(self) -> None:
        self.vendor.no_trade = self.vendor.absent = EMPTY

    @rule(place=places)
    def the_vendor_corrects(self, place: int) -> None:
        ts = self.cells[place]
        if self.is_expected[ts]:
            row = ScriptedVendor(grid=self.grid).bars(self.series, Span(ts, ts + self.grid.step))
            self.vendor.correct(self.series, row.with_columns(volume=pl.col("volume") + 1.0))

    @rule(seconds=st.sampled_from([5.0, 70.0, 3600.0, 25 * 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # -- keeping the record

    def listen(self, *, certain: bool, opened: int, again: Collection[int] = ()) -> None:
        """Follow what the vendor was asked and what it said since the last time.

        again: bars that may be asked for although their answer is known.
        """
        for event in self.vendor.log[self.heard :]:
            if isinstance(event, Question):
                self.check_question(event, opened, again)
            elif isinstance(event, Told) and not is_refused(event.page):
                for ts in self.cells:
                    end = ts + self.grid.step
                    if event.page.answered.contains(Span(ts, end)):
                        if is_spoilt(event.page.frame, ts):
                            self.spoilt[ts] += 1
                        later = {after_page(past, event, ts, end) for past in self.pasts[ts]}
                        # What was known and only asked with its neighbours is not committed again.
                        self.pasts[ts] = later if certain and not self.spoilt else later | self.pasts[ts]
        self.heard = len(self.vendor.log)

    def check_question(self, asked: Question, opened: int, again: Collection[int]) -> None:
        """No bar is asked for while its answer is known; but a silence against all habit is, once a day.

        Nor is a known bar that lies between two whose rows were impossible: one question serves both.
        """
        assert asked.span.start in self.cells
        assert asked.span.end <= opened, "a bar that has not closed is asked for"
        inside = [ts for ts in self.cells if asked.span.start <= ts < asked.span.end]
        spoilt = self.spoilt.keys() & set(inside)
        for ts in inside:
            may_be_asked = (
                ts in again
                or (bool(spoilt) and min(spoilt) < ts < max(spoilt))
                or not self.is_expected[ts]
                or any(
                    past.state(moment, True) == "unknown"
                    or (past.state(moment, True) == "no_trade" and past.at <= moment - ABSENCE)
                    for past in self.pasts[ts]
                    for moment in (opened, asked.at)
                )
            )
            assert may_be_asked, f"asked again for {ts}, of which {self.pasts[ts]} is known"
        assert self.is_expected[inside[0]], "a question begins with a bar that is expected"
        assert self.is_expected[inside[-1]], "a question ends with a bar that is expected"

    def look(self) -> None:
        """Of several possible pasts, keep those that the store shows."""
        now = self.clock.now()
        shown = rows_of(self.plain.store.read(self.series, self.window).frame)
        states = by_stamp(self.plain.coverage(self.name, *self.window), self.grid)
        for ts, pasts in self.pasts.items():
            fits = {
                past
                for past in pasts
                if past.row == shown.get(ts) and past.state(now, self.is_expected[ts]) == states[ts]
            }
            assert fits, f"{ts} is {states[ts]} with {shown.get(ts)}, but it should be one of {pasts}"
            self.pasts[ts] = fits

    def states(self, now: int) -> dict[int, set[str]]:
        return {
            ts: {past.state(now, self.is_expected[ts]) for past in pasts} for ts, pasts in self.pasts.items()
        }

    # -- what must hold

    def check_answer(self, result: FetchResult, span: Span, opened: int, pasts: dict[int, set[Past]]) -> None:
        frame = result.frame
        if "filled" in frame.columns:
            frame = frame.filter(~pl.col("filled")).drop("filled")
        at = stamps(frame)
        assert frame.schema == BAR_SCHEMA
        assert (np.diff(at) > 0).all()
        assert span.contains(
            Span(at[0], at[-1] + self.grid.step) if len(at) else Span(span.start, span.start)
        )
        states, rows = result.coverage, rows_of(frame)
        inside = [ts for ts in self.cells if span.start <= ts < span.end]
        reported = by_stamp(states, self.grid)
        assert sorted(reported) == inside, "the five states partition the grid"
        assert sum(states.counts.values()) == len(inside)
        assert states.present == self.grid.cells(at)
        for ts in inside:
            possible = {(past.row, past.state(opened, self.is_expected[ts])) for past in pasts[ts]}
            assert (rows.get(ts), reported[ts]) in possible
        receipt = result.receipt
        parts = [receipt.phases[name] for name in ("storage_wait", "backfill_wait", "live_wait", "other")]
        assert sum(parts) == pytest.approx(receipt.phases["total"])
        served = [cells for _, _, cells in receipt.served]
        union = Coverage(span for cells in served for span in cells)
        assert union.length == sum(cells.length for cells in served), "a bar is served once"
        expected = self.grid.expected(span)
        assert union & expected == expected - states.unknown, "all that is answered is served by somebody"
        closed = Span(span.start, max(span.start, min(span.end, self.grid.floor(opened))))
        assert receipt.not_closed == states.unknown - Coverage.of(closed)

    def check_filled(self, result: FetchResult, fill: str | None) -> None:
        if fill is None:
            assert "filled" not in result.frame.columns
            return
        filled = set(stamps(result.frame.filter("filled")).tolist())
        silent = self.grid.stamps(result.coverage.no_trade).tolist()
        if fill == "null":
            assert filled == set(silent)
        else:
            close, flat = None, {}
            for ts, pasts in self.pasts.items():
                row = next(iter(pasts)).row
                close = close if row is None else row[VALUES.index("close")]
                flat[ts] = (close, close, close, close, 0.0)
            rows = rows_of(result.frame.filter("filled"))
            assert rows == {ts: flat[ts] for ts in silent if flat[ts][0] is not None}

    def check_outcome(
        self,
        span: Span,
        opened: int,
        before: dict[int, set[str]],
        strategy: str,
        partial_ok: bool,
        policy: qmtl.SLAPolicy | None,
        result: FetchResult | None,
        error: QmtlError | None,
        began: int,
    ) -> None:
        """Which error ends a fetch, if any: SLA, source, missing, conformance, in that order."""
        step = self.grid.step
        closed = [ts for ts in self.cells if span.start <= ts < span.end and ts + step <= opened]
        events = self.vendor.log[began:]
        asked = [
            ts
            for ts in closed
            if any(isinstance(e, Question) and e.span.contains(Span(ts, ts + step)) for e in events)
        ]
        must_raise = not partial_ok and (policy is None or policy.on_breach == "raise")
        gap = sum(before[ts] == {"unknown"} for ts in closed)
        ambiguous = any(len(states) > 1 for states in before.values())
        limit = None if policy is None or strategy not in FETCHING else policy.sync_gap
        if limit is not None and gap > limit and not ambiguous:
            assert not asked
            if must_raise:
                assert isinstance(error, qmtl.SeamlessSLAExceeded)
                assert (error.phase, error.observed) == ("sync_gap", gap)
            return
        if isinstance(error, qmtl.SeamlessSLAExceeded):
            assert must_raise
            assert policy is not None
            assert getattr(policy, error.phase) is not None
            if error.phase != "min_coverage":
                assert error.phase in ("backfill_wait", "total")
                assert error.budget_s is not None
                assert error.elapsed_s is not None
                assert error.budget_s - 1e-6 <= error.elapsed_s <= error.budget_s + 0.3
                assert asked, "a budget is spent on questions"
                return
        if result is not None and result.receipt.breach is not None:
            assert partial_ok or (policy is not None and policy.on_breach == "partial")
            return
        if strategy in FETCHING:
            for ts in closed:
                rests = self.spoilt[ts] > 1  # refused twice: not asked for again within a day
                assert before[ts] != {"unknown"} or ts in asked or Failure() in events or rests, "not asked"
        if strategy == "PARTIAL_FILL":
            assert error is None or isinstance(
                error, qmtl.ConformancePipelineError | qmtl.SeamlessSLAExceeded
            )
            return
        states = self.states(opened)
        if any(len(states[ts]) > 1 for ts in closed):
            return
        holes = {
            name: Coverage(Span(ts, ts + step) for ts in closed if states[ts] == {name})
            for name in ("unknown", "absent")
        }
        holes = {name: cells for name, cells in holes.items() if cells}
        expected = sum(self.is_expected[ts] for ts in closed)
        if policy is not None and policy.min_coverage is not None and expected:
            covered = 1.0 - sum(cells.length for cells in holes.values()) / step / expected
            if covered < policy.min_coverage:
                assert isinstance(error, qmtl.SeamlessSLAExceeded) == must_raise
                return
        assert not isinstance(error, qmtl.SeamlessSLAExceeded)
        if partial_ok:
            assert error is None
        elif holes and Failure() in events:
            assert isinstance(error, qmtl.SourceUnavailableError)
        elif holes:
            assert isinstance(error, qmtl.MissingDataError)
            assert error.holes == holes
        elif error is not None:
            assert isinstance(error, qmtl.ConformancePipelineError)
            assert {f.rule for f in error.report.findings if f.raises} == {"temporal.silence"}

    def compare_with_no_cache(self, span: Span) -> None:
        """An answer from the cache is the answer from the store."""
        options: dict[str, Any] = {"strategy": "FAIL_FAST", "partial_ok": True}
        cached = self.provider.fetch(self.name, *span, **options)
        read = self.plain.fetch(self.name, *span, **options)
        assert_frame_equal(cached.frame, read.frame)
        assert cached.coverage == read.coverage
        assert cached.receipt.fingerprint == read.receipt.fingerprint
        assert cached.receipt.as_of <= read.receipt.as_of
        assert [(f.rule, f.count, f.first_ts) for f in cached.report.findings] == [
            (f.rule, f.count, f.first_ts) for f in read.report.findings
        ]

    @invariant()
    def nothing_is_left_behind(self) -> None:
        assert self.vendor.open_calls == 0
        claims = self.folder / "claims"
        assert not claims.exists() or not list(claims.iterdir())
        gauges = [
            s for m in self.registry.collect() for s in m.samples if s.name == "backfill_completion_ratio"
        ]
        assert gauges == []


def by_stamp(states: BarStates, grid: Grid) -> dict[int, str]:
    """The state of each bar; a bar in two states is an error."""
    found: dict[int, str] = {}
    for name, cells in states.items():
        for ts in grid.stamps(cells).tolist():
            assert ts not in found, f"{ts} is both {found[ts]} and {name}"
            found[ts] = name
    return found


@pytest.mark.parametrize("market", MARKETS, ids=list(MARKETS))
def test_a_provider_does_what_its_record_says(market: str) -> None:
    run_state_machine_as_test(
        type(ProviderMachine.__name__, (ProviderMachine,), {"market": MARKETS[market]}),
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
