"""What damage hides from those who stand beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY
from qmtl.runtime.io.store.damage import corrupt, nearest_context

SERIES = SeriesId.parse("ohlcv:test:A/B:1d")


@given(
    st.sets(st.integers(0, 30), max_size=20),
    st.tuples(st.integers(0, 30), st.integers(0, 8)),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), max_size=4),
)
def test_context_reaches_to_the_nearest_lost_range_on_either_side(
    present: set[int], at: tuple[int, int], lost: list[tuple[int, int]]
) -> None:
    """Oracle: a row is kept if no lost instant lies between it and the span."""
    span = Span(at[0], at[0] + at[1])
    gone = Coverage((start, start + length) for start, length in lost)
    stamps = sorted(present - {t for start, end in gone for t in range(start, end)})
    lost_instants = {t for start, end in gone for t in range(start, end)}
    ts = np.array(stamps, dtype=np.int64)
    low, high = nearest_context(ts, 0, len(ts), span, gone)
    expected = [
        t
        for t in stamps
        if span.start <= t < span.end
        or (t < span.start and not lost_instants & set(range(t, span.start)))
        or (t >= span.end and not lost_instants & set(range(span.end, t)))
    ]
    assert stamps[low:high] == expected


def test_a_narrower_context_is_never_widened() -> None:
    ts = np.arange(10, dtype=np.int64)
    assert nearest_context(ts, 4, 6, Span(4, 6), Coverage.of(Span(0, 1), Span(9, 10))) == (4, 6)


def test_the_error_names_what_is_lost_and_what_to_do() -> None:
    damaged = Coverage((day * DAY, day * DAY + 1) for day in range(0, 10, 2))
    error = corrupt(SERIES, damaged, what="half of the answer is lost", span=Span(0, DAY), path="/data")
    assert error.damaged == damaged
    assert (error.series, error.span) == (SERIES.text, Span(0, DAY))
    assert error.what.startswith("the store is damaged in [1970-01-01, ")
    assert error.what.endswith("and 2 more spans: half of the answer is lost")
    assert "checksums" in (error.why or "")
    assert "qmtl store restore" in (error.next_step or "")


@pytest.mark.parametrize(("spans", "message"), [(3, "Z): x"), (4, "and 1 more span: x")])
def test_three_spans_are_shown_and_the_rest_is_counted(spans: int, message: str) -> None:
    damaged = Coverage((day * DAY, day * DAY + 1) for day in range(0, 2 * spans, 2))
    error = corrupt(SERIES, damaged, what="x", why="because", next_step="do this")
    assert error.what.endswith(message)
    assert (error.why, error.next_step) == ("because", "do this")
