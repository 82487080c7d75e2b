"""Tables are copied as they are, column for column; damage is not copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.runtime.io.sql.copied_tables import TABLES, columns_of
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.sdk.store_copy import copy_store
from tests.qmtl.runtime.io.sql.copies import (
    FOLDER,
    ON_A_SERVER,
    SERVER,
    is_store,
)


@pytest.mark.parametrize("kind", [FOLDER, pytest.param(SERVER, marks=ON_A_SERVER)])
def test_every_column_is_copied(place_of: Callable[[str], str], script: ModuleType, kind: str) -> None:
    """But for checksums, which each engine makes itself, and a number that only tells what is new."""
    with script.opened(place_of(kind)) as store, store._database.reading() as connection:
        assert {*TABLES, "blob"} == _tables(connection)
        for table in TABLES:
            row = set(_columns(connection, table)) - {"crc"}
            row -= {"number"} if table == "accepted" else set()
            copied = {name.strip('"') for name in columns_of(table)}
            assert row == copied - ({"rowid"} if kind == FOLDER else set()), table


def _tables(connection: Connection) -> set[str]:
    listed = {
        "SQLite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
        "PostgreSQL": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
    }
    return {name for (name,) in connection.execute(listed[connection.dialect.name]).fetchall()}


def _columns(connection: Connection, table: str) -> list[str]:
    listed = {
        "SQLite": "SELECT name FROM pragma_table_info(?)",
        "PostgreSQL": "SELECT attname FROM pg_attribute WHERE attrelid = ?::text::regclass AND attnum > 0",
    }
    return [name for (name,) in connection.execute(listed[connection.dialect.name], (table,)).fetchall()]


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE blob SET data = zeroblob(length(data)) WHERE chunk = 1", "chunk 1 do not match"),
        ("DELETE FROM blob WHERE chunk = 1", "chunk 1 are gone"),
        ("UPDATE chunk SET rows = rows - 1 WHERE id = 1", "1 row of the table 'chunk'"),
        ("UPDATE tx SET committed_at = 3 WHERE id = 1", "1 row of the table 'tx'"),
        ("UPDATE pin SET as_of = 3", "the list of pins"),
        ("UPDATE hot SET data = zeroblob(length(data))", "3 rows of the table 'hot'"),
        ("DELETE FROM answer", "damaged"),
    ],
)
def test_a_damaged_store_is_not_copied(
    stored: str, target: str, script: ModuleType, statement: str, match: str
) -> None:
    import sqlite3

    connection = sqlite3.connect(Path(stored) / DATABASE)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorruptError, match=match) as refused:
        copy_store(stored, target)
    assert refused.value.path == stored
    assert not is_store(target)
