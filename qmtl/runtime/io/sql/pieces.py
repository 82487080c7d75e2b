"""Which rows of which chunks a read needs: whole chunks, and of those across an end what lies within."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import DamagedError, Packed, Part, part_between
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.sql.views import chunks_of, packed_of


class Piece(NamedTuple):
    """Some rows of a chunk.

    packed: its bytes, or why they cannot be had; None if all pages are wanted, and nothing was read yet.
    stored: these rows as a chunk of their own, where others lie beside them elsewhere.
    """

    view: View
    chunk: Chunk
    part: Part
    packed: Packed | DamagedError | None = None
    stored: Chunk | None = None


class Wanted(NamedTuple):
    """The chunks of a view that a range meets.

    within: the stamps of the first and the last row that there is a use for.
    """

    view: View
    within: tuple[int, int]
    chunks: list[Chunk]

    @property
    def most_rows(self) -> int:
        """No more rows than these are decoded for it."""
        return sum(chunk.rows for chunk in self.chunks)


def wanted_of(views: Sequence[View], span: Span, contexts: Sequence[int]) -> list[Wanted]:
    """Of each view its chunks with rows possibly in the span."""
    found = []
    for view, context, chunks in zip(
        views, contexts, chunks_of(views, span.start, span.end - 1), strict=True
    ):
        beside = context * view.series.timeframe.step
        found.append(Wanted(view, (span.start - beside, span.end - 1 + beside), chunks))
    return found


def pieces_of(wanted: Sequence[Wanted]) -> list[list[Piece]]:
    """What is to be decoded: of a chunk that lies across an end of the range, the pages within.

    Bytes of those that do are read here, for they say which of their pages are wanted.
    """
    if wanted and wanted[0].view.connection.elsewhere is not None:
        return _elsewhere(wanted)
    across = [
        (view, chunk) for view, within, chunks in wanted for chunk in chunks if not _is_within(chunk, within)
    ]
    coming = iter(packed_of(across))
    return [
        [
            Piece(view, chunk, Part(0, chunk.rows))
            if _is_within(chunk, within)
            else _part(view, chunk, next(coming), within)
            for chunk in chunks
        ]
        for view, within, chunks in wanted
    ]


def _elsewhere(wanted: Sequence[Wanted]) -> list[list[Piece]]:
    """The same where rows come as they are: of a chunk across an end, those parts that are wanted."""
    from qmtl.runtime.io.sql.chunk_parts import parts_of  # for such stores alone

    across = [
        (chunk, within) for _, within, chunks in wanted for chunk in chunks if not _is_within(chunk, within)
    ]
    coming = iter(parts_of(wanted[0].view.connection, across))
    return [
        [
            piece
            for chunk in chunks
            for piece in (
                [Piece(view, chunk, Part(0, chunk.rows))]
                if _is_within(chunk, within)
                else _parts(view, chunk, next(coming))
            )
        ]
        for view, within, chunks in wanted
    ]


def _parts(view: View, chunk: Chunk, parts: list[tuple[int, Chunk]]) -> list[Piece]:
    wanted = [Piece(view, chunk, Part(first, part.rows), None, part) for first, part in parts]
    return wanted or [Piece(view, chunk, Part(0, chunk.rows))]


def _is_within(chunk: Chunk, ends: tuple[int, int]) -> bool:
    return ends[0] <= chunk.first_ts and chunk.last_ts <= ends[1]


def _part(view: View, chunk: Chunk, packed: Packed | DamagedError, ends: tuple[int, int]) -> Piece:
    try:
        if isinstance(packed, DamagedError):
            raise packed
        return Piece(view, chunk, part_between(packed, *ends), packed)
    except DamagedError as failure:
        return Piece(view, chunk, Part(0, 0), failure)
