"""Asks a vendor again for what has an answer, and takes answers back."""

from __future__ import annotations

from typing import Any

import polars as pl

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.ingest.backfill_result import BackfillResult, OnProgress
from qmtl.runtime.io.coverage_scan import refused
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.sdk.corrections import RefreshResult, RetractResult, check_any_bar, checked_reason
from qmtl.runtime.sdk.fetching import Fetcher
from qmtl.runtime.sdk.sources import name_of


def refresh(
    fetcher: Fetcher,
    series: str | SeriesId,
    start: Any,
    end: Any,
    on_progress: OnProgress | None,
    progress: bool | None,
) -> RefreshResult:
    """See `SeamlessDataProvider.refresh`."""
    parts, store = fetcher.parts, fetcher.parts.store
    context = fetcher.open(
        series, start, end, "AUTO_BACKFILL", partial_ok=True, on_progress=on_progress, progress=progress
    )
    request, vendor = context.state.request, fetcher.vendor_of(context.profile)
    earlier = fetcher.coverage(series, start, end)
    if earlier.damaged:
        raise corrupt(
            request.series, earlier.damaged, what="nothing is left to compare with", span=request.span
        )
    before = store.newest().as_of
    impossible = refused(
        store, request.series, earlier.unknown, context.profile.grid, now=request.opened_at
    ).cells
    asked = (earlier.present | earlier.no_trade | earlier.absent | impossible).clip(request.closed)
    result = BackfillResult(name_of(vendor))
    if asked:
        result = parts.loop.run(
            fetcher.filled(context, vendor, asked, again=asked, unless_after=request.opened_at)
        )
    after = store.newest().as_of
    changes = store.diff(request.series, before, after)
    parts.watch.look()
    corrections = changes.filter(pl.col("ts").to_physical().is_between(*request.span, closed="left"))
    return RefreshResult(
        series=request.series,
        span=request.span,
        asked=asked,
        answered=(result.answered & asked) - result.refused,
        corrections=corrections,
        unconfirmed=(earlier.present & result.answered) - result.with_row,
        quarantined=result.quarantined,
        findings=(*result.findings, *_findings_of(fetcher, request.series, corrections)),
        states=fetcher.coverage(series, start, end),
        before=before,
        as_of=after,
    )


def _findings_of(fetcher: Fetcher, series: SeriesId, corrections: pl.DataFrame) -> tuple[Finding, ...]:
    """What a fetch of all corrected bars, and of those between them, finds."""
    if not corrections.height:
        return ()
    ts = corrections["ts"].to_physical()
    first, last = int(ts[0]), int(ts[-1]) + series.timeframe.step
    context = fetcher.open(series, first, last, "FAIL_FAST", partial_ok=True)
    finish = fetcher.parts.executor.drive_local(context)
    assert finish is not None  # the strategy asks nobody
    return tuple(fetcher.answer(context, finish).report.findings)


def retract(fetcher: Fetcher, series: str | SeriesId, start: Any, end: Any, reason: str) -> RetractResult:
    """See `SeamlessDataProvider.retract`."""
    request, _ = fetcher.request(series, start, end, partial_ok=True)
    check_any_bar(request.series, Span(to_ns(start, name="start"), to_ns(end, name="end")), request.span)
    why, store = checked_reason(reason, request.series), fetcher.parts.store
    before = store.newest().as_of
    gone = store.retract(request.series, request.span, reason=why)
    return RetractResult(request.series, request.span, gone.rows, gone.changed, before, gone.as_of)
