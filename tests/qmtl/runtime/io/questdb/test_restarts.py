"""The server was started anew: what it has lost of the newest rows is found before anybody reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from qmtl import SeamlessDataProvider, import_frame
from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.questdb import restarts
from qmtl.runtime.io.questdb.restarts import start_of
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.questdb.table import BarTable
from qmtl.runtime.io.sql.catalogs import put_rows, start_seen
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars, write
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.questdb import VERSION, QuestDBServer
from tests.qmtl.runtime.io.questdb.lost_files import folder_of, losing

Opened = Callable[..., QuestDBStore]
ONE, ANOTHER = (SeriesId.parse(f"ohlcv:mine:{name}:1m") for name in ("ONE", "ANOTHER"))
ROWS = 600
ASKED = minutes(0, ROWS)


def seen(store: QuestDBStore) -> int:
    with store._database.reading() as connection:
        return start_seen(connection)


def at_risk(store: QuestDBStore) -> set[tuple[str, int]]:
    """Series and first stamps of the chunks that would be read."""
    with store._database.reading() as connection:
        names = dict(connection.execute("SELECT id, node FROM series").fetchall())
        return {(names[row[0]], row[2]) for row in restarts._at_risk(connection)}


def test_after_a_kill_nothing_is_lost_and_the_start_is_noted(
    restarted: QuestDBServer, questdb_url: str, opened: Opened
) -> None:
    store = opened(questdb_url)
    server = store._rows.table.server
    before = start_of(server)
    assert start_of(server) == before
    assert seen(store) == before.at
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(ASKED)))
    restarted.kill()
    restarted.start()
    after = start_of(server)
    assert after.at > before.at
    assert after.version == before.version == VERSION
    opened(questdb_url, read_only=True)
    store.commit(SERIES, write(some_bars(ROWS, 1)))
    assert seen(store) == before.at, "who only reads notes nothing, and single rows lie in the catalog"
    store.commit(OTHER, write(some_bars(0, ROWS)))
    assert seen(store) == after.at
    assert store.verify().is_sound


def test_a_commit_says_whether_a_loss_of_power_may_take_it(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    said = f"QuestDB {VERSION} does not wait for the disk: cairo.commit.mode is nosync"
    assert store.commit(SERIES, write(some_bars(0, ROWS))).at_risk == said
    assert store.commit(SERIES, write(some_bars(0, ROWS))).at_risk is None, "nothing was new"
    assert store.commit(SERIES, write(some_bars(ROWS, 1))).at_risk is None, "it lies in the catalog"
    done = store.commit_many({ONE: write(some_bars(0, ROWS)), ANOTHER: write(some_bars(0, 1))})
    assert [done[series].at_risk for series in (ONE, ANOTHER)] == [said, None]


def test_with_sync_nothing_is_at_risk(used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the server then keeps its word, no test can tell."""
    monkeypatch.setattr(Client, "parameter", lambda _, name: {"cairo.commit.mode": "SYNC"}.get(name))
    store = opened(used_url)
    assert store.commit(SERIES, write(some_bars(0, ROWS))).at_risk is None


def test_receipts_say_it(used_url: str, clock: FakeClock) -> None:
    asked = ("ohlcv:mine:BTC/USDT:1m", "2024-01-01", "2024-01-02")
    with SeamlessDataProvider(used_url, vendors=ScriptedVendor(), clock=clock) as provider:
        receipt = provider.fetch(*asked).receipt
        assert "cairo.commit.mode is nosync" in (receipt.at_risk or "")
        assert receipt.to_json()["at_risk"] == receipt.at_risk
        assert "cairo.commit.mode is nosync" in repr(receipt)
        assert provider.fetch(*asked).receipt.at_risk is None, "this one has written nothing"
        imported = import_frame(provider, some_bars(0, ROWS), series="ohlcv:mine:GOLD:1m")
        assert "nosync" in (imported.at_risk or "")
        assert imported.to_json()["at_risk"] == imported.at_risk


@pytest.mark.parametrize("when", ["as it is opened", "as somebody writes", "after the first read"])
def test_what_a_loss_of_power_took_is_found_told_and_heals(
    restarted: QuestDBServer, questdb_url: str, opened: Opened, tmp_path: Path, when: str
) -> None:
    """The files of the table are as they were a write ago; the catalog had waited for its disk."""
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(ASKED)))
    later = minutes(ROWS, 2 * ROWS)
    with losing(restarted, store, tmp_path):
        store.commit(SERIES, write(some_bars(ROWS, ROWS), answered=Coverage.of(later)))
        restarted.kill()
        assert not store.lost(SERIES)
        if when == "after the first read":
            with pytest.raises(StoreError, match="does not answer"):
                store.read(SERIES, ASKED)
    if when == "as it is opened":
        store = opened(questdb_url)
    elif when == "as somebody writes":
        store.commit(OTHER, write(some_bars(0, ROWS)))
    else:
        assert store.read(SERIES, ASKED).frame.height == ROWS
    assert [lost.span.start for lost in store.lost(SERIES)] == [later.start]
    assert "gone from QuestDB" in store.lost(SERIES)[0].why
    found = store.read(SERIES, minutes(0, 2 * ROWS))
    assert_frame_equal(found.frame, some_bars(0, ROWS))
    assert found.answered == Coverage.of(ASKED)
    store.commit(SERIES, write(some_bars(ROWS, ROWS), answered=Coverage.of(later)))
    assert not store.lost(SERIES)
    assert_frame_equal(store.read(SERIES, minutes(0, 2 * ROWS)).frame, some_bars(0, 2 * ROWS))
    assert store.verify().is_sound


def test_pages_that_never_reached_the_disk_are_found(
    restarted: QuestDBServer, questdb_url: str, opened: Opened
) -> None:
    """As some file systems leave them: the file has its length, and zeros at its end."""
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(ASKED)))
    table = folder_of(restarted, store)
    restarted.kill()
    (values,) = table.glob("1970-01*/close.d")
    with values.open("r+b") as file:
        file.seek(8 * (ROWS - 100))
        file.write(bytes(8 * 100))
    restarted.start()
    again = opened(questdb_url)
    assert [lost.span for lost in again.lost(SERIES)] == [ASKED]
    assert not again.read(SERIES, ASKED).answered
    again.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(ASKED)))
    assert_frame_equal(again.read(SERIES, ASKED).frame, some_bars(0, ROWS))


def test_partitions_that_were_written_to_lately_are_looked_at(
    used_url: str, opened: Opened, clock: FakeClock
) -> None:
    """With what others have in them: QuestDB writes a partition anew where rows fall between others."""
    store = opened(used_url, clock=clock)
    february = 31 * 1_440
    for series, first in ((ONE, 0), (SERIES, february)):
        store.commit(series, write(some_bars(first, ROWS)))
    clock.advance(3_600)
    store.commit(OTHER, write(some_bars(february + 10, ROWS)))
    lately = {(SERIES.text, february * MINUTE), (OTHER.text, (february + 10) * MINUTE)}
    assert at_risk(store) == lately
    clock.advance(3_600)
    store.commit(ONE, write(some_bars(ROWS, 1)))
    assert at_risk(store) == lately, "a single row lies in the catalog"
    clock.advance(60)
    store.commit(ANOTHER, write(some_bars(0, ROWS)))
    assert at_risk(store) == {(ONE.text, 0), (ANOTHER.text, 0)}


def test_all_is_looked_at_while_all_may_have_been_written_anew(
    used_url: str, opened: Opened, clock: FakeClock
) -> None:
    store = opened(used_url, clock=clock)
    firsts = {SERIES: 0, OTHER: 40, ONE: 80, ANOTHER: 120}  # each in a month of its own

    def fill(series: SeriesId) -> set[tuple[str, int]]:
        store.commit(series, write(some_bars(firsts[series] * 1_440, ROWS)))
        return {(series.text, firsts[series] * 1_440 * MINUTE)}

    everything = fill(SERIES)
    clock.advance(3_600)
    everything |= (newest := fill(OTHER))
    assert at_risk(store) == newest
    with store._database.writing() as connection:
        put_rows(connection, store._rows.table.place)  # as the last step of a compaction
        connection.execute("COMMIT")
    assert at_risk(store) == everything
    clock.advance(3_600)
    everything |= fill(ONE)
    assert at_risk(store) == everything, "it may have been the moment before"
    clock.advance(3_600)
    assert at_risk(store) != (newest := fill(ANOTHER)) == at_risk(store)


def test_all_of_a_copy_is_looked_at(
    questdb_url: str, opened: Opened, clock: FakeClock, tmp_path: Path
) -> None:
    """Its commits are old, and its rows are not."""
    with EmbeddedStore(tmp_path / "source", clock=clock) as source:
        for series, first in ((SERIES, 0), (OTHER, 90 * 1_440)):
            source.commit(series, write(some_bars(first, ROWS)))
            clock.advance(3_600)
    copy_store(tmp_path / "source", questdb_url)
    assert at_risk(opened(questdb_url)) == {(SERIES.text, 0), (OTHER.text, 90 * 1_440 * MINUTE)}


def write_suspended(table: BarTable) -> None:
    """Let a table have a write that is not applied. A server that was just started may go on applying."""
    for _ in range(20):
        table.server.query(f"ALTER TABLE {table.name} SUSPEND WAL WITH 28, 'No space left on device'")
        table.server.query(f"UPDATE {table.name} SET close = close + 1")
        until = time.monotonic() + 1.0
        while (progress := table.progress()).is_suspended and progress.applied < progress.written:
            if time.monotonic() > until:
                return
    raise AssertionError(f"the server goes on applying: {progress}")


def test_a_server_that_cannot_say_yet_is_asked_again(
    restarted: QuestDBServer,
    questdb_url: str,
    opened: Opened,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is taken for lost before it has applied all, and no store fails to open for it."""
    store = opened(questdb_url)
    with losing(restarted, store, tmp_path):
        store.commit(SERIES, write(some_bars(0, ROWS)))
    table = store._rows.table
    write_suspended(table)
    again = opened(questdb_url)
    assert "could not be verified yet" in caplog.text
    assert "No space left" in caplog.text
    assert not again.lost(SERIES)
    table.server.query(f"ALTER TABLE {table.name} RESUME WAL")
    table.settle()
    assert [lost.span for lost in opened(questdb_url).lost(SERIES)] == [ASKED]
