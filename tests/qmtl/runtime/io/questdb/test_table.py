"""Tables that are another store's, altered, gone or suspended are told apart; none is taken for damage."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.questdb import QuestDBServer

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]
ASKED = minutes(0, 8)


@pytest.fixture
def filled(questdb_url: str, opened: Opened) -> QuestDBStore:
    """A store with tables of its own, and eight bars."""
    store = opened(questdb_url)
    store.commit(SERIES, write(some_bars(0, 8), answered=Coverage.of(ASKED)))
    return store


def says(store: QuestDBStore, statement: str) -> None:
    store._rows.table.server.query(statement.replace("BARS", store._rows.table.name))


def test_a_second_catalog_is_refused(
    filled: QuestDBStore, questdb_server: QuestDBServer, opened: Opened, tmp_path: Path
) -> None:
    address = filled._rows.table.server.address
    with pytest.raises(InvalidRequestError, match="belongs to another catalog") as refused:
        opened(questdb_server.url(tmp_path / "other", address.name))
    assert filled.store_id in str(refused.value)
    assert opened(questdb_server.url(Path(address.catalog), address.name)).store_id == filled.store_id


def test_a_table_that_is_no_store_is_left_alone(
    filled: QuestDBStore, questdb_server: QuestDBServer, opened: Opened, tmp_path: Path
) -> None:
    says(filled, "CREATE TABLE desk_bars (price DOUBLE)")
    with pytest.raises(InvalidRequestError, match="is of no store"):
        opened(questdb_server.url(tmp_path / "other", "desk"))
    says(filled, "DROP TABLE desk_bars")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("ALTER TABLE BARS DROP COLUMN volume", "volume is missing"),
        ("ALTER TABLE BARS RENAME COLUMN volume TO vol", "volume is missing"),
        ("ALTER TABLE BARS ALTER COLUMN volume TYPE FLOAT", "volume is FLOAT, and was made as DOUBLE"),
        ("ALTER TABLE BARS DEDUP DISABLE", "tx is LONG, and was made as LONG in the key"),
    ],
)
def test_an_altered_table_is_told_and_not_taken_for_damage(
    filled: QuestDBStore, opened: Opened, questdb_url: str, statement: str, why: str
) -> None:
    says(filled, statement)
    filled._rows.table.settle()
    with pytest.raises(StoreCorruptError, match="was altered") as told:
        filled.commit(SERIES, write(some_bars(20, 8)))
    assert why in str(told.value)
    with pytest.raises(StoreCorruptError, match="was altered"):
        opened(questdb_url)
    if "DEDUP" not in statement:
        with pytest.raises(StoreCorruptError, match="was altered"):
            filled.read(SERIES, ASKED)
    says(filled, statement) if "DEDUP" in statement else None
    assert not filled.lost(SERIES)


def test_a_column_of_the_desk_is_no_alteration(filled: QuestDBStore) -> None:
    says(filled, "ALTER TABLE BARS ADD COLUMN note STRING")
    filled._rows.table.settle()
    filled.commit(SERIES, write(some_bars(8, 8)))
    assert_frame_equal(filled.read(SERIES, minutes(0, 16)).frame, some_bars(0, 16))


def test_a_dropped_table_is_told_and_heals(filled: QuestDBStore, opened: Opened, questdb_url: str) -> None:
    table = filled._rows.table
    says(filled, "DROP TABLE BARS")
    for fails in (
        lambda: filled.read(SERIES, ASKED),
        lambda: filled.commit(SERIES, write(some_bars(20, 8))),
        lambda: opened(questdb_url),
    ):
        with pytest.raises(StoreCorruptError, match="gone from QuestDB") as told:
            fails()
        assert table.statement in (told.value.next_step or "")
    assert not filled.lost(SERIES)
    says(filled, table.statement)
    assert filled.verify(repair=True).repaired
    assert filled.read(SERIES, ASKED).answered == Coverage()
    filled.commit(SERIES, write(some_bars(0, 8), answered=Coverage.of(ASKED)))
    assert_frame_equal(opened(questdb_url).read(SERIES, ASKED).frame, some_bars(0, 8))


def test_nobody_is_told_to_make_a_table_anew_where_another_may_have_the_rows(
    filled: QuestDBStore, opened: Opened, questdb_url: str
) -> None:
    """Then all bars would be unknown to a catalog whose rows are there."""
    table = filled._rows.table
    others = [table.at(place) for place in (1_234, 5_678)]
    for other in others:
        other.make_like(table)
    says(filled, "DROP TABLE BARS")
    with pytest.raises(StoreCorruptError, match="gone from QuestDB") as told:
        opened(questdb_url)
    said = told.value.next_step or ""
    assert said.startswith("make nothing anew")
    assert all(other.name in said for other in others)


def test_the_table_that_says_whose_rows_they_are_is_made_anew_by_the_statement_shown(
    filled: QuestDBStore, opened: Opened, questdb_url: str
) -> None:
    server, owner = filled._rows.table.server, filled._rows.table.beside("store")
    server.query(f"DROP TABLE {owner}")
    with pytest.raises(StoreCorruptError, match="nobody can tell whose") as told:
        opened(questdb_url)
    statement = re.search(rf"CREATE TABLE {owner} AS \(.*?\)\)", told.value.next_step or "")
    assert statement
    server.query(statement[0])
    store = opened(questdb_url)
    assert store.verify().is_sound
    assert_frame_equal(store.read(SERIES, ASKED).frame, some_bars(0, 8))


def test_all_tables_that_are_gone_are_made_anew_by_the_statements_shown(
    filled: QuestDBStore, opened: Opened, questdb_url: str
) -> None:
    table = filled._rows.table
    for name in (table.name, table.beside("store")):
        table.server.query(f"DROP TABLE {name}")
    with pytest.raises(StoreCorruptError, match="gone from QuestDB") as told:
        opened(questdb_url)
    said = told.value.next_step or ""
    statements = said.partition("make them anew: ")[2].partition("; then ")[0].split("; ")
    assert len(statements) == 2
    for statement in statements:
        table.server.query(statement)
    store = opened(questdb_url)
    assert store.verify(repair=True).repaired
    store.commit(SERIES, write(some_bars(0, 8), answered=Coverage.of(ASKED)))
    assert_frame_equal(opened(questdb_url).read(SERIES, ASKED).frame, some_bars(0, 8))


def test_a_name_that_is_mistyped_is_told_with_the_right_one(
    filled: QuestDBStore, opened: Opened, questdb_url: str
) -> None:
    name = filled._rows.table.server.address.name  # type: ignore[attr-defined]
    says(filled, "CREATE TABLE IF NOT EXISTS 'book-_store' (x LONG)")  # no statement could ask it unquoted
    with pytest.raises(InvalidRequestError, match=f"not in tables named {name}x_") as told:
        opened(questdb_url.replace(f"&name={name}", f"&name={name}x"))
    assert told.value.next_step == f"write &name={name} in the address"
    assert filled.verify().is_sound


def test_a_suspended_table_is_told_with_its_cure(filled: QuestDBStore) -> None:
    says(filled, "ALTER TABLE BARS SUSPEND WAL WITH 28, 'No space left on device'")
    with pytest.raises(StoreError, match="has suspended the table") as told:
        filled.commit(SERIES, write(some_bars(20, 8)))
    assert "No space left" in str(told.value)
    assert "RESUME WAL" in (told.value.next_step or "")
    assert_frame_equal(filled.read(SERIES, ASKED).frame, some_bars(0, 8))
    says(filled, "ALTER TABLE BARS RESUME WAL")
    filled.commit(SERIES, write(some_bars(20, 8)))
    assert_frame_equal(filled.read(SERIES, minutes(20, 28)).frame, some_bars(20, 8))


def test_rows_that_are_not_applied_yet_are_waited_for_and_not_lost(filled: QuestDBStore) -> None:
    """As after a restart of the server: what the catalog names is written, and not shown yet."""
    table = filled._rows.table
    says(filled, "ALTER TABLE BARS SUSPEND WAL")
    table.server.query(f"UPDATE {table.name} SET close = close")  # it waits, too
    with filled._database.reading() as connection:
        named = filled._view(connection, SERIES).chunks(0, 10**18)
    rows = filled._rows
    far = [(SERIES, named[0]._replace(rows=9))]  # one more than is shown
    with pytest.raises(StoreError, match="has suspended"):
        rows.read(far)
    assert not filled.lost(SERIES)
