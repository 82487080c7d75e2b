"""Which chunks a write makes anew: the fewest that keep chunks disjoint and well filled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, join, overlay

FULL = 8_192
SMALL = FULL // 2
# More small chunks in a row than this are never looked at by one write.
_NEIGHBOURS = 16


class Window(NamedTuple):
    """Chunks that become new ones, together with all rows whose stamps lie in `low <= ts <= high`."""

    chunks: tuple[Chunk, ...]
    low: int
    high: int


def rewrite_plan(chunks: list[Chunk], ts: Int64Array) -> list[Window]:
    """The windows in which rows at `ts` (ascending) are to be placed, in order and disjoint.

    `chunks` are those around and between the stamps. Small chunks beside a window join it once they would
    fill a whole chunk together, so that a row is rewritten about once however small the writes are.
    """
    if not len(ts):
        return []
    firsts = np.array([chunk.first_ts for chunk in chunks], dtype=np.int64)
    lasts = np.array([chunk.last_ts for chunk in chunks], dtype=np.int64)
    # Chunk i is place 2i+1, the gap before it is place 2i. Many rows meet few chunks: those are looked for.
    edges = np.column_stack([np.searchsorted(ts, firsts), np.searchsorted(ts, lasts, side="right")])
    begins = np.concatenate([[0], edges.reshape(-1)])
    counts = np.diff(begins, append=len(ts))
    places = np.flatnonzero(counts)
    joined = _join(places.tolist(), begins[places].tolist(), counts[places].tolist())
    result: list[Window] = []
    free_from = 0
    for number, (first_place, last_place, first_row, rows) in enumerate(joined):
        start, stop = first_place // 2, (last_place + 1) // 2
        free_to = joined[number + 1][0] // 2 if number + 1 < len(joined) else len(chunks)
        start, stop = _with_neighbours(chunks, start, stop, rows, free_from, free_to)
        taken = chunks[start:stop]
        low, high = int(ts[first_row]), int(ts[first_row + rows - 1])
        if taken:
            low, high = min(low, taken[0].first_ts), max(high, taken[-1].last_ts)
        result.append(Window(tuple(taken), low, high))
        free_from = stop
    return result


def _join(places: list[int], at: list[int], counts: list[int]) -> list[tuple[int, int, int, int]]:
    """Runs of places without an untouched chunk between them: first, last, first row, rows."""
    runs: list[tuple[int, int, int, int]] = []
    for place, row, count in zip(places, at, counts, strict=True):
        apart = place - runs[-1][1] if runs else 3
        if apart == 1 or (apart == 2 and place % 2):
            first, _, first_row, rows = runs[-1]
            runs[-1] = (first, place, first_row, rows + count)
        else:
            runs.append((place, place, row, count))
    return runs


def _with_neighbours(
    chunks: list[Chunk], start: int, stop: int, rows: int, free_from: int, free_to: int
) -> tuple[int, int]:
    left, right = start, stop
    total = rows + sum(chunk.rows for chunk in chunks[start:stop])
    while left > free_from and chunks[left - 1].rows < SMALL and start - left < _NEIGHBOURS:
        left -= 1
        total += chunks[left].rows
    while right < free_to and chunks[right].rows < SMALL and right - stop < _NEIGHBOURS:
        total += chunks[right].rows
        right += 1
    return (left, right) if total >= FULL else (start, stop)


def loose(chunks: list[Chunk]) -> Int64Array:
    """A stamp in each small chunk that has another one beside it: where `windows` should tidy up."""
    small = [False, *(chunk.rows < SMALL for chunk in chunks), False]
    found = [
        chunk.first_ts
        for at, chunk in enumerate(chunks, start=1)
        if small[at] and (small[at - 1] or small[at + 1])
    ]
    return np.array(found, dtype=np.int64)


def around(view: View, ts: Int64Array) -> list[Chunk]:
    """The chunks that `windows` needs to see."""
    low, high = int(ts[0]), int(ts[-1])
    between = view.chunks(low, high)
    before = view.chunks_before(between[0].last_ts if between else low, _NEIGHBOURS)
    after = view.chunks_after(between[-1].last_ts if between else high, _NEIGHBOURS)
    return [*before, *between, *after]


def rechunk(view: View, window: Window, fresh: Rows) -> Iterator[Rows]:
    """The rows of the chunks that replace a window: its own, and `fresh` ones over them, in even cuts.

    Holds two chunks at a time (beside `fresh`). Stops early where a chunk is damaged.
    """
    buffer = NO_ROWS
    low = window.low
    edges = [chunk.last_ts for chunk in window.chunks[:-1]] + [window.high]
    for position, high in enumerate(edges):
        base = view.load(window.chunks[position], window.chunks[position + 1 :]) if window.chunks else NO_ROWS
        if view.damage:
            return
        part = overlay(overlay(base, view.hot(low, high)), fresh.between(low, high))
        buffer = join([buffer, part])
        while buffer.size >= 2 * FULL:
            yield buffer.cut(0, FULL)
            buffer = buffer.cut(FULL, buffer.size)
        low = high + 1
    if buffer.size > FULL + SMALL:
        half = buffer.size // 2
        yield buffer.cut(0, half)
        buffer = buffer.cut(half, buffer.size)
    if buffer.size:
        yield buffer
