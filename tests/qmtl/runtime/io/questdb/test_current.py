"""The view of the bars that hold is what a fetch gives, whatever was done; an older catalog is told of."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb import current, moving
from qmtl.runtime.io.questdb.chunk_list import ChunkList
from qmtl.runtime.io.questdb.current import CurrentRows
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.questdb.wal import settle
from qmtl.runtime.io.sql import codec
from qmtl.runtime.io.sql.catalogs import list_of_chunks
from qmtl.runtime.io.sql.dialect import LIVE
from qmtl.runtime.io.store.rows import from_frame
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_suites.bars import SERIES, STEP, minutes, some_bars, write

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]
COLUMNS = ("ts", "open", "high", "low", "close", "volume")
ORPHAN = 7_777.0
ALL = minutes(0, 1_000)


def current_list(store: QuestDBStore) -> ChunkList:
    with store._database.reading() as connection:
        return ChunkList(store._rows.table, list_of_chunks(connection))


def shown(store: QuestDBStore, series: SeriesId = SERIES) -> pl.DataFrame:
    """What the desk sees, once QuestDB shows all that it has taken."""
    settle(store._rows.table.server, current_list(store).name)
    name = store.questdb().view
    found = store._rows.table.server.query(
        f"SELECT ts::long, open, high, low, close, volume FROM {name} WHERE series = '{series}' ORDER BY ts"
    )
    return pl.DataFrame(found, schema=dict.fromkeys(COLUMNS, pl.Float64) | {"ts": pl.Int64}, orient="row")


def as_shown(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col("ts").dt.timestamp("ns").cast(pl.Int64), *COLUMNS[1:])


def in_chunks(store: QuestDBStore, series: SeriesId) -> pl.DataFrame:
    """The bars of the chunks that hold, without the single ones that lie in the catalog."""
    with store._database.reading(series) as connection:
        view = store._view(connection, series)
        parts = [view.load(chunk) for chunk in view.chunks(-LIVE, LIVE - 1)]
    columns = {name: np.concatenate([getattr(p, name) for p in parts] or [np.empty(0)]) for name in COLUMNS}
    return pl.DataFrame(columns, schema_overrides={"ts": pl.Int64})


def orphaned(store: QuestDBStore, series: SeriesId, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a writer that ended before its commit, with the highest number that there can be."""
    with monkeypatch.context() as patched:
        patched.setattr("qmtl.runtime.io.questdb.rows.randbits", lambda bits: 2**bits - 1)
        rows = from_frame(some_bars(first, 8, price=ORPHAN), series)
        store._rows.write(series, [codec.pack_plain(rows)])


class Killed(BaseException):
    """In place of a kill -9: nothing that follows is done, and nothing is tidied."""


def dying(after: int) -> Callable[[CurrentRows], None]:
    """In place of `follow`: goes on so many times, and ends the process then."""
    follow, calls = CurrentRows.follow, iter(range(after))

    def called(current: CurrentRows) -> None:
        if next(calls, None) is None:
            raise Killed
        follow(current)

    return called


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "retract", "compact", "orphan"]),
        st.integers(0, 40),
        st.integers(1, 30),
        st.integers(0, 1),  # which of two processes
        st.booleans(),  # whether it ends before the view follows
    ),
    min_size=3,
    max_size=8,
)


@pytest.fixture(scope="module")
def two(questdb_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[QuestDBStore]]:
    """Two processes that use one store."""
    url = questdb_server.url(tmp_path_factory.mktemp("current") / "catalog", f"current_{uuid4().hex}")
    with questdb_store(url) as one, questdb_store(url) as other:
        yield [one, other]


def test_it_is_what_a_fetch_gives_whatever_was_done(
    two: list[QuestDBStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0

    @settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(STEPS)
    def check(steps: list[tuple[str, int, int, int, bool]]) -> None:
        nonlocal number
        number += 1
        series = SeriesId.parse(f"ohlcv:mine:S{number}:1m")
        two[0].commit(series, write(some_bars(0, 16)))
        for price, (what, first, count, who, dies) in enumerate(steps, start=200):
            store = two[who]
            # The second time that a compaction calls it is after the rows were moved.
            follows = dying(1 if what == "compact" and first % 2 else 0)
            with monkeypatch.context() as patched, suppress(Killed):
                if dies:
                    patched.setattr(CurrentRows, "follow", follows)
                if what == "write":
                    frame = some_bars(first, count, price=price)
                    span = minutes(first, first + count)
                    store.commit(series, write(frame, answered=Coverage.of(span)))
                elif what == "retract":
                    store.retract(series, minutes(first, first + count), reason="a test")
                elif what == "compact":
                    store.compact()
                else:
                    orphaned(store, series, first, monkeypatch)
            seen = shown(store, series)
            assert seen["ts"].is_unique().all(), "a bar is never there twice"
            assert (seen["close"] < ORPHAN).all(), "nobody has committed it"
            if not dies and what in ("retract", "compact"):
                assert_frame_equal(seen, in_chunks(store, series))
        two[0].compact()
        frame = two[1].read(series, ALL).frame
        for store in two:
            assert_frame_equal(shown(store, series), as_shown(frame))
            assert store.questdb().trails_by == 0

    check()


def test_no_bar_is_there_twice_while_others_write(questdb_url: str, opened: Opened) -> None:
    """Each corrects what the other has just written, so that their chunks end each other's."""
    stores = [opened(questdb_url), opened(questdb_url)]
    reader = opened(questdb_url, read_only=True)
    stores[0].commit(SERIES, write(some_bars(0, 24)))
    shown(reader)
    is_over, failed, seen = threading.Event(), [], 0

    def write_on(who: int) -> None:
        try:
            for number in range(6):
                frame = some_bars(7 * who, 16, price=200.0 + 2 * number + who)
                stores[who].commit(SERIES, write(frame))
                if number == 3:
                    stores[who].retract(SERIES, minutes(20, 22), reason="a test")
        except BaseException as failure:  # noqa: BLE001 - of a thread, shown below
            failed.append(failure)

    def look_on() -> None:
        nonlocal seen
        sql = f"SELECT count(), count_distinct(ts) FROM {reader.questdb().view}"
        try:
            while not is_over.is_set():
                ((rows, bars),) = reader._rows.table.server.query(sql)
                assert rows == bars <= 24
                seen += 1
        except BaseException as failure:  # noqa: BLE001 - of a thread, shown below
            failed.append(failure)

    writers = [threading.Thread(target=write_on, args=(who,)) for who in (0, 1)]
    looker = threading.Thread(target=look_on)
    for thread in (looker, *writers):
        thread.start()
    for thread in writers:
        thread.join(120)
    is_over.set()
    looker.join(60)
    assert not failed
    assert seen
    stores[0].verify()
    assert_frame_equal(shown(reader), as_shown(reader.read(SERIES, ALL).frame))


def test_what_ended_processes_have_left_is_made_up_for(
    questdb_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))
    monkeypatch.setattr(CurrentRows, "follow", dying(0))
    for first, price in ((0, 200.0), (4, 300.0), (12, 400.0)):
        with pytest.raises(Killed):
            store.commit(SERIES, write(some_bars(first, 8, price=price)))
    assert store.questdb().trails_by == 3
    assert_frame_equal(shown(store), as_shown(some_bars(0, 16)))
    monkeypatch.undo()
    opened(questdb_url).retract(SERIES, minutes(2, 3), reason="a test")
    assert_frame_equal(shown(store), as_shown(store.read(SERIES, ALL).frame))


def test_it_has_no_single_bars_before_a_compaction(questdb_url: str, opened: Opened) -> None:
    """Nor what they correct: it shows the earlier value."""
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))
    store.commit(SERIES, write(some_bars(15, 2, price=300.0)))
    assert_frame_equal(shown(store), as_shown(some_bars(0, 16)))
    store.compact()
    assert_frame_equal(shown(store), as_shown(store.read(SERIES, ALL).frame))


def test_it_follows_where_the_rows_are_moved(
    questdb_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))
    orphaned(store, SERIES, 0, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(moving, "_drop_others", lambda *given: None)  # the old table is not gone yet
        assert store.compact().unnamed == 8
        assert_frame_equal(shown(store), as_shown(some_bars(0, 16)))
    orphaned(store, SERIES, 0, monkeypatch)
    store.compact()
    assert_frame_equal(shown(store), as_shown(some_bars(0, 16)))


def test_a_commit_is_kept_where_it_cannot_follow(
    questdb_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))

    def failing(*given: object) -> None:
        raise StoreError("QuestDB did not take the rows")

    with monkeypatch.context() as patched:
        patched.setattr(ChunkList, "add", failing)
        store.commit(SERIES, write(some_bars(16, 16)))
    assert "trails: QuestDB did not take the rows" in caplog.text
    assert store.read(SERIES, ALL).frame.height == 32
    assert_frame_equal(shown(store), as_shown(some_bars(0, 16)))
    assert store.questdb().trails_by == 1
    store.verify()
    assert_frame_equal(shown(store), as_shown(some_bars(0, 32)))
    assert store.questdb().trails_by == 0


@pytest.mark.parametrize("dropped", ["list", "view"])
def test_what_somebody_has_dropped_is_made_anew(questdb_url: str, opened: Opened, dropped: str) -> None:
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))
    if dropped == "list":
        current_list(store).drop()
    else:
        store._rows.table.server.query(f"DROP VIEW {store.questdb().view}")
    assert store.questdb().trails_by is None
    store.commit(SERIES, write(some_bars(16, 16)))
    assert_frame_equal(shown(store), as_shown(some_bars(0, 32)))


def test_a_store_from_before_gets_one_as_it_is_opened(questdb_url: str, opened: Opened) -> None:
    with opened(questdb_url) as store:
        store.commit(SERIES, write(some_bars(0, 16)))
        store._rows.table.server.query(f"DROP VIEW {store.questdb().view}")
        current_list(store).drop()
        with store._database.writing() as connection:
            connection.execute(
                "DELETE FROM setting WHERE name LIKE 'rows forgotten%' OR name = 'rows listed in'"
            )
            connection.execute("COMMIT")
    with opened(questdb_url, read_only=True) as reader:
        assert reader.questdb().trails_by is None
    store = opened(questdb_url)
    assert_frame_equal(shown(store), as_shown(some_bars(0, 16)))


def test_damage_is_not_in_it(questdb_url: str, opened: Opened) -> None:
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))
    table = store._rows.table
    table.server.query(f"UPDATE {table.name} SET close = 1 WHERE ts = {3 * STEP}")
    table.settle()
    store.verify(repair=True)
    assert_frame_equal(shown(store), as_shown(some_bars(8, 8)))


def test_a_sweep_behind_its_back_makes_it_anew(
    questdb_url: str, opened: Opened, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(questdb_url, clock=clock, retention=1.0)
    store.commit(SERIES, write(some_bars(0, 16)))
    with monkeypatch.context() as patched:
        patched.setattr(CurrentRows, "follow", lambda self: None)
        for price in (200.0, 300.0):
            clock.advance(60)
            store.commit(SERIES, write(some_bars(0, 16, price=price)))
        clock.advance(60)
        assert store.compact().swept
    store.verify()
    assert_frame_equal(shown(store), as_shown(some_bars(0, 16, price=300.0)))


def test_of_two_that_make_it_anew_one_counts(
    questdb_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = opened(questdb_url), opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 16)))
    current_list(store).drop()
    settling = settle

    def overtaken(*given: Any) -> bool:
        monkeypatch.undo()
        other.commit(SERIES, write(some_bars(16, 600)))
        return settling(*given)

    monkeypatch.setattr(current, "settle", overtaken)
    store._follow()
    assert len(ChunkList.all_of(store._rows.table)) == 1
    assert_frame_equal(shown(store), as_shown(some_bars(0, 616)))


# An older catalog


@pytest.fixture
def brought_back(questdb_url: str, opened: Opened, tmp_path: Path) -> str:
    """A catalog from before two commits: of 16 bars that are new, and of 16 other values."""
    with opened(questdb_url) as store:
        store.commit(SERIES, write(some_bars(0, 16)))
    shutil.copytree(tmp_path / "catalog", tmp_path / "backup")
    with opened(questdb_url) as store:
        store.commit(SERIES, write(some_bars(16, 16)))
        store.commit(SERIES, write(some_bars(0, 16, price=300.0)))
    shutil.rmtree(tmp_path / "catalog")
    shutil.move(tmp_path / "backup", tmp_path / "catalog")
    return questdb_url


def test_a_catalog_that_is_older_than_its_table_is_told_of(
    brought_back: str, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(brought_back, read_only=True) as reader:
        found = reader.questdb().forgotten
        assert found is not None
        assert (found.rows, found.tx) == (32, 2)
        assert reader.verify().notes
    caplog.clear()
    store = opened(brought_back)
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert f"{store.table} has 32 rows of commits from 2 " in record.getMessage()
    assert "qmtl store verify --acknowledge" in record.getMessage()
    assert store.questdb().forgotten == found
    verified = store.verify()
    assert verified.is_sound
    assert "32 rows of commits from 2" in verified.notes[0]
    # Newer rows are shown to nobody, and their numbers are not given out again.
    for seen in (as_shown(store.read(SERIES, ALL).frame), shown(store)):
        assert_frame_equal(seen, as_shown(some_bars(0, 16)))
    table = store._rows.table
    before = {tx for (tx,) in table.server.query(f"SELECT DISTINCT tx FROM {table.name}")}
    store.commit(SERIES, write(some_bars(16, 16, price=500.0)))
    after = {tx for (tx,) in table.server.query(f"SELECT DISTINCT tx FROM {table.name}")}
    assert len(after - before) == 2
    assert_frame_equal(shown(store), as_shown(store.read(SERIES, ALL).frame))
    # It is told until somebody has heard it, and found once. Before that, somebody may bring the catalog back
    # that names these rows: they stay.
    again = opened(brought_back)
    assert again.questdb().forgotten == found
    kept = again.compact()
    assert kept.unnamed == 0
    assert "32 rows in QuestDB of commits from 2 on" in kept.left
    again.acknowledge()
    assert again.compact().unnamed == 32
    for one in (store, again, opened(brought_back)):
        assert one.questdb().forgotten is None
        assert not one.verify().notes
        assert_frame_equal(shown(one), as_shown(store.read(SERIES, ALL).frame))


def test_a_forgotten_retraction_is_told_of(questdb_url: str, opened: Opened, tmp_path: Path) -> None:
    """It has left no row, only that a chunk holds no longer."""
    with opened(questdb_url) as store:
        store.commit(SERIES, write(some_bars(0, 16)))
        shutil.copytree(tmp_path / "catalog", tmp_path / "backup")
        store.retract(SERIES, minutes(0, 8), reason="a test")
        settle(store._rows.table.server, current_list(store).name)
    shutil.rmtree(tmp_path / "catalog")
    shutil.move(tmp_path / "backup", tmp_path / "catalog")
    store = opened(questdb_url)
    found = store.questdb().forgotten
    assert found is not None
    assert (found.rows, found.tx) == (0, 2)
    assert_frame_equal(shown(store), as_shown(store.read(SERIES, ALL).frame))


def test_it_is_told_no_more_once_that_is_acknowledged(brought_back: str, opened: Opened) -> None:
    store = opened(brought_back)
    assert store.questdb().forgotten
    store.acknowledge()
    assert store.questdb().forgotten is None
    assert opened(brought_back).questdb().forgotten is None


def test_it_is_found_where_the_catalog_was_written_meanwhile(
    brought_back: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commits have the same numbers by then, and other times."""
    with monkeypatch.context() as patched:
        patched.setattr(CurrentRows, "look_back", lambda self: None)
        patched.setattr(CurrentRows, "follow", lambda self: None)
        store = opened(brought_back)
        for first in (16, 32, 48):
            store.commit(SERIES, write(some_bars(first, 16, price=500.0)))
    store.commit(SERIES, write(some_bars(64, 16, price=500.0)))
    found = store.questdb().forgotten
    assert found is not None
    assert (found.rows, found.tx) == (32, 2)
    assert_frame_equal(shown(store), as_shown(store.read(SERIES, ALL).frame))


def test_a_new_store_in_place_of_one_that_was_dropped_is_no_older_one(
    questdb_url: str, opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(questdb_url) as store:
        store.commit(SERIES, write(some_bars(0, 16)))
        for name in (store.table, store.table.replace("_bars", "_store")):
            store._rows.table.server.query(f"DROP TABLE {name}")
    shutil.rmtree(tmp_path / "catalog")
    store = opened(questdb_url)
    assert not caplog.records
    assert store.questdb().forgotten is None
    store.commit(SERIES, write(some_bars(0, 24, price=400.0)))
    assert_frame_equal(shown(store), as_shown(some_bars(0, 24, price=400.0)))
    assert store.questdb().forgotten is None
