"""Reports and acceptances in memory: kept as they were, the newest first."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.store.memory_reports import MemoryReports
from qmtl.runtime.testing import FakeClock

A, B = SeriesId.parse("ohlcv:test:A:1m"), SeriesId.parse("ohlcv:test:B:1m")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("1970-01-01")


@pytest.fixture
def archive(clock: FakeClock) -> MemoryReports:
    return MemoryReports(clock)


def test_reports_come_newest_first_with_number_and_time(clock: FakeClock, archive: MemoryReports) -> None:
    assert archive.archive_report(A, {"errors": 1}) == 1
    clock.advance(2)
    assert archive.archive_report(B, {"errors": 2}) == 2
    assert archive.reports() == [
        {"number": 2, "series": B.text, "archived_at": 2_000_000_000, "report": {"errors": 2}},
        {"number": 1, "series": A.text, "archived_at": 0, "report": {"errors": 1}},
    ]
    assert [one["number"] for one in archive.reports(A)] == [1]
    assert archive.newest_report(A) == {"errors": 1}
    assert archive.newest_report(SeriesId.parse("ohlcv:test:C:1m")) is None


def test_a_baseline_is_the_newest_report_that_raised_nothing(archive: MemoryReports) -> None:
    clean = {"errors": 0, "warnings": 0, "note": "clean"}
    assert archive.baseline_report(A) is None
    archive.archive_report(A, {"errors": 0, "warnings": 0, "note": "older"})
    archive.archive_report(A, clean)
    archive.archive_report(A, {"errors": 0, "warnings": 3})
    archive.archive_report(A, {"errors": 1, "warnings": 0})
    archive.archive_report(A, {"note": "counts nothing"})
    assert archive.baseline_report(A) == clean


def test_nobody_changes_a_report_afterwards(archive: MemoryReports) -> None:
    report = {"findings": [1]}
    archive.archive_report(A, report)
    report["findings"].append(2)
    read = archive.newest_report(A)
    assert read == {"findings": [1]}
    read["findings"].append(3)
    assert archive.newest_report(A) == {"findings": [1]}


def test_a_report_that_json_cannot_write_is_refused_and_leaves_nothing(archive: MemoryReports) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        archive.archive_report(A, {"share": float("nan")})
    assert archive.reports() == []


def test_acceptances_are_counted_once_and_sorted(archive: MemoryReports) -> None:
    late, early = Accepted("quality.stale_run", 60, 120, "b"), Accepted("quality.price_jump", 90, 120, "a")
    assert archive.accept(A, [late, late]) == 1
    assert archive.accept(A, [late, early]) == 1
    assert archive.accept(A, []) == 0
    assert archive.accepted(A) == [early, late]
    assert archive.accepted(B) == []


def test_of_one_bar_accepted_twice_the_newest_state_comes_last(
    clock: FakeClock, archive: MemoryReports
) -> None:
    before = Accepted("quality.price_jump", 0, 60, "zzz")
    after = Accepted("quality.price_jump", 0, 60, "aaa")
    archive.accept(A, [before])
    clock.advance(1)
    archive.accept(A, [after])
    assert archive.accepted(A) == [before, after]


def test_a_closed_archive_refuses_everything(archive: MemoryReports) -> None:
    archive.close()
    calls = (
        lambda: archive.archive_report(A, {}),
        lambda: archive.newest_report(A),
        lambda: archive.baseline_report(A),
        lambda: archive.reports(),
        lambda: archive.accept(A, []),
        lambda: archive.accepted(A),
    )
    for call in calls:
        with pytest.raises(StoreError, match="the store is closed"):
            call()
