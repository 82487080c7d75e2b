"""Impossible rows kept aside, as tests that an implementation inherits."""

from __future__ import annotations

import polars as pl
from polars.testing import assert_frame_equal

from qmtl.foundation.frames import BAR_SCHEMA
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.testing.store_suites.bars import (
    OTHER,
    SERIES,
    minutes,
    some_bars,
    write,
)


class QuarantineSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

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
        before = store.newest().tx
        store.commit(SERIES, write(quarantine=impossible, checked_at=43))
        assert store.quarantined(SERIES, minutes(0, 100)).height == 4
        assert store.newest().tx == before
        assert store.quarantined(OTHER, minutes(0, 10)).schema == kept.schema
