"""A store in QuestDB is copied to a folder or to PostgreSQL with its history, and answers there as it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql import packed_copies
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars, write

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]


@pytest.fixture
def filled(used_url: str, opened: Opened) -> QuestDBStore:
    """Versions, single rows, a retraction, facts and a pin, in tables that others have used."""
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 120))))
    store.pin("first")
    store.commit(SERIES, write(some_bars(20, 40, price=900.0)))
    store.retract(SERIES, minutes(10, 12), reason="a test")
    store.commit(SERIES, write(some_bars(100, 1)))
    store.commit(OTHER, write(some_bars(0, 30)))
    store.declare(OTHER, SeriesFacts(calendar="XNYS"))
    return store


def says_the_same(copy: KeptStore, store: KeptStore) -> None:
    assert (copy.store_id, copy.newest()) == (store.store_id, store.newest())
    for series in (SERIES, OTHER):
        assert copy.commits(series) == store.commits(series)
        for as_of in (None, *(commit.as_of for commit in store.commits(series))):
            ours, theirs = (one.read(series, minutes(0, 200), as_of=as_of) for one in (copy, store))
            assert_frame_equal(ours.frame, theirs.frame)
            assert fingerprint(ours.frame) == fingerprint(theirs.frame)
            assert ours.answered == theirs.answered
    assert copy.pins() == store.pins()
    assert copy.verify().is_sound


def test_a_copy_in_a_folder_is_a_store_of_its_own(
    filled: QuestDBStore, used_url: str, tmp_path: Path
) -> None:
    copied = copy_store(used_url, tmp_path / "copy")
    assert (copied.series, copied.pins, copied.resumed) == (2, ("first",), 0)
    with EmbeddedStore(tmp_path / "copy") as copy:
        says_the_same(copy, filled)
        copy.commit(SERIES, write(some_bars(101, 50)))
        copy.compact()
        assert copy.verify().is_sound
        assert copy.read(SERIES, minutes(0, 200)).frame.height == 149


def test_a_copy_on_postgresql(filled: QuestDBStore, used_url: str, postgres_url: str) -> None:
    copy_store(used_url, postgres_url)
    with PostgresStore(postgres_url) as copy:
        says_the_same(copy, filled)


def test_a_copy_that_was_interrupted_goes_on(
    filled: QuestDBStore, used_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_copies, "ENTRIES", 4)

    def stops(what: str, done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(used_url, tmp_path / "copy", progress=stops)
    assert copy_store(used_url, tmp_path / "copy").resumed == 8
    with EmbeddedStore(tmp_path / "copy") as copy:
        says_the_same(copy, filled)


def test_damaged_rows_are_not_copied(filled: QuestDBStore, used_url: str, tmp_path: Path) -> None:
    with filled._database.reading() as connection:
        (edited,) = connection.execute("SELECT id FROM chunk ORDER BY first_ts DESC LIMIT 1").fetchone()
    table = filled._rows.table
    table.server.query(f"UPDATE {table.name} SET close = close + 1 WHERE tx = {edited}")
    table.settle()
    with pytest.raises(StoreCorruptError, match="do not match their checksum"):
        copy_store(used_url, tmp_path / "copy")
    assert not (tmp_path / "copy" / "bars.sqlite").exists()
