"""What every store promises, as tests that an implementation inherits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import BAR_SCHEMA, VALUES, bars, stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store.base import Answer, Change, Commit, Store, Write

SERIES = SeriesId.parse("ohlcv:suite:BTC/USDT:1m")
OTHER = SeriesId.parse("ohlcv:suite:ETH/USDT:USDT:1m")
STEP = SERIES.timeframe.step


def some_bars(first: int, count: int, *, price: float = 100.0) -> pl.DataFrame:
    """Plain minute bars; bar `n` opens `n` minutes after the epoch."""
    number = np.arange(first, first + count, dtype=np.int64)
    close = price + number % 97 / 100
    values = {
        "open": close,
        "high": close + 0.5,
        "low": close - 0.5,
        "close": close,
        "volume": number % 13 + 0.5,
    }
    return bars(number * STEP, values)


def minutes(first: int, last: int) -> Span:
    """The cells of bars `[first, last)`."""
    return Span(first * STEP, last * STEP)


def write(
    frame: pl.DataFrame | None = None, *, checked_at: int = 10, source: str = "vendor", **said: object
) -> Write:
    """A write with defaults; `said` are fields of `Write`."""
    given = {} if frame is None else {"frame": frame}
    return Write(source=source, checked_at=checked_at, **given, **said)  # type: ignore[arg-type]  # fields by name


class StoreSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    # Rows

    def test_an_empty_store_knows_nothing(self, store: Store) -> None:
        snapshot = store.read(SERIES, minutes(0, 10))
        assert snapshot.frame.schema == BAR_SCHEMA
        assert (snapshot.frame.height, snapshot.tx, list(snapshot.answers), snapshot.facts) == (
            0,
            0,
            [],
            None,
        )
        assert store.last_tx() == 0
        assert store.changes(0) == []
        assert store.facts(SERIES) is None

    @pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 8_191, 8_193, 20_000])
    def test_rows_come_back_as_they_went_in(self, store: Store, count: int) -> None:
        frame = some_bars(-5, count)
        commit = store.commit(SERIES, write(frame))
        assert (commit.added, commit.unchanged, commit.replaced.height) == (count, 0, 0)
        snapshot = store.read(SERIES, minutes(-5, count))
        assert_frame_equal(snapshot.frame, frame, check_exact=True)
        assert (snapshot.tx, snapshot.as_of) == (commit.tx, commit.as_of)

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
        assert store.last_tx() == 0

    @pytest.mark.parametrize("name", VALUES)
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_one_bar_that_is_none_is_refused(self, store: Store, name: str, value: float) -> None:
        bar = some_bars(0, 1).with_columns(pl.lit(value).alias(name))
        with pytest.raises(InvalidRequestError, match=name):
            store.commit(SERIES, write(bar, answered=Coverage.of(minutes(0, 1))))
        assert store.last_tx() == 0

    # Upserts

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
    def test_writing_twice_changes_nothing(self, store: Store, count: int) -> None:
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

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("page", [1, 300, 1_000])
    def test_pages_join(self, store: Store, page: int, backward: bool) -> None:
        pages = [some_bars(first, page) for first in range(0, 40 * page, page)]
        for frame in reversed(pages) if backward else pages:
            store.commit(SERIES, write(frame))
        found = store.read(SERIES, minutes(0, 40 * page)).frame
        assert_frame_equal(found, pl.concat(pages), check_exact=True)

    # Answers

    def test_rows_alone_say_nothing_of_their_range(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 10)))
        assert list(store.read(SERIES, minutes(0, 10)).answers) == []

    def test_answers_come_unclipped_and_in_order(self, store: Store) -> None:
        said = Coverage.of(minutes(0, 10), minutes(20, 30))
        store.commit(SERIES, write(answered=said, absent=Coverage.of(minutes(40, 50)), absent_until=99))
        found = store.read(SERIES, minutes(5, 45)).answers
        assert list(found) == [
            Answer(0, 10 * STEP, "answered", "vendor", 10, None),
            Answer(20 * STEP, 30 * STEP, "answered", "vendor", 10, None),
            Answer(40 * STEP, 50 * STEP, "absent", "vendor", 10, 99),
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
        said = Coverage.of(minutes(0, 15), minutes(18, 25), minutes(28, 60))
        store.commit(SERIES, write(rows, answered=said))
        found = store.read(SERIES, minutes(19, 22), context=context)
        assert found.answered == Coverage.of(minutes(18, 25))
        first, last = int(stamps(found.rows)[0]), int(stamps(found.rows)[-1]) + STEP
        assert found.answered_around.clip(Span(first, last)) == said.clip(Span(first, last))

    def test_the_newer_word_wins(self, store: Store) -> None:
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 10))))
        store.commit(
            SERIES, write(absent=Coverage.of(minutes(4, 6)), absent_until=50, checked_at=11, source="other")
        )
        assert list(store.read(SERIES, minutes(0, 10)).answers) == [
            Answer(0, 4 * STEP, "answered", "vendor", 10, None),
            Answer(4 * STEP, 6 * STEP, "absent", "other", 11, 50),
            Answer(6 * STEP, 10 * STEP, "answered", "vendor", 10, None),
        ]
        store.commit(SERIES, write(answered=Coverage.of(minutes(3, 7)), checked_at=12))
        assert list(store.read(SERIES, minutes(0, 10)).answers) == [
            Answer(0, 10 * STEP, "answered", "vendor", 10, None)
        ]

    def test_touching_answers_join_and_claim_the_older_check(self, store: Store) -> None:
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 10)), checked_at=12))
        store.commit(SERIES, write(answered=Coverage.of(minutes(10, 20)), checked_at=11))
        assert list(store.read(SERIES, minutes(0, 1)).answers) == [
            Answer(0, 20 * STEP, "answered", "vendor", 11, None)
        ]
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 20)), checked_at=15))
        assert store.read(SERIES, minutes(0, 1)).answers[0].checked_at == 15
        store.commit(SERIES, write(answered=Coverage.of(minutes(20, 30)), source="other", checked_at=15))
        assert len(store.read(SERIES, minutes(0, 30)).answers) == 2

    def test_retraction_makes_unknown(self, store: Store) -> None:
        said = Coverage.of(minutes(0, 10))
        store.commit(SERIES, write(some_bars(0, 10), answered=said, retracted=Coverage.of(minutes(3, 5))))
        snapshot = store.read(SERIES, minutes(0, 10))
        assert snapshot.answered == said - Coverage.of(minutes(3, 5))
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
        assert store.changes(single.tx) == [Change(single.tx + 1, SERIES, gone)]
        changed = store.diff(SERIES, single.as_of, retraction.as_of)
        assert changed["change"].to_list() == ["removed"] * (count - 5)
        again = store.commit(SERIES, known)
        assert (again.added, again.unchanged) == (count - 5, 5)

    def test_retracting_what_is_not_known_commits_nothing(self, store: Store) -> None:
        commit = store.commit(SERIES, write(some_bars(0, 3)))
        for span in (minutes(3, 9), minutes(1, 1)):
            retraction = store.retract(SERIES, span, reason="nothing is there")
            assert (retraction.rows, retraction.changed) == (0, False)
        assert store.last_tx() == commit.tx

    def test_an_answer_without_rows_is_retracted(self, store: Store) -> None:
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 9)), absent=Coverage.of(minutes(9, 12))))
        assert store.retract(SERIES, minutes(4, 10), reason="a proxy answered").changed
        snapshot = store.read(SERIES, minutes(0, 20))
        assert snapshot.answered == Coverage.of(minutes(0, 4))
        assert [(a.start, a.end) for a in snapshot.answers if a.said == "absent"] == [minutes(10, 12)]

    def test_commits_say_when_what_and_why(self, store: Store) -> None:
        assert store.commits(SERIES) == []
        first = store.commit(SERIES, write(some_bars(0, 3)))
        store.commit(OTHER, write(some_bars(0, 1)))
        store.commit(SERIES, write(some_bars(0, 3)))
        store.declare(SERIES, SeriesFacts(calendar="XNYS"))
        gone = store.retract(SERIES, minutes(1, 2), reason="wrong symbol")
        known = store.commits(SERIES)
        assert [(one.kind, one.reason) for one in known] == [
            ("write", None),
            ("declare", None),
            ("retract", "wrong symbol"),
        ]
        assert (known[0].as_of, known[0].span) == (first.as_of, minutes(0, 3))
        assert (known[2].as_of, known[2].span) == (gone.as_of, minutes(1, 2))
        assert all(one.writer for one in known)

    def test_many_answers(self, store: Store) -> None:
        many = Coverage(minutes(3 * i, 3 * i + 1) for i in range(5_000))
        store.commit(SERIES, write(answered=many))
        assert store.read(SERIES, minutes(0, 20_000)).answered == many
        store.commit(SERIES, write(answered=Coverage.of(minutes(0, 15_000))))
        assert len(store.read(SERIES, minutes(0, 20_000)).answers) == 1

    # Time

    def test_commit_times_and_numbers_increase(self, store: Store) -> None:
        commits = [store.commit(SERIES, write(some_bars(i, 1))) for i in range(20)]
        assert [c.tx for c in commits] == sorted({c.tx for c in commits})
        assert [c.as_of for c in commits] == sorted({c.as_of for c in commits})
        assert store.last_tx() == commits[-1].tx
        for number, commit in enumerate(commits, start=1):
            assert store.read(SERIES, minutes(0, 100), as_of=commit.as_of).frame.height == number
            assert store.read(SERIES, minutes(0, 100), as_of=commit.as_of - 1).frame.height == number - 1

    def test_before_the_first_commit_there_is_nothing(self, store: Store) -> None:
        first = store.commit(SERIES, write(some_bars(0, 3), answered=Coverage.of(minutes(0, 3))))
        snapshot = store.read(SERIES, minutes(0, 3), as_of=first.as_of - 1)
        assert (snapshot.frame.height, snapshot.tx, list(snapshot.answers)) == (0, 0, [])

    def test_version_moves_with_every_commit(self, store: Store) -> None:
        seen = store.version()
        assert store.version() == seen
        store.commit(SERIES, write(some_bars(0, 1)))
        second = store.version()
        assert second != seen
        store.commit(SERIES, write(some_bars(0, 1)))
        assert store.version() == second
        store.commit(OTHER, write(answered=Coverage.of(minutes(0, 1))))
        assert store.version() != second

    def test_changes_tell_what_was_touched(self, store: Store) -> None:
        first = store.commit(SERIES, write(some_bars(5, 2)))
        second = store.commit(OTHER, write(answered=Coverage.of(minutes(30, 40))))
        changes = store.changes(0)
        assert changes == [
            Change(first.tx, SERIES, minutes(5, 7)),
            Change(second.tx, OTHER, minutes(30, 40)),
        ]
        assert store.changes(first.tx) == changes[1:]
        assert store.changes(second.tx) == []

    @pytest.mark.parametrize("count", [4, 9_000])
    def test_diff(self, store: Store, count: int) -> None:
        store.commit(SERIES, write(some_bars(0, 20_000)))
        a = store.commit(OTHER, write(some_bars(0, 1))).as_of
        b = store.commit(SERIES, write(some_bars(20_000 - count, 2 * count, price=9.0))).as_of
        found = store.diff(SERIES, a, b)
        assert found.columns == ["ts", "change", *(f"{s}_{n}" for s in ("old", "new") for n in VALUES)]
        assert found["change"].to_list() == ["changed"] * count + ["added"] * count
        old = found.filter(pl.col("change") == "changed").select(
            "ts", pl.col("^old_.*$").name.replace("old_", "")
        )
        new = found.select("ts", pl.col("^new_.*$").name.replace("new_", ""))
        assert_frame_equal(old, some_bars(20_000 - count, count), check_exact=True)
        assert_frame_equal(new, some_bars(20_000 - count, 2 * count, price=9.0), check_exact=True)
        back = store.diff(SERIES, b, a)
        assert back["change"].to_list() == ["changed"] * count + ["removed"] * count
        assert store.diff(SERIES, a, a).is_empty()
        assert store.diff(SERIES, 0, a).height == 20_000

    # Facts, quarantine

    def test_facts_are_versioned(self, store: Store) -> None:
        first = store.commit(SERIES, write(some_bars(0, 1))).as_of
        facts = SeriesFacts(calendar="XNYS", anchor="session", allow_nonpositive=True, has_volume=False)
        store.declare(SERIES, facts)
        assert store.facts(SERIES) == facts
        declared = store.read(SERIES, minutes(0, 1))
        assert declared.facts == facts
        changed = store.last_tx()
        store.declare(SERIES, facts)
        assert store.last_tx() == changed
        store.declare(SERIES, SeriesFacts(calendar="FX"))
        assert store.read(SERIES, minutes(0, 1), as_of=declared.as_of).facts == facts
        assert store.read(SERIES, minutes(0, 1), as_of=first).facts is None
        assert store.changes(changed)[0].series == SERIES
        assert store.facts(OTHER) is None

    def test_a_write_keeps_the_facts_that_it_rests_on(self, store: Store) -> None:
        rests_on = SeriesFacts(calendar="XNYS", has_volume=True)
        first = store.commit(SERIES, replace(write(some_bars(0, 1)), declared=rests_on))
        assert store.facts(SERIES) == rests_on
        assert store.last_tx() == first.tx, "with the rows, in one commit"
        assert store.facts(SERIES, as_of=first.as_of - 1) is None
        more = replace(write(some_bars(1, 1)), declared=SeriesFacts(allow_nonpositive=False))
        store.commit(SERIES, more)
        assert store.facts(SERIES) == SeriesFacts("XNYS", allow_nonpositive=False, has_volume=True)
        assert store.facts(SERIES, as_of=first.as_of) == rests_on
        for other in (SeriesFacts(calendar="24x7"), SeriesFacts(has_volume=False)):
            before = store.last_tx()
            with pytest.raises(InvalidRequestError, match="disagree") as refused:
                store.commit(SERIES, replace(write(some_bars(2, 1)), declared=other))
            assert refused.value.series == SERIES.text
            assert store.last_tx() == before
            assert store.read(SERIES, minutes(0, 9)).frame.height == 2, "nothing of it is kept"

    def test_quarantine_keeps_what_came(self, store: Store) -> None:
        impossible = (
            some_bars(3, 4)
            .with_columns(high=pl.Series([float("nan"), float("inf"), -1.0, None]))
            .with_columns(rule=pl.lit("high_is_highest"))
        )
        store.commit(SERIES, write(quarantine=impossible, checked_at=42))
        kept = store.quarantined(SERIES, minutes(0, 6))
        assert kept.columns == [*BAR_SCHEMA, "rule", "source", "checked_at"]
        assert_frame_equal(kept.select(impossible.columns), impossible.head(3), check_exact=True)
        assert kept["source"].to_list() == ["vendor"] * 3
        assert kept["checked_at"].to_physical().to_list() == [42] * 3
        assert kept.schema["checked_at"] == pl.Datetime("ns", "UTC")
        assert store.read(SERIES, minutes(0, 10)).frame.is_empty()
        before = store.last_tx()
        store.commit(SERIES, write(quarantine=impossible, checked_at=43))
        assert store.quarantined(SERIES, minutes(0, 100)).height == 4
        assert store.last_tx() == before
        assert store.quarantined(OTHER, minutes(0, 10)).schema == kept.schema

    # Company

    def test_a_check_abandons_a_read(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 20_000)))
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise TimeoutError("enough")

        with pytest.raises(TimeoutError, match="enough"):
            store.read(SERIES, minutes(0, 20_000), check=check)
        assert store.read(SERIES, minutes(0, 20_000)).frame.height == 20_000

    def test_threads_write_and_read_at_once(self, store: Store) -> None:
        pages = [[some_bars((4 * page + worker) * 600, 600) for page in range(8)] for worker in range(4)]
        failures: list[BaseException] = []

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
        assert len(store.changes(0)) == 32

    def test_closing_twice_is_nothing(self, store: Store) -> None:
        store.close()
        store.close()
