"""A server that is away, ends in the middle, or refuses: the reason is told, and what was committed stays."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreError
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.store.rows import from_frame
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.questdb import PASSWORD, QuestDBServer

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]


def test_a_wrong_password_is_told_and_shown_nowhere(
    questdb_server: QuestDBServer, opened: Opened, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="refuses the user") as told:
        opened(questdb_server.url(tmp_path / "catalog", "refused", password="wr0ng;word"))
    assert "wr0ng" not in f"{told.value!r} {told.value}"
    client = Client(QuestDBAddress.parse(questdb_server.url(tmp_path, "refused", password="wr0ng;word")))
    with pytest.raises(StoreError) as told:
        client.send("refused_bars", "x", [1], [from_frame(some_bars(0, 1), SERIES)])
    assert "wr0ng" not in f"{told.value!r} {told.value}"


def test_no_text_shows_the_password(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    assert PASSWORD not in f"{store!r} {store.location} {store.info()}"


def test_a_server_killed_during_writes_keeps_what_was_committed(
    questdb_server: QuestDBServer, used_url: str, opened: Opened
) -> None:
    store = opened(used_url)
    committed: list[int] = []
    failed: list[StoreError] = []
    some = threading.Event()

    def write_on() -> None:
        for number in range(1_000):
            try:
                store.commit(SERIES, write(some_bars(8 * number, 8)))
            except StoreError as failure:
                failed.append(failure)
                return
            committed.append(number)
            if number == 3:
                some.set()

    writer = threading.Thread(target=write_on)
    writer.start()
    assert some.wait(60)
    questdb_server.kill()
    writer.join(60)
    try:
        assert len(failed) == 1
        assert failed[0].next_step
        with pytest.raises(StoreError, match="does not answer"):
            store.read(SERIES, minutes(0, 8))
        assert not store.lost(SERIES), "a server that is away is no damage"
        live = len(committed) * 8
        for number in range(live, live + 30):  # more than are folded otherwise
            store.commit(SERIES, write(some_bars(number, 1)))
    finally:
        questdb_server.start()
    expected = some_bars(0, live + 30)
    assert_frame_equal(store.read(SERIES, minutes(0, 8_000)).frame, expected)
    assert store.verify().is_sound
    store.commit(SERIES, write(some_bars(live + 30, 8)))
    assert store.compact().hot_folded
    assert_frame_equal(store.read(SERIES, minutes(0, 8_000)).frame, some_bars(0, live + 38))


def test_parameters_that_several_ask_for_at_once_are_those_of_the_server(
    questdb_server: QuestDBServer, tmp_path: Path
) -> None:
    """9.3.4 gives those who ask at the same moment each other's rows, none, or an error."""
    asked = {"cairo.commit.mode": "nosync", "http.export.connection.limit": "2", "no.such": None}
    found: list[dict[str, str | None]] = []

    def ask() -> None:
        client = Client(QuestDBAddress.parse(questdb_server.url(tmp_path, "parameters")))
        found.extend({name: client.parameter(name) for name in asked} for _ in range(10))

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(60)
    assert found == [asked] * 60


def test_more_readers_than_the_server_takes_wait_for_their_turn(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 64)))
    others = [opened(used_url) for _ in range(3)]  # as other processes, which share no turn
    found: list[pl.DataFrame] = []
    readers = [
        threading.Thread(target=lambda one=one: found.append(one.read(SERIES, minutes(0, 64)).frame))
        for one in [store, *others] * 4
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert len(found) == len(readers)
    assert all(frame.equals(some_bars(0, 64)) for frame in found)


def _fill(store: QuestDBStore, first: int) -> None:
    """In a process of its own: every second page of eight bars."""
    for page in range(5):
        store.commit(SERIES, write(some_bars((2 * page + first) * 8, 8)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_were_forked_write_the_same_series(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 8)))  # so that the parent has connections
    assert store.read(SERIES, minutes(0, 8)).frame.height == 8
    forked = multiprocessing.get_context("fork")
    children = [forked.Process(target=_fill, args=(store, first)) for first in (0, 1)]
    for child in children:
        child.start()
    _fill(store, 10)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert_frame_equal(store.read(SERIES, minutes(0, 80)).frame, some_bars(0, 80))
    assert_frame_equal(
        store.read(SERIES, minutes(80, 160)).frame,
        pl.concat([some_bars((2 * page + 10) * 8, 8) for page in range(5)]),
    )
