"""How the rows of views are put together: those of chunks, single rows over them, and rows beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import polars as pl

from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.blocks import Block, Cancelled, decoded
from qmtl.runtime.io.sql.codec import DamagedError
from qmtl.runtime.io.sql.pieces import Piece, wanted_of
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.sql.views import (
    nearest,
    packed_of,
    singles_after,
    singles_before,
    singles_between,
)
from qmtl.runtime.io.store.rows import Rows, join, overlay, to_frame


class Assembled(NamedTuple):
    """At least the rows that were asked for. frame: the same rows, where they lie in a longer frame.

    volume_nulls: whether volumes are missing; None if that is not known.
    """

    rows: Rows
    volume_nulls: bool | None
    frame: pl.DataFrame | None = None


def assemble(
    views: Sequence[View],
    span: Span,
    contexts: Sequence[int],
    cancelled: Cancelled | None = None,
    *,
    as_frame: bool = False,
) -> list[Assembled]:
    """Of each view at least the rows of the span, and so many rows around as `contexts` says of it.

    The rows of chunks are decoded side by side, into one block for all views or for some that follow one
    another. as_frame: whether a block becomes a frame, which its views share.
    """
    wanted: list[list[Piece]] = []
    found: list[Assembled] = []
    for block in decoded(wanted_of(views, span, contexts), cancelled):
        found += _of_block(views[len(wanted) :], block, as_frame=as_frame)
        wanted += block.pieces
    return _completed(views, wanted, found, span, contexts)


def _of_block(views: Sequence[View], block: Block, *, as_frame: bool) -> Iterator[Assembled]:
    """The rows of each view of a block, the first of `views`."""
    whole = to_frame(block.rows) if as_frame else None
    outcomes = iter(block.outcomes)
    end = 0
    for view, pieces in zip(views, block.pieces, strict=False):
        first, end = end, end + sum(piece.part.rows for piece in pieces)
        frame = None if whole is None else whole.slice(first, end - first)
        yield _of_chunks(view, pieces, list(islice(outcomes, len(pieces))), block.rows.cut(first, end), frame)


def _of_chunks(
    view: View,
    pieces: list[Piece],
    outcomes: list[bool | DamagedError],
    rows: Rows,
    frame: pl.DataFrame | None,
) -> Assembled:
    """The decoded rows of one view, without those of damaged chunks."""
    volume_nulls, whole = False, []
    end = 0
    damaged = set()
    for piece, outcome in zip(pieces, outcomes, strict=True):
        if isinstance(outcome, DamagedError):
            view.report_chunk(piece.chunk, outcome)
            damaged.add(piece.chunk.id)
    for piece, outcome in zip(pieces, outcomes, strict=True):
        end += piece.part.rows
        if not isinstance(outcome, DamagedError) and piece.chunk.id not in damaged:
            volume_nulls |= outcome
            whole.append(rows.cut(end - piece.part.rows, end))
    if len(whole) < len(pieces):
        return Assembled(join(whole), volume_nulls)
    return Assembled(rows, volume_nulls, frame)


def _completed(
    views: Sequence[View],
    wanted: Sequence[list[Piece]],
    found: Sequence[Assembled],
    span: Span,
    contexts: Sequence[int],
) -> list[Assembled]:
    """With single rows over those of the chunks, and with rows beside them where context is lacking."""
    single = singles_between(views, span.start, span.end - 1)
    beside = _beside(views, wanted, found, span, contexts) if any(contexts) else {}
    result = []
    for at, (view, hot, (rows, volume_nulls, frame)) in enumerate(zip(views, single, found, strict=True)):
        if at in beside:
            around = beside[at]
            if around.before or around.after:
                rows, volume_nulls, frame = join([*around.before, rows, *around.after]), None, None
            hot = join([around.hot_before, hot, around.hot_after])
        if hot.size:
            rows, volume_nulls, frame = overlay(rows, hot), None, None
        believed = view.believed(rows)
        result.append(Assembled(believed, volume_nulls, frame if believed is rows else None))
    return result


class _Beside(NamedTuple):
    """Rows beside those of a range: single ones, and those of chunks."""

    hot_before: Rows
    hot_after: Rows
    before: list[Rows]
    after: list[Rows]


def _beside(
    views: Sequence[View],
    wanted: Sequence[list[Piece]],
    found: Sequence[Assembled],
    span: Span,
    contexts: Sequence[int],
) -> dict[int, _Beside]:
    """What lies beside the rows of those views whose context is wanted, by their positions."""
    asking = [at for at, context in enumerate(contexts) if context]
    around = [(views[at], contexts[at]) for at in asking]
    # The last `context` rows of the union are among the last of each part.
    before = [_before(views[at], wanted[at], found[at].rows, span, contexts[at]) for at in asking]
    after = [_after(views[at], wanted[at], found[at].rows, span, contexts[at]) for at in asking]
    _fill(before, before=True)
    _fill(after, before=False)
    single = zip(singles_before(around, span.start), singles_after(around, span.end - 1), strict=True)
    return {
        at: _Beside(*hot, left.found[::-1], right.found)
        for at, hot, left, right in zip(asking, single, before, after, strict=True)
    }


@dataclass
class _Side:
    """Rows on one side of those that were decoded, nearest first: found, and how many are lacking."""

    view: View
    edge: int
    lack: int
    found: list[Rows] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        self.found.append(rows)
        self.lack -= rows.size


def _before(view: View, pieces: list[Piece], rows: Rows, span: Span, context: int) -> _Side:
    side = _Side(view, span.start, context - int(rows.ts.searchsorted(span.start)))
    if pieces:
        first = pieces[0]
        side.edge = first.chunk.last_ts
        if side.lack > 0 and first.part.first:
            side.add(_whole(first).cut(0, first.part.first))
    return side


def _after(view: View, pieces: list[Piece], rows: Rows, span: Span, context: int) -> _Side:
    side = _Side(view, span.end - 1, context - (rows.size - int(rows.ts.searchsorted(span.end))))
    if pieces:
        last = pieces[-1]
        side.edge = last.chunk.last_ts
        end = last.part.first + last.part.rows
        if side.lack > 0 and 0 < end < last.chunk.rows:
            side.add(_whole(last).cut(end, last.chunk.rows))
    return side


def _whole(piece: Piece) -> Rows:
    """All rows of the chunk of a piece."""
    return piece.view.unpacked(piece.chunk, piece.packed or piece.view.packed(piece.chunk))


def _fill(sides: Sequence[_Side], *, before: bool) -> None:
    """Add the next chunk of each side until it has as many rows as are wanted, if there are."""
    while lacking := [side for side in sides if side.lack > 0]:
        chunks = nearest([side.view for side in lacking], [side.edge for side in lacking], before=before)
        there = [(side, chunk) for side, chunk in zip(lacking, chunks, strict=True) if chunk is not None]
        for side, chunk in zip(lacking, chunks, strict=True):
            if chunk is None:
                side.lack = 0
        loaded = packed_of([(side.view, chunk) for side, chunk in there])
        for (side, chunk), packed in zip(there, loaded, strict=True):
            side.add(side.view.unpacked(chunk, packed))
            side.edge = chunk.last_ts
