"""Packed bytes of chunks, which never change, copied a few at a time: what is there already is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.chunk_numbers import number_there
from qmtl.runtime.io.sql.chunks import Chunk, RowsElsewhere
from qmtl.runtime.io.sql.codec import checksum_of, decode, pack_many, pack_plain
from qmtl.runtime.io.sql.copied_tables import REPAIR, columns_of, insertion, packed_as, refuse_damage
from qmtl.runtime.io.sql.database import Side
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.store.rows import allocate

# Entries of the index that are compared at once, and packed bytes that are held at once.
ENTRIES, BYTES = 256, 4 << 20
_ID, _SERIES, _FIRST, _LAST, _ROWS, _CHECKSUM, _SIZE = (
    columns_of("chunk").index(name)
    for name in ("id", "series", "first_ts", "last_ts", "rows", "checksum", "bytes")
)


class Some(NamedTuple):
    """What became of a few chunks. last: the number of the last one; there: those that were there already."""

    last: int
    there: int
    copied: int
    bytes: int


def copy_some(source: Side, target: Connection, after: int) -> Some | None:
    """Copy what the target lacks of the next few chunks behind the number `after`; None if there are no more.

    A chunk is entered as it is now, whatever its versions; another one that has its number is replaced.
    Raises `StoreCorruptError` for bytes that are not what was written.
    """
    with source.naming():
        entries = _entries(source.connection, after)
    if not entries:
        return None
    missing = _missing(source, target, entries)
    target.executemany("DELETE FROM blob WHERE chunk = ?", [(entry[_ID],) for entry in missing])
    if target.elsewhere is None:
        target.executemany("DELETE FROM chunk WHERE id = ?", [(entry[_ID],) for entry in missing])
    for portion in _portions(missing):
        with source.naming():
            data = _bytes_of(source.connection, portion)
            nodes = _nodes(source.connection) if target.elsewhere is not None else {}
        if target.elsewhere is not None:
            numbered = [(entry, number_there(source, target, entry)) for entry in portion]
            portion = _sent(target.elsewhere, nodes, numbered, data)
        else:
            if source.connection.elsewhere is not None:
                portion, data = _packed_here(portion, data)
            target.executemany("INSERT INTO blob (chunk, data) VALUES (?, ?)", list(data.items()))
        target.executemany(insertion(target, "chunk"), portion)
    return Some(
        int(entries[-1][_ID]),
        len(entries) - len(missing),
        len(missing),
        sum(entry[_SIZE] for entry in missing),
    )


def _missing(source: Side, target: Connection, entries: list[Any]) -> list[Any]:
    """Those of some entries whose rows the target lacks."""
    numbers = [number_there(source, target, entry) for entry in entries]
    wanted = target.dialect.listed("?", ["number"])
    there = dict(
        target.execute(
            f"WITH wanted AS ({wanted}) SELECT id, checksum FROM wanted JOIN chunk ON id = number",
            (json.dumps([[number] for number in numbers]),),
        ).fetchall()
    )
    if source.connection.elsewhere is None and target.elsewhere is None:
        return [entry for entry in entries if there.get(entry[_ID]) != entry[_CHECKSUM]]
    # They are packed anew, and a number of rows that lie elsewhere is never used again.
    return [entry for entry, number in zip(entries, numbers, strict=True) if number not in there]


def read_back(target: Connection) -> int:
    """Read all packed bytes against their checksums; how many bytes there are."""
    size, after = 0, -1
    while entries := _entries(target, after):
        for portion in _portions(entries):
            _bytes_of(target, portion)
        size, after = size + sum(entry[_SIZE] for entry in entries), entries[-1][_ID]
    return size


def _entries(connection: Connection, after: int) -> list[Any]:
    found = connection.execute(
        f"SELECT {', '.join(columns_of('chunk'))}, {connection.dialect.sound['chunk']} FROM chunk"
        " WHERE id > ? ORDER BY id LIMIT ?",
        (after, ENTRIES),
    ).fetchall()
    refuse_damage("chunk", sum(not is_sound for *_, is_sound in found))
    return [row[:-1] for row in found]


def _portions(entries: list[Any]) -> Iterator[list[Any]]:
    """As many chunks at a time as may be held in memory."""
    portion: list[Any] = []
    size = 0
    for entry in entries:
        if portion and size + entry[_SIZE] > BYTES:
            yield portion
            portion, size = [], 0
        portion.append(entry)
        size += entry[_SIZE]
    if portion:
        yield portion


def _packed_here(entries: list[Any], data: dict[int, bytes]) -> tuple[list[Any], dict[int, bytes]]:
    """Entries of plain rows, and their bytes, as a database keeps them."""
    pieces = [allocate(entry[_ROWS]) for entry in entries]
    for entry, piece in zip(entries, pieces, strict=True):
        decode(data[entry[_ID]], piece)
    packed = pack_many(pieces)
    return (
        [
            packed_as(entry, entry[_ID], one.codec, one.checksum, len(one.blob))
            for entry, one in zip(entries, packed, strict=True)
        ],
        {entry[_ID]: one.blob for entry, one in zip(entries, packed, strict=True)},
    )


def _sent(
    elsewhere: RowsElsewhere,
    nodes: dict[int, SeriesId],
    numbered: list[tuple[Any, int]],
    data: dict[int, bytes],
) -> list[list[Any]]:
    """Write rows to where those of the target lie; their entries, with their numbers there."""
    sent = []
    for series, some in groupby(sorted(numbered, key=_series_of), _series_of):
        packed = {}
        for entry, number in some:
            rows = allocate(entry[_ROWS])
            decode(data[entry[_ID]], rows)
            packed[number] = one = pack_plain(rows)
            sent.append(packed_as(entry, number, one.codec, one.checksum, len(one.blob)))
        elsewhere.write_as(nodes[series], list(packed), list(packed.values()))
    return sent


def _series_of(numbered: tuple[Any, int]) -> int:
    return int(numbered[0][_SERIES])


def _bytes_of(connection: Connection, entries: list[Any]) -> dict[int, bytes]:
    """Packed bytes of chunks, by number. Raises `StoreCorruptError` if they do not match their checksums."""
    if connection.elsewhere is None:
        wanted = connection.dialect.listed("?", ["number"])
        found = dict(
            connection.execute(
                f"WITH wanted AS ({wanted}) SELECT chunk, data FROM wanted JOIN blob ON chunk = number",
                (json.dumps([[entry[_ID]] for entry in entries]),),
            ).fetchall()
        )
    else:
        found = _from_elsewhere(connection, connection.elsewhere, entries)
    for entry in entries:
        data = found.get(entry[_ID])
        if not isinstance(data, bytes) or checksum_of(data) != entry[_CHECKSUM]:
            raise _damaged(connection, entry, "are gone" if data is None else "do not match their checksum")
    return found


def _from_elsewhere(connection: Connection, elsewhere: RowsElsewhere, entries: list[Any]) -> dict[int, bytes]:
    nodes = _nodes(connection)
    chunks = [(nodes[entry[_SERIES]], Chunk(entry[_ID], *entry[_FIRST : _CHECKSUM + 1])) for entry in entries]
    found = zip(entries, elsewhere.read(chunks), strict=True)
    return {entry[_ID]: data for entry, data in found if isinstance(data, bytes)}


def _nodes(connection: Connection) -> dict[int, SeriesId]:
    found = connection.execute("SELECT id, node FROM series").fetchall()
    return {number: SeriesId.parse(node) for number, node in found}


def _damaged(connection: Connection, entry: Any, how: str) -> StoreCorruptError:
    node = connection.execute("SELECT node FROM series WHERE id = ?", (entry[_SERIES],)).fetchone()
    return StoreCorruptError(
        f"the packed bytes of chunk {entry[_ID]} {how}",
        series=None if node is None else SeriesId.parse(node[0]),
        span=Span(entry[_FIRST], entry[_LAST] + 1),
        why="a copy of a damaged store would pass for a whole one",
        next_step=REPAIR,
    )
