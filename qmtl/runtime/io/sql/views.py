"""Several series at one commit: what one view is asked, all of them are asked at once."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import DamagedError, Packed
from qmtl.runtime.io.sql.commits import SeriesEntry
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.view import (
    AFTER,
    BEFORE,
    SINGLES,
    SINGLES_BETWEEN,
    View,
    bytes_in_turn,
    bytes_of_each,
    chunks_between,
    packed,
)
from qmtl.runtime.io.store.rows import NO_ROWS, Rows
from qmtl.runtime.io.store.values import CoverageRecord


def views_of(
    connection: Connection,
    series: Sequence[SeriesId],
    entries: Sequence[SeriesEntry | None],
    at: int,
    lost: frozenset[int],
) -> list[View]:
    """Views of series at a commit, by their entries in the list of series.

    lost: the row ids of those that damage has taken anything from.
    """
    views = []
    for one, entry in zip(series, entries, strict=True):
        if entry is None:
            views.append(View(connection, one, None, at, has_lost=False))
            continue
        # Nobody has counted what there was at an earlier commit.
        has_hot = at != LIVE or entry.hot > 0
        views.append(View(connection, one, entry.number, at, has_hot=has_hot, has_lost=entry.number in lost))
    return views


def asked(
    views: Sequence[View], sql: str, values: Iterable[Mapping[str, int]] | None = None
) -> Iterator[Iterable[Any]]:
    """What a query finds of each view, as `View.rows`. values: of each."""
    if not views:
        return iter(())
    every = [
        view.question(sql, **given) for view, given in zip(views, values or ({} for _ in views), strict=True)
    ]
    return views[0].connection.each(every[0].sql, [one.values for one in every])


def chunks_of(views: Sequence[View], low: int, high: int) -> list[list[Chunk]]:
    """Of each view, the chunks with rows possibly in `low <= ts <= high`, in order."""
    if not views:
        return []
    ends = ({"low": low, "high": high} for _ in views)
    found = asked(views, chunks_between(views[0].connection.dialect), ends)
    return [view.chunks_among(rows, high) for view, rows in zip(views, found, strict=True)]


def nearest(views: Sequence[View], stamps: Sequence[int], *, before: bool) -> list[Chunk | None]:
    """Of each view, the chunk that ends next before its stamp, or next after it."""
    if not views:
        return []
    sql = f"{views[0].connection.dialect.entry} {BEFORE if before else AFTER}"
    found = asked(views, sql, ({"ts": ts, "count": 1} for ts in stamps))
    return [next(iter(view.sound_among(rows)), None) for view, rows in zip(views, found, strict=True)]


def packed_of(chunks: Sequence[tuple[View, Chunk]]) -> list[Packed | DamagedError]:
    """Chunks with their bytes, or why these cannot be had."""
    if not chunks:
        return []
    wanted = [(view.series, chunk) for view, chunk in chunks]
    blobs = bytes_of_each(chunks[0][0].connection, wanted)
    return [packed(chunk, blob) for (_, chunk), blob in zip(chunks, blobs, strict=True)]


def packed_in_turn(
    portions: Sequence[Sequence[tuple[View, Chunk]]],
) -> Generator[list[Packed | DamagedError], None, None]:
    """As `packed_of` for each of some portions, in order; see `bytes_in_turn`."""
    asked = [chunks for chunks in portions if chunks]
    if not asked:
        yield from ([] for _ in portions)
        return
    wanted = [[(view.series, chunk) for view, chunk in chunks] for chunks in asked]
    with closing(bytes_in_turn(asked[0][0][0].connection, wanted)) as coming:
        for chunks in portions:
            blobs = next(coming) if chunks else []
            yield [packed(chunk, blob) for (_, chunk), blob in zip(chunks, blobs, strict=True)]


def singles_between(views: Sequence[View], low: int, high: int) -> list[Rows]:
    """Of each view its single rows with `low <= ts <= high`."""
    return _singles(views, SINGLES_BETWEEN, [{"low": low, "high": high}] * len(views))


def singles_before(wanted: Sequence[tuple[View, int]], ts: int) -> list[Rows]:
    """Of each view up to so many single rows before `ts`, the last ones."""
    return _singles_beside(wanted, f"{SINGLES} AND ts < :ts ORDER BY ts DESC LIMIT :count", ts)


def singles_after(wanted: Sequence[tuple[View, int]], ts: int) -> list[Rows]:
    """Of each view up to so many single rows after `ts`, the first ones."""
    return _singles_beside(wanted, f"{SINGLES} AND ts > :ts ORDER BY ts LIMIT :count", ts)


def _singles_beside(wanted: Sequence[tuple[View, int]], sql: str, ts: int) -> list[Rows]:
    return _singles([view for view, _ in wanted], sql, [{"ts": ts, "count": count} for _, count in wanted])


def _singles(views: Sequence[View], sql: str, values: Sequence[dict[str, int]]) -> list[Rows]:
    having = {view: given for view, given in zip(views, values, strict=True) if view.has_hot}
    if not having:
        return [NO_ROWS] * len(views)
    found = asked(list(having), sql, having.values())
    rows = {view: view.singles_among(list(rows)) for view, rows in zip(having, found, strict=True)}
    return [rows.get(view, NO_ROWS) for view in views]


def answers_of(views: Sequence[View], spans: Sequence[Span]) -> list[list[CoverageRecord]]:
    """Of each view the coverage records that meet its span, ordered."""
    if not views:
        return []
    ends = ({"start": span.start, "stop": span.end} for span in spans)
    found = asked(views, views[0].connection.dialect.records, ends)
    return [view.answers_among(rows, span.end) for view, span, rows in zip(views, spans, found, strict=True)]
