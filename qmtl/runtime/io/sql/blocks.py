"""Rows of chunks of many views, decoded by all processors while the bytes of others are read."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import accumulate, chain
from typing import NamedTuple

from qmtl.foundation.parallel import in_parallel
from qmtl.runtime.io.sql.chunks import Chunk, RowsElsewhere
from qmtl.runtime.io.sql.codec import DamagedError, Opened, Packed, decode_parts, open_part
from qmtl.runtime.io.sql.pieces import Piece, Wanted, pieces_of
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.sql.views import packed_in_turn, packed_of
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.rows import Rows, allocate

# Asked between units of work; once it is true, a read is abandoned.
Cancelled = Callable[[], bool]
# Rows that one thread decodes at a time: fewer take less than to hand them over.
_STRETCH_ROWS = 1 << 17
# Rows that are asked for at a time where they lie elsewhere: few take nearly as long.
_ROWS_ASKED = 1 << 20
# Views whose bytes are read at a time where that takes no trip.
_FEW = 8


class Block(NamedTuple):
    """Views that follow one another: their pieces, room for the rows of all of them, and what came of it.

    outcomes: of each piece, whether its chunk has missing volumes, or what is damaged.
    """

    pieces: list[list[Piece]]
    rows: Rows
    outcomes: Sequence[bool | DamagedError]


def decoded(wanted: Sequence[Wanted], cancelled: Cancelled | None) -> Iterator[Block]:
    """What is wanted of views, in order.

    Few rows of many views each come in several blocks: memory that packed bytes have taken is used again
    while it is near, and the next bytes are read while threads decode. Else it is one block: of a long
    series, or where all bytes come by one trip.
    """
    if not wanted:
        return
    connection = wanted[0].view.connection
    is_one = len(wanted) == 1 or connection.dialect.is_server or connection.elsewhere is not None
    if is_one or max(one.most_rows for one in wanted) > _STRETCH_ROWS:
        pieces = pieces_of(wanted)
        rows = allocate(_rows_of(pieces))
        yield Block(pieces, rows, list(_decoded(list(chain.from_iterable(pieces)), rows, cancelled)))
        return
    begun: deque[Block] = deque()
    rooms = _Rooms(len(wanted))

    def beginning() -> Iterator[_Stretch]:
        for pieces in _small(wanted, cancelled):
            block = Block(pieces, rooms.take(len(pieces), _rows_of(pieces)), ())
            begun.append(block)
            yield _stretch(list(chain.from_iterable(pieces)), block.rows)

    for outcomes in in_parallel(_decode, beginning(), worth_it=2):
        yield begun.popleft()._replace(outcomes=outcomes)


def _small(wanted: Sequence[Wanted], cancelled: Cancelled | None) -> Iterator[list[list[Piece]]]:
    """The pieces of all views in order, as many at a time as one thread decodes."""
    some: list[list[Piece]] = []
    count = 0
    for first in range(0, len(wanted), _FEW):
        few = wanted[first : first + _FEW]
        for one, pieces in zip(few, pieces_of(few), strict=True):
            _give_up_if(cancelled, one.view)
            rows = sum(piece.part.rows for piece in pieces)
            if some and count + rows > _STRETCH_ROWS:
                yield some
                some, count = [], 0
            some.append(pieces)
            count += rows
    yield some


def _rows_of(pieces: list[list[Piece]]) -> int:
    return sum(piece.part.rows for some in pieces for piece in some)


class _Rooms:
    """Room for views that come some at a time: allocated for all, as if the others were like the first.

    Small arrays would be mapped page by page; of one that is too large the end is never touched.
    """

    def __init__(self, views: int) -> None:
        self._coming = views
        self._room = allocate(0)

    def take(self, views: int, rows: int) -> Rows:
        """Room for so many rows, of the next views."""
        if rows > self._room.size:
            self._room = allocate(rows * self._coming // views)
        self._coming -= views
        taken, self._room = self._room.cut(0, rows), self._room.cut(rows, self._room.size)
        return taken


def _decoded(pieces: list[Piece], block: Rows, cancelled: Cancelled | None) -> Iterator[bool | DamagedError]:
    """Of each piece, whether its chunk has missing volumes, or what is damaged."""
    elsewhere = pieces[0].view.connection.elsewhere if pieces else None
    if elsewhere is not None:
        yield from _filled(elsewhere, pieces, block, cancelled)
    elif pieces and block.size <= _STRETCH_ROWS:
        for piece in pieces:
            _give_up_if(cancelled, piece.view)
        yield from _decode(_stretch(pieces, block))
    else:
        with closing(_stretches(pieces, block, cancelled)) as stretches:
            for outcomes in in_parallel(_decode, stretches, worth_it=2):
                yield from outcomes


def _filled(
    elsewhere: RowsElsewhere, pieces: list[Piece], block: Rows, cancelled: Cancelled | None
) -> Iterator[bool | DamagedError]:
    """As `_decoded`, of rows that come as they are."""
    row = 0
    ends = list(accumulate(piece.part.rows for piece in pieces))
    first = 0
    while first < len(pieces):
        _give_up_if(cancelled, pieces[first].view)
        last = max(bisect_right(ends, row + _ROWS_ASKED), first + 1)
        found = elsewhere.fill(
            [(piece.view.series, piece.stored or piece.chunk) for piece in pieces[first:last]],
            block.cut(row, ends[last - 1]),
        )
        _give_up_if(cancelled, pieces[first].view)  # that took a while
        yield from found
        first, row = last, ends[last - 1]


def _give_up_if(cancelled: Cancelled | None, view: View) -> None:
    if cancelled is not None and cancelled():
        raise ReadAbandonedError("a read was abandoned", series=view.series)


class _Stretch(NamedTuple):
    """Parts that one thread decodes, proven, or why these cannot be had, and where their rows go."""

    opened: list[Opened | DamagedError]
    sizes: list[int]
    target: Rows


def _stretches(
    pieces: list[Piece], block: Rows, cancelled: Cancelled | None
) -> Generator[_Stretch, None, None]:
    """What one thread decodes at a time, in order; of a server, the next bytes are on their way then."""
    portions = list(_portions(pieces))
    end = 0
    with closing(packed_in_turn([_unread(some) for some in portions])) as coming:
        for some in portions:
            for piece in some:
                _give_up_if(cancelled, piece.view)
            start, end = end, end + sum(piece.part.rows for piece in some)
            yield _opened(some, next(coming), block.cut(start, end))


def _portions(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """The pieces in order, as many at a time as one thread decodes."""
    some: list[Piece] = []
    rows = 0
    for piece in pieces:
        if some and rows + piece.part.rows > _STRETCH_ROWS:
            yield some
            some, rows = [], 0
        some.append(piece)
        rows += piece.part.rows
    if some:
        yield some


def _unread(pieces: list[Piece]) -> list[tuple[View, Chunk]]:
    return [(piece.view, piece.chunk) for piece in pieces if piece.packed is None]


def _stretch(pieces: list[Piece], target: Rows) -> _Stretch:
    return _opened(pieces, packed_of(_unread(pieces)), target)


def _opened(pieces: list[Piece], read: list[Packed | DamagedError], target: Rows) -> _Stretch:
    coming = iter(read)
    opened: list[Opened | DamagedError] = []
    for piece in pieces:
        packed = next(coming) if piece.packed is None else piece.packed
        opened.append(packed if isinstance(packed, DamagedError) else open_part(packed, piece.part))
    return _Stretch(opened, [piece.part.rows for piece in pieces], target)


def _decode(stretch: _Stretch) -> list[bool | DamagedError]:
    return decode_parts(*stretch) if stretch.opened else []
