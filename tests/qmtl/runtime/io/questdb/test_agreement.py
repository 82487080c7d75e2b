"""A store with rows in QuestDB answers as one in memory, whatever is done to both."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.stores import questdb_store
from tests.qmtl.runtime.io.questdb.used_tables import UsedTables
from tests.qmtl.runtime.io.test_stores_agree import Stores, Ticking

pytestmark = pytest.mark.usefixtures("small_chunks", "tables_of_the_machine")


class QuestDBStores(UsedTables, Stores):
    def opened(self) -> QuestDBStore:
        return questdb_store(self.empty_url(), clock=Ticking())


QuestDBStores.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestStoresAgree = QuestDBStores.TestCase
