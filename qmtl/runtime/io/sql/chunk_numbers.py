"""The number that a chunk has in a copy: its own, or one that no other rows have where that is needed."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from qmtl.runtime.io.sql.database import Side
from qmtl.runtime.io.sql.dialect import PROVEN, Connection

_ID, _SERIES, _CHECKSUM = map(PROVEN["chunk"].index, ("id", "series", "checksum"))


def number_there(source: Side, target: Connection, entry: Any) -> int:
    """The number of an entry of the index in a copy; the same each time the copy is begun.

    A database counts its chunks, so another store has the same numbers. Elsewhere the number of such a chunk
    is one of 62 bits that is made of the store and of what the chunk holds; a number that came from there
    stays as it is.
    """
    if target.elsewhere is None or source.connection.elsewhere is not None:
        return int(entry[_ID])
    named = f"{source.database.store_id} {entry[_ID]} {entry[_SERIES]} {entry[_CHECKSUM].hex()}"
    return 1 + (int.from_bytes(blake3(named.encode()).digest()[:8]) >> 2)
