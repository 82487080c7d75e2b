"""What a store knows of a range, window by window, as one read of the whole would say it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.frames import TS, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.screen import QUARANTINE_SCHEMA
from qmtl.runtime.io import coverage_scan
from qmtl.runtime.io.coverage_scan import NOT_REFUSED, asked_after, refused, scan_coverage
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Snapshot, Write
from qmtl.runtime.testing import FakeClock
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.store_proxy import StoreProxy

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
GRID = Grid(SERIES.timeframe)
WHOLE = Span(0, 40 * MINUTE)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven bars at once, so that forty bars are six windows."""
    monkeypatch.setattr(coverage_scan, "WINDOW_STEPS", 7)


def minutes(numbers: set[int]) -> Coverage:
    return Coverage((n * MINUTE, (n + 1) * MINUTE) for n in numbers)


def a_store() -> MemoryStore:
    return MemoryStore(clock=FakeClock())


def commit(
    store: MemoryStore,
    rows: set[int],
    answered: set[int],
    absent: set[int],
    *,
    asked: int = 1,
    source: str = "test",
) -> int:
    frame = synthetic_bars(SERIES, WHOLE)
    kept = frame.filter(pl.Series(minutes(rows).holds(stamps(frame))))
    write = Write(
        source,
        asked,
        frame=kept,
        answered=minutes(answered | rows),
        absent=minutes(absent - rows),
        absent_until=100,
    )
    return store.commit(SERIES, write).as_of


numbers = st.sets(st.integers(0, 39), max_size=20)


@settings(max_examples=40)
@given(numbers, numbers, numbers, st.integers(0, 40), st.integers(0, 40), st.sampled_from([99, 100]))
def test_windows_say_what_one_read_of_the_whole_says(
    rows: set[int], answered: set[int], absent: set[int], first: int, last: int, now: int
) -> None:
    store = a_store()
    commit(store, rows, answered, absent)
    span = Span(min(first, last) * MINUTE, max(first, last) * MINUTE)
    whole = store.read(SERIES, span)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(coverage_scan, "WINDOW_STEPS", 7)
        found = scan_coverage(store, SERIES, span, GRID, now=now)
    assert found == bar_states(span, GRID, stamps(whole.frame), whole.answered, whole.absent(now))


class Between:
    """A store into which somebody commits while it is read window by window."""

    def __init__(self, store: MemoryStore, work: Any) -> None:
        self.store = store
        self.work = work
        self.reads: list[Span] = []

    def read(self, series: SeriesId, span: Span, **options: Any) -> Snapshot:
        snapshot = self.store.read(series, span, **options)
        self.reads.append(span)
        if len(self.reads) == 1:
            self.work()
        return snapshot

    def read_many(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError


def test_all_windows_are_read_at_the_commit_of_the_first() -> None:
    store = a_store()
    commit(store, {0, 7, 14, 25, 30, 39}, set(), set())
    reader = Between(store, lambda: commit(store, {20}, set(), set()))
    found = scan_coverage(reader, SERIES, WHOLE, GRID, now=1)
    assert found.present == minutes({0, 7, 14, 25, 30, 39})
    assert len(reader.reads) == 6
    assert max(span.length for span in reader.reads) == 7 * MINUTE
    assert scan_coverage(store, SERIES, WHOLE, GRID, now=1).present == minutes({0, 7, 14, 20, 25, 30, 39})


def test_at_a_time_of_the_past_absences_are_judged_at_that_time() -> None:
    store = MemoryStore(clock=FakeClock("1970-01-01"))
    as_of = commit(store, set(), set(), {3})
    assert as_of < 100
    assert scan_coverage(store, SERIES, WHOLE, GRID, now=10**9, as_of=as_of).absent == minutes({3})
    assert scan_coverage(store, SERIES, WHOLE, GRID, now=10**9).absent == EMPTY


def test_answers_that_were_asked_for_after_a_time() -> None:
    store = a_store()
    commit(store, set(), set(range(30)), set(), asked=10)
    commit(store, set(), {5, 6, 20}, {21}, asked=20, source="other")
    cells = minutes({4, 5, 6, 7, 20, 21, 35})
    assert asked_after(store, SERIES, cells, 10) == minutes({5, 6, 20, 21})
    assert asked_after(store, SERIES, cells, 20) == EMPTY
    assert asked_after(store, SERIES, cells, 9) == minutes({4, 5, 6, 7, 20, 21})
    assert asked_after(store, SERIES, EMPTY, 0) == EMPTY


def test_an_answer_that_joined_an_older_one_counts_as_old() -> None:
    """It may then be asked for once more than needed, and never once too little."""
    store = a_store()
    commit(store, set(), set(range(30)), set(), asked=10)
    commit(store, set(), {5, 6}, set(), asked=20)
    assert asked_after(store, SERIES, minutes({5, 6}), 10) == EMPTY


def quarantine(store: MemoryStore, at: list[int], *, refused_again: set[int], until: int | None) -> None:
    """Impossible rows at some times (ns)."""
    frame = pl.DataFrame(
        {"ts": at, **{name: [1.0] * len(at) for name in ("open", "high", "low", "close", "volume")}}
        | {"rule": ["schema.missing_price"] * len(at)},
        schema_overrides={"ts": pl.Int64},
    ).with_columns(pl.col("ts").cast(TS))
    assert frame.schema == QUARANTINE_SCHEMA
    cells = GRID.cells(stamps(frame.with_columns(pl.col("ts").dt.truncate("1m")).unique("ts").sort("ts")))
    store.commit(
        SERIES,
        Write(
            "test",
            1,
            retracted=cells,
            refused=minutes(refused_again),
            refused_until=until,
            quarantine=frame,
        ),
    )


def test_refused_bars_and_those_that_rest_until_the_first_expiry() -> None:
    store = a_store()
    quarantine(store, [2 * MINUTE, 3 * MINUTE + 5, 20 * MINUTE], refused_again={3}, until=500)
    quarantine(store, [30 * MINUTE], refused_again={30}, until=300)
    found = refused(store, SERIES, Coverage.of(WHOLE), GRID, now=100)
    assert found.cells == minutes({2, 3, 20, 30})
    assert found.resting == minutes({3, 30})
    assert found.until == 300
    later = refused(store, SERIES, Coverage.of(WHOLE), GRID, now=300)
    assert (later.resting, later.until) == (minutes({3}), 500)
    at_last = refused(store, SERIES, Coverage.of(WHOLE), GRID, now=500)
    assert (at_last.cells, at_last.resting, at_last.until) == (minutes({2, 3, 20, 30}), EMPTY, None)


def test_only_what_is_asked_about_counts() -> None:
    store = a_store()
    quarantine(store, [2 * MINUTE, 30 * MINUTE], refused_again={2, 30}, until=500)
    found = refused(store, SERIES, minutes({2, 3}), GRID, now=100)
    assert (found.cells, found.resting, found.until) == (minutes({2}), minutes({2}), 500)
    assert refused(store, SERIES, EMPTY, GRID, now=100) == NOT_REFUSED
    assert refused(store, SERIES, minutes({5}), GRID, now=100) == NOT_REFUSED


class Reading(StoreProxy):
    """Counts reads."""

    reads = 0

    def read(self, *asked: Any, **options: Any) -> Snapshot:
        self.reads += 1
        return self.inner.read(*asked, **options)


def test_reads_grow_with_what_is_stored_and_not_with_the_range() -> None:
    """A million bars, of which a few at both ends and in the midst have an answer."""
    memory = a_store()
    store: Any = Reading(memory)
    last = 1_000_000
    for number in (3, last // 2, last - 3):
        part = Span(number * MINUTE, (number + 2) * MINUTE)
        store.commit(SERIES, Write("test", 1, synthetic_bars(SERIES, part), Coverage.of(part)))
    silent = Span(last // 3 * MINUTE, (last // 3 + 5) * MINUTE)
    store.commit(SERIES, Write("test", 1, answered=Coverage.of(silent)))
    store.reads = 0
    states = scan_coverage(store, SERIES, Span(0, last * MINUTE), GRID, now=2)
    assert (states.counts["present"], states.counts["unknown"]) == (6, last - 11)
    assert states.no_trade == Coverage.of(silent)
    assert store.reads < 20
