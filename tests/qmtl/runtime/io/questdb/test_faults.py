"""What befalls a server and its disk: nothing acknowledged is lost, nothing invented, and errors say why."""

from __future__ import annotations

import socket
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreError
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb import server as client_module
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars, write
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer, questdb_jar

Opened = Callable[..., QuestDBStore]
ROWS = 600


def mount(*words: str | Path) -> None:
    """Skips the test where this user may mount nothing."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")


@contextmanager
def unmounted(folder: Path) -> Iterator[None]:
    """Whatever was mounted there in the block is gone after it."""
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@contextmanager
def another_server(**options: object) -> Iterator[QuestDBServer]:
    jar = questdb_jar()
    assert jar is not None
    server = QuestDBServer(jar, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.remove()


def until_it_fails(store: QuestDBStore) -> tuple[int, StoreError]:
    """How many pages were committed, and why no more of them."""
    for page in range(400):
        try:
            store.commit(SERIES, write(some_bars(8_192 * page, 8_192)))
        except StoreError as failure:
            return page, failure
    raise AssertionError("the disk is larger than it should be")


@pytest.mark.usefixtures("questdb_server")
def test_a_full_disk_is_told_and_what_was_committed_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # Tables of the server itself begin with files of 16 MiB otherwise.
    kinds = ("WRITER_DATA", "WRITER_DATA_INDEX_VALUE", "SYSTEM_WRITER_DATA", "WAL_WRITER_DATA")
    small = {f"QDB_CAIRO_{kind}_APPEND_PAGE_SIZE": "65536" for kind in kinds}
    with ExitStack() as stack:
        stack.enter_context(unmounted(disk))
        mount("-t", "tmpfs", "-o", "size=48m", "tmpfs", disk)
        server = stack.enter_context(another_server(root=disk, env=small))
        store = stack.enter_context(questdb_store(server.url(tmp_path / "catalog", "full")))
        committed, told = until_it_fails(store)
        assert committed, "the disk was full before anything was written"
        assert told.why
        assert told.next_step
        assert_frame_equal(store.read(SERIES, minutes(0, 8_192 * 400)).frame, some_bars(0, 8_192 * committed))
        store.commit(SERIES, write(some_bars(8_192 * committed, 1)))  # it lies in the catalog
        assert not store.lost(SERIES)
        mount("-o", "remount,size=512m", disk)
        if store.questdb().suspended_why is not None:
            assert "RESUME WAL" in told.next_step
            store._rows.table.server.query(told.next_step.partition("then: ")[2])
        store.commit(SERIES, write(some_bars(8_192 * committed, 8_192)))
        expected = some_bars(0, 8_192 * (committed + 1))
        assert_frame_equal(store.read(SERIES, minutes(0, 8_192 * 400)).frame, expected)
        assert store.verify().is_sound


def test_a_disk_that_became_read_only_is_told(
    questdb_server: QuestDBServer, questdb_url: str, opened: Opened
) -> None:
    """The folder of the table, for a server that cannot write its own files does not start."""
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(minutes(0, ROWS))))
    (folder,) = (one for one in (questdb_server.root / "db").glob(f"{store.table}~*") if one.is_dir())
    questdb_server.kill()
    try:
        with unmounted(folder):
            mount("--bind", folder, folder)
            mount("-o", "remount,ro,bind", folder)
            questdb_server.start()
            try:
                with pytest.raises(StoreError) as told:
                    store.commit(SERIES, write(some_bars(ROWS, ROWS)))
                assert told.value.why
                assert not store.lost(SERIES), "what cannot be written is no damage"
                store.commit(OTHER, write(some_bars(0, 1)))  # it lies in the catalog
            finally:
                questdb_server.kill()
    finally:
        if questdb_server.process.poll() is None:
            questdb_server.kill()
        questdb_server.start()
    store = opened(questdb_url)
    table = store._rows.table
    if table.progress().is_suspended:
        table.server.query(f"ALTER TABLE {table.name} RESUME WAL")
    store.commit(SERIES, write(some_bars(ROWS, ROWS)))
    assert_frame_equal(store.read(SERIES, minutes(0, 2 * ROWS)).frame, some_bars(0, 2 * ROWS))
    assert store.verify().is_sound


@contextmanager
def taking_all_exports(server: QuestDBServer) -> Iterator[None]:
    """Others ask for large exports, and read no further than to see that they have begun."""
    login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    asked = urlencode({"query": "SELECT x, x, x, x FROM long_sequence(500000000)"})
    with ExitStack() as stack:
        for _ in range(2):  # as many as a server takes
            other = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            other.sendall(
                f"GET /exp?{asked} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n\r\n".encode()
            )
            assert b" 200 " in other.recv(64)
        yield


def test_a_server_that_takes_no_more_exports_is_told(
    questdb_server: QuestDBServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(QuestDBAddress.parse(questdb_server.url(tmp_path, "exports")))
    with taking_all_exports(questdb_server):
        monkeypatch.setattr(client_module, "_BUSY_S", 0.1)
        with pytest.raises(StoreError, match="too many exports at once") as told:
            client.export("SELECT x FROM long_sequence(3)")
        assert "http.export.connection.limit" in (told.value.next_step or "")
    monkeypatch.undo()
    found = client.export("SELECT x FROM long_sequence(3)")  # once the server has noticed that they are gone
    assert found["x"].to_pylist() == [1, 2, 3]


def test_rows_a_year_out_of_order_fall_into_place(used_url: str, opened: Opened) -> None:
    """The newest year first, and each then written over in part."""
    store, year = opened(used_url), 525_600
    for first in (2 * year, year, 0):
        store.commit(SERIES, write(some_bars(first, ROWS)))
    for first in (0, 2 * year):
        store.commit(SERIES, write(some_bars(first + 40, 520, price=900.0)))
    parts = []
    for number in range(3):
        bars = some_bars(number * year, ROWS)
        over = [some_bars(number * year + 40, 520, price=900.0)] if number != 1 else [bars[40:560]]
        parts += [bars[:40], *over, bars[560:]]
    assert_frame_equal(store.read(SERIES, minutes(0, 3 * year)).frame, pl.concat(parts))
    assert store.verify().is_sound


def test_two_hundred_series_at_once(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    names = [SeriesId.parse(f"ohlcv:mine:S{number}:1m") for number in range(200)]
    bars = {name: some_bars(number, 520, price=float(number + 1)) for number, name in enumerate(names)}
    done = store.commit_many({name: write(frame) for name, frame in bars.items()})
    assert [done[name].added for name in names] == [520] * 200
    found = store.read_many(names, minutes(0, 1_000))
    for name in names:
        assert_frame_equal(found[name].frame, bars[name])


@pytest.mark.parametrize(
    "statement", ["TRUNCATE TABLE BARS", "ALTER TABLE BARS DROP PARTITION LIST '1970-01'"]
)
def test_rows_that_were_deleted_by_hand_are_found_told_and_heal(
    questdb_url: str, opened: Opened, statement: str
) -> None:
    store, asked = opened(questdb_url), minutes(0, ROWS)
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(asked)))
    table = store._rows.table
    table.server.query(statement.replace("BARS", table.name))
    table.settle()
    assert not store.verify().is_sound
    found = store.read(SERIES, asked)
    assert not found.frame.height
    assert found.damaged == Coverage.of(asked)
    assert [lost.why for lost in store.lost(SERIES)] == ["its rows are gone from QuestDB"]
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(asked)))
    assert_frame_equal(opened(questdb_url).read(SERIES, asked).frame, some_bars(0, ROWS))
