"""A compaction drops rows that no commit names, whoever writes, reads or dies meanwhile."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb import moving
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.questdb.table import BarTable
from qmtl.runtime.io.sql import codec
from qmtl.runtime.io.sql.chunks import Numbered
from qmtl.runtime.io.store.rows import from_frame
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.questdb import QuestDBServer

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]
PRICES = (100.0, 200.0)


class Killed(BaseException):
    """In place of a kill -9: nothing that follows is done, and nothing is tidied."""


@pytest.fixture
def filled(questdb_url: str, opened: Opened) -> QuestDBStore:
    """Two versions of 40 bars, and 40 rows of a write that was never completed."""
    store = opened(questdb_url)
    for price in PRICES:
        store.commit(SERIES, write(some_bars(0, 40, price=price), answered=Coverage.of(minutes(0, 40))))
    orphaned(store)
    return store


def orphaned(store: QuestDBStore) -> None:
    store._rows.write(SERIES, [codec.pack_plain(from_frame(some_bars(0, 40, price=7.0), SERIES))])


def all_of(store: QuestDBStore, as_of: int | None = None) -> pl.DataFrame:
    return store.read(SERIES, minutes(0, 1_000), as_of=as_of).frame


def is_whole(store: QuestDBStore) -> None:
    """Both versions are there, at their times."""
    times = sorted({commit.as_of for commit in store.commits(SERIES)})
    for as_of, price in zip(times, PRICES, strict=False):
        assert_frame_equal(all_of(store, as_of), some_bars(0, 40, price=price))
    assert_frame_equal(all_of(store), some_bars(0, 40, price=PRICES[-1]))
    assert store.verify().is_sound


def test_rows_that_no_commit_names_are_dropped_and_history_stays(
    filled: QuestDBStore, opened: Opened, questdb_url: str
) -> None:
    table = filled._rows.table
    table.server.query(f"ALTER TABLE {table.name} ADD COLUMN note STRING")
    assert filled.questdb().rows == 120
    done = filled.compact()
    assert (done.unnamed, done.left) == (40, "")
    assert filled.questdb().rows == 80
    is_whole(filled)
    is_whole(opened(questdb_url))
    assert filled._rows.table.places() == [filled._rows.table.place]
    assert "note" in filled._rows.table._columns(), "what the desk has added is kept"
    assert filled.compact().unnamed == 0


def test_few_of_them_are_left_and_told(filled: QuestDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "WORTH_IT", 0.5)
    before = filled.table
    done = filled.compact()
    assert (done.unnamed, filled.table) == (0, before)
    assert done.left == "no commit names 40 of 120 rows in QuestDB: too few to write the others anew"


@pytest.mark.parametrize("dies_at", ["make_like", "copy", "settle", "put_rows", "drop"])
def test_whenever_it_is_killed_all_is_as_it_was_or_done(
    filled: QuestDBStore, opened: Opened, questdb_url: str, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    def killed(*given: object) -> None:
        raise Killed

    before = filled.table
    monkeypatch.setattr(moving if dies_at == "put_rows" else BarTable, dies_at, killed)
    with pytest.raises(Killed):
        filled.compact()
    monkeypatch.undo()
    with opened(questdb_url) as store:
        assert (store.table == before) == (dies_at != "drop")
        is_whole(store)
        store.commit(SERIES, write(some_bars(100, 8)))
        store.compact()
        assert len(store._rows.table.places()) == 1, "what was left behind is gone"
        with store._database.reading() as connection:
            assert [store.questdb().rows] == [*connection.execute("SELECT sum(rows) FROM chunk").fetchone()]
    assert_frame_equal(all_of(filled), pl.concat([some_bars(0, 40, price=PRICES[-1]), some_bars(100, 8)]))


def test_what_is_committed_while_rows_are_copied_comes_along(
    filled: QuestDBStore, opened: Opened, questdb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = opened(questdb_url)
    copy = BarTable.copy

    def copied(*given: object) -> None:
        monkeypatch.undo()
        other.commit(SERIES, write(some_bars(100, 24)))
        copy(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(BarTable, "copy", copied)
    assert filled.compact().unnamed == 40
    expected = pl.concat([some_bars(0, 40, price=PRICES[-1]), some_bars(100, 24)])
    for store in (filled, other, opened(questdb_url)):
        assert_frame_equal(all_of(store), expected)
        assert store.verify().is_sound


def test_rows_that_were_sent_to_the_table_that_is_left_are_sent_again(
    filled: QuestDBStore, opened: Opened, questdb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has read them back there, and is about to let the catalog name them."""
    other = opened(questdb_url)
    write_as = other._rows.write_as
    tables = []

    def overtaken(chunks: Sequence[Numbered]) -> None:
        write_as(chunks)
        tables.append(other.table)
        if len(tables) == 1:
            assert filled.compact().unnamed

    monkeypatch.setattr(other._rows, "write_as", overtaken)
    monkeypatch.setattr("qmtl.runtime.io.sql.plans.FEW", 8)
    other.commit(SERIES, write(some_bars(100, 24)))
    assert len(set(tables)) == 2
    expected = pl.concat([some_bars(0, 40, price=PRICES[-1]), some_bars(100, 24)])
    for store in (filled, other, opened(questdb_url)):
        assert_frame_equal(all_of(store), expected)
        assert store.verify().is_sound


def test_readers_and_writers_go_on_while_it_is_done_again_and_again(
    filled: QuestDBStore, opened: Opened, questdb_url: str
) -> None:
    reader, writer = opened(questdb_url), opened(questdb_url)
    is_over = threading.Event()
    failed: list[BaseException] = []
    reads = 0

    def read_on() -> None:
        nonlocal reads
        try:
            while not is_over.is_set():
                assert_frame_equal(reader.read(SERIES, minutes(0, 40)).frame, some_bars(0, 40, price=200.0))
                reads += 1
        except BaseException as failure:  # noqa: BLE001 - of a thread, shown below
            failed.append(failure)

    def write_on() -> None:
        try:
            for number in range(12):
                writer.commit(SERIES, write(some_bars(100 + 8 * number, 8)))
        except BaseException as failure:  # noqa: BLE001 - of a thread, shown below
            failed.append(failure)

    threads = [threading.Thread(target=read_on), threading.Thread(target=write_on)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        orphaned(filled)
        filled.compact()
    threads[1].join(300)
    is_over.set()
    threads[0].join(60)
    assert not failed
    assert reads
    assert not reader.lost(SERIES)
    expected = pl.concat([some_bars(0, 40, price=200.0), some_bars(100, 96)])
    for store in (filled, reader, writer, opened(questdb_url)):
        assert_frame_equal(all_of(store), expected)
        assert store.verify().is_sound


def test_of_two_at_once_one_completes(
    filled: QuestDBStore, opened: Opened, questdb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = opened(questdb_url)
    settle = BarTable.settle

    def overtaken(table: BarTable) -> None:
        monkeypatch.undo()
        assert other.compact().unnamed == 40
        settle(table)

    monkeypatch.setattr(BarTable, "settle", overtaken)
    done = filled.compact()  # its table is dropped in its hands
    assert done.unnamed == 0
    assert "another compaction" in done.left
    for store in (filled, other, opened(questdb_url)):
        is_whole(store)
    assert len(other._rows.table.places()) == 1


def test_damage_is_neither_healed_nor_a_hindrance(filled: QuestDBStore) -> None:
    table = filled._rows.table
    with filled._database.reading() as connection:
        (edited,) = connection.execute(
            "SELECT id FROM chunk ORDER BY tx_to DESC, first_ts LIMIT 1"
        ).fetchone()
    table.server.query(f"UPDATE {table.name} SET close = close + 1 WHERE tx = {edited}")
    table.settle()
    assert filled.compact().unnamed == 40
    assert not filled.verify().is_sound


def test_an_older_catalog_that_is_brought_back_finds_what_is_left_of_its_rows(
    filled: QuestDBStore, questdb_server: QuestDBServer, opened: Opened, tmp_path: Path
) -> None:
    name = filled._rows.table.server.address.name
    filled.close()
    shutil.copytree(tmp_path / "catalog", tmp_path / "backup")
    with opened(questdb_server.url(tmp_path / "catalog", name)) as store:
        assert store.compact().unnamed == 40
    before = opened(questdb_server.url(tmp_path / "backup", name), read_only=True)
    is_whole(before)
    is_whole(opened(questdb_server.url(tmp_path / "backup", name)))
    is_whole(before)
