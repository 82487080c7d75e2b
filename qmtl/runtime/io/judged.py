"""A range as the store holds it, judged among as many rows around it as the rules need."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.store.contract import BarReader
from qmtl.runtime.io.store.values import Snapshot


def read_judged(
    store: BarReader,
    pipeline: ConformancePipeline,
    series: SeriesId,
    span: Span,
    *,
    grid: Grid,
    facts: SeriesFacts,
    as_of: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Snapshot, Flags]:
    """What the store holds of `span` (aligned to the grid), and the flags within it.

    Of rows around the span, 64 on either side are read. Where a long run of repeated bars reaches over an end
    of the span, all is read once more with `pipeline.max_context` rows on either side, so that what is read
    is bounded, however long the run is. For `as_of`, `cancelled` and what is raised, see `BarReader.read`.
    """
    snapshot = store.read(series, span, as_of=as_of, context=CONTEXT, cancelled=cancelled)
    return judged(store, pipeline, series, snapshot, grid=grid, facts=facts, as_of=as_of, cancelled=cancelled)


def judged(
    store: BarReader,
    pipeline: ConformancePipeline,
    series: SeriesId,
    snapshot: Snapshot,
    *,
    grid: Grid,
    facts: SeriesFacts,
    as_of: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Snapshot, Flags]:
    """A snapshot that was read with `CONTEXT` rows around it, or that with more, and its flags."""
    span = snapshot.span
    if pipeline.needs_more_context(snapshot.rows, snapshot.first, snapshot.first + snapshot.count, grid):
        # Read as a whole, for there may be a commit between the two; and never both in memory at once.
        del snapshot
        snapshot = store.read(series, span, as_of=as_of, context=pipeline.max_context, cancelled=cancelled)
    flags = pipeline.flag(
        snapshot.rows,
        grid=grid,
        facts=facts,
        answered=snapshot.answered_around,
        answered_behind=snapshot.answered_behind,
    )
    return snapshot, flags.clip(span)


def judged_together(
    pipeline: ConformancePipeline,
    snapshots: Iterable[tuple[SeriesId, Snapshot]],
    *,
    grid: Grid,
    facts: SeriesFacts,
) -> dict[SeriesId, Flags]:
    """The flags of those of some snapshots of one span that are judged alike together.

    They were read with `CONTEXT` rows around them, and are of series with this grid and these facts.
    """
    # One series does without.
    from qmtl.runtime.conformance.together import flags_together, range_to_share

    ranges = {}
    for series, snapshot in snapshots:
        rows, first, last = snapshot.rows, snapshot.first, snapshot.first + snapshot.count
        one = range_to_share(rows, first, last, snapshot.answered_around, grid)
        if one is not None:
            ranges[series], span = one, snapshot.span
    if len(ranges) < 2:
        return {}
    found = flags_together(pipeline, ranges.values(), span, grid=grid, facts=facts)
    return {series: flags for series, flags in zip(ranges, found, strict=True) if flags is not None}
