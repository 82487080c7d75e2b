"""How rows and coverage records of one commit become a snapshot: context, silence behind the end, damage."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.io.store.coverage_records import without
from qmtl.runtime.io.store.damage import nearest_context
from qmtl.runtime.io.store.rows import Rows, to_frame
from qmtl.runtime.io.store.values import CoverageRecord, Point, Snapshot


class SeriesAtCommit(Protocol):
    """One series at one commit, as its store knows it."""

    series: SeriesId

    def answers(self, span: Span) -> list[CoverageRecord]:
        """The coverage records that meet a span, ordered, disjoint."""
        ...

    def gone(self) -> Coverage:
        """Where rows or records are lost to damage; asked once all else was read."""
        ...


def records_around(rows: Rows, step: int, span: Span, context: int) -> Span:
    """What `snapshot_of` asks coverage records of."""
    first, last = rows.ts.searchsorted(span).tolist()
    around = _hull(rows.ts[max(0, first - context) : last + context], step, span)
    is_last = rows.size and rows.size - last < context
    return Span(around.start, LATEST) if is_last and int(rows.ts[-1]) + step < span.end else around


def snapshot_of(
    known: SeriesAtCommit,
    point: Point,
    span: Span,
    rows: Rows,
    *,
    context: int,
    volume_nulls: bool | None = None,
    frame: pl.DataFrame | None = None,
    flags: Flags | None = None,
) -> Snapshot:
    """A snapshot made of `rows`: those of the span, and at least `context` rows on either side of it.

    volume_nulls: whether volumes are missing; None looks. frame: `rows` as a frame, if that is at hand.
    flags: those that were kept of the span.
    """
    step = known.series.timeframe.step
    first, last = rows.ts.searchsorted(span).tolist()
    low, high = max(0, first - context), min(rows.size, last + context)
    around = known.answers(_hull(rows.ts[low:high], step, span))
    gone = known.gone()
    damaged = behind = EMPTY
    reach = None if gone or not context else _reach(rows, first - context, last + context, step)
    if gone:
        low, high = nearest_context(rows.ts, low, high, span, gone)
        ts = rows.ts[first:last]
        damaged = gone.clip(span) - Coverage.from_arrays(ts, ts + step)
        around = without(around, gone)
    elif rows.size - last < context and rows.size:
        behind = _answered_behind(known, int(rows.ts[-1]), step, span)
    return Snapshot(
        span,
        point.tx,
        point.as_of,
        to_frame(rows.cut(low, high), volume_nulls=volume_nulls)
        if frame is None
        else frame.slice(low, high - low),
        first - low,
        last - first,
        [one for one in around if one.start < span.end and one.end > span.start],
        behind,
        around,
        damaged=damaged,
        reach=reach,
        flags=flags,
    )


def _reach(rows: Rows, low: int, high: int, step: int) -> Span:
    """From the first to the last of the rows `[low, high)`, without an end where there are none so far."""
    start = EARLIEST if low < 0 else int(rows.ts[low])
    end = LATEST if high > rows.size else int(rows.ts[high - 1]) + step
    return Span(start, end)


def _hull(ts: Int64Array, step: int, span: Span) -> Span:
    """The span, and the bars of all rows around it."""
    if not len(ts):
        return span
    return Span(min(span.start, int(ts[0])), max(span.end, int(ts[-1]) + step))


def _answered_behind(known: SeriesAtCommit, last: int, step: int, span: Span) -> Coverage:
    """What was answered after the open of the last row; nothing if the span ends with its bar."""
    if last + step >= span.end:
        return EMPTY
    records = known.answers(Span(last + 1, LATEST))
    return Coverage((max(one.start, last + 1), one.end) for one in records if one.outcome == "answered")
