"""All that is known of a stored range, each part as it is when it is asked for alone."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.registered_schema import (
    NOT_CHECKED,
    Bounds,
    Column,
    RegisteredSchema,
    check,
)
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.io.evaluate import Subject, evaluate, evaluate_many
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.judged import read_judged
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.schema_enforcer import own
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from tests.qmtl.runtime.io.test_judged import market

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
GRID, FACTS, PIPELINE = Grid(SERIES.timeframe), SeriesFacts(), ConformancePipeline()
START = to_ns("2024-01-01")
NOW = START + 24 * HOUR


def span(first: int, last: int) -> Span:
    return Span(START + first * MINUTE, START + last * MINUTE)


@pytest.fixture
def store() -> MemoryStore:
    """Rows of four hours with a spike, half an hour without trades, and a quarter that is absent."""
    store = MemoryStore(clock=FakeClock(NOW))
    bars = synthetic_bars(SERIES, span(0, 240))
    bars = bars.with_columns(low=pl.when(pl.int_range(240) == 100).then(pl.col("low") / 20).otherwise("low"))
    first = Write("v", NOW, bars, Coverage.of(span(0, 270)), Coverage.of(span(270, 285)), NOW + HOUR)
    store.commit(SERIES, first)
    return store


def evaluated(store: MemoryStore, part: Span, now: int = NOW, as_of: int | None = None) -> EvaluatedRange:
    return evaluate(
        store, PIPELINE, SERIES, part, grid=GRID, facts=FACTS, schema=own("ohlcv"), now=now, as_of=as_of
    )


def test_each_part_is_what_it_is_alone(store: MemoryStore) -> None:
    part = span(50, 300)
    found = evaluated(store, part)
    snapshot, flags = read_judged(store, PIPELINE, SERIES, part, grid=GRID, facts=FACTS)
    assert_frame_equal(found.frame, snapshot.frame)
    assert found.states == scan_coverage(store, SERIES, part, GRID, now=NOW)
    assert found.states.counts == {
        "present": 190,
        "no_trade": 30,
        "closed": 0,
        "absent": 15,
        "unknown": 15,
    }
    assert set(found.flags.rules()) == set(flags.rules()) == {"quality.price_spike", "temporal.silence"}
    assert found.silent == Coverage.of(span(240, 270))
    assert found.flags.ts.tolist() == flags.ts.tolist() == [START + 100 * MINUTE]
    assert found.check.violations == check(snapshot.frame, own("ohlcv")).violations
    assert (found.tx, found.as_of) == store.newest()


def test_without_a_schema_nothing_is_checked(store: MemoryStore) -> None:
    found = evaluate(store, PIPELINE, SERIES, span(0, 9), grid=GRID, facts=FACTS, schema=None, now=NOW)
    assert found.check is NOT_CHECKED


def test_an_absence_counts_until_it_expires_and_so_long_the_range_is_valid(store: MemoryStore) -> None:
    part = span(270, 285)
    before = evaluated(store, part, now=NOW + HOUR - 1)
    assert (before.absent, before.valid_until) == (Coverage.of(part), NOW + HOUR)
    after = evaluated(store, part, now=NOW + HOUR)
    assert (after.unknown, after.valid_until) == (Coverage.of(part), None)


def test_a_point_in_time_is_evaluated_as_it_was(store: MemoryStore) -> None:
    then = store.newest().as_of
    store.retract(SERIES, span(0, 240), reason="wrong symbol")
    assert evaluated(store, span(0, 240)).frame.is_empty()
    assert evaluated(store, span(0, 240), as_of=then).frame.height == 240


def test_a_bar_is_judged_among_its_neighbours_outside_the_span(store: MemoryStore) -> None:
    alone = evaluated(store, span(100, 101))
    assert alone.flags.stamps("quality.price_spike").tolist() == [START + 100 * MINUTE]
    assert not evaluated(store, span(101, 140)).flags


def test_a_read_that_is_given_up_ends(store: MemoryStore) -> None:
    with pytest.raises(ReadAbandonedError):
        evaluate(
            store,
            PIPELINE,
            SERIES,
            span(0, 9),
            grid=GRID,
            facts=FACTS,
            schema=None,
            now=NOW,
            cancelled=lambda: True,
        )


@pytest.mark.parametrize("most", [1e9, 0.0])
def test_series_that_share_a_schema_are_checked_as_each_alone(most: float) -> None:
    """Only A has rows beyond the bound of one schema; B shares it, C has another, D has no rows."""
    names = [SeriesId.parse(f"ohlcv:test:{symbol}/USDT:1m") for symbol in "ABCD"]
    bounded = RegisteredSchema("bounded", 1, (Column("volume", bounds=Bounds(most=most)),), closed=False)
    schemas = [bounded, bounded, own("ohlcv"), bounded]
    shared = MemoryStore(clock=FakeClock(NOW))
    for number, name in enumerate(names[:3]):
        bars = synthetic_bars(name, span(0, 60)).with_columns(volume=pl.lit(5.0 if number == 0 else 0.0))
        shared.commit(name, Write("v", NOW, bars, Coverage.of(span(0, 60))))
    subjects = [
        Subject(name, Grid(name.timeframe), FACTS, one) for name, one in zip(names, schemas, strict=True)
    ]
    together = evaluate_many(shared, PIPELINE, subjects, span(0, 60), now=NOW)
    failed = []
    for subject in subjects:
        alone = evaluate(
            shared,
            PIPELINE,
            subject.series,
            span(0, 60),
            grid=subject.grid,
            facts=FACTS,
            schema=subject.schema,
            now=NOW,
        )
        found = together[subject.series]
        assert found.check.schema is alone.check.schema
        failed.append(found.check.failed_rows(found.frame))
        assert failed[-1] == alone.check.failed_rows(alone.frame)
    assert failed == [60 if most == 0.0 else 0, 0, 0, 0]


KINDS = [SeriesFacts(), SeriesFacts(), SeriesFacts(allow_nonpositive=True), SeriesFacts(has_volume=False)]
TIMEFRAMES = ["1m", "1m", "1m", "5m"]
minutes = st.integers(0, 3_000)


class Counting(ConformancePipeline):
    """Counts how often all rules are run."""

    calls = 0

    def flag(self, rows: pl.DataFrame, **given: Any) -> Flags:
        self.calls += 1
        return super().flag(rows, **given)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.sampled_from(KINDS),
            st.sampled_from(TIMEFRAMES),
            st.one_of(st.just([0, 3_000]), st.lists(minutes, min_size=2, max_size=6, unique=True)),
        ),
        min_size=2,
        max_size=8,
    ),
    st.integers(0, 2_400),
    st.integers(1, 1_500),
)
def test_several_are_evaluated_as_each_alone(
    made: list[tuple[int, SeriesFacts, str, list[int]]], first: int, count: int
) -> None:
    """With faults of every kind, other facts and timeframes, and stretches that nobody has answered for."""
    store, part = MemoryStore(clock=FakeClock(NOW)), Span(first * MINUTE, (first + count) * MINUTE)
    subjects = []
    for number, (seed, facts, timeframe, edges) in enumerate(made):
        series = SeriesId.parse(f"ohlcv:test:S{number}:{timeframe}")
        frame = market(seed, 3_000)
        if timeframe == "5m":
            frame = frame.filter(frame["ts"].dt.minute() % 5 == 0)
        edges = sorted(edge // 5 * 5 for edge in edges)
        answered = Coverage(
            (a * MINUTE, b * MINUTE) for a, b in zip(edges[::2], edges[1::2], strict=False) if a < b
        )
        frame = frame.filter(pl.Series(answered.holds(stamps(frame)), dtype=pl.Boolean))
        store.commit(series, Write("v", NOW, frame, answered))
        subjects.append(Subject(series, Grid(series.timeframe), facts, own("ohlcv")))
    part = Grid(SeriesId.parse("ohlcv:test:A:5m").timeframe).align(part)
    counting = Counting()
    together = evaluate_many(store, counting, subjects, part, now=NOW)
    event(f"some judged together: {counting.calls < len(subjects)}")
    for subject in subjects:
        alone = evaluate(
            store,
            PIPELINE,
            subject.series,
            part,
            grid=subject.grid,
            facts=subject.facts,
            schema=subject.schema,
            now=NOW,
        )
        found = together[subject.series]
        event(f"flags: {bool(alone.flags)}")
        assert found.flags == alone.flags
        assert found.states == alone.states
        assert_frame_equal(found.frame, alone.frame)
        assert found.check.violations == alone.check.violations


def test_rules_run_once_for_series_that_are_alike() -> None:
    """A and B are; of C the facts differ, and of D the first row is asked for."""
    store, subjects = MemoryStore(clock=FakeClock(NOW)), []
    for symbol in "ABCD":
        series = SeriesId.parse(f"ohlcv:test:{symbol}/USDT:1m")
        written = span(120 if symbol == "D" else 0, 600)
        store.commit(series, Write("v", NOW, synthetic_bars(series, written), Coverage.of(written)))
        facts = SeriesFacts(allow_nonpositive=True) if symbol == "C" else FACTS
        subjects.append(Subject(series, GRID, facts, None))
    counting = Counting()
    evaluate_many(store, counting, subjects, span(120, 240), now=NOW)
    assert counting.calls == 3
