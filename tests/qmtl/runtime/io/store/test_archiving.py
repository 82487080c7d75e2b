"""A report that has to be archived is, or an error says that it is not."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.runtime.io.store.archiving import archive
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.testing.store_suites.bars import SERIES

REPORT = {"errors": 0, "warnings": 0}


def test_a_report_is_archived_or_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    archive(store, SERIES, REPORT)
    assert len(store.reports(SERIES)) == 1
    monkeypatch.setattr(store, "archive_report", lambda *_: None)  # as one that has no room left
    with pytest.raises(StoreError, match="a report is not archived") as told:
        archive(store, SERIES, REPORT)
    assert str(SERIES) in str(told.value)
