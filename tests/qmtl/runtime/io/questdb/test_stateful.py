"""Anything that is done to a store with rows in QuestDB leaves it as a plain model says."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_model import StoreMachine
from tests.qmtl.runtime.io.questdb.used_tables import UsedTables

pytestmark = pytest.mark.usefixtures("small_chunks", "tables_of_the_machine")


class QuestDBMachine(UsedTables, StoreMachine):
    def open(self) -> QuestDBStore:
        self.url = self.empty_url()
        return questdb_store(self.url)

    def reopen(self) -> QuestDBStore:
        self.store.close()
        return questdb_store(self.url)

    def tidy(self) -> None:
        self.store.compact()
        assert self.store.verify().is_sound

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
