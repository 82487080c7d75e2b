"""Coverage beyond its laws (those are in test_history_coverage_property): questions, edges and copies."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, EARLIEST, LATEST

SPANS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: Span(min(pair), max(pair))), max_size=8
)


def instants(spans: list[Span]) -> set[int]:
    return {t for start, end in spans for t in range(start, end)}


@given(SPANS, SPANS)
def test_the_set_operations(a: list[Span], b: list[Span]) -> None:
    one, other = Coverage(a), Coverage(b)
    assert instants(list((one & other).spans)) == instants(a) & instants(b)
    assert instants(list((one | other).spans)) == instants(a) | instants(b)
    assert instants(list((one - other).spans)) == instants(a) - instants(b)
    for result in (one & other, one | other, one - other):
        assert result == Coverage(result.spans), "as if it had been made of its own spans"


@given(SPANS, SPANS, st.booleans(), st.booleans())
def test_two_are_equal_if_they_hold_the_same(
    a: list[Span], b: list[Span], one_is_read: bool, other_is_read: bool
) -> None:
    """Whether their spans have been asked for, and are at hand, or not."""
    for of_other in (a, b):
        one, other = Coverage(a), Coverage(of_other)
        if one_is_read:
            assert isinstance(one.spans, tuple)
        if other_is_read:
            assert isinstance(other.spans, tuple)
        assert (one == other) == (instants(a) == instants(of_other))


@given(SPANS, st.integers(0, 30), st.integers(0, 30))
def test_questions(spans: list[Span], a: int, b: int) -> None:
    coverage, window = Coverage(spans), Span(min(a, b), max(a, b))
    stored = instants(spans)
    assert coverage.contains(window) == (set(range(*window)) <= stored)
    assert instants(list(coverage.clip(window).spans)) == stored & set(range(*window))
    assert coverage.clip(window) == coverage & Coverage.of(window)
    assert coverage.holds(np.arange(-1, 32)).tolist() == [t in stored for t in range(-1, 32)]
    assert bool(coverage) == bool(stored)
    assert coverage.length == len(stored)
    assert len(coverage) == len(coverage.spans)
    if stored:
        assert coverage.hull == Span(min(stored), max(stored) + 1)


@given(SPANS)
def test_copies_are_equal(spans: list[Span]) -> None:
    coverage = Coverage(spans)
    assert pickle.loads(pickle.dumps(coverage)) == coverage
    assert Coverage.of(*spans) == coverage
    assert Coverage.from_arrays([s for s, _ in spans], [e for _, e in spans]) == coverage


def test_all_of_time() -> None:
    whole = Coverage.of(Span(EARLIEST, LATEST))
    assert whole.length == LATEST - EARLIEST == 213_502 * DAY, "more nanoseconds than int64 can count"
    assert (whole - Coverage.of(Span(0, DAY))).length == whole.length - DAY
    assert whole.hull == Span(EARLIEST, LATEST)


@pytest.mark.parametrize("beyond", [2**63, 2**64, -(2**63) - 1])
def test_what_int64_cannot_hold_is_refused(beyond: int) -> None:
    span = Span(min(0, beyond), max(0, beyond))
    for make in (lambda: Coverage.of(span), lambda: Coverage([span]), lambda: Coverage.of(span, span)):
        with pytest.raises(OverflowError):
            make()


def test_what_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot end before it starts"):
        Span(1, 0)
    with pytest.raises(ValueError, match="cannot end before it starts"):
        Coverage([(1, 0)])
    with pytest.raises(ValueError, match="cannot end before it starts"):
        Coverage.from_arrays([1], [0])
    with pytest.raises(ValueError, match="equally long"):
        Coverage.from_arrays([1], [])


def test_a_coverage_cannot_be_changed() -> None:
    starts, ends = np.array([0, 5]), np.array([2, 7])
    coverage = Coverage.from_arrays(starts, ends)
    starts[0] = 1
    assert coverage.spans == (Span(0, 2), Span(5, 7)), "the caller's arrays stay the caller's"
    with pytest.raises(ValueError, match="read-only"):
        coverage.starts[0] = 3
    assert not EMPTY
    assert repr(Coverage((i * 2, i * 2 + 1) for i in range(9))).startswith("Coverage(9 spans in [")


def test_a_span_keeps_plain_ints() -> None:
    span = Span(np.int64(1), np.int64(2))
    assert (type(span.start), type(span.end)) == (int, int)
    with pytest.raises(TypeError):
        Span(1.0, 2)  # type: ignore[arg-type]
