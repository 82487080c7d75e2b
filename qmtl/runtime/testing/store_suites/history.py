"""Commits, differences and deliveries, as tests that an implementation inherits."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Point
from qmtl.runtime.testing.store_suites.bars import (
    OTHER,
    SERIES,
    STEP,
    minutes,
    some_bars,
    write,
)


class HistorySuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

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

    @pytest.mark.parametrize("count", [4, 9_000])
    def test_diff(self, store: Store, count: int) -> None:
        store.commit(SERIES, write(some_bars(0, 20_000)))
        a = store.commit(OTHER, write(some_bars(0, 1))).as_of
        b = store.commit(SERIES, write(some_bars(20_000 - count, 2 * count, price=9.0))).as_of
        # What changed, however the rows beside it are packed.
        assert store.commits(SERIES)[-1].span == minutes(20_000 - count, 20_000 + count)
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

    def test_deliveries_are_recorded_for_rows_that_came_live(self, store: Store) -> None:
        store.commit(SERIES, write(some_bars(0, 5)))
        live = store.commit(SERIES, write(some_bars(5, 2), delivered_at={5 * STEP: 601, 6 * STEP: 602}))
        found = store.deliveries(SERIES, minutes(0, 10))
        assert found.schema == {"ts": pl.Datetime("ns", "UTC"), "delivered_at": pl.Datetime("ns", "UTC")}
        assert _lines(found) == [(5 * STEP, 601), (6 * STEP, 602)]
        assert _lines(store.deliveries(SERIES, minutes(6, 10))) == [(6 * STEP, 602)]
        assert store.deliveries(OTHER, minutes(0, 10)).is_empty()
        assert store.deliveries(SERIES, minutes(0, 10), as_of=live.as_of - 1).is_empty()

    def test_a_delivery_belongs_to_the_row_that_was_delivered(self, store: Store) -> None:
        """A corrected bar was never delivered with its new values; an unchanged one keeps its delivery."""
        times = {n * STEP: 700 + n for n in range(3)}
        live = store.commit(SERIES, write(some_bars(0, 3), delivered_at=times))
        store.commit(SERIES, write(some_bars(0, 3), delivered_at={0: 999}))
        store.commit(SERIES, write(some_bars(1, 1, price=5.0)))
        assert _lines(store.deliveries(SERIES, minutes(0, 3))) == [(0, 700), (2 * STEP, 702)]
        store.commit(SERIES, write(some_bars(1, 1, price=6.0), delivered_at={STEP: 801}))
        assert _lines(store.deliveries(SERIES, minutes(0, 3))) == [(0, 700), (STEP, 801), (2 * STEP, 702)]
        store.retract(SERIES, minutes(2, 3), reason="a trial")
        assert _lines(store.deliveries(SERIES, minutes(0, 3))) == [(0, 700), (STEP, 801)]
        then = store.deliveries(SERIES, minutes(0, 3), as_of=live.as_of)
        assert _lines(then) == list(times.items())

    def test_a_delivery_of_a_row_that_the_write_lacks_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidRequestError, match="does not bring") as refused:
            store.commit(SERIES, write(some_bars(0, 2), delivered_at={5 * STEP: 1}))
        assert refused.value.series == SERIES.text
        assert store.newest() == Point(0, 0)

    def test_the_future_cannot_be_asked_for(self, store: Store) -> None:
        newest = store.commit(SERIES, write(some_bars(0, 1))).as_of
        late = newest + 10**18
        for question in (
            lambda: store.read(SERIES, minutes(0, 1), as_of=late),
            lambda: store.read_many([SERIES], minutes(0, 1), as_of=late),
            lambda: store.facts(SERIES, as_of=late),
            lambda: store.deliveries(SERIES, minutes(0, 1), as_of=late),
            lambda: store.diff(SERIES, newest, late),
        ):
            with pytest.raises(InvalidRequestError, match="lies in the future"):
                question()

    @pytest.mark.parametrize("early", [-1, -(10**18)])
    def test_nothing_was_stored_before_1970(self, store: Store, early: int) -> None:
        newest = store.commit(SERIES, write(some_bars(0, 1))).as_of
        for question in (
            lambda: store.read(SERIES, minutes(0, 1), as_of=early),
            lambda: store.read_many([SERIES], minutes(0, 1), as_of=early),
            lambda: store.facts(SERIES, as_of=early),
            lambda: store.deliveries(SERIES, minutes(0, 1), as_of=early),
            lambda: store.diff(SERIES, early, newest),
        ):
            with pytest.raises(InvalidRequestError, match="no commit lies before 1970"):
                question()


def _lines(found: pl.DataFrame) -> list[tuple[int, int]]:
    return found.select(pl.all().to_physical()).rows()
