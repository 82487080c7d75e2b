"""Rows that no commit names are nobody's, and numbers of chunks say nothing of their order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StaleFenceError, StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb import rows as rows_module
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql import codec
from qmtl.runtime.io.store.rows import from_frame
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.questdb import QuestDBServer

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]


def numbered(monkeypatch: pytest.MonkeyPatch, numbers: Iterator[int]) -> None:
    """Chunks get these numbers, one after the other."""
    monkeypatch.setattr(rows_module, "randbits", lambda bits: next(numbers))


def orphaned(store: QuestDBStore, frame: pl.DataFrame) -> int:
    """Write rows as a commit does that ends before the catalog names them; their number."""
    (number,) = store._rows.write(SERIES, [codec.pack_plain(from_frame(frame, SERIES))])
    return number


def all_of(store: QuestDBStore, as_of: int | None = None) -> pl.DataFrame:
    return store.read(SERIES, minutes(0, 100), as_of=as_of).frame


def test_an_orphan_with_the_highest_number_is_not_served(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    highest = 2**62 - 1
    numbered(monkeypatch, iter([highest]))
    assert orphaned(store, some_bars(0, 8, price=7.0)) == highest + 1
    monkeypatch.undo()
    store.commit(SERIES, write(some_bars(0, 6)))
    assert orphaned(store, some_bars(3, 8, price=9.0))
    assert_frame_equal(all_of(store), some_bars(0, 6))
    assert store.verify().is_sound


def test_commits_in_the_opposite_order_of_their_numbers(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    numbered(monkeypatch, count(2**61, -1))
    states = []
    for price in (100.0, 200.0, 300.0):
        commit = store.commit(SERIES, write(some_bars(0, 6, price=price)))
        states.append((commit.as_of, some_bars(0, 6, price=price)))
    assert_frame_equal(all_of(store), states[-1][1])
    for as_of, frame in states:
        assert_frame_equal(all_of(store, as_of), frame)


@pytest.mark.parametrize("corrected", [1, 6])
def test_a_bar_corrected_then_retracted(used_url: str, opened: Opened, corrected: int) -> None:
    """Few corrected rows lie in the catalog, many in the table: either is found at its time alone."""
    store = opened(used_url)
    first, right = some_bars(0, 20), some_bars(2, corrected, price=500.0)
    written = store.commit(SERIES, write(first, answered=Coverage.of(minutes(0, 20))))
    changed = store.commit(SERIES, write(right))
    gone = store.retract(SERIES, minutes(2, 3), reason="a test")
    now = pl.concat([first[:2], right, first[2 + corrected :]])
    assert_frame_equal(all_of(store, written.as_of), first)
    assert_frame_equal(all_of(store, changed.as_of), now)
    assert_frame_equal(all_of(store, gone.as_of), pl.concat([now[:2], now[3:]]))
    assert_frame_equal(all_of(store), all_of(store, gone.as_of))
    assert changed.replaced.height == corrected
    assert store.compact().windows >= 0
    assert_frame_equal(all_of(store), all_of(store, gone.as_of))
    assert_frame_equal(all_of(store, changed.as_of), now)


def test_a_stale_writer_is_refused_before_it_writes_a_row(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    old = store.open_fence(SERIES, [0], "one")
    store.open_fence(SERIES, [0], "another")
    before = store._rows.table.progress()
    with pytest.raises(StaleFenceError):
        store.commit(SERIES, write(some_bars(0, 8), fences=old))
    assert store._rows.table.progress() == before
    assert all_of(store).is_empty()


def test_what_the_server_gives_back_otherwise_is_not_committed(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    table = store._rows.table
    send = table.server.send

    def garbled(name: str, series: str, numbers: list[int], chunks: list[rows_module.Rows]) -> None:
        send(name, series, numbers, [rows._replace(open=rows.open + 1) for rows in chunks])

    monkeypatch.setattr(table.server, "send", garbled)
    with pytest.raises(StoreError, match="does not give back what was written"):
        store.commit(SERIES, write(some_bars(0, 8)))
    monkeypatch.undo()
    assert store.newest() == (0, 0)
    store.commit(SERIES, write(some_bars(0, 8)))
    assert_frame_equal(all_of(store), some_bars(0, 8))


def test_edited_rows_are_found_told_and_heal(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    asked = minutes(0, 24)
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(asked)))
    with store._database.reading() as connection:
        edited = connection.execute("SELECT id, first_ts, last_ts FROM chunk ORDER BY first_ts").fetchall()[1]
    table = store._rows.table
    table.server.query(f"UPDATE {table.name} SET close = close + 1 WHERE tx = {edited[0]}")
    table.settle()
    assert not store.verify().is_sound
    found = store.read(SERIES, asked)
    assert found.damaged.hull.start == edited[1]
    assert found.answered == Coverage.of(asked) - found.damaged
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(asked)))
    assert_frame_equal(all_of(store), some_bars(0, 24))
    assert store.verify().is_sound


def test_many_chunks_are_read_in_several_statements(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_ASKED", 3)
    monkeypatch.setattr(rows_module, "_SENT", 2)
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 90)))
    assert_frame_equal(all_of(store), some_bars(0, 90))


def test_an_older_catalog_that_is_brought_back_knows_what_it_knew(
    used_url: str, questdb_server: QuestDBServer, opened: Opened, tmp_path: Path
) -> None:
    """What was written since is nobody's, and what is written from then on does not meet it."""
    with questdb_store(used_url) as store:
        store.commit(SERIES, write(some_bars(0, 20)))
        table = store.table
    shutil.copytree(tmp_path / "copied", tmp_path / "backup")
    with questdb_store(used_url) as store:
        store.commit(SERIES, write(some_bars(0, 30, price=900.0)))
    restored = opened(questdb_server.url(tmp_path / "backup", table.removesuffix("_bars")))
    assert_frame_equal(all_of(restored), some_bars(0, 20))
    assert restored.verify().is_sound
    restored.commit(SERIES, write(some_bars(20, 10)))
    assert_frame_equal(all_of(restored), some_bars(0, 30))


def test_rows_years_apart_fall_into_place(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    year = 525_600
    for first in (3 * year, year, 2 * year, 0):
        store.commit(SERIES, write(some_bars(first, 8)))
    expected = pl.concat([some_bars(number * year, 8) for number in range(4)])
    assert_frame_equal(store.read(SERIES, minutes(0, 4 * year)).frame, expected)
