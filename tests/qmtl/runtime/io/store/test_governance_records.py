"""Governance kept in the store of bars: what records promise, and older stores stay what they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.schema.governance import Observation
from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.testing.governance_suite import NOON, SUBJECT, GovernanceRecordsSuite, decision


class TestEmbeddedRecords(GovernanceRecordsSuite):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        with EmbeddedStore(tmp_path / "bars") as store:
            yield store


def test_records_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "bars") as store:
        store.decide(SUBJECT, decision(0))
        store.observe(SUBJECT, Observation(1, NOON, 3, 0))
    with EmbeddedStore(tmp_path / "bars", read_only=True) as store:
        assert store.decisions(SUBJECT) == (decision(0),)
        assert store.observed(SUBJECT) == (Observation(1, NOON, 3, 0),)
        with pytest.raises(StoreError, match="cannot be written"):
            store.decide(SUBJECT, decision(1))


def test_a_store_without_records_has_no_table_for_them_and_keeps_its_format(tmp_path: Path) -> None:
    def tables() -> set[str]:
        connection = sqlite3.connect(tmp_path / "bars" / "bars.sqlite")
        try:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        finally:
            connection.close()

    with EmbeddedStore(tmp_path / "bars") as store:
        before, written_as = tables(), store.info().format
        assert store.decisions(SUBJECT) == ()
        assert tables() == before
        store.decide(SUBJECT, decision(0))
        assert tables() - before >= {"schema_decision", "schema_observation"}
        assert store.info().format == written_as
        assert store.verify().is_sound
