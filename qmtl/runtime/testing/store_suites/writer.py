"""What a write changes and what it leaves alone, as tests that an implementation inherits."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError, StaleFenceError, StoreError
from qmtl.foundation.frames import VALUES
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Change, CoverageRecord, Write
from qmtl.runtime.testing.store_suites.bars import (
    OTHER,
    SERIES,
    STEP,
    minutes,
    some_bars,
    write,
)


class BarWriterSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda frame: frame.select(reversed(frame.columns)),
            lambda frame: frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC"))),
            lambda frame: frame.with_columns(pl.col("close").cast(pl.Float32)),
            lambda frame: frame.reverse(),
            lambda frame: pl.concat([frame, frame.tail(1)]),
            lambda frame: frame.with_columns(low=pl.lit(None, pl.Float64)),
            lambda frame: frame.with_columns(high=pl.lit(float("nan"))),
            lambda frame: frame.with_columns(open=pl.lit(float("-inf"))),
            lambda frame: frame.with_columns(volume=pl.lit(float("nan"))),
        ],
    )
    def test_rows_that_are_no_bars_are_refused(self, store: Store, make: object) -> None:
        assert callable(make)
        with pytest.raises(InvalidRequestError) as refused:
            store.commit(SERIES, write(make(some_bars(0, 5)), answered=Coverage.of(minutes(0, 5))))
        assert refused.value.series == SERIES.text
        assert store.newest().tx == 0

    @pytest.mark.parametrize("name", VALUES)
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_one_bar_that_is_none_is_refused(self, store: Store, name: str, value: float) -> None:
        bar = some_bars(0, 1).with_columns(pl.lit(value).alias(name))
        with pytest.raises(InvalidRequestError, match=name):
            store.commit(SERIES, write(bar, answered=Coverage.of(minutes(0, 1))))
        assert store.newest().tx == 0

    def test_what_is_replaced_comes_in_order_of_time(self, store: Store) -> None:
        """A long write and single bars before, between and behind it, all replaced at once."""
        everything = some_bars(0, 6_000)
        store.commit(SERIES, write(pl.concat([everything[10:2_000], everything[2_010:]])))
        for place in (3, 2_004, 2_006):
            store.commit(SERIES, write(everything[place : place + 1]))
        newer = pl.concat([everything[3:4], everything[1_990:2_000], everything[2_004:2_020]])
        commit = store.commit(SERIES, write(newer.with_columns(close=pl.col("close") + 0.5)))
        met = newer.filter(~pl.col("ts").is_in(everything["ts"].gather([2_005, *range(2_007, 2_010)])))
        assert commit.replaced["ts"].to_list() == met["ts"].to_list()
        assert commit.added == newer.height - met.height

    @pytest.mark.parametrize("count", [10, 2_000])
    def test_the_same_write_once_more_changes_nothing(self, store: Store, count: int) -> None:
        given = write(some_bars(0, count), answered=Coverage.of(minutes(0, count)))
        first = store.commit(SERIES, given)
        second = store.commit(SERIES, given)
        assert (second.tx, second.as_of) == (first.tx, first.as_of)
        assert (second.added, second.unchanged, second.replaced.height) == (0, count, 0)

    @pytest.mark.parametrize("count", [10, 2_000])
    def test_new_values_win_and_old_ones_stay_readable(self, store: Store, count: int) -> None:
        first = store.commit(SERIES, write(some_bars(0, 10_000)))
        at = 8_000
        newer = some_bars(at, count, price=5.0)
        second = store.commit(SERIES, write(newer))
        assert (second.added, second.unchanged) == (max(0, at + count - 10_000), 0)
        replaced = 10_000 - at if at + count > 10_000 else count
        assert second.replaced.columns == ["ts", *(f"{s}_{n}" for s in ("old", "new") for n in VALUES)]
        old = second.replaced.select("ts", *(pl.col(f"old_{n}").alias(n) for n in VALUES))
        new = second.replaced.select("ts", *(pl.col(f"new_{n}").alias(n) for n in VALUES))
        assert_frame_equal(old, some_bars(at, replaced), check_exact=True)
        assert_frame_equal(new, newer.head(replaced), check_exact=True)
        now = store.read(SERIES, minutes(0, 20_000)).frame
        rest = some_bars(at + count, max(0, 10_000 - at - count))
        assert_frame_equal(now, pl.concat([some_bars(0, at), newer, rest]), check_exact=True)
        then = store.read(SERIES, minutes(0, 20_000), as_of=first.as_of)
        assert_frame_equal(then.frame, some_bars(0, 10_000), check_exact=True)
        assert then.tx == first.tx

    def test_scattered_rows_fall_into_place(self, store: Store) -> None:
        whole = some_bars(0, 30_000)
        store.commit(SERIES, write(whole.gather_every(3)))
        for part in (whole.gather_every(3, 1), whole.gather_every(7, 2), whole):
            store.commit(SERIES, write(part))
        assert_frame_equal(store.read(SERIES, minutes(0, 30_000)).frame, whole, check_exact=True)

    def test_rows_alone_say_nothing_of_their_range(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 10)))
        assert list(store.read(SERIES, minutes(0, 10)).answers) == []

    def test_a_new_record_replaces_what_it_overlaps(self, store: Store) -> None:
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 10))))
        store.commit(
            SERIES, write(absent=Coverage.of(minutes(4, 6)), absent_until=50, checked_at=11, source="other")
        )
        assert list(store.read(SERIES, minutes(0, 10)).answers) == [
            CoverageRecord(0, 4 * STEP, "answered", "vendor", 10, None),
            CoverageRecord(4 * STEP, 6 * STEP, "absent", "other", 11, 50),
            CoverageRecord(6 * STEP, 10 * STEP, "answered", "vendor", 10, None),
        ]
        store.commit(SERIES, write(answered=Coverage.of(minutes(3, 7)), checked_at=12))
        assert list(store.read(SERIES, minutes(0, 10)).answers) == [
            CoverageRecord(0, 10 * STEP, "answered", "vendor", 10, None)
        ]

    def test_touching_answers_join_and_claim_the_older_check(self, store: Store) -> None:
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 10)), checked_at=12))
        store.commit(SERIES, write(answered=Coverage.of(minutes(10, 20)), checked_at=11))
        assert list(store.read(SERIES, minutes(0, 1)).answers) == [
            CoverageRecord(0, 20 * STEP, "answered", "vendor", 11, None)
        ]
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 20)), checked_at=15))
        assert store.read(SERIES, minutes(0, 1)).answers[0].checked_at == 15
        store.commit(SERIES, write(answered=Coverage.of(minutes(20, 30)), source="other", checked_at=15))
        assert len(store.read(SERIES, minutes(0, 30)).answers) == 2

    def test_retraction_makes_unknown(self, store: Store) -> None:
        spans = Coverage.of(minutes(0, 10))
        store.commit(SERIES, write(some_bars(0, 10), answered=spans, retracted=Coverage.of(minutes(3, 5))))
        snapshot = store.read(SERIES, minutes(0, 10))
        assert snapshot.answered == spans - Coverage.of(minutes(3, 5))
        assert snapshot.frame.height == 10
        first = snapshot.as_of
        store.commit(SERIES, write(retracted=Coverage.of(minutes(0, 100))))
        assert store.read(SERIES, minutes(0, 10)).answered == EMPTY
        assert store.read(SERIES, minutes(0, 10), as_of=first).answered == snapshot.answered

    @pytest.mark.parametrize("count", [10, 511, 20_000])
    def test_retracted_bars_are_unknown_and_stay_readable_as_of(self, store: Store, count: int) -> None:
        known = write(some_bars(0, count), answered=Coverage.of(minutes(0, count + 5)))
        before = store.commit(SERIES, known)
        single = store.commit(SERIES, write(some_bars(3, 1, price=7.0)))
        gone = minutes(2, count - 3)
        seen = store.changed_since(None).token
        retraction = store.retract(SERIES, gone, reason="the source had mixed up two symbols")
        assert (retraction.rows, retraction.changed) == (count - 5, True)
        assert retraction.as_of > single.as_of
        snapshot = store.read(SERIES, minutes(-5, count + 10))
        left = pl.concat([some_bars(0, 2), some_bars(count - 3, 3)])
        assert_frame_equal(snapshot.frame, left, check_exact=True)
        assert snapshot.answered == Coverage([minutes(0, 2), minutes(count - 3, count + 5)])
        assert snapshot.as_of == retraction.as_of
        earlier = store.read(SERIES, minutes(-5, count + 10), as_of=before.as_of)
        assert_frame_equal(earlier.frame, some_bars(0, count), check_exact=True)
        assert store.changed_since(seen).commits == [Change(single.tx + 1, SERIES, gone)]
        changed = store.diff(SERIES, single.as_of, retraction.as_of)
        assert changed["change"].to_list() == ["removed"] * (count - 5)
        again = store.commit(SERIES, known)
        assert (again.added, again.unchanged) == (count - 5, 5)

    def test_retracting_what_is_not_known_commits_nothing(self, store: Store) -> None:
        commit = store.commit(SERIES, write(some_bars(0, 3)))
        for span in (minutes(3, 9), minutes(1, 1)):
            retraction = store.retract(SERIES, span, reason="nothing is there")
            assert (retraction.rows, retraction.changed) == (0, False)
        assert store.newest().tx == commit.tx

    def test_an_answer_without_rows_is_retracted(self, store: Store) -> None:
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 9)), absent=Coverage.of(minutes(9, 12))))
        assert store.retract(SERIES, minutes(4, 10), reason="a proxy answered").changed
        snapshot = store.read(SERIES, minutes(0, 20))
        assert snapshot.answered == Coverage.of(minutes(0, 4))
        assert [(a.start, a.end) for a in snapshot.answers if a.outcome == "absent"] == [minutes(10, 12)]

    def test_commit_times_and_numbers_increase(self, store: Store) -> None:
        commits = [store.commit(SERIES, write(some_bars(i, 1))) for i in range(20)]
        assert [c.tx for c in commits] == sorted({c.tx for c in commits})
        assert [c.as_of for c in commits] == sorted({c.as_of for c in commits})
        assert store.newest().tx == commits[-1].tx
        for number, commit in enumerate(commits, start=1):
            assert store.read(SERIES, minutes(0, 100), as_of=commit.as_of).frame.height == number
            assert store.read(SERIES, minutes(0, 100), as_of=commit.as_of - 1).frame.height == number - 1

    def test_what_was_refused_waits_until_it_may_be_asked_for_again(self, store: Store) -> None:
        impossible = some_bars(4, 2).with_columns(rule=pl.lit("high_is_highest"))
        given = write(
            some_bars(0, 4),
            answered=Coverage.of(minutes(0, 4)),
            retracted=Coverage.of(minutes(4, 8)),
            refused=Coverage.of(minutes(4, 6)),
            refused_until=70,
            quarantine=impossible,
        )
        store.commit(SERIES, given)
        store.commit_many({OTHER: given})
        for series in (SERIES, OTHER):
            records = store.read(series, minutes(0, 10)).answers
            assert [record for record in records if record.outcome == "refused"] == [
                CoverageRecord(4 * STEP, 6 * STEP, "refused", "vendor", 10, 70)
            ]
            assert store.read(series, minutes(0, 10)).answered == Coverage.of(minutes(0, 4))

    def test_a_closed_store_cannot_be_used(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 4)))
        store.close()
        store.close()
        with pytest.raises(StoreError):
            store.read(SERIES, minutes(0, 4))
        with pytest.raises(StoreError):
            store.commit(SERIES, write(some_bars(4, 4)))

    def test_several_series_are_written_in_order(self, store: Store) -> None:
        assert store.commit_many({}) == {}
        given = {OTHER: write(some_bars(0, 2)), SERIES: write(some_bars(5, 600), checked_at=3)}
        made = store.commit_many(given)
        assert list(made) == [OTHER, SERIES]
        assert made[OTHER].tx < made[SERIES].tx == store.newest().tx
        assert [one.added for one in made.values()] == [2, 600]
        assert_frame_equal(store.read(SERIES, minutes(0, 999)).frame, some_bars(5, 600), check_exact=True)
        assert store.commit_many(given)[SERIES].unchanged == 600

    def test_of_a_batch_all_is_kept_or_nothing(self, store: Store) -> None:
        given = {OTHER: write(some_bars(0, 2)), SERIES: write(some_bars(0, 2).reverse())}
        with pytest.raises(InvalidRequestError) as refused:
            store.commit_many(given)
        assert refused.value.series == SERIES.text
        store.open_fence(SERIES, [0], "first")
        store.open_fence(SERIES, [0], "second")
        given[SERIES] = write(some_bars(0, 2), fences={0: 1})
        with pytest.raises(StaleFenceError):
            store.commit_many(given)
        assert store.newest() == (0, 0)
        assert store.read(OTHER, minutes(0, 9)).frame.is_empty()
        assert store.read(SERIES, minutes(0, 9)).frame.is_empty()

    def test_a_batch_that_brings_nothing_new_leaves_nothing_behind(self, store: Store) -> None:
        first = store.commit_many({SERIES: write(some_bars(0, 2)), OTHER: Write("v", 7)})
        assert first[OTHER].tx == first[SERIES].tx == store.newest().tx == 1
        assert [one.series for one in store.list_series()] == [SERIES]
