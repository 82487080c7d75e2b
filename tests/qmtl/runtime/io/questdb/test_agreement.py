"""A store with rows in QuestDB answers as one in memory, whatever is done to both."""

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
from tests.qmtl.questdb import QuestDBServer
from tests.qmtl.runtime.io.test_stores_agree import Stores, Ticking

pytestmark = pytest.mark.usefixtures("small_chunks", "tables_of_the_machine")


@pytest.fixture
def tables_of_the_machine(
    questdb_server: QuestDBServer, used_tables: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_model, "FIRST_BAR", 0)
    QuestDBStores.server, QuestDBStores.tables = questdb_server, used_tables


class QuestDBStores(Stores):
    server: ClassVar[QuestDBServer]
    tables: ClassVar[tuple[Path, str]]

    def opened(self) -> QuestDBStore:
        empty, name = QuestDBStores.tables
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(empty, self.folder / "catalog")
        url = QuestDBStores.server.url(self.folder / "catalog", name)
        return questdb_store(url, clock=Ticking())


QuestDBStores.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestStoresAgree = QuestDBStores.TestCase
