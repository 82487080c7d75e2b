"""What tests of stores with rows in QuestDB share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from qmtl.runtime.io.questdb import moving
from qmtl.runtime.io.questdb.current import CurrentRows
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing import store_model
from tests.qmtl.questdb import QuestDBServer
from tests.qmtl.runtime.io.questdb.used_tables import UsedTables


@pytest.fixture(scope="session")
def used_tables(questdb_server: QuestDBServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An empty catalog, and the name of its tables."""
    folder, name = tmp_path_factory.mktemp("questdb") / "catalog", f"used_{uuid4().hex}"
    questdb_store(questdb_server.url(folder, name)).close()
    return folder, name


@pytest.fixture
def tables_of_the_machine(
    questdb_server: QuestDBServer, used_tables: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For machines with `UsedTables`; bars before 1970 are left out, which QuestDB does not take."""
    monkeypatch.setattr(store_model, "FIRST_BAR", 0)
    monkeypatch.setattr(moving, "WORTH_IT", 2.0)  # nearly all rows are those of others
    UsedTables.server = questdb_server
    UsedTables.catalog, UsedTables.name = used_tables
    without_a_list(monkeypatch)


def without_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the list and the view alone: to them a copy of an empty catalog is one that was brought back.

    Both would be made anew for each test, which takes longer than most of them.
    """
    for verb in ("look_back", "follow"):
        monkeypatch.setattr(CurrentRows, verb, lambda self: None)


@pytest.fixture
def used_url(
    questdb_server: QuestDBServer,
    used_tables: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The address of an empty store, in whose tables are the rows of all tests before: none is ever shown.

    It is a copy of one catalog, so that only the first makes tables, which takes a quarter of a second.
    """
    monkeypatch.setattr(moving, "WORTH_IT", 2.0)  # nearly all rows are those of others
    without_a_list(monkeypatch)
    folder, name = used_tables
    shutil.copytree(folder, tmp_path / "copied")
    return questdb_server.url(tmp_path / "copied", name)


@pytest.fixture
def restarted(questdb_server: QuestDBServer) -> Iterator[QuestDBServer]:
    """A server that the test may end; it runs afterwards."""
    yield questdb_server
    if questdb_server.process.poll() is not None:
        questdb_server.start()


@pytest.fixture
def opened() -> Iterator[Callable[..., QuestDBStore]]:
    """Opens the store of an address, and closes it after the test."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(questdb_store(url, **options))
