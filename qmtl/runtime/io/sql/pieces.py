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


def pieces_of(views: Sequence[View], span: Span, contexts: Sequence[int]) -> list[list[Piece]]:
    """What is to be decoded: of a chunk that lies across an end of the range, the pages within."""
    ends = []
    for view, context in zip(views, contexts, strict=True):
        beside = context * view.series.timeframe.step
        ends.append((span.start - beside, span.end - 1 + beside))
    each = list(zip(views, ends, chunks_of(views, span.start, span.end - 1), strict=True))
    if views and views[0].connection.elsewhere is not None:
        return _elsewhere(each)
    across = [
        (view, chunk) for view, within, chunks in each for chunk in chunks if not _is_within(chunk, within)
    ]
    # Their bytes say which of their pages are wanted.
    coming = iter(packed_of(across))
    return [
        [
            Piece(view, chunk, Part(0, chunk.rows))
            if _is_within(chunk, within)
            else _part(view, chunk, next(coming), within)
            for chunk in chunks
        ]
        for view, within, chunks in each
    ]


def _elsewhere(each: Sequence[tuple[View, tuple[int, int], list[Chunk]]]) -> list[list[Piece]]:
    """The same where rows come as they are: of a chunk across an end, those parts that are wanted."""
    from qmtl.runtime.io.sql.chunk_parts import parts_of  # for such stores alone

    across = [
        (chunk, within) for _, within, chunks in each for chunk in chunks if not _is_within(chunk, within)
    ]
    coming = iter(parts_of(each[0][0].connection, across))
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
        for view, within, chunks in each
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
