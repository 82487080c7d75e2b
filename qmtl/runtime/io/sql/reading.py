"""How rows of one commit are found, decoded and put together, for one series or for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.io.sql.codec import DamagedError, Packed, Part, part_between, unpack_parts
from qmtl.runtime.io.sql.commits import commit_at, newest, series_entry
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.kept_flags import of_span
from qmtl.runtime.io.sql.view import Chunk, View
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.rows import Rows, allocate, join, overlay, to_frame
from qmtl.runtime.io.store.snapshots import snapshot_of
from qmtl.runtime.io.store.values import Snapshot

# Asked between units of work; once it is true, a read is abandoned.
Cancelled = Callable[[], bool]
# Rows that one thread decodes at a time: fewer take less than to hand them over.
_STRETCH_ROWS = 1 << 16


class Look(NamedTuple):
    """One series read: its snapshot, the damage met on the way, and whether its index was sound.

    The rows that damage met leave out are missing in the snapshot.
    """

    snapshot: Snapshot
    damage: list[Damage]
    is_sound: bool


def read(
    connection: Connection,
    series: Sequence[SeriesId],
    span: Span,
    as_of: int | None,
    context: int,
    cancelled: Cancelled | None,
    *,
    flags_by: Mapping[SeriesId, bytes],
    is_first: Callable[[SeriesId], bool],
) -> dict[SeriesId, Look]:
    """A look at each series, all of them at one commit.

    On a connection with an open transaction. flags_by: the rules whose flags would do in place of context.
    is_first: whether the index of a series is to be looked through for what damage has hidden.
    """
    point = newest(connection) if as_of is None else commit_at(connection, as_of)
    at = LIVE if as_of is None else point.tx
    has_lost = connection.execute("SELECT 1 FROM lost LIMIT 1").fetchone() is not None
    views = [_view(connection, one, at, has_lost=has_lost) for one in series]
    sound = [_looked_through(view, as_of) if is_first(view.series) else True for view in views]
    flags = {view.series: _flags(view, span, flags_by.get(view.series)) for view in views if at == LIVE}
    contexts = [context if flags.get(view.series) is None else 0 for view in views]
    looks = {}
    assembled = assemble(views, span, contexts, cancelled, as_frame=len(views) > 1)
    for view, is_sound, found, around in zip(views, sound, assembled, contexts, strict=True):
        if view.damage and not around:  # flags that were kept know nothing of it
            flags.pop(view.series, None)
            around, found = context, assemble([view], span, [context], cancelled)[0]
        snapshot = snapshot_of(
            view,
            point,
            span,
            found.rows,
            context=around,
            volume_nulls=found.volume_nulls,
            frame=found.frame,
            flags=flags.get(view.series),
        )
        looks[view.series] = Look(snapshot, view.damage, is_sound and not view.damage)
    return looks


def _flags(view: View, span: Span, rules: bytes | None) -> Flags | None:
    """Those that were kept of the whole span, unless damage has taken anything of the series."""
    if rules is None or view.number is None or span.is_empty or view.damage or view.lost():
        return None
    return of_span(view.connection, view.series, view.number, rules, span)


def _view(connection: Connection, series: SeriesId, at: int, *, has_lost: bool) -> View:
    entry = series_entry(connection, series)
    if entry is None:
        return View(connection, series, None, at, has_lost=has_lost)
    # Nobody has counted what there was at an earlier commit.
    return View(connection, series, entry.number, at, has_lost=has_lost, has_hot=at != LIVE or entry.hot > 0)


def _looked_through(view: View, as_of: int | None) -> bool:
    """Whether the index of a series is sound; damage that is found is added to that of the view."""
    # What is counted is what there is now; what it lacks may have been there at any commit.
    live = View(view.connection, view.series, view.number, LIVE)
    live.look_for_gaps()
    view.damage += live.damage
    if as_of is None:
        return True
    is_sound = view.look_through_history()
    view.look_through_entries()
    return is_sound


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

    The rows of chunks are decoded side by side into one block for all views. as_frame: whether that becomes a
    frame, which they share.
    """
    wanted = [_pieces(view, span, context) for view, context in zip(views, contexts, strict=True)]
    pieces = list(chain.from_iterable(wanted))
    block = allocate(sum(piece.part.rows for piece in pieces))
    outcomes = list(_decoded(pieces, block, cancelled))
    whole = to_frame(block) if as_frame else None
    found = []
    first = row = 0
    for view, mine, context in zip(views, wanted, contexts, strict=True):
        last, end = first + len(mine), row + sum(piece.part.rows for piece in mine)
        frame = None if whole is None else whole.slice(row, end - row)
        chunks = _of_chunks(view, mine, outcomes[first:last], block.cut(row, end), frame)
        found.append(_completed(view, mine, chunks, span, context))
        first, row = last, end
    return found


def _of_chunks(
    view: View,
    pieces: list[_Piece],
    outcomes: list[bool | DamagedError],
    rows: Rows,
    frame: pl.DataFrame | None,
) -> Assembled:
    """The decoded rows of one view, without those of damaged chunks."""
    volume_nulls, whole = False, []
    end = 0
    for piece, outcome in zip(pieces, outcomes, strict=True):
        end += piece.part.rows
        if isinstance(outcome, DamagedError):
            view.report_chunk(piece.chunk, outcome)
        else:
            volume_nulls |= outcome
            whole.append(rows.cut(end - piece.part.rows, end))
    if len(whole) < len(pieces):
        return Assembled(join(whole), volume_nulls)
    return Assembled(rows, volume_nulls, frame)


class _Piece(NamedTuple):
    """Some pages of a chunk.

    packed: its bytes, or why they cannot be had; None if all pages are wanted, and nothing was read yet.
    """

    view: View
    chunk: Chunk
    part: Part
    packed: Packed | DamagedError | None = None


def _pieces(view: View, span: Span, context: int) -> list[_Piece]:
    """What is to be decoded: of a chunk that lies across an end of the range, the pages within."""
    beside = context * view.series.timeframe.step
    low, high = span.start - beside, span.end - 1 + beside
    pieces = []
    for chunk in view.chunks(span.start, span.end - 1):
        if low <= chunk.first_ts and chunk.last_ts <= high:
            pieces.append(_Piece(view, chunk, Part(0, chunk.rows)))
            continue
        try:
            packed = view.packed(chunk)
            pieces.append(_Piece(view, chunk, part_between(packed, low, high), packed))
        except DamagedError as failure:
            pieces.append(_Piece(view, chunk, Part(0, 0), failure))
    return pieces


def _decoded(pieces: list[_Piece], block: Rows, cancelled: Cancelled | None) -> Iterator[bool | DamagedError]:
    """Of each piece, whether its chunk has missing volumes, or what is damaged."""
    return chain.from_iterable(in_parallel(_decode, _stretches(pieces, block, cancelled)))


class _Stretch(NamedTuple):
    """Pieces that one thread decodes: their bytes, or why these cannot be had, and where their rows go."""

    parts: list[tuple[Packed | DamagedError, Part]]
    target: Rows


def _stretches(pieces: list[_Piece], block: Rows, cancelled: Cancelled | None) -> Iterator[_Stretch]:
    parts: list[tuple[Packed | DamagedError, Part]] = []
    start = end = 0
    for piece in pieces:
        if cancelled is not None and cancelled():
            raise ReadAbandonedError("a read was abandoned", series=piece.view.series)
        if parts and end - start + piece.part.rows > _STRETCH_ROWS:
            yield _Stretch(parts, block.cut(start, end))
            parts, start = [], end
        parts.append((_bytes_of(piece), piece.part))
        end += piece.part.rows
    if parts:
        yield _Stretch(parts, block.cut(start, end))


def _bytes_of(piece: _Piece) -> Packed | DamagedError:
    if piece.packed is not None:
        return piece.packed
    try:
        return piece.view.packed(piece.chunk)
    except DamagedError as failure:
        return failure


def _decode(stretch: _Stretch) -> list[bool | DamagedError]:
    sound = [(packed, part) for packed, part in stretch.parts if isinstance(packed, Packed)]
    if len(sound) == len(stretch.parts):
        return unpack_parts(sound, stretch.target)
    outcomes: list[bool | DamagedError] = []
    end = 0
    for packed, part in stretch.parts:
        end += part.rows
        if isinstance(packed, DamagedError):
            outcomes.append(packed)
        else:
            outcomes += unpack_parts([(packed, part)], stretch.target.cut(end - part.rows, end))
    return outcomes


def _completed(view: View, pieces: list[_Piece], found: Assembled, span: Span, context: int) -> Assembled:
    """With single rows over those of the chunks, and with rows beside them where context is lacking."""
    low, high = span.start, span.end - 1
    rows, volume_nulls, frame = found
    hot = view.hot(low, high)
    if context:
        # The last `context` rows of the union are among the last of each part.
        before = _before(view, pieces, low, context - int(np.searchsorted(rows.ts, span.start)))
        after = _after(view, pieces, high, context - (rows.size - int(np.searchsorted(rows.ts, span.end))))
        hot = join([view.hot_before(low, context), hot, view.hot_after(high, context)])
        if before or after:
            rows, volume_nulls, frame = join([*before, rows, *after]), None, None
    if hot.size:
        rows, volume_nulls, frame = overlay(rows, hot), None, None
    believed = view.believed(rows)
    return Assembled(believed, volume_nulls, frame if believed is rows else None)


def _before(view: View, pieces: list[_Piece], low: int, lack: int) -> list[Rows]:
    """Rows before those that were decoded: at least so many, if there are."""
    found: list[Rows] = []
    edge = low
    if pieces:
        first = pieces[0]
        edge = first.chunk.last_ts
        if lack > 0 and first.part.first:
            found.append(view.load(first.chunk).cut(0, first.part.first))
            lack -= found[0].size
    while lack > 0 and (chunks := view.chunks_before(edge, 1)):
        found.insert(0, view.load(chunks[0]))
        edge = chunks[0].last_ts
        lack -= found[0].size
    return found


def _after(view: View, pieces: list[_Piece], high: int, lack: int) -> list[Rows]:
    """Rows after those that were decoded: at least so many, if there are."""
    found: list[Rows] = []
    edge = high
    if pieces:
        last = pieces[-1]
        edge = last.chunk.last_ts
        end = last.part.first + last.part.rows
        if lack > 0 and 0 < end < last.chunk.rows:
            found.append(view.load(last.chunk).cut(end, last.chunk.rows))
            lack -= found[0].size
    while lack > 0 and (chunks := view.chunks_after(edge, 1)):
        found.append(view.load(chunks[0]))
        edge = chunks[0].last_ts
        lack -= found[-1].size
    return found
