"""Damage of what PostgreSQL keeps is left out, named and healed; a full disk keeps nothing by half."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import psycopg
import pytest

from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql import blocks
from qmtl.runtime.io.sql.dialect import LIVE
from qmtl.runtime.io.sql.postgres.rights import Right
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.values import Snapshot, Write
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_model import STEP
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars
from qmtl.runtime.testing.store_suites.flags import RULES, some_judged
from tests.qmtl.postgres import PostgresServer

ROWS = 20_000
ALL = minutes(0, ROWS)
WRITE = Write("v", 1, some_bars(0, ROWS), Coverage.of(ALL))


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
        yield store


def change(store: PostgresStore, statement: str) -> None:
    with store._database._pool.use() as connection:
        assert connection.execute(statement).rowcount == 1


def check_healed(store: PostgresStore) -> None:
    assert store.commit(SERIES, WRITE).added > 0
    snapshot = store.read(SERIES, ALL)
    assert snapshot.frame.equals(WRITE.frame)
    assert not snapshot.damaged
    assert snapshot.answered == Coverage.of(ALL)
    assert store.verify().is_sound


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE blob SET data = set_byte(data, 900, 255 - get_byte(data, 900)) WHERE chunk = 2",
        "DELETE FROM blob WHERE chunk = 2",
        "DELETE FROM chunk WHERE id = 2",
    ],
)
@pytest.mark.parametrize("stretch", [1, 1 << 17])
def test_a_chunk_that_is_not_what_was_written(
    store: PostgresStore, postgres_url: str, statement: str, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", stretch)
    change(store, statement)
    with PostgresStore(postgres_url) as other:
        snapshot = other.read(SERIES, ALL)
        assert snapshot.damaged
        assert 0 < snapshot.frame.height < ROWS
        assert not (snapshot.answered & snapshot.damaged)
        assert not other.verify().is_sound
        check_healed(other)


def test_two_chunks_of_the_same_time_are_both_left_out(store: PostgresStore, postgres_url: str) -> None:
    """A chunk that has ended, and is made current again: nobody can say which of them is right."""
    store.commit(SERIES, Write("v", 2, some_bars(9_000, 5_000, price=7.0)))
    frame = store.read(SERIES, ALL).frame
    change(store, f"UPDATE chunk SET tx_to = {LIVE} WHERE id = 2")

    def check(snapshot: Snapshot) -> None:
        assert snapshot.frame["ts"].is_sorted()
        assert snapshot.frame["ts"].is_unique().all()
        assert snapshot.damaged.holds(frame["ts"].to_physical().to_numpy()).sum() == ROWS - snapshot.count
        assert snapshot.frame.equals(frame.join(snapshot.frame.select("ts"), on="ts"))
        assert 0 < snapshot.count < ROWS

    with PostgresStore(postgres_url, read_only=True) as other:
        assert not other.read(SERIES, minutes(9_500, 9_510)).count
        check(other.read(SERIES, ALL))
        check(other.read_many([SERIES, OTHER], ALL)[SERIES])
        assert {one.why for one in other.verify().damage} >= {"it overlaps another chunk of the series"}
    # Whoever reads another range first finds that there is one chunk too many, and counts it.
    with PostgresStore(postgres_url) as other:
        other.read(SERIES, minutes(19_000, 19_010))
        assert other.verify().is_readable
        check(other.read(SERIES, ALL))
        check_healed(other)


def test_of_two_single_rows_of_one_bar_neither_is_shown(store: PostgresStore, postgres_url: str) -> None:
    """One that was corrected, and is made current again."""
    tail = minutes(ROWS, ROWS + 3)
    store.commit(SERIES, Write("v", 1, some_bars(ROWS, 3), Coverage.of(tail)))
    store.commit(SERIES, Write("v", 1, some_bars(ROWS + 1, 1, price=7.0)))
    change(store, f"UPDATE hot SET tx_to = {LIVE} WHERE tx_to < {LIVE}")
    with PostgresStore(postgres_url, read_only=True) as other:
        assert other.read(SERIES, tail).frame.equals(some_bars(ROWS, 3)[[0, 2]])
        assert not other.verify().is_sound
    with PostgresStore(postgres_url) as other:
        found = other.read(SERIES, tail)
        assert found.frame.equals(some_bars(ROWS, 3)[[0, 2]])
        assert found.damaged == Coverage.of(minutes(ROWS + 1, ROWS + 2))
    with PostgresStore(postgres_url) as other:
        assert other.verify().is_readable
        other.commit(SERIES, Write("v", 1, some_bars(0, ROWS + 3), Coverage.of(minutes(0, ROWS + 3))))
        found = other.read(SERIES, minutes(0, ROWS + 3))
        assert found.frame.equals(some_bars(0, ROWS + 3))
        assert not found.damaged
        assert other.verify().is_sound


@pytest.mark.parametrize("is_read", [True, False])
def test_a_single_row_that_was_moved_to_another_time(
    store: PostgresStore, postgres_url: str, is_read: bool
) -> None:
    """Its bytes are sound, and say that it is of another bar, which nobody is told not to have traded."""
    tail = minutes(ROWS, ROWS + 30)
    write = Write("v", 1, some_bars(ROWS, 3), Coverage.of(tail))
    store.commit(SERIES, write)
    change(store, f"UPDATE hot SET ts = ts + {20 * STEP} WHERE ts = {(ROWS + 1) * STEP}")
    with PostgresStore(postgres_url) as other:
        if is_read:
            assert other.read(SERIES, tail).damaged
        else:
            assert not other.verify(repair=True).is_sound
    with PostgresStore(postgres_url) as other:
        found = other.read(SERIES, tail)
        assert found.frame.equals(some_bars(ROWS, 3)[[0, 2]])
        assert not found.answered & Coverage.of(minutes(ROWS + 1, ROWS + 2))
        other.commit(SERIES, write)
        found = other.read(SERIES, tail)
        assert found.frame.equals(some_bars(ROWS, 3))
        assert found.answered & Coverage.of(tail) == Coverage.of(tail)
        assert other.verify().is_sound


def test_a_new_series_has_no_bars_of_one_whose_entry_is_gone(store: PostgresStore) -> None:
    store.commit(OTHER, WRITE)
    change(store, "DELETE FROM series WHERE id = 2")
    new = SeriesId.parse("ohlcv:suite:NEW:1m")
    store.commit(new, Write("v", 1, some_bars(30_000, 2)))
    assert store.read(new, minutes(0, 40_000)).frame.equals(some_bars(30_000, 2))
    assert not store.verify().is_sound


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM chunk WHERE id = 2",
        "UPDATE chunk SET series = 77 WHERE id = 2",
        "UPDATE chunk SET tx_to = 1 WHERE id = 2",
        "DELETE FROM hot",
        "UPDATE hot SET series = 77",
    ],
)
def test_what_vanishes_behind_a_reader_is_noticed_within_a_minute(
    postgres_url: str, clock: FakeClock, statement: str
) -> None:
    whole, span = some_bars(0, ROWS + 1), minutes(0, ROWS + 1)
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
        store.commit(SERIES, Write("v", 1, some_bars(ROWS, 1), Coverage.of(minutes(ROWS, ROWS + 1))))
        with PostgresStore(postgres_url, read_only=True, clock=clock) as reader:
            assert reader.read(SERIES, span).frame.equals(whole)
            change(store, statement)
            clock.advance(61)
            found = reader.read(SERIES, span)
            assert found.count < whole.height
            missing = whole.join(found.frame, on="ts", how="anti")["ts"].to_physical().to_numpy()
            assert found.damaged.holds(missing).all()


def test_what_takes_long_to_look_through_is_looked_through_less_often(
    postgres_url: str, clock: FakeClock
) -> None:
    def slow() -> bool:
        clock.advance(10)
        return False

    def is_noticed(reader: PostgresStore) -> bool:
        return bool(reader.read(SERIES, minutes(0, ROWS)).damaged)

    with PostgresStore(postgres_url) as store, PostgresStore(postgres_url, clock=clock) as reader:
        store.commit(SERIES, WRITE)
        began = clock.monotonic()
        reader.read(SERIES, minutes(0, ROWS), cancelled=slow)
        took = clock.monotonic() - began
        assert took >= 10
        change(store, "DELETE FROM chunk WHERE id = 2")
        clock.advance(20 * took - 1)
        assert not is_noticed(reader)
        clock.advance(2)
        assert is_noticed(reader)


def test_a_single_row_that_is_not_what_was_written(store: PostgresStore) -> None:
    store.commit(SERIES, Write("v", 1, some_bars(ROWS, 3)))
    change(store, f"UPDATE hot SET data = set_byte(data, 9, 77) WHERE ts = {ROWS + 1} * 60000000000::bigint")
    snapshot = store.read(SERIES, minutes(ROWS, ROWS + 3))
    assert snapshot.damaged == Coverage.of(minutes(ROWS + 1, ROWS + 2))
    assert snapshot.frame.height == 2
    assert store.commit(SERIES, Write("v", 1, some_bars(ROWS, 3))).added == 1
    assert store.verify().is_sound


# A table that is damaged where a row is met, as a page with a wrong checksum is.
DAMAGED = """
ALTER TABLE {table} RENAME TO whole;
CREATE FUNCTION met(bigint) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$ BEGIN
    IF $1 = 2 THEN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = 'data_corrupted'; END IF;
    RETURN true;
END $$;
CREATE VIEW {table} AS SELECT * FROM whole WHERE met({column});
"""


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE tx SET id = 1000 WHERE id = 3", "the list of commits lacks 997 commits"),
        ("DELETE FROM tx WHERE id = 2", "the list of commits lacks 1 commit"),
        ("DELETE FROM tx WHERE id = 3", "of commits that the list of commits does not have"),
    ],
)
def test_commits_that_somebody_took_away_are_named(store: PostgresStore, statement: str, says: str) -> None:
    for first in (ROWS, ROWS + 1):
        store.commit(SERIES, Write("v", 1, some_bars(first, 1), Coverage.of(minutes(first, first + 1))))
    assert store.verify().is_sound
    change(store, statement)
    assert any(says in problem for problem in store.verify().problems)


EDITED = """
UPDATE hot SET ts = ts + 60000000000 WHERE ts = {single}
UPDATE hot SET series = 2 WHERE ts = {single}
UPDATE chunk SET first_ts = first_ts + 60000000000 WHERE id = 2
UPDATE chunk SET series = 2 WHERE id = 2
UPDATE chunk SET tx_to = 2 WHERE id = 2
UPDATE chunk SET rows = -1 WHERE id = 2
UPDATE chunk SET rows = 2147483647 WHERE id = 2
DELETE FROM answer WHERE series = 1 AND tx_from = 1
UPDATE answer SET tx_from = 99 WHERE series = 1 AND tx_from = 1
UPDATE tx SET committed_at = 0 WHERE id = 2
UPDATE tx SET "end" = start - 1 WHERE id = 2
DELETE FROM series WHERE id = 2
UPDATE series SET versions = 9 WHERE id = 2
UPDATE series SET node = node || 'x' WHERE id = 2
"""
UNNOTICED = """
UPDATE series SET node = 'ohlcv:another:NAME:1m' WHERE id = 2
UPDATE answer SET start = start + 60000000000 WHERE series = 1 AND tx_from = 1
UPDATE answer SET said = 'absent' WHERE series = 1 AND tx_from = 1
UPDATE answer SET source = 'another' WHERE series = 1 AND tx_from = 1
UPDATE facts SET facts = '{{}}' WHERE series = 1
UPDATE pin SET tx = 1, as_of = (SELECT committed_at FROM tx WHERE id = 1)
UPDATE report SET report = '{{}}'
UPDATE fence SET token = token + 1
"""


@pytest.mark.parametrize(
    ("statement", "is_found"),
    [
        *((one, True) for one in EDITED.strip().splitlines()),
        *((one, False) for one in UNNOTICED.strip().splitlines()),
    ],
)
def test_which_edits_of_rows_verify_finds(store: PostgresStore, statement: str, is_found: bool) -> None:
    """As the page on operations says: rows beside bars have no checksums of ours on a server."""
    store.commit(SERIES, Write("v", 1, some_bars(ROWS, 1)))
    store.commit(OTHER, WRITE)
    store.declare(SERIES, SeriesFacts(calendar="XNYS"))
    store.pin("paper")
    store.archive_report(SERIES, {"errors": 0})
    store.open_fence(SERIES, [0], "a claim")
    assert store.verify().is_sound
    change(store, statement.format(single=ROWS * STEP))
    assert store.verify().is_sound is not is_found


@pytest.mark.parametrize("rows", [-1, 0, 2**31 - 1])
def test_an_entry_that_names_no_number_of_rows_is_damage(store: PostgresStore, rows: int) -> None:
    change(store, f"UPDATE chunk SET rows = {rows} WHERE id = 2")
    snapshot = store.read(SERIES, ALL)
    assert snapshot.damaged
    assert 0 < snapshot.frame.height < ROWS
    check_healed(store)


def test_a_list_with_a_name_of_nobody_is_damaged(store: PostgresStore) -> None:
    change(store, "UPDATE series SET node = 'nobody'")
    (problem,) = (one for one in store.verify().problems if "nobody" in one)
    assert problem.startswith("the list of series has 'nobody', which names none")
    for use in (store.list_series, store.info, store.compact):
        with pytest.raises(StoreCorruptError, match="which names none") as refused:
            use()
        assert refused.value.next_step


def test_single_rows_are_kept_whatever_the_server_takes_a_backslash_for(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    role = f"role_{uuid4().hex}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        admin.execute(f"ALTER ROLE {role} SET standard_conforming_strings = off")
        try:
            with PostgresStore(postgres_url.replace("://qmtl@", f"://{role}@")) as store:
                store.commit(SERIES, Write("v", 1, some_bars(0, 300), Coverage.of(minutes(0, 300))))
                found = store.read(SERIES, minutes(0, 300))
                assert found.frame.equals(some_bars(0, 300))
                assert store.verify().is_sound
        finally:
            admin.execute(f"DROP OWNED BY {role} CASCADE")
            admin.execute(f"DROP ROLE {role}")


def test_rows_that_a_policy_hides_are_an_error_and_not_lost(
    store: PostgresStore, postgres_url: str, postgres_server: PostgresServer
) -> None:
    role = f"role_{uuid4().hex}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        try:
            store.grant(Right.writer, role)
            schema = postgres_url.partition("schema=")[2]
            admin.execute(f"ALTER TABLE {schema}.blob ENABLE ROW LEVEL SECURITY")
            with (
                PostgresStore(postgres_url.replace("://qmtl@", f"://{role}@")) as other,
                pytest.raises(StoreError, match="row-level security"),
            ):
                other.read(SERIES, ALL)
            assert store.read(SERIES, ALL).frame.equals(WRITE.frame)
            assert store.verify().is_sound
        finally:
            store.grant(Right.none, role)
            admin.execute(f"DROP OWNED BY {role} CASCADE")
            admin.execute(f"DROP ROLE {role}")


def damage(store: PostgresStore, table: str, column: str) -> None:
    with store._database._pool.use() as connection:
        connection.script(DAMAGED.format(table=table, column=column).encode())


@pytest.mark.parametrize("stretch", [1, 1 << 17])
def test_a_page_that_the_server_finds_damaged(
    store: PostgresStore, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the transaction by its error; what is around the chunk is read all the same.

    Also if the bytes of chunks behind it are on their way then.
    """
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", stretch)
    store.commit(OTHER, WRITE)
    damage(store, "blob", "chunk")
    for snapshot in (store.read(SERIES, ALL), store.read_many([OTHER, SERIES], ALL)[SERIES]):
        assert snapshot.damaged
        assert 0 < snapshot.frame.height < ROWS
    assert store.read_many([OTHER, SERIES], ALL)[OTHER].frame.equals(WRITE.frame)
    with store._database.writing() as connection:
        connection.execute("INSERT INTO reason (tx, reason) VALUES (1, 'x')")
        for chunks in ([2], [1, 2]):
            with pytest.raises(psycopg.errors.DataCorrupted):
                list(connection.each("SELECT data FROM blob WHERE chunk = ?", [(one,) for one in chunks]))
        found = connection.execute("SELECT count(*) FROM reason").fetchone()
        assert found == (1,), "what was written before the damage is still there"


@pytest.mark.parametrize("asked", [1, 2, 4, 6])
def test_a_read_that_is_abandoned_between_portions_leaves_its_connection(
    store: PostgresStore, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", 1)
    more = some_bars(ROWS, 2 * ROWS)
    store.commit(SERIES, Write("v", 1, more))
    with store._database._pool.use() as connection:
        session = connection.session
    questions = iter(range(1, asked + 1))
    with pytest.raises(ReadAbandonedError):
        store.read(SERIES, minutes(0, 3 * ROWS), cancelled=lambda: next(questions, asked) == asked)
    assert store.read(SERIES, minutes(ROWS, 3 * ROWS)).frame.equals(more)
    with store._database._pool.use() as connection:
        assert connection.session == session


def test_flags_on_a_damaged_page_are_found_again(store: PostgresStore) -> None:
    store.commit(OTHER, WRITE)
    store.keep_flags([some_judged(store), some_judged(store)._replace(series=OTHER)])
    span = minutes(20, 30)
    by = {SERIES: RULES, OTHER: RULES}
    assert all(one.flags is not None for one in store.read_many(by, span, flags_by=by).values())
    damage(store, "kept_flags", "series")
    found = store.read_many(by, span, flags_by=by)
    assert found[SERIES].flags is not None
    assert found[OTHER].flags is None
    assert found[OTHER].frame.height == 10


@pytest.mark.parametrize("edit", ["start = reach_end + 1", '"end" = start - 1', "reach_end = -1"])
def test_flags_of_no_range_are_found_again(store: PostgresStore, edit: str) -> None:
    store.keep_flags([some_judged(store)])
    assert store.read(SERIES, minutes(20, 30), flags_by=RULES).flags is not None
    change(store, f"UPDATE kept_flags SET {edit} WHERE stretch = 0")
    found = store.read(SERIES, minutes(20, 30), flags_by=RULES)
    assert found.flags is None
    assert found.frame.height == 10


@pytest.fixture
def small_disk(postgres_server: PostgresServer) -> Iterator[Path]:
    """A file system of ten megabytes as a tablespace of the server."""
    place = postgres_server.folder / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip("this user cannot mount a file system")
    data = place / "space"
    data.mkdir()
    shutil.chown(data, "postgres")
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{data}'")
    yield place
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("DROP TABLESPACE small")
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def test_a_full_disk_keeps_nothing_by_half(small_disk: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.url("on_a_small_disk")
    noise = np.random.default_rng(0).normal(size=(5, 400_000)).cumsum(axis=1)
    columns = {
        name: pl.Series(noise[at]) for at, name in enumerate(("open", "high", "low", "close", "volume"))
    }
    big = some_bars(ROWS, 400_000).with_columns(**columns)
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        try:
            connection.execute("ALTER ROLE qmtl IN DATABASE postgres SET default_tablespace = small")
            with PostgresStore(url) as store:
                before = store.commit(SERIES, WRITE)
                with pytest.raises(StoreError, match="no room left for the store") as full:
                    store.commit(SERIES, Write("v", 1, big))
                assert "was not kept" in str(full.value)
                assert store._database.is_full(full.value.__cause__)
                snapshot = store.read(SERIES, minutes(0, ROWS + 400_000))
                assert snapshot.tx == before.tx
                assert snapshot.frame.equals(WRITE.frame)
                assert store.verify().is_sound
                texts = iter(np.random.default_rng(1).bytes(200_000).hex() for _ in range(999))
                while store.archive_report(SERIES, {"errors": 0, "warnings": 0, "text": next(texts)}):
                    pass
                assert store.read(SERIES, minutes(0, ROWS)).frame.equals(WRITE.frame)
                subprocess.run(["mount", "-o", "remount,size=90m", str(small_disk)], check=True)
                assert store.commit(SERIES, Write("v", 1, big)).added == 400_000
        finally:
            connection.execute("ALTER ROLE qmtl IN DATABASE postgres RESET default_tablespace")
            connection.execute("DROP SCHEMA IF EXISTS on_a_small_disk CASCADE")
