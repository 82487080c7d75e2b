"""Anything that is done to a store with rows in QuestDB leaves it as a plain model says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing import store_model
from qmtl.runtime.testing.store_model import StoreMachine
from tests.qmtl.questdb import QuestDBServer

pytestmark = pytest.mark.usefixtures("small_chunks", "tables_of_the_machine")


@pytest.fixture
def tables_of_the_machine(
    questdb_server: QuestDBServer, used_tables: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_model, "FIRST_BAR", 0)
    QuestDBMachine.server, QuestDBMachine.tables = questdb_server, used_tables


class QuestDBMachine(StoreMachine):
    server: ClassVar[QuestDBServer]
    tables: ClassVar[tuple[Path, str]]

    def open(self) -> QuestDBStore:
        empty, name = QuestDBMachine.tables
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(empty, self.folder / "catalog")
        self.url = QuestDBMachine.server.url(self.folder / "catalog", name)
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
