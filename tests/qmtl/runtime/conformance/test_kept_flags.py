"""Flags as a store keeps them: cut into stretches, put together again, and as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.kept_flags import (
    STRETCH_STEPS,
    KeptFlags,
    cut,
    from_bytes,
    joined,
    merged,
    to_bytes,
)
from qmtl.runtime.conformance.rules import SILENCE

ROWS = 3 * STRETCH_STEPS
RULES = ["quality.price_spike", "quality.stale_run", "temporal.duplicate"]


def minutes(first: int, last: int) -> Span:
    return Span(first * MINUTE, last * MINUTE)


spans = st.tuples(st.integers(0, ROWS), st.integers(0, ROWS)).map(lambda ends: minutes(*sorted(ends)))
rows = st.sets(st.integers(0, ROWS - 1), max_size=20).map(lambda found: np.array(sorted(found), np.int64))


@st.composite
def some_flags(draw: st.DrawFn) -> Flags:
    found = {rule: draw(rows) * MINUTE for rule in RULES}
    cells = Coverage(draw(st.lists(spans, max_size=3)))
    return Flags.of(found, {SILENCE: cells}, {SILENCE: Coverage(draw(st.lists(spans, max_size=2)))})


@given(some_flags())
def test_bytes_give_the_same_flags(flags: Flags) -> None:
    assert from_bytes(to_bytes(flags)) == flags
    assert bool(to_bytes(flags)) == (flags is not EMPTY_FLAGS)


@given(some_flags(), spans.filter(lambda span: not span.is_empty), st.data())
def test_what_is_cut_is_put_together_again(flags: Flags, span: Span, data: st.DataObject) -> None:
    flags = flags.clip(span)
    ts = np.arange(ROWS) * MINUTE
    kept = list(cut(flags, ts, span, minutes(-100, ROWS + 100), step=MINUTE, max_context=200))
    assert joined(kept, span) == flags
    first = data.draw(st.integers(span.start, span.end - MINUTE)) // MINUTE * MINUTE
    part = Span(first, data.draw(st.integers(first + MINUTE, span.end)) // MINUTE * MINUTE)
    touched = [one for one in kept if one.span.start < part.end and part.start < one.span.end]
    assert joined(touched, part) == flags.clip(part)
    assert joined(touched, Span(part.start, part.end + 2 * ROWS * MINUTE)) is None
    assert joined(touched[1:], part) is None or part.start >= touched[0].span.end


@given(some_flags(), spans, spans)
def test_two_that_meet_are_one(flags: Flags, first: Span, second: Span) -> None:
    known, new = (
        KeptFlags(span, Span(span.start - 1, span.end + 1), flags.clip(span)) for span in (first, second)
    )
    both = merged(known, new)
    if first.end < second.start or second.end < first.start:
        assert both == (known if first.length > second.length else new)
        return
    union = Span(min(first.start, second.start), max(first.end, second.end))
    assert both == KeptFlags(union, Span(union.start - 1, union.end + 1), flags.clip(union))


@pytest.mark.parametrize(
    ("span", "reach"),
    [
        (minutes(0, 10), minutes(-5, 30)),  # begins where the rows begin
        (minutes(50, 60), minutes(30, 80)),  # in their midst
        (minutes(90, 100), minutes(70, 130)),  # ends where they end
    ],
)
def test_it_rests_on_the_rows_around_and_at_the_ends_on_all_that_may_come(span: Span, reach: Span) -> None:
    (kept,) = cut(EMPTY_FLAGS, np.arange(100) * MINUTE, span, minutes(-5, 130), step=MINUTE, max_context=20)
    assert kept.reach == reach


@pytest.mark.parametrize(
    ("touched", "is_void"),
    [
        (minutes(0, 30), False),
        (minutes(0, 31), True),
        (minutes(50, 51), True),
        (minutes(79, 90), True),
        (minutes(80, 90), False),
    ],
)
def test_a_commit_within_reach_makes_it_void(touched: Span, is_void: Any) -> None:
    assert KeptFlags(minutes(50, 60), minutes(30, 80), EMPTY_FLAGS).rests_on(touched) is is_void
