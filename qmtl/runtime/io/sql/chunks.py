"""What the index says of a chunk, and the system where its bars lie if that is not the catalog itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.codec import DamagedError, Packed


class Chunk(NamedTuple):
    """What the index says of a chunk; both stamps are those of rows."""

    id: int
    first_ts: int
    last_ts: int
    rows: int
    codec: int
    checksum: bytes


class RowsElsewhere(Protocol):
    """The bars of chunks, in a system that the catalog shares no transaction with.

    Each chunk lies there under a number that is never used again, so that a writer can only add to what
    others have written: rows under a number that the catalog does not name are nobody's.
    """

    def write(self, series: SeriesId, chunks: Sequence[Packed]) -> list[int]:
        """Write chunks of `pack_plain`, and read them back until all of them are there; their numbers.

        Raises `StoreError` where that cannot be done. What was written by then stays without a name.
        """
        ...

    def write_as(self, series: SeriesId, numbers: Sequence[int], chunks: Sequence[Packed]) -> None:
        """As `write`, under given numbers: those that no other rows have, or ever had.

        Where they are there already, they stay what they are.
        """
        ...

    def read(self, chunks: Sequence[tuple[SeriesId, Chunk]]) -> list[bytes | DamagedError]:
        """Each chunk as the bytes of `pack_plain`, whatever the rows are, or why there are none.

        Raises `StoreError` where nobody can say what is there: that is no damage.
        """
        ...

    def are_in(self, place: int, chunks: Sequence[Chunk]) -> bool:
        """Whether chunks of `write` lie in the place that the catalog names, see `catalogs`.

        Asked in the transaction that is about to name them: they may have been sent to one that was left.
        """
        ...
