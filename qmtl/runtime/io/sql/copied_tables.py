"""The tables of a store as data, and how their rows are copied into another store, by whichever engines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.words import counted
from qmtl.runtime.io.sql import catalogs
from qmtl.runtime.io.sql.chunk_numbers import number_there
from qmtl.runtime.io.sql.database import Side
from qmtl.runtime.io.sql.dialect import PROVEN, Connection
from qmtl.runtime.io.sql.single_rows import Stored, unpack_single

# All but the packed bytes, which are copied first: see `packed_copies`.
TABLES = tuple(PROVEN)
# What no proof of a row names: bytes that prove themselves, and numbers that stay as they are.
_BESIDE = {"hot": ["data"], "lost": ["rowid"]}
# Settings that an engine keeps for itself, and one that says that a copy is not finished.
UNFINISHED = "unfinished"
_OWN = ("application", "format", "timeline", UNFINISHED, *catalogs.SETTINGS)
_NOT_COPIED = f"name NOT IN ({', '.join(map(repr, _OWN))})"
REPAIR = "see what `qmtl store verify` says of the store; once repaired (`--repair`) it is copied"
# How chunks are packed, see `packed_as`.
_PACKED = "SELECT id, codec, checksum, bytes FROM chunk"
# Rows that are held at once. Reports are the longest: some ten thousand bytes each.
AT_ONCE = 500


def columns_of(table: str) -> list[str]:
    """The columns that are copied; checksums are made anew."""
    return [*(name.removeprefix("text:") for name in PROVEN[table]), *_BESIDE.get(table, ())]


def count(connection: Connection, table: str) -> int:
    """How many rows of a table are copied."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {_which(table)}").fetchone()
    return int(rows)


def copy_rows(source: Side, target: Connection, table: str) -> Iterator[int]:
    """Copy a table, a few rows at a time: how many they were. They replace what is in the table.

    Raises `StoreCorruptError` for a row that is not what was written.
    """
    packed = {}
    if table == "chunk" and (source.connection.elsewhere is not None or target.elsewhere is not None):
        packed = {number: how for number, *how in target.execute(_PACKED).fetchall()}
    target.execute(f"DELETE FROM {table} WHERE {_which(table)}")
    insert = insertion(target, table)
    for rows in _sound_rows(source, table):
        if table == "quarantine":
            rows = [_as_kept(row, source.connection, target) for row in rows]
        if packed:
            numbers = [number_there(source, target, row) for row in rows]
            rows = [
                packed_as(row, number, *packed[number]) for row, number in zip(rows, numbers, strict=True)
            ]
        target.executemany(insert, rows)
        yield len(rows)


def _sound_rows(source: Side, table: str) -> Iterator[list[Any]]:
    found = source.connection.batches(
        f"SELECT {', '.join(columns_of(table))}, {source.connection.dialect.sound[table]} FROM {table}"
        f" WHERE {_which(table)}",
        AT_ONCE,
    )
    while True:
        with source.naming():
            batch = next(found, [])
            rows = [row[:-1] for row in batch if row[-1]]
            refuse_damage(table, len(batch) - len(rows))
            if table == "hot":
                refuse_damage(table, sum(_damaged_singles(rows)))
        if not rows:
            return
        yield rows


def insertion(target: Connection, table: str) -> str:
    """The statement that enters a row, with the checksum that the engine of the target wants."""
    columns, dialect = columns_of(table), target.dialect
    proven = [
        dialect.as_bytes(f"?{n}") if is_text else f"?{n}"
        for n, (_, is_text) in enumerate(dialect.columns(table), start=1)
    ]
    values = ", ".join(f"?{n}" for n in range(1, len(columns) + 1))
    proof = dialect.proof(proven) or "NULL"
    return f"INSERT INTO {table} ({', '.join(columns)}, crc) VALUES ({values}, {proof})"


def refuse_damage(table: str, rows: int) -> None:
    """Raise `StoreCorruptError` if any row is damaged."""
    if rows:
        raise StoreCorruptError(
            f"{counted(rows, 'row')} of the table {table!r} are not what was written",
            why="a copy of a damaged store would pass for a whole one",
            next_step=REPAIR,
        )


def packed_as(entry: Any, number: int, codec: int, checksum: bytes, size: int) -> list[Any]:
    """An entry of the index, of rows that were packed anew, with a number. size: of the packed bytes."""
    anew = {"id": number, "codec": codec, "checksum": checksum, "bytes": size}
    return [anew.get(name, value) for name, value in zip(columns_of("chunk"), entry, strict=True)]


def _which(table: str) -> str:
    return _NOT_COPIED if table == "setting" else "1 = 1"


def _damaged_singles(rows: list[Any]) -> Iterator[int]:
    series, _, ts, tx_from, *_ = (itemgetter(at) for at in range(4))
    for number, found in groupby(rows, key=series):
        stored = [Stored(ts(row), tx_from(row), row[-1]) for row in found]
        yield len(unpack_single(number, stored)[1])


def _as_kept(row: Any, source: Connection, target: Connection) -> list[Any]:
    """A row of the quarantine: engines keep numbers that are none in ways of their own."""
    first, last = PROVEN["quarantine"].index("open"), PROVEN["quarantine"].index("volume")
    values = (target.dialect.from_float(source.dialect.to_float(value)) for value in row[first : last + 1])
    return [*row[:first], *values, *row[last + 1 :]]
