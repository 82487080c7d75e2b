"""The list of chunks is that of a commit, whoever adds to it first or twice; the view gives what it names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from uuid import uuid4

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_login import QuestDBLogin
from qmtl.runtime.io.questdb.chunk_list import ChunkList, RowsView
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.table import BarTable
from qmtl.runtime.io.questdb.wal import settle
from qmtl.runtime.io.store.values import Point
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer

HOUR = 3_600_000_000_000


@pytest.fixture
def bars(questdb_server: QuestDBServer) -> Iterator[BarTable]:
    """Three chunks of a row each, at the same time."""
    client = Client(QuestDBLogin("127.0.0.1", questdb_server.port, USER, PASSWORD))
    table = BarTable(client, f"list_{uuid4().hex}")
    client.query(table.statement)
    rows = ", ".join(f"('a', {number}, 1, 1, 1, {number}, 1, {HOUR})" for number in (1, 2, 3))
    client.query(f"INSERT INTO {table.name} VALUES {rows}")
    table.settle()
    yield table
    client.close()


def made(bars: BarTable, number: int = 1) -> ChunkList:
    chunks = ChunkList(bars, number)
    chunks.make()
    return chunks


def shown(bars: BarTable, chunks: ChunkList) -> list[float]:
    settle(bars.server, chunks.name)
    return [
        close for (close,) in bars.server.query(f"SELECT close FROM {RowsView(bars).name} ORDER BY close")
    ]


def test_in_any_order_the_list_is_that_of_the_newest_commit(bars: BarTable) -> None:
    """Of three writers each adds all that changed since the commit that it has seen."""
    added = [
        (Point(1, 1_000), [1], []),
        (Point(2, 2_000), [2], [1]),
        (Point(3, 3_000), [3], [1, 2]),
    ]
    view = RowsView(bars)
    for number, order in enumerate(itertools.permutations(range(3)), start=1):
        chunks, newest = made(bars, number), -1
        view.show(bars, chunks)
        for one in order:
            chunks.add(*added[one])
            newest = max(newest, one)
            assert shown(bars, chunks) == [newest + 1], order
            assert chunks.newest() == added[newest][0]
    assert chunks.commits() == [at for at, _, _ in added]
    assert {one.number for one in ChunkList.all_of(bars)} == set(range(1, 7))


def test_what_is_not_ours_is_no_list(bars: BarTable) -> None:
    chunks = ChunkList(bars, 7)
    assert chunks.newest() is None
    bars.server.query(f"CREATE TABLE {chunks.name} (tx LONG, timestamp TIMESTAMP) TIMESTAMP(timestamp)")
    assert chunks.newest() is None
    chunks.drop()
    made(bars, 7)
    assert chunks.newest() is None, "it is empty"
    bars.server.query(f"CREATE TABLE {bars.beside('accepted')}_by_hand (tx LONG)")
    assert [one.number for one in ChunkList.all_of(bars)] == [7]


def test_rows_of_later_commits_are_counted(bars: BarTable) -> None:
    chunks = made(bars)
    chunks.add(Point(1, 1_000), [1], [])
    chunks.add(Point(2, 2_000), [2, 9], [1])
    chunks.add(Point(3, 3_000), [3], [2])
    settle(bars.server, chunks.name)
    assert chunks.rows_since(bars, Point(2, 2_000)) == {2: 1, 3: 1}


def test_a_view_of_the_desk_is_left_alone(bars: BarTable) -> None:
    view, chunks = RowsView(bars), made(bars)
    chunks.add(Point(1, 1_000), [2], [])
    bars.server.query(f"CREATE VIEW {view.name} AS (SELECT * FROM {bars.name})")
    with pytest.raises(InvalidRequestError, match="somebody else has made"):
        view.show(bars, chunks)
    assert not view.shows(bars, chunks)
    bars.server.query(f"DROP VIEW {view.name}")
    view.show(bars, chunks)
    assert view.shows(bars, chunks)
    assert shown(bars, chunks) == [2]
