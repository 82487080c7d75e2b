"""How a fetch ends: an answer, or the first error of SLA, source, missing, schema, conformance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

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
from qmtl.runtime.conformance.finding_summaries import FindingSummary
from qmtl.runtime.conformance.registered_schema import SchemaCheck
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.io.coverage_scan import NOT_REFUSED, Refused
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.planning.ledger import Breach
from qmtl.runtime.planning.request import Request, Tier
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding

if TYPE_CHECKING:
    from qmtl.runtime.sdk.fetch_context import FetchEnd
    from qmtl.runtime.sdk.sources import Unserved


class Fault(NamedTuple):
    """One thing that is wrong with an answer.

    text: one line for the receipt of a partial answer. raises: whether it ends this request. error: makes
    what is raised then.
    """

    text: str
    raises: bool
    error: Callable[[], QmtlError]


class Asked(NamedTuple):
    """What an error asks for its reasons, once it is made.

    quarantined: the impossible rows of the series within a span: `ts`, `rule` and more. refused: those of
    some cells whose rows were impossible. unserved: why no vendor serves the series; None if one does.
    report: of the answer.
    """

    quarantined: Callable[[Span], pl.DataFrame]
    refused: Callable[[Coverage], Refused]
    unserved: Callable[[], Unserved | None]
    report: Callable[[], ConformanceReport]


def faults_of(
    end: FetchEnd,
    check: SchemaCheck,
    asked: Asked,
    *,
    phases: Mapping[str, float],
    found: Sequence[FindingSummary],
) -> list[Fault]:
    """All that is wrong with an answer, in the order in which it is raised: none hides another.

    phases: seconds per phase, complete once an error is made. found: what raises; empty if all conforms.
    """
    request, finish, evaluated = end.state.request, end.finish, end.evaluated
    binding, failure, grid = end.profile.schema, finish.failure, end.profile.grid
    answers_breach = request.sla is not None and request.sla.on_breach == "partial"
    strict = not request.partial_ok
    # A breach that is answered takes what it left behind with it: sources and holes are its consequence.
    holes_raise = strict and not (finish.breach is not None and answers_breach)
    faults = []
    if finish.breach is not None:
        overrun = partial(sla_error, finish.breach, request, phases, end.abandoned)
        faults.append(Fault(describe(finish.breach), strict and not answers_breach, overrun))
    if damaged := evaluated.damaged:
        lost = partial(damage_error, request, damaged, failure)
        faults.append(Fault(lost().what, holes_raise and request.strategy.holes_raise, lost))
    if failure is not None:
        why = "" if failure.why is None else f": {failure.why}"
        faults.append(Fault(failure.what + why, holes_raise and bool(finish.holes), lambda: failure))
    # What damage took is not called missing beside it.
    unknown = evaluated.unknown.clip(request.closed) - damaged
    absent = evaluated.absent.clip(request.closed)
    if finish.holes and (unknown or absent) and request.strategy.holes_raise:
        missing = partial(missing_error, request, grid, unknown, absent, asked)
        faults.append(Fault(describe_missing(grid, unknown, absent), holes_raise, missing))
    if check.violations and binding.is_strict:
        broken = partial(
            schema_error, binding, check, evaluated.frame, series=request.series, span=request.span
        )
        faults.append(Fault(broken().what, True, broken))
    if found and request.findings != "observe":
        text = describe_found(found)
        faults.append(
            Fault(text, request.findings == "raise", lambda: conformance_error(text, request, asked.report()))
        )
    return faults


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


def unanswered_error(breach: Breach, series: SeriesId | None) -> SeamlessSLAExceeded:
    """The error of a budget that was spent before, or after, the steps of a fetch: there is no answer."""
    return SeamlessSLAExceeded(
        describe(breach),
        phase=breach.phase,
        ledger={"total": breach.elapsed_s},
        budget_s=breach.budget_s,
        elapsed_s=breach.elapsed_s,
        series=series,
        why="the store did not answer",
        next_step=f"see whether it can be reached; or raise {breach.phase}",
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


def describe_resting(grid: Grid, resting: Coverage, until: int) -> str:
    """One line: how many bars are not asked for, since their rows were refused twice, and until when (ns)."""
    return f"{counted(grid.count(resting), 'bar')} refused twice: not asked for again before {iso(until)}"


def missing_error(
    request: Request, grid: Grid, unknown: Coverage, absent: Coverage, asked: Asked
) -> MissingDataError:
    """Which bars are missing, why each kind is, and what to do about it."""
    reasons, unserved, resting = [], asked.unserved(), NOT_REFUSED
    asks = Tier.BACKFILL in request.tiers
    quarantined = asked.quarantined(unknown.hull) if unknown else None
    if quarantined is not None and quarantined.height:
        inside = quarantined.filter(unknown.holds(stamps(quarantined)))
        for (rule,), rows in inside.group_by("rule", maintain_order=True):
            reasons.append(
                f"{rule} refused {counted(rows.height, 'row')}, the first at {iso(int(stamps(rows)[0]))}"
            )
        if asks and unserved is None:
            resting = asked.refused(unknown)
        if resting.until is not None:
            reasons.append(describe_resting(grid, resting.resting, resting.until))
    if unknown and not asks:
        reasons.append(
            f"strategy {request.strategy.name} asks no vendor"
            if request.as_of is None
            else f"the store is read as it was at {iso(request.as_of)}, and no vendor is asked"
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
        next_step=_next_for_missing(request, unserved, resting),
    )


def _next_for_missing(request: Request, unserved: Unserved | None, refused: Refused) -> str:
    if request.as_of is not None:
        return "give a later `as_of=`, or none; `partial_ok=True` answers with the holes"
    if unserved is not None:
        return f"{unserved.next_step}; `partial_ok=True` answers with the holes"
    if Tier.BACKFILL not in request.tiers:
        return (
            "use `strategy='AUTO_BACKFILL'` or `strategy='SEAMLESS'`; "
            "`partial_ok=True` answers with the holes"
        )
    if refused.until is not None:
        return "`refresh(...)` asks for refused bars now; or take what there is with `partial_ok=True`"
    return "call again later, or take what there is with `partial_ok=True`"


def first_spans(cells: Coverage, most: int = 3) -> str:
    """A few spans, and how many more there are."""
    shown, more = ", ".join(map(str, cells.spans[:most])), len(cells) - most
    return shown if len(cells) <= most else f"{shown} and {counted(more, 'more span')}"


def schema_error(
    binding: SchemaBinding, check: SchemaCheck, frame: pl.DataFrame, *, series: SeriesId, span: Span
) -> SchemaValidationError:
    """Every rule of the registered schema that the rows break."""
    shown = "; ".join(violation.message for violation in check.violations[:5])
    more = f"; and {len(check.violations) - 5} more" if len(check.violations) > 5 else ""
    return SchemaValidationError(
        f"{check.failed_rows(frame):,} of {counted(frame.height, 'row')} break the schema {binding.name}: "
        f"{shown}{more}",
        subject=binding.subject,
        mode=binding.mode.value,
        problems=check.violations,
        series=series,
        span=span,
        why="the subject is in strict mode",
        next_step=f"see what wrote the rows; 'qmtl schema rollback {binding.subject}' serves them and counts",
    )


def describe_found(found: Sequence[FindingSummary]) -> str:
    """One line: which rules raise, and how many bars break each."""
    shown = "; ".join(
        f"{f.severity} {f.rule}: {counted(f.raises, 'bar')}, first {iso(f.first_ts)}" for f in found[:5]
    )
    return f"the data does not conform: {shown}"


def conformance_error(text: str, request: Request, report: ConformanceReport) -> ConformancePipelineError:
    """What the pipeline found that nobody has accepted. text: see `describe_found`."""
    series, (start, end) = request.series, map(iso, request.span)
    return ConformancePipelineError(
        text,
        report=report,
        series=series,
        span=request.span,
        # With the range: that of the newest report may be another.
        next_step=f"see 'qmtl reports show {series}'; then 'qmtl reports accept {series} "
        f"--start {start} --end {end}', or pass `partial_ok=True`",
    )
