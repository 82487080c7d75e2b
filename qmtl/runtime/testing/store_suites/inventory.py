"""What lies in a store, as tests that an implementation inherits."""

from __future__ import annotations

import polars as pl

from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, STEP, minutes, some_bars, write


class InventorySuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    def test_series_are_listed_by_name(self, store: Store) -> None:
        assert store.list_series() == []
        store.commit(OTHER, write(some_bars(3, 2)))
        store.commit(SERIES, write(some_bars(0, 700), answered=Coverage.of(minutes(0, 800))))
        store.commit(SERIES, write(some_bars(700, 1)))
        store.archive_report(SERIES, {"errors": 0})
        mine, other = store.list_series()
        assert (mine.series, other.series) == (SERIES, OTHER)
        assert (mine.rows, mine.span, mine.answers, mine.reports) == (701, (0, 700 * STEP), 1, 1)
        assert (other.rows, other.span, other.quarantined) == (2, (3 * STEP, 4 * STEP), 0)

    def test_a_store_is_summed_up(self, store: Store) -> None:
        assert (store.info().rows, store.info().last_tx, store.info().last_commit_at) == (0, 0, 0)
        store.commit(OTHER, write(some_bars(3, 2)))
        impossible = some_bars(5, 1).with_columns(rule=pl.lit("high_is_highest"))
        last = store.commit(SERIES, write(some_bars(0, 3), quarantine=impossible))
        info = store.info()
        assert info.path == store.location
        assert (info.series, info.rows, info.quarantined, info.lost, info.horizon) == (2, 5, 1, 0, 0)
        assert (info.last_tx, info.last_commit_at) == (last.tx, last.as_of)
