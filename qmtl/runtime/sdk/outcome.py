"""How a fetch ends: an answer, or the first error of SLA, source, missing, schema, conformance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import polars as pl

from qmtl.foundation.errors import (
    ConformancePipelineError,
    MissingDataError,
    QmtlError,
    SchemaValidationError,
    SeamlessSLAExceeded,
    StoreCorruptError,
)
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.registered import SchemaCheck
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.io.store.base import Store
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.planning.request import Request, Tier
from qmtl.runtime.planning.session import Breach
from qmtl.runtime.sdk.schemas import Held
from qmtl.runtime.sdk.sources import Unserved


class Fault(NamedTuple):
    """One thing that is wrong with an answer.

    text: one line for the receipt of a partial answer. raises: whether it ends this request. error: makes
    what is raised then.
    """

    text: str
    raises: bool
    error: Callable[[], QmtlError]


_NEXT = {
    "storage_wait": "raise storage_wait, or ask for a shorter range",
    "backfill_wait": "call again: what was committed stays; or raise backfill_wait",
    "live_wait": "call again, or raise live_wait",
    "total": "call again: what was committed stays; or raise total",
    "sync_gap": "fill the gap first with `backfill(...)`, or raise sync_gap",
    "min_coverage": "see the holes with `coverage(...)`, or lower min_coverage",
    "max_lag": "call again when the source has caught up, or raise max_lag",
}


def describe(breach: Breach) -> str:
    """One line: which budget or bound, how large, and what was seen."""
    if breach.budget_s is not None:
        return (
            f"{breach.phase} budget of {breach.budget_s:g} s is spent after {breach.elapsed_s or 0.0:.3f} s"
        )
    unit = {"sync_gap": "bars", "min_coverage": "of the bars", "max_lag": "s"}[breach.phase]
    return f"{breach.phase}: {breach.observed:g} {unit}, limit {breach.limit:g}"


def sla_error(
    breach: Breach,
    request: Request,
    ledger: Mapping[str, float],
    abandoned: Iterable[str],
) -> SeamlessSLAExceeded:
    """The error of a breach."""
    abandoned = tuple(abandoned)
    left = [f"{name} ignored its cancellation and was left behind" for name in abandoned]
    return SeamlessSLAExceeded(
        describe(breach),
        phase=breach.phase,
        ledger={**ledger, "abandoned": abandoned} if abandoned else ledger,
        budget_s=breach.budget_s,
        elapsed_s=breach.elapsed_s,
        limit=breach.limit,
        observed=breach.observed,
        series=request.series,
        span=request.span,
        why="; ".join(left) or None,
        next_step=_NEXT[breach.phase],
    )


def damage_error(request: Request, damaged: Coverage, failure: QmtlError | None) -> StoreCorruptError:
    """What was stored is lost, and did not heal within the call. failure: of the source that could have."""
    asks = Tier.BACKFILL in request.tiers
    why = "stored bytes do not match their checksums; nothing of these ranges can be read"
    if failure is not None:
        why += f", and they could not be fetched again: {failure.what}"
    elif request.as_of is None and not asks:
        why += f"; strategy {request.strategy.name} asks no vendor for them"
    elif request.as_of is None:
        why += "; no vendor has answered for them"
    return corrupt(
        request.series,
        damaged,
        what="what was stored there is lost",
        span=request.span,
        why=why,
        next_step="bring the store back from a backup (`qmtl store restore`); `partial_ok=True` answers with "
        "holes" + ("" if request.as_of is not None else ", a fetch that a vendor answers heals them"),
    )


def describe_missing(grid: Grid, unknown: Coverage, absent: Coverage) -> str:
    """One line: how many bars are missing in each state, and where."""
    parts = [
        f"{grid.count(cells):,} {name} ({first_spans(cells)})"
        for name, cells in (("unknown", unknown), ("absent", absent))
        if cells
    ]
    return f"bars are missing: {', '.join(parts)}"


def missing_error(
    request: Request,
    grid: Grid,
    unknown: Coverage,
    absent: Coverage,
    store: Store,
    *,
    unserved: Unserved | None,
) -> MissingDataError:
    """Which bars are missing, why each kind is, and what to do about it."""
    reasons = []
    refused = store.quarantined(request.series, unknown.hull) if unknown else None
    if refused is not None and refused.height:
        inside = refused.filter(unknown.holds(stamps(refused)))
        for (rule,), rows in inside.group_by("rule", maintain_order=True):
            reasons.append(
                f"{rule} refused {counted(rows.height, 'row')}, the first at {iso(int(stamps(rows)[0]))}"
            )
    asks = Tier.BACKFILL in request.tiers
    if unknown and not asks:
        reasons.append(
            f"strategy {request.strategy.name} asks no vendor"
            if request.as_of is None
            else "it is a point in time"
        )
    elif unknown and unserved is not None:
        reasons.append(unserved.why)
    elif unknown and not reasons:
        reasons.append(
            "the source has not answered for them, or they closed too lately for an empty answer to count"
        )
    if absent:
        reasons.append("the source says that it has none")
    return MissingDataError(
        describe_missing(grid, unknown, absent),
        holes={name: cells for name, cells in (("unknown", unknown), ("absent", absent)) if cells},
        series=request.series,
        span=request.span,
        why="; ".join(reasons),
        next_step=_next_for_missing(request, unserved),
    )


def _next_for_missing(request: Request, unserved: Unserved | None) -> str:
    if request.as_of is not None:
        return "give a later `as_of=`, or none; `partial_ok=True` answers with the holes"
    if unserved is not None:
        return f"{unserved.next_step}; `partial_ok=True` answers with the holes"
    if Tier.BACKFILL not in request.tiers:
        return (
            "use `strategy='AUTO_BACKFILL'` or `strategy='SEAMLESS'`; "
            "`partial_ok=True` answers with the holes"
        )
    return "call again later, or take what there is with `partial_ok=True`"


def first_spans(cells: Coverage, most: int = 3) -> str:
    """A few spans, and how many more there are."""
    shown, more = ", ".join(map(str, cells.spans[:most])), len(cells) - most
    return shown if len(cells) <= most else f"{shown} and {counted(more, 'more span')}"


def schema_error(
    held: Held, check: SchemaCheck, frame: pl.DataFrame, *, series: SeriesId, span: Span
) -> SchemaValidationError:
    """Every rule of the registered schema that the rows break."""
    said = "; ".join(violation.message for violation in check.violations[:5])
    more = f"; and {len(check.violations) - 5} more" if len(check.violations) > 5 else ""
    return SchemaValidationError(
        f"{check.failed(frame):,} of {counted(frame.height, 'row')} break the schema {held.name}: "
        f"{said}{more}",
        subject=held.subject,
        mode=held.mode.value,
        problems=check.violations,
        series=series,
        span=span,
        why="the subject is in strict mode",
        next_step=f"see what wrote the rows; 'qmtl schema rollback {held.subject}' serves them and counts",
    )


def conformance_error(request: Request, report: ConformanceReport) -> ConformancePipelineError:
    """What the pipeline found that nobody has accepted."""
    worst = [finding for finding in report.findings if finding.raises]
    shown = "; ".join(
        f"{f.severity} {f.rule}: {counted(f.raises, 'bar')}, first {iso(f.first_ts)}" for f in worst[:5]
    )
    return ConformancePipelineError(
        f"the data does not conform: {shown}",
        report=report,
        series=request.series,
        span=request.span,
        next_step="see 'qmtl reports show'; then 'qmtl reports accept', or pass `partial_ok=True`",
    )
