"""Governance kept in the store of bars, beyond what the suite of records asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.schema.governance.decisions import Observation
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing.governance_suite import NOON, SUBJECT, decision


def test_records_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "bars") as store:
        store.decide(SUBJECT, decision(0))
        store.observe(SUBJECT, Observation(1, NOON, 3, 0))
    with EmbeddedStore(tmp_path / "bars", read_only=True) as store:
        assert store.decisions(SUBJECT) == (decision(0),)
        assert store.observed(SUBJECT) == (Observation(1, NOON, 3, 0),)
        with pytest.raises(StoreError, match="cannot be written"):
            store.decide(SUBJECT, decision(1))
