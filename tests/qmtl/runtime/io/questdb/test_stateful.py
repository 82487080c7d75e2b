"""Anything that is done to a store with rows in QuestDB leaves it as a plain model says."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.stores import questdb_store
from tests.qmtl.runtime.io.questdb.used_tables import UsedTables
from tests.qmtl.runtime.io.sql.addressed_machine import AddressedMachine

pytestmark = pytest.mark.usefixtures("small_chunks", "tables_of_the_machine")


class QuestDBMachine(UsedTables, AddressedMachine):
    def opened(self, url: str) -> QuestDBStore:
        return questdb_store(url)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


QuestDBMachine.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestQuestDBStore = QuestDBMachine.TestCase
