"""Tidying, sweeping and counting change nothing that can be seen, but for what lies behind the horizon."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER, changes_since, minutes, some_bars
from tests.qmtl.runtime.io.sql.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(new_store: Callable[..., KeptStore], clock: HandClock) -> KeptStore:
    return new_store(clock=clock, retention=500)


def fill(store: KeptStore) -> None:
    for first in range(0, 6_000, 600):
        store.commit(SERIES, Write("v", 1, some_bars(first, 600), Coverage.of(minutes(first, first + 600))))
    for bar in range(6_000, 6_400):
        store.commit(SERIES, Write("v", 1, some_bars(bar, 1)))
    store.commit(OTHER, Write("v", 1, some_bars(0, 3)))


def test_compaction_folds_and_joins(store: KeptStore) -> None:
    fill(store)
    known = store.newest().tx
    times = [store.read(SERIES, minutes(0, 1)).as_of - back for back in range(0, 411, 30)]
    before = [store.read(SERIES, minutes(0, 9_999), as_of=as_of) for as_of in times]
    steps: list[tuple[int, int]] = []
    done = store.compact(progress=lambda n, total: steps.append((n, total)))
    assert done.hot_folded == 403
    assert steps[-1] == (done.windows, done.windows)
    (mine, other) = sorted(store.list_series(), key=lambda s: s.rows, reverse=True)
    assert (mine.rows, mine.chunks, mine.hot_rows) == (6_400, 1, 0)
    assert (other.rows, other.chunks, other.hot_rows) == (3, 1, 0)
    assert mine.span is not None
    assert mine.span.start == 0
    for as_of, then in zip(times, before, strict=True):
        again = store.read(SERIES, minutes(0, 9_999), as_of=as_of)
        assert_frame_equal(again.frame, then.frame, check_exact=True)
        assert list(again.answers) == list(then.answers)
    # Nothing that can be seen has changed, and a second run has nothing to do.
    assert changes_since(store, known) == []
    assert store.compact().windows == 0
    assert store.verify().is_sound


def test_appends_fold_themselves(new_store: Callable[..., KeptStore]) -> None:
    with new_store() as store:
        for bar in range(1_300):
            store.commit(SERIES, Write("v", 1, some_bars(bar, 1)))
        assert store.info().hot_rows <= 1_024 + 64
        assert store.info().rows == 1_300


def test_pages_are_rewritten_about_once(new_store: Callable[..., KeptStore]) -> None:
    with new_store() as store:
        for first in range(0, 60_000, 1_000):
            store.commit(SERIES, Write("v", 1, some_bars(first, 1_000)))
        info = store.info()
        assert info.rows == 60_000
        assert info.chunks <= 60_000 / 8_192 + 9
        assert info.old_versions <= 60


def test_retention_forgets_what_is_behind_it(store: KeptStore, clock: HandClock) -> None:
    first = store.commit(SERIES, Write("v", 1, some_bars(0, 1_000), Coverage.of(minutes(0, 1_000))))
    second = store.commit(SERIES, Write("v", 1, some_bars(0, 1_000, price=2.0)))
    clock.time = 1_400
    third = store.commit(SERIES, Write("v", 1, some_bars(0, 1_000, price=3.0)))
    assert store.compact().swept == 0
    assert store.read(SERIES, minutes(0, 9), as_of=first.as_of).frame.equals(some_bars(0, 9))
    clock.time = 1_600
    assert store.compact().swept > 0
    with pytest.raises(StoreError, match="no longer knows") as forgotten:
        store.read(SERIES, minutes(0, 9), as_of=first.as_of)
    assert forgotten.value.series == SERIES.text
    assert forgotten.value.next_step
    with pytest.raises(StoreError, match="no longer knows"):
        store.diff(SERIES, first.as_of, third.as_of)
    # What held at the horizon can still be read, wherever the clock stood.
    kept = store.read(SERIES, minutes(0, 9), as_of=second.as_of)
    assert kept.frame.equals(some_bars(0, 9, price=2.0))
    assert kept.answered == Coverage.of(minutes(0, 1_000))
    assert store.diff(SERIES, second.as_of, third.as_of).height == 1_000
    assert store.info().horizon == second.as_of
    assert changes_since(store, second.tx)[0].tx == third.tx
    # The list of commits does not reach back any more: everything may have changed.
    assert {change.series for change in changes_since(store, 0)} == {SERIES}
    clock.time = 9_999
    store.compact()
    assert store.info().old_versions == 0
    assert store.read(SERIES, minutes(0, 9)).frame.equals(some_bars(0, 9, price=3.0))
    assert store.verify().is_sound
    clock.time = 100
    store.compact()
    assert store.info().horizon == third.as_of


def test_commit_times_go_on_when_the_clock_steps_back(store: KeptStore, clock: HandClock) -> None:
    first = store.commit(SERIES, Write("v", 1, some_bars(0, 1)))
    clock.time = 10
    second = store.commit(SERIES, Write("v", 1, some_bars(1, 1)))
    assert (first.as_of, second.as_of) == (1_000, 1_001)
    assert store.read(SERIES, minutes(0, 9), as_of=1_000).frame.height == 1


def test_info_counts(store: KeptStore) -> None:
    fill(store)
    # Over a chunk, over a single row, and new.
    for bar in (10, 6_100, 7_000):
        store.commit(SERIES, Write("v", 1, some_bars(bar, 1, price=1.0)))
    info = store.info()
    assert (info.series, info.rows, info.hot_rows) == (2, 6_404, 405)
    assert info.last_tx == store.newest().tx
    assert info.last_commit_at == store.read(SERIES, minutes(0, 1)).as_of
    assert info.bytes > 100_000
    assert (info.horizon, info.lost, info.quarantined, info.reports) == (0, 0, 0, 0)


def test_reports_are_appended(store: KeptStore) -> None:
    assert store.newest_report(SERIES) is None
    report = {"digest": "abc", "findings": [{"rule": "r", "count": 3, "fraction": 0.1}], "none": None}
    first = store.archive_report(SERIES, report)
    second = store.archive_report(OTHER, {"n": 2})
    third = store.archive_report(SERIES, {"n": 3})
    assert first is not None
    assert second is not None
    assert third is not None
    assert first < second < third
    assert store.newest_report(SERIES) == {"n": 3}
    assert [entry["number"] for entry in store.reports()] == [third, second, first]
    oldest = store.reports(SERIES)[-1]
    assert oldest["report"] == report
    assert (oldest["series"], oldest["number"], oldest["archived_at"]) == (SERIES.text, first, 1_000)
    assert store.reports(SeriesId.parse("ohlcv:no:ne:1m")) == []
    assert store.newest().tx == 0
    with pytest.raises(ValueError, match="JSON"):
        store.archive_report(SERIES, {"x": float("nan")})
    assert json.dumps(store.newest_report(SERIES)) == '{"n": 3}'


def test_acceptances_are_appended(store: KeptStore) -> None:
    one, two = Accepted("spike", 0, 60, "f1"), Accepted("spike", 60, 120, "f2")
    assert store.accept(SERIES, [two, one]) == 2
    assert store.accept(SERIES, [one, one._replace(fingerprint="f3")]) == 1
    assert store.accept(SERIES, []) == 0
    assert store.accepted(SERIES) == [one, one._replace(fingerprint="f3"), two]
    assert store.accepted(OTHER) == []
