"""A series in pieces that fit into memory, cut at fixed times, so that what did not change is cut alike."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.coverage_scan import next_row
from qmtl.runtime.io.store.contract import BarReader
from qmtl.runtime.io.store.values import Snapshot

# Steps of the grid that one segment spans: half a year of minutes, three days of seconds; 12 MB of rows.
SEGMENT_STEPS = 1 << 18


def window_at(timeframe: Timeframe, ts: int) -> Span:
    """The window that holds an instant (ns), clipped to the time there is."""
    width = SEGMENT_STEPS * timeframe.step
    start = ts - (ts - timeframe.origin) % width
    return Span(max(start, EARLIEST), min(start + width, LATEST))


def pieces(store: BarReader, series: SeriesId, span: Span, as_of: int) -> Iterator[Snapshot]:
    """What a store says of a span at a commit: windows that hold rows, and the time between them.

    They join without a gap. Those between windows hold no rows, however long they are.
    """
    at = span.start
    while at < span.end:
        # Mostly rows follow one another, and to look for the next one would read some in vain.
        window = window_at(series.timeframe, at).clip(span)
        piece = store.read(series, window, as_of=as_of)
        if not piece.count:
            first = next_row(store, series, window.end, as_of)
            if first is None or first >= span.end:
                yield store.read(series, Span(at, span.end), as_of=as_of)
                return
            window = window_at(series.timeframe, first).clip(span)
            yield store.read(series, Span(at, window.start), as_of=as_of)
            piece = store.read(series, window, as_of=as_of)
        yield piece
        at = window.end
