"""How rows and records of one commit become a snapshot, against walks over plain lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.store.coverage_records import without
from qmtl.runtime.io.store.rows import NO_ROWS, Rows
from qmtl.runtime.io.store.snapshots import snapshot_of
from qmtl.runtime.io.store.values import CoverageRecord, Point, Snapshot

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
POINT = Point(7, 70)


class Known:
    """One series at one commit, in lists."""

    series = SERIES

    def __init__(self, records: list[CoverageRecord], gone: Coverage = EMPTY) -> None:
        self.records = records
        self.lost = gone

    def answers(self, span: Span) -> list[CoverageRecord]:
        return [one for one in self.records if one.start < span.end and one.end > span.start]

    def gone(self) -> Coverage:
        return self.lost


def minutes(first: int, end: int) -> Span:
    return Span(first * MINUTE, end * MINUTE)


def answer(first: int, end: int) -> CoverageRecord:
    return CoverageRecord(first * MINUTE, end * MINUTE, "answered", "a", 1, None)


def rows_at(numbers: list[int]) -> Rows:
    ones = np.ones(len(numbers))
    return Rows(np.array(numbers, dtype=np.int64) * MINUTE, ones, ones, ones, ones, ones)


def shot(
    numbers: list[int],
    span: Span,
    *records: CoverageRecord,
    context: int = 0,
    gone: Coverage = EMPTY,
) -> Snapshot:
    rows = rows_at(numbers) if numbers else NO_ROWS
    return snapshot_of(Known(list(records), gone), POINT, span, rows, context=context)


def numbers_of(snapshot: Snapshot) -> list[int]:
    return [ts // MINUTE for ts in stamps(snapshot.rows).tolist()]


@given(st.sets(st.integers(0, 20)), st.integers(0, 20), st.integers(0, 8), st.integers(0, 4))
def test_rows_of_the_span_and_as_many_as_asked_on_either_side(
    present: set[int], first: int, length: int, context: int
) -> None:
    numbers, end = sorted(present), first + length
    before = [n for n in numbers if n < first]
    within = [n for n in numbers if first <= n < end]
    behind = [n for n in numbers if n >= end]
    found = shot(numbers, minutes(first, end), context=context)
    nearest = before[max(len(before) - context, 0) :]
    assert numbers_of(found) == nearest + within + behind[:context]
    assert [ts // MINUTE for ts in stamps(found.frame).tolist()] == within
    assert (found.tx, found.as_of, found.span) == (7, 70, minutes(first, end))
    assert found.damaged == EMPTY


def test_records_of_the_span_are_not_clipped_and_those_around_reach_to_the_outer_rows() -> None:
    early, middle, late = answer(0, 3), answer(3, 12), answer(12, 20)
    found = shot([1, 5, 15], minutes(4, 8), early, middle, late, context=1)
    assert list(found.answers) == [middle]
    assert list(found.answers_around) == [early, middle, late]


def test_silence_behind_the_last_row_of_all_is_known_where_it_reaches_into_the_span() -> None:
    found = shot([1, 2], minutes(0, 6), answer(0, 9), context=2)
    assert found.answered_behind == Coverage.of(Span(2 * MINUTE + 1, 9 * MINUTE))


def test_an_absence_behind_the_last_row_is_no_silence() -> None:
    absent = CoverageRecord(4 * MINUTE, 9 * MINUTE, "absent", "a", 1, 99)
    found = shot([1, 2], minutes(0, 6), answer(0, 4), absent, context=2)
    assert found.answered_behind == Coverage.of(Span(2 * MINUTE + 1, 4 * MINUTE))


def test_nothing_is_behind_a_span_that_ends_with_the_last_bar_or_before_later_rows() -> None:
    assert shot([1, 2], minutes(0, 3), answer(0, 9), context=2).answered_behind == EMPTY
    assert shot([1, 2, 8, 9], minutes(0, 6), answer(0, 9), context=2).answered_behind == EMPTY
    assert shot([], minutes(0, 6), answer(0, 9), context=2).answered_behind == EMPTY


def test_damage_hides_the_rows_beyond_it_and_the_records_of_it() -> None:
    gone = Coverage.of(minutes(2, 4), minutes(11, 12))
    records = [answer(0, 14)]
    found = shot([0, 1, 5, 6, 9, 12, 13], minutes(5, 8), *records, context=3, gone=gone)
    assert numbers_of(found) == [5, 6, 9]
    assert found.damaged == EMPTY
    assert list(found.answers_around) == without(records, gone)
    assert list(found.answers) == [answer(4, 11)]
    assert found.answered_behind == EMPTY


def test_damage_within_the_span_is_named_except_where_a_row_came_since() -> None:
    found = shot([5], minutes(4, 8), gone=Coverage.of(minutes(3, 7)), context=3)
    assert found.damaged == Coverage.of(minutes(4, 5), minutes(6, 7))
    assert numbers_of(found) == [5]
