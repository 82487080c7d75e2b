"""A failure of SQLite is an error that says what to do; a full disk is one, whatever SQLite calls it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.sqlite.failures import is_full, meaning


def failure(code: int) -> sqlite3.OperationalError:
    made = sqlite3.OperationalError("as SQLite says")
    made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    ("code", "kind", "what"),
    [
        (sqlite3.SQLITE_FULL, StoreError, "no room left"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreError, "no room left"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StoreError, "no room left"),
        (sqlite3.SQLITE_IOERR_READ, StoreError, "refuses to be read"),
        (sqlite3.SQLITE_READONLY, StoreError, "cannot be written"),
        (sqlite3.SQLITE_CANTOPEN, StoreError, "cannot be opened"),
        (sqlite3.SQLITE_BUSY, StoreLockedError, "another program"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreLockedError, "another program"),  # an extended code
        (sqlite3.SQLITE_CORRUPT, StoreCorruptError, "damaged"),
        (sqlite3.SQLITE_NOTADB, StoreCorruptError, "is not a store"),
        (sqlite3.SQLITE_AUTH, StoreError, "SQLite failed"),  # one that has no meaning of its own
    ],
)
def test_each_code_has_its_error(code: int, kind: type[StoreError], what: str) -> None:
    found = meaning(failure(code), Path("bars"), None, None)
    assert type(found) is kind
    assert what in str(found)
    assert "as SQLite says" in str(found)


def test_the_series_and_the_range_are_named() -> None:
    series = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
    found = meaning(failure(sqlite3.SQLITE_BUSY), Path("bars"), series, Span(0, 60 * 10**9))
    assert str(series) in str(found)
    assert "1970-01-01T00:01" in str(found)


def test_what_cannot_even_be_said_in_text_is_damage() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert type(meaning(error, Path("bars"), None, None)) is StoreCorruptError


def test_a_real_database_that_may_not_grow_is_full(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "small") as database:
        database.execute("create table t (x)")
        database.execute("pragma max_page_count = 3")
        with pytest.raises(sqlite3.OperationalError) as full:
            database.execute("insert into t values (zeroblob(100000))")
    database.close()
    assert is_full(full.value)
    assert not is_full(failure(sqlite3.SQLITE_IOERR_READ))
