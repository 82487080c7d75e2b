"""What every store promises, as tests that an implementation inherits: all suites of `store_suites`."""

from __future__ import annotations

import pytest

from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.testing.governance_suite import GovernanceRecordsSuite
from qmtl.runtime.testing.store_suites.changes import ChangeLogSuite
from qmtl.runtime.testing.store_suites.facts import DeclarationsSuite
from qmtl.runtime.testing.store_suites.fencing import FencingSuite
from qmtl.runtime.testing.store_suites.flags import FlagArchiveSuite
from qmtl.runtime.testing.store_suites.history import HistorySuite
from qmtl.runtime.testing.store_suites.inventory import InventorySuite
from qmtl.runtime.testing.store_suites.quarantine import QuarantineSuite
from qmtl.runtime.testing.store_suites.reader import BarReaderSuite
from qmtl.runtime.testing.store_suites.reports import ReportArchiveSuite
from qmtl.runtime.testing.store_suites.several import SeveralSeriesSuite
from qmtl.runtime.testing.store_suites.writer import BarWriterSuite


class StoreSuite(
    BarReaderSuite,
    BarWriterSuite,
    SeveralSeriesSuite,
    HistorySuite,
    ChangeLogSuite,
    DeclarationsSuite,
    FlagArchiveSuite,
    QuarantineSuite,
    ReportArchiveSuite,
    InventorySuite,
    FencingSuite,
    GovernanceRecordsSuite,
):
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    @pytest.fixture
    def records(self, store: Store) -> Store:
        return store
