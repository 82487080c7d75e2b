"""A server that has just started knows names of tables before their columns: none is taken for gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb.chunk_list import ChunkList
from qmtl.runtime.io.questdb.known_tables import columns_of, names_of_tables
from qmtl.runtime.io.questdb.server import QuestDBServer, StatementError
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write

Opened = Callable[..., QuestDBStore]
ASKED = minutes(0, 8)


class Starting:
    """Answers as a server does that has found out the columns of no table yet, `looks` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
        self.left, self._query = looks, QuestDBServer.query
        monkeypatch.setattr(QuestDBServer, "query", lambda server, sql: self.query(server, sql))

    def query(self, server: QuestDBServer, sql: str) -> list[list[Any]]:
        if self.left and "table_columns(" in sql:
            self.left -= 1
            raise StatementError("QuestDB refuses a statement", why="table does not exist [table=any]")
        if self.left and " tables()" in sql:
            return []
        return self._query(server, sql)


def test_a_store_is_opened_while_the_server_starts(
    questdb_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 8), answered=Coverage.of(ASKED)))
    ChunkList(store._rows.table, 7).make()
    starting = Starting(monkeypatch, looks=3)
    again = opened(questdb_url)
    assert starting.left == 0
    assert_frame_equal(again.read(SERIES, ASKED).frame, some_bars(0, 8))
    starting.left = 1
    assert again._rows.table.places() == [store._rows.table.place]
    assert 7 in [one.number for one in ChunkList.all_of(again._rows.table)]


def test_a_table_that_is_not_there_is_told_at_once(used_url: str, opened: Opened) -> None:
    server = opened(used_url)._rows.table.server
    began = time.monotonic()
    assert columns_of(server, "no_such_table", '"column"') is None
    assert time.monotonic() - began < 30  # it would be asked for a minute if it were known
    assert "no_such_table" not in names_of_tables(server)


def test_columns_that_never_come_are_not_waited_for_without_end(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = opened(used_url)._rows.table
    monkeypatch.setattr("qmtl.runtime.io.questdb.known_tables._STARTING_S", 0.1)
    Starting(monkeypatch, looks=10**9)
    assert columns_of(table.server, table.name, '"column"') is None
