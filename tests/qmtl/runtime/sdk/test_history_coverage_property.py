"""Merging coverage and finding what is missing: laws, checked against a naive set of bars."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.calendars import ALWAYS_OPEN, FX, Calendar, ExchangeCalendar
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.sdk.history_coverage import compute_missing_ranges, merge_coverage

LOWEST, HIGHEST = -(2**63), 2**63 - 1

Pairs = list[tuple[int, int]]


def pairs_of(instants: st.SearchStrategy[int], most: int = 12) -> st.SearchStrategy[Pairs]:
    return st.lists(st.tuples(instants, instants).map(lambda p: (min(p), max(p))), max_size=most)


# Few instants, so that spans touch, overlap and repeat all the time.
NEAR = pairs_of(st.integers(0, 40))
# Anything that fits, with the edges of int64 tried often.
FAR = pairs_of(
    st.integers(LOWEST, HIGHEST) | st.sampled_from([LOWEST, LOWEST + 1, -1, 0, 1, HIGHEST - 1, HIGHEST])
)
EITHER = NEAR | FAR


def instants(pairs: Pairs) -> set[int]:
    """The oracle: every instant, one by one."""
    return {t for start, end in pairs for t in range(start, end)}


def assert_normal(coverage: Coverage) -> None:
    """Sorted, disjoint, not touching, not empty, and out of harm's way."""
    spans = coverage.spans
    assert all(start < end for start, end in spans)
    assert all(a.end < b.start for a, b in itertools.pairwise(spans))
    assert coverage.starts.dtype == coverage.ends.dtype == np.int64
    assert not coverage.starts.flags.writeable
    assert not coverage.ends.flags.writeable


class TestMerge:
    @given(NEAR, NEAR)
    def test_nothing_is_lost_and_nothing_added(self, a: Pairs, b: Pairs) -> None:
        merged = merge_coverage(a, b)
        assert_normal(merged)
        assert instants(list(merged.spans)) == instants(a) | instants(b)
        assert merged.length == len(instants(a) | instants(b))

    @given(EITHER, EITHER, EITHER)
    def test_associative(self, a: Pairs, b: Pairs, c: Pairs) -> None:
        left = merge_coverage(merge_coverage(a, b), c)
        assert left == merge_coverage(a, merge_coverage(b, c)) == merge_coverage(a, b, c)

    @given(EITHER, EITHER)
    def test_commutative(self, a: Pairs, b: Pairs) -> None:
        assert merge_coverage(a, b) == merge_coverage(b, a) == merge_coverage(a + b) == merge_coverage(b + a)

    @given(EITHER)
    def test_idempotent_and_has_an_identity(self, a: Pairs) -> None:
        once = merge_coverage(a)
        assert_normal(once)
        assert merge_coverage(once) == merge_coverage(once, once) == merge_coverage(a, a) == once
        assert merge_coverage(a, ()) == merge_coverage((), a) == merge_coverage(a, EMPTY) == once

    @given(EITHER, st.randoms())
    def test_order_and_cut_make_no_difference(self, a: Pairs, random) -> None:
        pieces = []
        for start, end in a:
            cut = random.randint(start, end)
            pieces += [(start, cut), (cut, end), (cut, cut)]
        random.shuffle(pieces)
        assert merge_coverage(pieces) == merge_coverage(a)
        assert merge_coverage(*([piece] for piece in pieces)) == merge_coverage(a)

    @given(EITHER)
    def test_equal_sets_are_equal_values(self, a: Pairs) -> None:
        one, other = merge_coverage(a), merge_coverage(list(reversed(a)))
        assert one == other
        assert hash(one) == hash(other)
        assert merge_coverage(one.spans) == one
        assert one.length == sum(end - start for start, end in one.spans)

    def test_any_iterable_of_pairs_will_do(self) -> None:
        expected = Coverage.of(Span(0, 3))
        pairs = [(0, 1), (1, 3)]
        assert merge_coverage(iter(pairs)) == merge_coverage(tuple(pairs)) == expected
        assert merge_coverage(np.array(pairs)) == expected
        assert merge_coverage(map(Span, [0, 1], [1, 3])) == expected
        assert merge_coverage() == merge_coverage([]) == EMPTY

    @pytest.mark.parametrize("wrong", [[(2, 1)], [(0, 2**63)], [("a", "b")], [(1,)], [(0, 1, 2)]])
    def test_what_is_no_span_is_refused(self, wrong) -> None:
        with pytest.raises(InvalidRequestError, match="these are no spans"):
            merge_coverage([(0, 1)], wrong)
        with pytest.raises(InvalidRequestError, match="these are no spans"):
            compute_missing_ranges(wrong)


class TestMissing:
    @given(NEAR, NEAR)
    def test_what_is_wanted_and_not_had(self, wanted: Pairs, have: Pairs) -> None:
        missing = compute_missing_ranges(wanted, have)
        assert_normal(missing)
        assert instants(list(missing.spans)) == instants(wanted) - instants(have)

    @given(EITHER, EITHER)
    def test_had_and_missing_make_up_the_wanted(self, wanted: Pairs, have: Pairs) -> None:
        missing = compute_missing_ranges(wanted, have)
        stored = merge_coverage(wanted) & merge_coverage(have)
        assert merge_coverage(stored, missing) == merge_coverage(wanted)
        assert not missing & merge_coverage(have)
        assert not missing & stored

    @given(EITHER, EITHER)
    def test_idempotent(self, wanted: Pairs, have: Pairs) -> None:
        missing = compute_missing_ranges(wanted, have)
        assert compute_missing_ranges(missing, have) == missing
        assert compute_missing_ranges(wanted, merge_coverage(have, missing)) == EMPTY

    @given(EITHER, EITHER, EITHER)
    def test_what_is_had_may_come_in_any_order_and_grouping(self, wanted: Pairs, a: Pairs, b: Pairs) -> None:
        one_by_one = compute_missing_ranges(compute_missing_ranges(wanted, a), b)
        other_way = compute_missing_ranges(compute_missing_ranges(wanted, b), a)
        assert one_by_one == other_way == compute_missing_ranges(wanted, merge_coverage(a, b))

    @given(EITHER, EITHER, EITHER)
    def test_distributes_over_what_is_wanted(self, a: Pairs, b: Pairs, have: Pairs) -> None:
        together = compute_missing_ranges(merge_coverage(a, b), have)
        apart = merge_coverage(compute_missing_ranges(a, have), compute_missing_ranges(b, have))
        assert together == apart

    @given(EITHER)
    def test_edges(self, a: Pairs) -> None:
        assert compute_missing_ranges(a) == compute_missing_ranges(a, ()) == merge_coverage(a)
        assert compute_missing_ranges(a, a) == compute_missing_ranges((), a) == EMPTY
        assert compute_missing_ranges(a, [(LOWEST, HIGHEST)]) == EMPTY


@dataclass(frozen=True)
class Shifts:
    """A venue that opens for five hours of every eleven."""

    def sessions(self, span: Span) -> Coverage:
        first = span.start // (11 * HOUR)
        return Coverage(
            (n * 11 * HOUR, n * 11 * HOUR + 5 * HOUR) for n in range(first, span.end // (11 * HOUR) + 1)
        )


GRIDS = st.builds(
    Grid,
    st.sampled_from([Timeframe.parse(text) for text in ("15m", "1h", "4h", "1d", "1w")]),
    st.sampled_from([ALWAYS_OPEN, FX, ExchangeCalendar("XNYS"), Shifts()]),
    st.sampled_from(["clock", "session"]),
)
# Around a change of New York's clock, an early close and a holiday; cut at minutes, so inside bars too.
START = to_ns("2023-11-02")
MINUTES = pairs_of(st.integers(0, 26 * 24 * 60).map(lambda m: START + m * MINUTE), most=6)


class Bars:
    """The oracle: the bars of a grid, one by one, as a set of their stamps."""

    def __init__(self, grid: Grid) -> None:
        self.cells: dict[int, int] = {}
        at = grid.floor(START - 8 * DAY)
        while at < START + 40 * DAY:
            end = grid.after(at)
            self.cells[at] = end
            at = end
        calendar: Calendar = grid.calendar
        sessions = calendar.sessions(Span(START - 20 * DAY, START + 60 * DAY)).spans
        if not grid.timeframe.is_intraday and hasattr(calendar, "dates"):
            dates = calendar.dates(Span(START - 20 * DAY, START + 60 * DAY)).tolist()
            sessions = tuple(Span(date, date + DAY) for date in dates)
        self.expected = {
            start
            for start, end in self.cells.items()
            if any(session.start < end and start < session.end for session in sessions)
        }

    def opening_in(self, pairs: Pairs) -> set[int]:
        return {bar for bar in self.cells if any(start <= bar < end for start, end in pairs)}

    def wholly_in(self, pairs: Pairs) -> set[int]:
        merged: Pairs = []
        for start, end in sorted(pairs):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return {b for b, e in self.cells.items() if any(start <= b and e <= end for start, end in merged)}


class TestMissingBars:
    @pytest.mark.slow
    @given(GRIDS, MINUTES, MINUTES)
    def test_the_bars_that_are_expected_and_not_wholly_had(
        self, grid: Grid, wanted: Pairs, have: Pairs
    ) -> None:
        bars = Bars(grid)
        missing = compute_missing_ranges(wanted, have, grid)
        assert_normal(missing)
        expected = (bars.opening_in(wanted) & bars.expected) - bars.wholly_in(have)
        assert set(grid.stamps(missing).tolist()) == expected
        assert missing == Coverage((bar, bars.cells[bar]) for bar in expected), "whole cells, and only those"

    @given(GRIDS, MINUTES, MINUTES)
    def test_idempotent_and_lossless(self, grid: Grid, wanted: Pairs, have: Pairs) -> None:
        missing = compute_missing_ranges(wanted, have, grid)
        assert compute_missing_ranges(missing, have, grid) == missing
        assert compute_missing_ranges(wanted, merge_coverage(have, missing), grid) == EMPTY

    @given(GRIDS, MINUTES, MINUTES, MINUTES)
    def test_having_more_never_makes_more_missing(
        self, grid: Grid, wanted: Pairs, a: Pairs, b: Pairs
    ) -> None:
        fewer = compute_missing_ranges(wanted, merge_coverage(a, b), grid)
        more = compute_missing_ranges(wanted, a, grid)
        assert fewer & more == fewer

    @given(GRIDS, MINUTES, MINUTES, MINUTES)
    def test_distributes_over_what_is_wanted(self, grid: Grid, a: Pairs, b: Pairs, have: Pairs) -> None:
        together = compute_missing_ranges(merge_coverage(a, b), have, grid)
        apart = merge_coverage(compute_missing_ranges(a, have, grid), compute_missing_ranges(b, have, grid))
        assert together == apart

    @given(MINUTES, MINUTES)
    def test_a_timeframe_is_a_market_that_never_closes(self, wanted: Pairs, have: Pairs) -> None:
        hour = Timeframe.parse("1h")
        assert (
            compute_missing_ranges(wanted, have, "1h")
            == compute_missing_ranges(wanted, have, hour)
            == compute_missing_ranges(wanted, have, Grid(hour))
        )

    def test_a_closed_week_misses_nothing(self) -> None:
        closed = Span(to_ns("2001-09-11"), to_ns("2001-09-17"))
        grid = Grid(Timeframe.parse("1d"), ExchangeCalendar("XNYS"))
        assert compute_missing_ranges([closed], (), grid) == EMPTY


def test_two_hundred_thousand_spans() -> None:
    """The same laws at the size of a bad series; a quadratic step would take minutes."""
    rng = np.random.default_rng(7)
    n = 200_000
    starts = np.sort(rng.choice(n * 10, n, replace=False)).astype(np.int64) * MINUTE
    ends = starts + rng.integers(1, 12, n) * MINUTE
    order = rng.permutation(n)
    began = time.process_time()
    have = merge_coverage(Coverage.from_arrays(starts[order], ends[order]))
    halves = merge_coverage(
        Coverage.from_arrays(starts[::2], ends[::2]), Coverage.from_arrays(starts[1::2], ends[1::2])
    )
    wanted = Span(0, n * 10 * MINUTE)
    missing = compute_missing_ranges([wanted], have)
    in_bars = compute_missing_ranges([wanted], have, "1m")
    took = time.process_time() - began
    assert halves == have
    assert in_bars == missing
    covered = np.zeros(n * 10 + 16, dtype=np.int32)
    np.add.at(covered, starts // MINUTE, 1)
    np.add.at(covered, ends // MINUTE, -1)
    uncovered = np.flatnonzero(np.cumsum(covered)[: n * 10] == 0)
    assert missing.length == len(uncovered) * MINUTE
    assert missing.holds(uncovered * MINUTE).all()
    assert took < 5
