"""Findings of a range are the same whatever else is stored, and what is read for them is bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.judged import read_judged
from qmtl.runtime.io.sql import view
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Snapshot, Write
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
GRID = Grid(SERIES.timeframe)
PIPELINE = ConformancePipeline()


@contextmanager
def a_store() -> Iterator[EmbeddedStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(folder)
        try:
            yield store
        finally:
            store.close()


def keep(store: EmbeddedStore, frame: pl.DataFrame, answered: Coverage) -> None:
    inside = frame.filter(pl.Series(answered.holds(stamps(frame))))
    store.commit(SERIES, Write("test", 1, frame=inside, answered=answered))


def judged(store: EmbeddedStore, span: Span) -> tuple[Snapshot, Flags]:
    return read_judged(store, PIPELINE, SERIES, span, grid=GRID, facts=SeriesFacts())


def market(seed: int, count: int) -> pl.DataFrame:
    """Minutes with runs of one price, outages, quiet stretches, wicks and jumps."""
    rng = np.random.default_rng(seed)
    frame = synthetic_bars(SERIES, Span(0, count * MINUTE), seed=seed)
    values = {name: frame[name].to_numpy().copy() for name in PRICES}
    kept = np.ones(count, dtype=bool)
    for _ in range(count // 120):
        row, kind = int(rng.integers(1, count - 200)), int(rng.integers(5))
        run = slice(row, row + int(rng.integers(2, 150)))
        if kind == 0:
            for name in PRICES:
                values[name][run] = values["close"][row - 1]
        elif kind == 1:
            kept[run] = False
        elif kind == 2:
            kept[run] &= rng.random(len(kept[run])) < 0.5
        elif kind == 3:
            values["low"][row] *= 0.5
        else:
            for name in PRICES:
                values[name][row:] *= 2.0
    return frame.with_columns(pl.Series(name, column) for name, column in values.items()).filter(
        pl.Series(kept)
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_findings_are_the_same_whatever_other_ranges_are_stored(data: st.DataObject) -> None:
    """Given the same reach: beside the ranges that its rows come from, any others may be stored, or none."""
    count = 3_000
    frame = market(data.draw(st.integers(0, 10_000)), count)
    edges = sorted(data.draw(st.sets(st.integers(0, count), min_size=2, max_size=12)))
    islands = [Span(a * MINUTE, b * MINUTE) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    mine = data.draw(st.sampled_from(islands))
    start = data.draw(st.integers(mine.start // MINUTE, mine.end // MINUTE))
    end = data.draw(st.integers(start, mine.end // MINUTE))
    span = Span(start * MINUTE, end * MINUTE)
    with a_store() as alone, a_store() as among:
        keep(among, frame, Coverage(islands))
        snapshot, flags = judged(among, span)
        ts = stamps(snapshot.rows)
        low, high = min([*ts[:1].tolist(), span.start]), max([*ts[-1:].tolist(), span.end])
        within_reach = [island for island in islands if island.start <= high and low < island.end]
        keep(alone, frame, Coverage(within_reach))
        assert judged(alone, span)[0].rows.equals(snapshot.rows)
        assert judged(alone, span)[1] == flags


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(300, 700),
    st.integers(1, 1_000),
    st.one_of(st.integers(0, 6), st.integers(0, 200)),
)
def test_a_range_that_was_never_asked_for_changes_no_silence(
    seed: int, length: int, hole: int, quiet: int
) -> None:
    """A perfect market: then a silence depends on its own length alone, whatever lies behind the hole."""
    frame = synthetic_bars(SERIES, Span(0, 4_000 * MINUTE), seed=seed)
    mine = Span(0, length * MINUTE)
    frame = frame.filter(
        ~pl.Series(Coverage.of(Span((length - quiet) * MINUTE, mine.end)).holds(stamps(frame)))
    )
    other = Span((length + hole) * MINUTE, 4_000 * MINUTE)
    with a_store() as store:
        keep(store, frame, Coverage.of(mine))
        _, before = judged(store, mine)
        keep(store, frame, Coverage.of(other))
        _, after = judged(store, mine)
        assert after == before
        assert bool(before.spans) == (quiet >= 5)
        _, rest = judged(store, other)
        assert not rest.spans


@pytest.mark.parametrize("length", [30_000, 120_000])
def test_what_is_read_does_not_grow_with_the_run(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = synthetic_bars(SERIES, Span(0, (length + 20_000) * MINUTE))
    price = frame["close"][9_999]
    stuck = pl.int_range(pl.len()).is_between(10_000, 10_000 + length - 1)
    frame = frame.with_columns(
        pl.when(stuck).then(pl.lit(price)).otherwise(name).alias(name) for name in PRICES
    )
    decoded = []
    unpack = view.unpack

    def counting(packed, target):  # type: ignore[no-untyped-def]  # passes on what it gets
        decoded.append(packed.rows)
        return unpack(packed, target)

    with a_store() as store:
        keep(store, frame, Coverage.of(Span(0, (length + 20_000) * MINUTE)))
        monkeypatch.setattr(view, "unpack", counting)
        middle = 10_000 + length // 2
        snapshot, flags = judged(store, Span(middle * MINUTE, (middle + 10) * MINUTE))
        assert len(flags) == 10
        assert snapshot.rows.height == 10 + 2 * PIPELINE.max_context
        # Chunks hold up to 8,192 rows: one or two for the first look, and at most two on either side then.
        assert sum(decoded) <= 2 * 8_192 + 4 * 8_192
        decoded.clear()
        calm, flags = judged(store, Span(2_000 * MINUTE, 2_010 * MINUTE))
        assert (len(flags), calm.rows.height) == (0, 10 + 2 * 64)
        assert sum(decoded) <= 8_192


def test_a_store_that_is_empty_has_nothing_to_judge() -> None:
    with a_store() as store:
        snapshot, flags = judged(store, Span(0, 100 * MINUTE))
        assert (snapshot.rows.height, len(flags), flags.spans) == (0, 0, {})
