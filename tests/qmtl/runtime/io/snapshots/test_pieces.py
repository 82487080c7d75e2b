"""Pieces of a series join without a gap, hold each row once, and are cut at the same times always."""

from __future__ import annotations

import itertools

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.snapshots.pieces import SEGMENT_STEPS, pieces, window_at
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import ALL_TIME, Write
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:mine:BTC/USDT:1w")
WIDTH = SEGMENT_STEPS * 1_000_000_000
SECONDS = SeriesId.parse("ohlcv:mine:BTC/USDT:1s")


@given(
    st.lists(st.tuples(st.integers(-40, 40), st.integers(0, SEGMENT_STEPS - 1)), max_size=6),
    st.tuples(st.integers(-41, 41), st.integers(-41, 41)).map(sorted),
    st.booleans(),
)
def test_they_hold_all_of_a_span_once(places, ends, is_whole):
    store = MemoryStore()
    rows = sorted({window * WIDTH + step * 1_000_000_000 for window, step in places})
    for ts in rows:
        span = Span(ts, ts + 1_000_000_000)
        store.commit(SECONDS, Write("v", ts, synthetic_bars(SECONDS, span), answered=Coverage.of(span)))
    span = ALL_TIME if is_whole else Span(ends[0] * WIDTH + 7, ends[1] * WIDTH + 9)
    found = list(pieces(store, SECONDS, span, store.newest().as_of))
    assert all(a.span.end == b.span.start for a, b in itertools.pairwise(found))
    assert (found[0].span.start, found[-1].span.end) == span
    wanted = [ts for ts in rows if span.start <= ts < span.end]
    assert stamps(pl.concat([piece.frame for piece in found])).tolist() == wanted
    for piece in found:
        if piece.count:
            window = window_at(SECONDS.timeframe, int(stamps(piece.frame)[0]))
            assert piece.span == window.clip(span)
    assert len(found) <= 2 * len(wanted) + 1


@given(st.integers(EARLIEST, LATEST - 1))
def test_a_window_holds_its_instant_and_never_leaves_time(ts):
    for series in (SERIES, SECONDS):
        window = window_at(series.timeframe, ts)
        assert EARLIEST <= window.start <= ts < window.end <= LATEST
        assert window_at(series.timeframe, window.start) == window
        assert window_at(series.timeframe, window.end - 1) == window
