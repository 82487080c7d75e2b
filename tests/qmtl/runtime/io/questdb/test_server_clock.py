"""The clock of QuestDB is an hour off that of the catalog: nothing that a store says comes from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import HOUR, SECOND
from qmtl.runtime.io.questdb.restarts import start_of
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql.catalogs import note_start, start_seen
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.questdb import QuestDBServer
from tests.qmtl.runtime.io.questdb.lost_files import losing

ROWS = 600
ASKED = minutes(0, ROWS)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_commits_have_the_time_of_the_catalog(
    used_url: str, opened: Callable[..., QuestDBStore], ahead: int
) -> None:
    """The server is `ahead` of the catalog, whose clock is the one that can be set here."""
    clock = FakeClock(time.time_ns() - ahead)
    writer, reader = opened(used_url, clock=clock), opened(used_url, clock=clock)
    ((server_now,),) = writer._rows.table.server.query("SELECT systimestamp()::long")
    assert abs(server_now * 1_000 - clock.now() - ahead) < 60 * SECOND
    token, as_of = reader.changed_since(None).token, []
    for number in range(3):
        clock.advance(1)
        bars = some_bars(0, ROWS, price=10.0 + number)
        commit = writer.commit(SERIES, write(bars, answered=Coverage.of(ASKED)))
        assert commit.as_of == clock.now()
        news = reader.changed_since(token)
        assert [one.tx for one in news.commits] == [commit.tx]
        token = news.token
        found = reader.read(SERIES, ASKED)
        assert_frame_equal(found.frame, bars)
        assert found.answered == Coverage.of(ASKED)
        as_of.append(commit.as_of)
    for number, when in enumerate(as_of):
        bars = some_bars(0, ROWS, price=10.0 + number)
        assert_frame_equal(reader.read(SERIES, ASKED, as_of=when).frame, bars)
    assert not reader.read(SERIES, ASKED, as_of=as_of[0] - 1).frame.height
    assert reader.diff(SERIES, as_of[0], as_of[1]).height == ROWS
    assert writer.verify().is_sound


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_start_is_noticed_whatever_time_the_server_gives_it(
    restarted: QuestDBServer,
    questdb_url: str,
    opened: Callable[..., QuestDBStore],
    tmp_path: Path,
    ahead: int,
) -> None:
    """A clock that was put back makes the last start an earlier one."""
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, ROWS), answered=Coverage.of(ASKED)))
    later = minutes(ROWS, 2 * ROWS)
    with losing(restarted, store, tmp_path):
        store.commit(SERIES, write(some_bars(ROWS, ROWS), answered=Coverage.of(later)))
        with store._database.writing() as connection:
            note_start(connection, start_seen(connection) + ahead // 1_000)
            connection.execute("COMMIT")
    again = opened(questdb_url)
    with again._database.reading() as connection:
        assert start_seen(connection) == start_of(again._rows.table.server).at
    assert [lost.span for lost in again.lost(SERIES)] == [later]
    assert_frame_equal(again.read(SERIES, minutes(0, 2 * ROWS)).frame, some_bars(0, ROWS))
