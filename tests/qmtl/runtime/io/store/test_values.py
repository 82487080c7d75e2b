"""What goes into a store and comes out of it keeps its own laws."""

from __future__ import annotations

import numpy as np
import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.store.values import (
    CoverageRecord,
    Snapshot,
    Write,
    hull,
    refuse_foreign_deliveries,
    refuse_unarchived,
)
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")


def snapshot(*answers: CoverageRecord, around: tuple[CoverageRecord, ...] = ()) -> Snapshot:
    rows = synthetic_bars(SERIES, Span(0, 6 * MINUTE))
    return Snapshot(Span(2 * MINUTE, 4 * MINUTE), 1, 1, rows, 2, 2, answers, answers_around=around)


def test_the_frame_is_the_part_of_the_rows_within_the_span() -> None:
    assert stamps(snapshot().frame).tolist() == [2 * MINUTE, 3 * MINUTE]


def test_only_answers_are_answered_and_they_join() -> None:
    records = (
        CoverageRecord(0, 10, "answered", "a", 1, None),
        CoverageRecord(10, 20, "answered", "b", 1, None),
        CoverageRecord(20, 30, "absent", "a", 1, 99),
        CoverageRecord(30, 40, "refused", "a", 1, 99),
    )
    assert snapshot(*records).answered == Coverage.of(Span(0, 20))
    assert snapshot(around=records).answered_around == Coverage.of(Span(0, 20))


def test_an_absence_ends_at_its_expiry_and_one_without_expiry_never_does() -> None:
    shot = snapshot(
        CoverageRecord(0, 10, "absent", "a", 1, 100),
        CoverageRecord(20, 30, "absent", "a", 1, None),
        CoverageRecord(40, 50, "refused", "a", 1, 100),
        CoverageRecord(60, 70, "answered", "a", 1, None),
    )
    assert shot.absent(99) == Coverage.of(Span(0, 10), Span(20, 30))
    assert shot.absent(100) == Coverage.of(Span(20, 30))


def test_a_write_speaks_of_answers_absences_and_retractions() -> None:
    write = Write(
        "a",
        1,
        answered=Coverage.of(Span(0, 10)),
        absent=Coverage.of(Span(10, 20)),
        retracted=Coverage.of(Span(30, 40)),
        refused=Coverage.of(Span(50, 60)),
    )
    assert write.covered == Coverage.of(Span(0, 20), Span(30, 40))
    assert Write("a", 1).covered == EMPTY


def test_the_hull_of_spans() -> None:
    assert hull([Span(5, 9), Span(-3, 2), Span(4, 4)]) == Span(-3, 9)
    assert hull(iter([])) == Span(0, 0)


def test_deliveries_name_rows_of_the_write_only() -> None:
    ts = np.array([0, MINUTE], dtype=np.int64)
    refuse_foreign_deliveries(Write("live", 1), ts, SERIES)
    refuse_foreign_deliveries(Write("live", 1, delivered_at={MINUTE: 5}), ts, SERIES)
    strange = Write("live", 1, delivered_at={0: 5, 2 * MINUTE: 5})
    with pytest.raises(InvalidRequestError, match="does not bring") as refused:
        refuse_foreign_deliveries(strange, ts, SERIES)
    assert refused.value.series == SERIES.text
    assert refused.value.why == "it has no row of 1970-01-01T00:02:00Z"


def test_a_report_that_was_not_archived_is_told() -> None:
    refuse_unarchived(SERIES, 1)
    with pytest.raises(StoreError, match="a report is not archived") as told:
        refuse_unarchived(SERIES, None)
    assert str(SERIES) in str(told.value)
