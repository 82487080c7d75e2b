"""Rows and coverage records of ranges, as tests that an implementation inherits."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, VALUES, bars, stamps
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store.contract import ReadAbandonedError, Store
from qmtl.runtime.io.store.values import Commit, CoverageRecord
from qmtl.runtime.testing.store_suites.bars import (
    OTHER,
    SERIES,
    STEP,
    minutes,
    some_bars,
    write,
)


class BarReaderSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store.

    has_times_before_1970: whether the store keeps bars of them. One that does not must refuse them.
    """

    has_times_before_1970 = True

    def test_an_empty_store_knows_nothing(self, store: Store) -> None:
        snapshot = store.read(SERIES, minutes(0, 10))
        assert snapshot.frame.schema == BAR_SCHEMA
        assert (snapshot.frame.height, snapshot.tx, list(snapshot.answers)) == (0, 0, [])
        assert store.newest().tx == 0
        assert store.newest() == (0, 0)
        assert store.changed_since(None).commits == []
        assert store.facts(SERIES) is None

    @pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 8_191, 8_193, 20_000])
    def test_rows_come_back_as_they_went_in(self, store: Store, count: int) -> None:
        first = -5 if self.has_times_before_1970 else 0
        frame = some_bars(first, count)
        commit = store.commit(SERIES, write(frame))
        assert (commit.added, commit.unchanged, commit.replaced.height) == (count, 0, 0)
        snapshot = store.read(SERIES, minutes(first, count))
        assert_frame_equal(snapshot.frame, frame, check_exact=True)
        assert (snapshot.tx, snapshot.as_of) == (commit.tx, commit.as_of)

    def test_bars_before_1970_are_kept_or_refused(self, store: Store) -> None:
        frame = some_bars(-1, 2)
        if self.has_times_before_1970:
            store.commit(SERIES, write(frame))
        else:
            with pytest.raises(InvalidRequestError, match="1970"):
                store.commit(SERIES, write(frame))
        found = store.read(SERIES, minutes(-1, 2)).frame
        assert_frame_equal(found, frame if self.has_times_before_1970 else frame.clear())

    def test_a_span_is_half_open(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 10)))
        found = store.read(SERIES, Span(2 * STEP, 5 * STEP)).frame
        assert_frame_equal(found, some_bars(2, 3))
        assert store.read(SERIES, Span(2 * STEP + 1, 3 * STEP)).frame.is_empty()
        assert store.read(SERIES, Span(3 * STEP, 3 * STEP)).frame.is_empty()

    @pytest.mark.parametrize("context", [0, 1, 3, 9_000])
    def test_context_gives_rows_around(self, store: Store, context: int) -> None:
        store.commit(SERIES, write(some_bars(0, 20_000)))
        store.commit(SERIES, write(some_bars(20_000, 5)))
        for first, last in ((0, 5), (4_990, 5_010), (8_000, 9_000), (19_998, 20_003), (30_000, 30_001)):
            snapshot = store.read(SERIES, minutes(first, last), context=context)
            low, high = max(0, min(first, 20_005) - context), min(20_005, last + context)
            assert_frame_equal(snapshot.rows, some_bars(low, high - low), check_exact=True)
            assert snapshot.frame.height == max(0, min(last, 20_005) - first)

    @pytest.mark.parametrize("count", [3, 3_000])
    def test_a_missing_volume_stays_missing(self, store: Store, count: int) -> None:
        frame = some_bars(0, count).with_columns(volume=pl.when(pl.col("volume") < 6).then(pl.col("volume")))
        none = some_bars(count, count).with_columns(volume=pl.lit(None, pl.Float64))
        store.commit(SERIES, write(frame))
        store.commit(SERIES, write(none))
        found = store.read(SERIES, minutes(0, 2 * count)).frame
        assert_frame_equal(found, pl.concat([frame, none]), check_exact=True)
        assert store.commit(SERIES, write(frame)).unchanged == count

    def test_extreme_numbers_are_kept_bit_by_bit(self, store: Store) -> None:
        odd = [1e-308, 5e-324, 1.7e308, -0.0, 0.1 + 0.2, -37.63, 1 / 3]
        for repeat in (1, 1_000):
            numbers = np.array(odd * repeat)
            frame = bars(np.arange(len(numbers)) * STEP, dict.fromkeys(VALUES, numbers))
            store.commit(SERIES, write(frame))
            found = store.read(SERIES, minutes(0, len(numbers))).frame
            assert found["close"].to_numpy().tobytes() == numbers.tobytes()

    def test_series_do_not_meet(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 3), answered=Coverage.of(minutes(0, 3))))
        store.commit(OTHER, write(some_bars(1, 1, price=7.0)))
        assert_frame_equal(store.read(SERIES, minutes(0, 3)).frame, some_bars(0, 3))
        assert_frame_equal(store.read(OTHER, minutes(0, 3)).frame, some_bars(1, 1, price=7.0))
        assert list(store.read(OTHER, minutes(0, 3)).answers) == []

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("page", [1, 300, 1_000])
    def test_pages_join(self, store: Store, page: int, backward: bool) -> None:
        pages = [some_bars(first, page) for first in range(0, 40 * page, page)]
        for frame in reversed(pages) if backward else pages:
            store.commit(SERIES, write(frame))
        found = store.read(SERIES, minutes(0, 40 * page)).frame
        assert_frame_equal(found, pl.concat(pages), check_exact=True)

    def test_answers_come_unclipped_and_in_order(self, store: Store) -> None:
        spans = Coverage.of(minutes(0, 10), minutes(20, 30))
        store.commit(SERIES, write(answered=spans, absent=Coverage.of(minutes(40, 50)), absent_until=99))
        found = store.read(SERIES, minutes(5, 45)).answers
        assert list(found) == [
            CoverageRecord(0, 10 * STEP, "answered", "vendor", 10, None),
            CoverageRecord(20 * STEP, 30 * STEP, "answered", "vendor", 10, None),
            CoverageRecord(40 * STEP, 50 * STEP, "absent", "vendor", 10, 99),
        ]
        snapshot = store.read(SERIES, minutes(10, 20))
        assert list(snapshot.answers) == []
        assert list(snapshot.answers_around) == []  # without rows around, there is nothing to judge
        assert store.read(SERIES, minutes(0, 60)).absent(98) == Coverage.of(minutes(40, 50))
        assert store.read(SERIES, minutes(0, 60)).absent(99) == EMPTY

    @pytest.mark.parametrize("context", [0, 1, 4])
    def test_answers_reach_as_far_as_the_rows_around(self, store: Store, context: int) -> None:
        """Rhythm is measured within what was answered, so that has to be known of all rows that are read."""
        rows = pl.concat([some_bars(first, 1) for first in (0, 10, 20, 30, 40)])
        spans = Coverage.of(minutes(0, 15), minutes(18, 25), minutes(28, 60))
        store.commit(SERIES, write(rows, answered=spans))
        found = store.read(SERIES, minutes(19, 22), context=context)
        assert found.answered == Coverage.of(minutes(18, 25))
        first, last = int(stamps(found.rows)[0]), int(stamps(found.rows)[-1]) + STEP
        assert found.answered_around.clip(Span(first, last)) == spans.clip(Span(first, last))

    def test_many_answers(self, store: Store) -> None:
        many = Coverage(minutes(3 * i, 3 * i + 1) for i in range(5_000))
        store.commit(SERIES, write(answered=many))
        assert store.read(SERIES, minutes(0, 20_000)).answered == many
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 15_000))))
        assert len(store.read(SERIES, minutes(0, 20_000)).answers) == 1

    def test_before_the_first_commit_there_is_nothing(self, store: Store) -> None:
        first = store.commit(SERIES, write(some_bars(0, 3), answered=Coverage.of(minutes(0, 3))))
        snapshot = store.read(SERIES, minutes(0, 3), as_of=first.as_of - 1)
        assert (snapshot.frame.height, snapshot.tx, list(snapshot.answers)) == (0, 0, [])

    def test_a_read_that_is_cancelled_is_abandoned(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 20_000)))
        asked = iter([False, True])
        with pytest.raises(ReadAbandonedError) as abandoned:
            store.read(SERIES, minutes(0, 20_000), cancelled=lambda: next(asked, True))
        assert abandoned.value.series == SERIES.text
        assert store.read(SERIES, minutes(0, 20_000), cancelled=lambda: False).frame.height == 20_000

    def test_threads_write_and_read_at_once(self, store: Store) -> None:
        pages = [[some_bars((4 * page + worker) * 600, 600) for page in range(8)] for worker in range(4)]
        failures: list[BaseException] = []
        begun = store.changed_since(None).token

        def work(mine: Sequence[pl.DataFrame]) -> None:
            try:
                for frame in mine:
                    commit: Commit = store.commit(SERIES, write(frame))
                    low = int(frame["ts"].to_physical()[0])
                    found = store.read(SERIES, Span(low, low + 600 * STEP), as_of=commit.as_of)
                    assert_frame_equal(found.frame, frame, check_exact=True)
            except BaseException as failure:  # noqa: BLE001  # handed to the thread that judges
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(mine,)) for mine in pages]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a writer hangs"
        assert not failures, failures
        found = store.read(SERIES, minutes(0, 40_000)).frame
        assert_frame_equal(found, some_bars(0, 32 * 600), check_exact=True)
        assert len(store.changed_since(begun).commits) == 32

    def test_a_second_close_does_nothing(self, store: Store) -> None:
        store.close()
        store.close()

    def test_several_series_are_read_at_one_commit(self, store: Store) -> None:
        span = minutes(0, 10)
        assert store.read_many([], span) == {}
        before = store.commit(SERIES, write(some_bars(0, 3), answered=Coverage.of(span)))
        after = store.commit(OTHER, write(some_bars(2, 4)))
        now = store.read_many([OTHER, SERIES, OTHER], span, context=2)
        assert list(now) == [OTHER, SERIES]
        assert {one.tx for one in now.values()} == {after.tx}
        assert_frame_equal(now[SERIES].frame, some_bars(0, 3), check_exact=True)
        assert_frame_equal(now[OTHER].frame, some_bars(2, 4), check_exact=True)
        assert now[SERIES].answered == Coverage.of(span)
        then = store.read_many([SERIES, OTHER], span, as_of=before.as_of)
        assert {one.tx for one in then.values()} == {before.tx}
        assert (then[SERIES].frame.height, then[OTHER].frame.height) == (3, 0)
