"""What a server says of itself: its version, whether it waits for the disk, and how far it is."""

from __future__ import annotations

from qmtl.runtime.io.questdb.state import QuestDBState
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars, write
from tests.qmtl.questdb import VERSION


def test_a_server_tells_how_far_it_is(questdb_url: str) -> None:
    with questdb_store(questdb_url) as store:
        store.commit(SERIES, write(some_bars(0, 600)))
        state = store.questdb()
        view = store.table.replace("_bars", "_current")
        assert state == QuestDBState(VERSION, "nosync", 600, state.bytes, 0, None, store.table, view, 0)
        assert state.bytes > 600 * 48
        assert not state.waits_for_disk
        statement = f"ALTER TABLE {store.table} SUSPEND WAL WITH 28, 'No space left on device'"
        store._rows.table.server.query(statement)
        store._rows.table.server.query(f"UPDATE {store.table} SET close = close + 1")
        state = store.questdb()
        assert state.behind == 1
        assert "No space left" in (state.suspended_why or "")
