"""Which rows of a plain chunk can be proven by themselves, so that a read of a few asks for a few.

The catalog keeps a list of such parts beside a chunk whose rows lie elsewhere, in place of its bytes. It
proves itself, and belongs to one checksum of a chunk. A chunk without a sound list is read as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from blake3 import blake3

from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import PLAIN, pack_plain
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.view import BYTES
from qmtl.runtime.io.store.rows import Rows

# Rows of a part, but for the last one of a chunk. More would be read in vain, fewer take more proofs: half a
# part at each end of a range is read beside it. Lists that were made before have parts of 512.
PART_ROWS = 256
# First and last stamp, rows and checksum of each part; before them, the checksum of all of it.
_PART = struct.Struct("<qqI32s")
_PROOF = 32


def list_of(rows: Rows, checksum: bytes) -> bytes:
    """The list of the parts of a chunk, by its rows and its checksum."""
    parts = b"".join(
        _PART.pack(part.first_ts, part.last_ts, part.rows, part.checksum)
        for part in (
            pack_plain(rows.cut(first, min(first + PART_ROWS, rows.size)))
            for first in range(0, rows.size, PART_ROWS)
        )
    )
    return _proof(parts, checksum) + parts


def parts_in(data: bytes, chunk: Chunk, low: int = EARLIEST, high: int = LATEST) -> list[tuple[int, Chunk]]:
    """The parts of a chunk by its list that may have rows in `low <= ts <= high`, in order.

    Each as a chunk under its number, with the position of its first row. None where the list is not sound.
    """
    proof, parts = data[:_PROOF], data[_PROOF:]
    if proof != _proof(parts, chunk.checksum):
        return []
    found, row = [], 0
    for first, last, rows, checksum in _PART.iter_unpack(parts):
        if last >= low and first <= high:
            found.append((row, Chunk(chunk.id, first, last, rows, PLAIN, checksum)))
        row += rows
    return found


def parts_of(
    connection: Connection, chunks: Sequence[tuple[Chunk, tuple[int, int]]]
) -> list[list[tuple[int, Chunk]]]:
    """Of each chunk `parts_in` between its two stamps; none where they are not known."""
    if not chunks:
        return []
    found = connection.each(BYTES, [(chunk.id,) for chunk, _ in chunks])
    try:
        lists = [next(iter(rows), None) for rows in found]
    except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
        if not connection.dialect.is_damage(failure):
            raise
        return [[] for _ in chunks]
    return [
        parts_in(row[0], chunk, *ends) if row is not None and isinstance(row[0], bytes) else []
        for (chunk, ends), row in zip(chunks, lists, strict=True)
    ]


def _proof(parts: bytes, checksum: bytes) -> bytes:
    return blake3(parts + checksum).digest()
