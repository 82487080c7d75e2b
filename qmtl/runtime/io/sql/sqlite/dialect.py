"""What SQLite says in its own words, and the connection that knows them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Sequence
from typing import Any, cast
from zlib import crc32

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.chunks import RowsElsewhere
from qmtl.runtime.io.sql.dialect import LIVE, Answer, Connection, Dialect, Values

# Series of which a connection remembers something.
_REMEMBERED = 1_024


def row_check(*values: object) -> int:
    """The checksum of a row; `row_check(...)` in SQL on every connection."""
    return crc32(repr(values).encode())  # by hand in `appended_rows`


class SqliteConnection(sqlite3.Connection):
    """A connection of sqlite3 that proves rows, and reads damaged text up to its checksum."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Whether the rows that it writes get their checksums, see `proofs`.
        self.proves = False
        self.elsewhere: RowsElsewhere | None = None
        # The rows of the list of series up to this id are sound, and each is found by its name.
        self.series_sound_to = 0
        self._remembered: dict[Hashable, Any] = {}
        self._remembered_at = (0, 0)
        # SQLite has no checksums of its own.
        self.create_function("row_check", -1, row_check, deterministic=True)
        self.text_factory = _as_text

    # The clock of the machine is that of whoever asks; and a transaction goes on after any error.
    now = None
    missing_behind = ""
    survivable = sqlite3.Connection.execute

    @property
    def dialect(self) -> Dialect:
        return SQLITE

    def each(self, sql: str, values: Sequence[Values]) -> Iterator[Iterable[Any]]:
        return (self.execute(sql, one) for one in values)

    def each_in_turn(
        self, sql: str, portions: Iterable[Sequence[Values]]
    ) -> Generator[Iterable[Iterable[Any]], None, None]:
        return (self.each(sql, values) for values in portions)

    def queue(self, sql: str, values: Iterable[Values]) -> None:
        self.executemany(sql, values)

    def remembered(self, key: Hashable, find: Callable[[], Answer]) -> Answer:
        # The former tells of commits of others, and begins the transaction's snapshot; the latter of its own.
        at = self.execute("PRAGMA data_version").fetchone()[0], self.total_changes
        if at != self._remembered_at or len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
            self._remembered_at = at
        found = self._remembered.get(key)
        if found is None:
            found = self._remembered[key] = find()
        return cast(Answer, found)

    def batches(self, sql: str, size: int) -> Iterator[list[Any]]:
        found = self.execute(sql)
        while some := found.fetchmany(size):
            yield some


def _as_text(data: bytes) -> str:
    """Damaged text must not stop a reader before it has looked at the checksum."""
    return data.decode(errors="replace")


def proof_of(*columns: str) -> str:
    """The checksum of columns, as SQL."""
    return f"row_check({', '.join(columns)})"


def _from_float(value: float | None) -> Any:
    # SQLite turns NaN into null; quarantine keeps what came, so NaN is kept by name.
    return "nan" if value is not None and value != value else value


def _to_float(value: Any) -> float | None:
    return float("nan") if value == "nan" else value


def _is_damage(failure: Exception) -> bool:
    # An operational error is of the disk or of a lock, and says nothing of the bytes.
    return isinstance(failure, sqlite3.DatabaseError) and not isinstance(failure, sqlite3.OperationalError)


def _inspected(connection: Connection) -> Iterator[str]:
    try:
        for (text,) in connection.execute("PRAGMA integrity_check(20)").fetchall():
            if text != "ok":
                yield f"SQLite says: {text}"
    except sqlite3.DatabaseError as failure:
        if not _is_damage(failure):
            raise
        yield f"SQLite says: {failure}"


def _listed(text: str, columns: Sequence[str]) -> str:
    names = [name.removeprefix("text:") for name in columns]
    cells = ", ".join(f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(names))
    return f"SELECT {cells} FROM json_each({text})"


def _may_hide(connection: Connection, names: Collection[SeriesId]) -> bool:
    assert isinstance(connection, SqliteConnection)
    # A transaction that was undone may have taken the newest names back.
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM series").fetchone()
    sound_to = min(connection.series_sound_to, newest)
    # Behind what this connection has looked at. Damage that happens later is met by the next process.
    behind = f"WHERE id > {sound_to}" if sound_to else ""
    count, last, unsound, hidden, not_found = connection.execute(
        f"SELECT count(*), coalesce(max(id), {sound_to}), coalesce(sum(NOT ({SQLITE.sound['series']})), 0),"
        " coalesce(sum(node IN (SELECT value FROM json_each(?))), 0),"
        " coalesce(sum((SELECT id FROM series AS found WHERE found.node = listed.node) IS NOT id), 0)"
        f" FROM series AS listed NOT INDEXED {behind}",
        (json.dumps([series.text for series in names]),),
    ).fetchone()
    # Other names are never taken away, so that a hole in their numbers is one that was.
    is_sound = count == last - sound_to and not unsound
    connection.series_sound_to = last if is_sound and not not_found else 0
    return bool(not is_sound or hidden)


def _rebuild(connection: Connection) -> None:
    """Put the rows of each ordered table in order again: a tree that is out of order may hold a row twice.

    A scan needs no order. Rows that cannot be any, rows of a key that is there already, and chunks of a
    series that does not exist are dropped; the counts of their series tell that they are gone.
    """
    connection.execute("REINDEX")
    connection.execute("DELETE FROM chunk WHERE series NOT IN (SELECT id FROM series)")
    for table in ("hot", "answer", "facts"):
        # With its checksums: a row that was damaged before stays one that does not match.
        connection.execute(f"CREATE TEMP TABLE scanned AS SELECT * FROM {table}")
        connection.execute(f"DELETE FROM {table}")
        connection.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM scanned")
        connection.execute("DROP TABLE scanned")
    # What a search did not find was written once more: the newer one counts.
    connection.execute(
        "DELETE FROM hot WHERE tx_to = ?1 AND EXISTS (SELECT 1 FROM hot AS newer WHERE newer.tx_to = ?1"
        " AND newer.series = hot.series AND newer.ts = hot.ts AND newer.tx_from > hot.tx_from)",
        (LIVE,),
    )


SQLITE = Dialect(
    proof=lambda columns: proof_of(*columns),
    as_bytes=lambda column: f"CAST({column} AS BLOB)",
    same="IS",
    listed=_listed,
    number_in=lambda column, name: f"json_extract({column}, '$.{name}')",
    row_id="rowid",
    by_scan="NOT INDEXED",
    is_server=False,
    from_float=_from_float,
    to_float=_to_float,
    name="SQLite",
    inspected=_inspected,
    is_damage=_is_damage,
    may_hide=_may_hide,
    rebuild=_rebuild,
    checksum=crc32,
)
