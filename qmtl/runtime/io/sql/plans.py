"""What a write changes in the tables, worked out before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from qmtl.foundation.parallel import in_parallel
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.catalogs import place_of_rows
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import Packed, pack_many, pack_plain
from qmtl.runtime.io.sql.dialect import LIVE
from qmtl.runtime.io.sql.rewrite_plan import Window, around, rechunk, rewrite_plan
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.difference import Comparison, Difference, all_new
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, find, overlay

# A commit that changes fewer rows keeps them apart from the chunks, as hot rows.
FEW = 512
# Chunks that one thread packs at a time. Of many, few at a time are slower: threads hand Python's lock to
# each other more often. Where there are not many, they take less memory.
_BATCH = 16
_SMALL_BATCH = 4


class DamagedWindowError(Exception):
    """A window cannot be made anew before its damage is recorded."""

    def __init__(self, damage: list[Damage]) -> None:
        super().__init__(damage)
        self.damage = damage


class Plan(NamedTuple):
    """Physical changes of rows, worked out at commit `seen`, in the range `touched`.

    numbers: those of the packed chunks that lie elsewhere already; none where the catalog is to keep them.
    parts: what it is to keep of each of those, see `chunk_parts`.
    """

    seen: int
    touched: Span | None
    windows: list[Window]
    packed: list[Packed]
    hot: Rows
    over: list[bool]
    numbers: Sequence[int] = ()
    parts: Sequence[bytes] = ()

    @property
    def reach(self) -> Span:
        return self.touched or Span(0, 0)


class Change(NamedTuple):
    """How rows differ from those stored, where they go, and the chunks that this rests on."""

    difference: Difference
    plan: Plan
    chunks: list[Chunk]


def compare(view: View, rows: Rows) -> tuple[Difference, list[bool]]:
    """How rows differ from those stored; and of few fresh rows, whether a chunk holds their stamp."""
    if not rows.size:
        return all_new(rows), []
    low, high = int(rows.ts[0]), int(rows.ts[-1])
    hot, chunks = view.hot(low, high), view.chunks(low, high)
    if not hot.size and not chunks:
        # A live bar at the end of its series: nothing is there to compare with.
        return all_new(rows), [False] * rows.size if rows.size < FEW else []
    over = np.zeros(rows.size, dtype=bool)
    comparison = Comparison(rows)
    within = [np.searchsorted(rows.ts, [chunk.first_ts, chunk.last_ts + 1]).tolist() for chunk in chunks]
    met = [(chunk, *ends) for chunk, ends in zip(chunks, within, strict=True) if ends[0] < ends[1]]
    wanted = [chunk for chunk, _, _ in met]
    for at, (chunk, first, last) in enumerate(met):
        stored = view.load(chunk, wanted[at + 1 :]).between(low, high)
        over[first:last] = find(stored.ts, rows.ts[first:last]) >= 0
        comparison.meet(stored.pick(find(hot.ts, stored.ts) < 0) if hot.size else stored)
    comparison.meet(hot)
    difference = comparison.difference()
    fresh = difference.fresh.size
    return difference, over[~difference.same].tolist() if 0 < fresh < FEW else []


def plan(view: View, fresh: Rows, over: list[bool], *, seen: int, fold: bool) -> Plan:
    """Where the fresh rows go. With `fold`, all hot rows go into chunks too.

    Raises `DamagedWindowError` if a chunk that would be rewritten is damaged.
    """
    if fresh.size < FEW and not fold:
        touched = None if not fresh.size else Span(int(fresh.ts[0]), int(fresh.ts[-1]) + 1)
        result = Plan(seen, touched, [], [], fresh, over)
    else:
        fresh = overlay(view.hot(-LIVE, LIVE), fresh) if fold else fresh
        made = rewrite_plan(around(view, fresh.ts), fresh.ts) if fresh.size else []
        result = rewrite(view, made, fresh, seen=seen)
    if view.damage:
        raise DamagedWindowError(view.damage)
    return result


def rewrite(view: View, made: list[Window], fresh: Rows, *, seen: int) -> Plan:
    """Make windows anew, with `fresh` rows over those that they hold. Check `view.damage` afterwards."""
    if not made:
        return Plan(seen, None, [], [], NO_ROWS, [])
    touched = Span(made[0].low, made[-1].high + 1)
    pieces = (piece for window in made for piece in rechunk(view, window, fresh))
    packed, numbers, parts = packed_at(view, pieces)
    return Plan(seen, touched, made, packed, NO_ROWS, [], numbers, parts)


def packed_at(view: View, pieces: Iterable[Rows]) -> tuple[list[Packed], Sequence[int], Sequence[bytes]]:
    """Pieces as chunks; and where they were written elsewhere, their numbers and the lists of their parts."""
    elsewhere = view.connection.elsewhere
    if elsewhere is None:
        return list(chain.from_iterable(in_parallel(pack_many, _batches(iter(pieces)), worth_it=2))), (), ()
    from qmtl.runtime.io.sql.chunk_parts import list_of  # for such stores alone

    plain, parts = [], []
    for piece in pieces:
        plain.append(pack_plain(piece))
        parts.append(list_of(piece, plain[-1].checksum))
    if view.damage or not plain:  # such a plan is given up
        return plain, (), ()
    return plain, elsewhere.write(view.series, plain), parts


def _batches(pieces: Iterator[Rows]) -> Iterator[list[Rows]]:
    """Pieces that are packed together; all of so few that threads would not pay."""
    while some := list(islice(pieces, 2 * _BATCH)):
        half = len(some) if len(some) < _SMALL_BATCH else -(-len(some) // 2)
        size = _BATCH if len(some) == 2 * _BATCH else min(_SMALL_BATCH, half)
        for first in range(0, len(some), size):
            yield some[first : first + size]


def chunks_under(view: View, made: Plan) -> list[Chunk]:
    """The chunks that a plan rests on."""
    return [] if made.touched is None else view.chunks(made.touched.start, made.touched.end - 1)


def still_holds(made: Plan, chunks: list[Chunk], view: View) -> bool:
    """Whether no commit since the plan was made has changed what it rests on: rows there, or their chunks."""
    if made.touched is None:
        return True
    moved = view.rows(
        'SELECT 1 FROM tx WHERE id > :seen AND series = :series AND start < :end AND "end" > :start LIMIT 1',
        seen=made.seen,
        start=made.touched.start,
        end=made.touched.end,
    ).fetchone()
    return moved is None and chunks_under(view, made) == chunks and _are_in_place(made, view)


def _are_in_place(made: Plan, view: View) -> bool:
    """Whether what was written elsewhere was not left behind there by a move of all rows."""
    elsewhere, place = view.connection.elsewhere, place_of_rows(view.connection) if made.numbers else None
    if elsewhere is None or place is None:
        return True
    return elsewhere.are_in(
        place, [Chunk(number, *one[:5]) for number, one in zip(made.numbers, made.packed, strict=True)]
    )
