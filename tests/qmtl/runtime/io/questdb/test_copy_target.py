"""A store is copied into QuestDB with its history; before all of it is there, nothing there is a store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql import packed_copies
from qmtl.runtime.io.sql.sqlite.copy_target import INCOMPLETE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.store_copy import copy_store, restore_store
from qmtl.runtime.sdk.store_migration import migrate_store
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars, write
from tests.qmtl.questdb import QuestDBServer
from tests.qmtl.runtime.io.sql.copies import EVERYTHING, answers, interrupt

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]
# Copies, and waits after each step to be told to go on.
SLOWLY = """
import sys
from qmtl.runtime.io.sql import packed_copies
from qmtl.runtime.sdk.store_copy import copy_store
packed_copies.ENTRIES = 2
def tell(what, done, total):
    print(what, done, total, flush=True)
    sys.stdin.readline()
copy_store(sys.argv[1], sys.argv[2], progress=tell)
print("copied", flush=True)
"""


def fill(store: KeptStore) -> None:
    """Versions, single rows, a retraction, facts, pins, reports, acceptances, what was kept aside."""
    store.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 120))))
    store.pin("first")
    store.commit(SERIES, write(some_bars(20, 40, price=900.0)))
    store.archive_report(SERIES, {"errors": 0, "warnings": 1, "note": "ü"})
    store.retract(SERIES, minutes(10, 12), reason="a test")
    store.pin("second")
    store.commit(SERIES, write(some_bars(100, 1)))
    store.commit(OTHER, write(some_bars(0, 100)))
    store.declare(OTHER, SeriesFacts(calendar="XNYS"))


@pytest.fixture(params=["folder", "postgres", "questdb"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a filled store is, by each engine."""
    if request.param == "folder":
        with EmbeddedStore(tmp_path / "store") as store:
            fill(store)
        return str(tmp_path / "store")
    if request.param == "postgres":
        from qmtl.runtime.io.sql.postgres.store import PostgresStore

        url: str = request.getfixturevalue("postgres_url")
        with PostgresStore(url) as there:
            fill(there)
        return url
    url = request.getfixturevalue("used_url")
    with questdb_store(url) as elsewhere:
        fill(elsewhere)
    return url


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    with EmbeddedStore(tmp_path / "store") as store:
        fill(store)
    return tmp_path / "store"


def said_by(place: str | Path) -> object:
    from qmtl.foundation.clock import SystemClock
    from qmtl.runtime.sdk.stores import opened_store

    store: Store = opened_store(place, clock=SystemClock(), retention=None)
    assert isinstance(store, KeptStore)
    with store:
        return answers(store)


def client_of(store: QuestDBStore) -> Client:
    return store._rows.table.server


@contextmanager
def client_beside(url: str) -> Iterator[tuple[Client, str]]:
    """Who can do anything to the tables of a store without opening it, and what their names begin with."""
    name = url.rpartition("=")[2]
    with questdb_store(url.replace("catalog&", "other&").replace(name, f"{name}x")) as other:
        yield client_of(other), name


def test_a_copy_in_questdb_answers_as_the_store_does_and_goes_on(
    source: str, questdb_url: str, opened: Opened, tmp_path: Path
) -> None:
    copied = copy_store(source, questdb_url)
    assert (copied.series, copied.pins, copied.resumed) == (2, ("first", "second"), 0)
    assert "s3cret" not in repr(copied)
    before = said_by(source)
    copy = opened(questdb_url)
    assert answers(copy) == before
    assert copy.verify().is_sound
    assert copy.questdb().rows == sum(rows for (rows,) in read_of(copy, "SELECT rows FROM chunk")), (
        "no row is there twice, and none of nobody"
    )
    done = copy.commit(SERIES, write(some_bars(50, 300, price=7.0)))
    assert done.tx == copied.last_tx + 1
    assert copy.read(SERIES, EVERYTHING, as_of=copied.as_of).tx == copied.last_tx
    copy.compact()
    assert copy.verify().is_sound
    copy_store(questdb_url, tmp_path / "and back")
    assert said_by(tmp_path / "and back") == answers(copy)


def read_of(store: QuestDBStore, question: str) -> Iterator[tuple[int, ...]]:
    with store.catalog.reading() as connection:
        yield from connection.execute(question).fetchall()


def test_the_catalog_of_a_copy_may_be_on_postgresql(
    stored: Path, questdb_server: QuestDBServer, postgres_url: str, opened: Opened
) -> None:
    url = questdb_server.url(postgres_url, f"test_{uuid4().hex}")
    copy_store(stored, url)
    assert answers(opened(url)) == said_by(stored)
    with pytest.raises(InvalidRequestError, match=r"there is a store at .* already") as refused:
        copy_store(stored, url)
    assert "the catalog of a store whose rows lie elsewhere" in str(refused.value.why)


@pytest.mark.parametrize("phase", ["chunks", "rows", "series compared"])
def test_a_copy_that_was_interrupted_goes_on(
    stored: Path,
    questdb_url: str,
    opened: Opened,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    monkeypatch.setattr(packed_copies, "ENTRIES", 2)
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, questdb_url, progress=interrupt(phase))
    assert not (tmp_path / "catalog" / DATABASE).exists()
    again = copy_store(stored, questdb_url)
    assert again.resumed == (2 if phase == "chunks" else again.chunks)
    copy = opened(questdb_url)
    assert answers(copy) == said_by(stored)
    assert copy.questdb().rows == sum(rows for (rows,) in read_of(copy, "SELECT rows FROM chunk"))


@pytest.mark.process
@pytest.mark.parametrize("phase", ["chunks", "rows"])
def test_a_copy_that_was_killed_goes_on(
    stored: Path, questdb_url: str, opened: Opened, tmp_path: Path, phase: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(stored), questdb_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        while not child.stdout.readline().startswith(phase):
            child.stdin.write("\n")
            child.stdin.flush()
        child.kill()
        assert "copied" not in child.stdout.read()
    assert not (tmp_path / "catalog" / DATABASE).exists()
    assert copy_store(stored, questdb_url).resumed >= 2
    copy = opened(questdb_url)
    assert answers(copy) == said_by(stored)
    assert copy.verify().is_sound


def test_a_copy_whose_tables_are_gone_begins_again(
    stored: Path, questdb_url: str, opened: Opened, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, questdb_url, progress=interrupt("series compared"))
    with client_beside(questdb_url) as (client, name):
        for table in (f"{name}_bars", f"{name}_store"):
            client.query(f"DROP TABLE {table}")
    assert copy_store(stored, questdb_url).resumed == 0
    assert answers(opened(questdb_url)) == said_by(stored)


def test_the_tables_of_others_are_left_alone(
    stored: Path, questdb_url: str, opened: Opened, tmp_path: Path
) -> None:
    """Those of the store itself as well, by another catalog: two must never share them."""
    original = opened(questdb_url)
    fill(original)
    said = answers(original)
    elsewhere = questdb_url.replace("catalog&", "another&")
    for source in (stored, questdb_url):
        with pytest.raises(InvalidRequestError, match="are there already") as refused:
            copy_store(source, elsewhere)
        assert original.store_id in str(refused.value.why)
        assert not (tmp_path / "another" / DATABASE).exists()
    with pytest.raises(InvalidRequestError, match="the copy and the store are the same folder"):
        copy_store(questdb_url, questdb_url)
    with pytest.raises(InvalidRequestError, match=r"there is a store at .* already"):
        copy_store(stored, questdb_url)
    assert answers(original) == said


def test_a_copy_that_another_store_has_begun_is_left_alone(
    stored: Path, questdb_url: str, tmp_path: Path, opened: Opened
) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, questdb_url, progress=interrupt("rows"))
    with EmbeddedStore(tmp_path / "other") as other:
        other.commit(SERIES, write(some_bars(0, 200)))
    with pytest.raises(InvalidRequestError, match="the copy cannot be made at"):
        copy_store(tmp_path / "other", questdb_url)
    with pytest.raises(InvalidRequestError, match="are there already"):
        copy_store(tmp_path / "other", questdb_url.replace("catalog&", "another&"))
    assert copy_store(stored, questdb_url).resumed > 0
    assert answers(opened(questdb_url)) == said_by(stored)


@pytest.mark.parametrize("count", [1, 100], ids=["single rows", "chunks"])
def test_bars_before_1970_are_refused_before_anything_is_made(
    questdb_url: str, tmp_path: Path, count: int
) -> None:
    with EmbeddedStore(tmp_path / "old") as store:
        store.commit(SERIES, write(some_bars(-1_000, count)))
    with pytest.raises(InvalidRequestError, match=r"ohlcv:.* has bars of 1969-12-31") as refused:
        copy_store(tmp_path / "old", questdb_url)
    assert refused.value.why == "QuestDB has no times before 1970"
    assert not (tmp_path / "catalog").exists()


def test_rows_that_questdb_has_lost_meanwhile_are_no_copy(
    stored: Path, questdb_url: str, tmp_path: Path, opened: Opened
) -> None:
    """What an attempt has written, and somebody edits before the next one, is found before it counts."""
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, questdb_url, progress=interrupt("series compared"))
    with client_beside(questdb_url) as (client, name):
        client.query(f"UPDATE {name}_bars SET close = close + 1 WHERE series = '{OTHER.text}'")
        with pytest.raises(StoreError, match="do not match their checksum"):
            copy_store(stored, questdb_url)
        assert not (tmp_path / "catalog" / DATABASE).exists()
    assert (tmp_path / "catalog" / INCOMPLETE).exists()


def test_a_backup_is_restored_into_questdb(
    questdb_url: str, opened: Opened, questdb_server: QuestDBServer, tmp_path: Path
) -> None:
    store = opened(questdb_url)
    fill(store)
    copy_store(questdb_url, tmp_path / "backup")
    place = questdb_server.url(tmp_path / "restored", f"test_{uuid4().hex}")
    from qmtl.runtime.sdk.stores import place_of

    address = place_of(place)
    assert not isinstance(address, Path)
    assert restore_store(tmp_path / "backup", address).series == 2
    assert answers(opened(place))[:-2] == answers(store)[:-2]
    with pytest.raises(InvalidRequestError, match="cannot be replaced") as refused:
        restore_store(tmp_path / "backup", address, replace=True)
    assert "s3cret" not in str(refused.value)
    assert "other tables" in str(refused.value.next_step)


def test_a_catalog_has_the_newest_format_from_the_beginning(questdb_url: str, opened: Opened) -> None:
    with pytest.raises(InvalidRequestError, match="there is no store to migrate"):
        migrate_store(questdb_url)
    with opened(questdb_url) as store:
        shown = store.location
    done = migrate_store(questdb_url)
    assert (done.place, done.before) == (shown, done.after)
