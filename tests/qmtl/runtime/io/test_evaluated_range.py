"""A range weighs something even where nobody traded, or a cache of such would have no bound."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.flags import EMPTY_FLAGS
from qmtl.runtime.conformance.registered_schema import NOT_CHECKED
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.store.values import CoverageRecord

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
GRID = Grid(SERIES.timeframe)
NOBODY = np.zeros(0, dtype=np.int64)


def silent(first: int, answers: int) -> EvaluatedRange:
    """A hundred minutes without a row, of which `answers` are known not to have traded."""
    span = Span(first * MINUTE, (first + 100) * MINUTE)
    message = [
        CoverageRecord(
            span.start + 2 * n * MINUTE, span.start + (2 * n + 1) * MINUTE, "answered", "x", 0, None
        )
        for n in range(answers)
    ]
    states = bar_states(span, GRID, NOBODY, Coverage((a.start, a.end) for a in message), EMPTY)
    return EvaluatedRange(
        SERIES,
        GRID,
        SeriesFacts(),
        empty_bars(),
        states,
        EMPTY_FLAGS,
        NOT_CHECKED,
        answers=message,
        tx=1,
        as_of=1,
        valid_until=None,
    )


def test_a_cache_of_no_bytes_keeps_nothing_at_all() -> None:
    cache = RangeCache(0)
    cache.put(silent(0, 0), 0)
    assert cache.get(SERIES, silent(0, 0).span, 0) is None


def test_empty_ranges_leave_when_the_bound_is_reached() -> None:
    cache = RangeCache(10 * silent(0, 0).nbytes)
    for first in range(0, 10_000, 100):
        cache.put(silent(first, 0), 0)
    kept = [first for first in range(0, 10_000, 100) if cache.get(SERIES, silent(first, 0).span, 0)]
    assert kept == list(range(9_000, 10_000, 100))


def test_answers_and_states_weigh_too() -> None:
    assert silent(0, 40).nbytes - silent(0, 0).nbytes >= 40 * 2 * 16


def test_of_nothing_every_expected_bar_is_unknown_and_no_time_is_claimed() -> None:
    nothing = EvaluatedRange.of_nothing(SERIES, GRID, SeriesFacts(), Span(0, 10 * GRID.step))
    assert nothing.states.counts == {"present": 0, "no_trade": 0, "closed": 0, "absent": 0, "unknown": 10}
    assert nothing.frame.is_empty()
    assert (nothing.tx, nothing.as_of, nothing.answers) == (0, 0, ())
