"""Files of a server that are put back to what they were, as after a loss of power."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmtl.runtime.io.questdb.store import QuestDBStore
from tests.qmtl.questdb import QuestDBServer


def folder_of(server: QuestDBServer, store: QuestDBStore) -> Path:
    """Where the server keeps the table of bars."""
    (found,) = (one for one in (server.root / "db").glob(f"{store.table}~*") if one.is_dir())
    return found


@contextmanager
def losing(server: QuestDBServer, store: QuestDBStore, folder: Path) -> Iterator[None]:
    """What the block writes to the table is gone after it, and the server was started anew."""
    table, older = folder_of(server, store), folder / "older"
    shutil.copytree(table, older)  # nobody writes meanwhile
    yield
    server.kill()
    shutil.rmtree(table)
    older.rename(table)
    server.start()
