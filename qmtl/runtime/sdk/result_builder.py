"""Turns the end of a fetch into an answer, or into the error that says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import polars as pl

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import first_of
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.observability.log import sla_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.acceptance import Accepted, unaccepted
from qmtl.runtime.conformance.digest import has_new_findings
from qmtl.runtime.conformance.finding_summaries import FindingSummary, summaries, summaries_of_flags
from qmtl.runtime.conformance.findings import Finding, damage_findings, replaced_findings
from qmtl.runtime.conformance.flags import EMPTY_FLAGS
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.registered_schema import SchemaCheck
from qmtl.runtime.conformance.report import SCHEMA, ConformanceReport, Heal, Unchecked
from qmtl.runtime.io.coverage_scan import refused
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import ChangeToken
from qmtl.runtime.planning.attribution import Served, brought, served
from qmtl.runtime.planning.fetch_state import COMPLETE
from qmtl.runtime.planning.ledger import Breach
from qmtl.runtime.planning.request import Fill, Tier
from qmtl.runtime.sdk.archive_seen import ArchiveSeen
from qmtl.runtime.sdk.fetch_context import FetchEnd
from qmtl.runtime.sdk.fetch_errors import Asked, Fault, faults_of
from qmtl.runtime.sdk.receipt import Later, Receipt
from qmtl.runtime.sdk.results import FetchResult, fill_no_trade
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer, validate
from qmtl.runtime.sdk.sources import Unserved

Report = Callable[[], ConformanceReport]


class ResultBuilder:
    """Judges, raises or answers, archives, and counts.

    unserved: why no vendor serves a series.
    """

    def __init__(
        self,
        store: Store,
        pipeline: ConformancePipeline,
        schemas: SchemaEnforcer,
        metrics: Metrics,
        unserved: Callable[[SeriesId], Unserved],
        clock: Clock,
    ) -> None:
        self._store = store
        self.pipeline = pipeline
        self._schemas = schemas
        self._metrics = metrics
        self._unserved = unserved
        self._clock = clock
        # A cached answer reads nothing from the store, as long as nobody has written to it. Bounded: one per
        # series and version of the store, the longest unused left out first.
        self._archive_at = lru_cache(maxsize=1024)(self._archive_seen)

    def answer(self, end: FetchEnd, version: ChangeToken) -> FetchResult:
        """The result of a fetch. Raises in the order SLA, source, missing, schema, conformance.

        version: of the store, as it was last noticed. What an answer says of time comes in by `close`.
        """
        state, finish, evaluated = end.state, end.finish, end.evaluated
        request = state.request
        check = self._check(end)
        if finish.breach is not None:
            _log_breach(end, finish.breach)

        flags = evaluated.flags
        flagged = flags is not EMPTY_FLAGS and bool(flags)
        archive = self._archive_at(request.series.text, version)
        accepted = archive.accepted if flagged else ()
        report: Report = partial(reported, self.pipeline, end, check, archive.baseline, accepted)
        archived: bool | None = None
        faults: tuple[str, ...] = ()
        found: tuple[FindingSummary, ...] = ()
        asked = end.backfill is not None or end.changed_data
        clean = not (flagged or asked or check.violations or state.damage_met is not EMPTY)
        if not clean:
            report = cache(report)  # archived, raised or put together by the result, it is the same
            raising = unaccepted(flags, accepted, evaluated.frame) if accepted else flags
            of_flags = summaries_of_flags(flags, raising, lambda: evaluated.states)
            everything = summaries(evaluated.frame, flags, of_flags, _found_beside(end, check))
            archived = self._archive(end, archive, everything, report)
            if any(finding.raises for finding in of_flags):
                found = tuple([finding for finding in everything if finding.raises])
        if not clean or (finish is not COMPLETE and any(finish[:3])):
            faults = tuple(fault.text for fault in self._faults(end, check, report, found))
        self._count(end)
        frame = evaluated.frame if end.fill is None else self._filled(end, end.fill)
        return FetchResult(
            _frame=frame,
            _receipt=partial(receipt_of, end, frame, archived, faults),
            _states=lambda: evaluated.states,
            _report=report,
        )

    def postponed(self, end: FetchEnd, version: ChangeToken) -> Mapping[str, Any] | None:
        """Count an answer with nothing to raise, archive or tell of, which is made later (`LaterAnswer`).

        What its report is to be compared with: the archive may hold another by then.
        """
        self._check(end)
        self._count(end)
        return self._archive_at(end.profile.series.text, version).baseline

    def close(self, end: FetchEnd) -> None:
        """Take the time of a fetch that has done all else, answered or failed: the caller waited for all."""
        self._metrics.observe_phases(end.profile.series, self._phases(end))
        # A cache answers so quickly that the time that metrics take shows.
        end.phases.update(self._phases(end))

    def _phases(self, end: FetchEnd) -> dict[str, float]:
        """Seconds per phase until now."""
        return end.state.ledger.as_dict(self._clock.monotonic() - end.opened)

    def _faults(
        self,
        end: FetchEnd,
        check: SchemaCheck,
        report: Report,
        found: Sequence[FindingSummary],
    ) -> list[Fault]:
        """What is wrong with the answer. Raises the first that ends the request, with all the others."""
        series = end.profile.series
        asked = Asked(
            partial(self._store.quarantined, series),
            lambda cells: refused(
                self._store, series, cells, end.profile.grid, now=end.state.request.opened_at
            ),
            lambda: self._unserved(series) if end.profile.vendor is None else None,
            report,
        )
        faults = faults_of(end, check, asked, phases=end.phases, found=found)
        # The first that raises carries the others, those that the request would have answered included.
        faults_in_order = sorted(faults, key=lambda fault: not fault.raises)
        if faults_in_order and faults_in_order[0].raises:
            end.phases.update(self._phases(end))
            error = first_of(fault.error() for fault in faults_in_order)
            self._metrics.count_fetch(series, end.state.request.strategy.name, type(error).__name__)
            raise error
        return faults

    def _archive_seen(self, series: str, version: ChangeToken) -> ArchiveSeen:
        """What is archived of a node id, in this version of the store."""
        return ArchiveSeen(self._store, SeriesId.parse(series))

    def _count(self, end: FetchEnd) -> None:
        """One answer, and its bars by the tiers that brought them."""
        series, evaluated, state = end.profile.series, end.evaluated, end.state
        rest = evaluated.frame.height
        for tier, cells in brought(state.turns, state.unknown) if state.turns else ():
            bars = end.profile.grid.count(cells & evaluated.states.present)
            self._metrics.count_bars_served(series, tier, bars)
            rest -= bars
        outcome = "partial" if end.finish is not COMPLETE and end.finish.holes else "complete"
        self._metrics.count_answer(
            series, state.request.strategy.name, outcome, state.answered_by or Tier.STORAGE, rest
        )

    def _check(self, end: FetchEnd) -> SchemaCheck:
        """What the rows break of the schema in force; what was read from the store is counted."""
        binding, evaluated = end.profile.schema, end.evaluated
        check = evaluated.check
        if check.schema is not binding.schema:  # registered since the rows were read
            check = validate(evaluated.frame, binding)
        elif end.state.answered_by is Tier.CACHE:
            return check
        if binding.schema is not None:
            rows, failed = (
                evaluated.frame.height,
                check.failed_rows(evaluated.frame) if check.violations else 0,
            )
            self._schemas.observe(binding, checked=rows, failed=failed, changed=end.changed_data)
            if failed:
                self._metrics.count_schema_failures(binding.subject, binding.mode, failed)
        return check

    def _archive(
        self, end: FetchEnd, archive: ArchiveSeen, found: Sequence[FindingSummary], report: Report
    ) -> bool | None:
        """Keep the report if this call changed data, or found what the newest archived one lacks.

        None: there was no reason to keep it. False: the store cannot be written, or has no room.
        """
        if end.state.request.as_of is not None:
            return None
        if not end.changed_data and not has_new_findings(found, archive.newest):
            return None
        series = end.profile.series
        self._metrics.count_findings(series, found)
        is_kept = self._store.archive_report(series, report().to_json()) is not None
        if is_kept:
            archive.forget_reports()
        return is_kept

    def _filled(self, end: FetchEnd, fill: Fill) -> pl.DataFrame:
        """The rows, and one for each bar that did not trade."""
        evaluated = end.evaluated
        return fill_no_trade(
            evaluated.frame,
            evaluated.states,
            fill,
            has_volume=end.profile.facts.has_volume is not False,
            earlier_close=self._earlier_close(evaluated) if fill == "flat" else None,
        )

    def _earlier_close(self, evaluated: EvaluatedRange) -> float | None:
        """The last close before the range, at the same commit."""
        start = evaluated.span.start
        snapshot = self._store.read(
            evaluated.series, Span(start, start), as_of=evaluated.as_of or None, context=1
        )
        before = snapshot.rows.head(snapshot.first)["close"]
        return None if before.is_empty() else float(before[-1])


def receipt_of(
    end: FetchEnd,
    frame: pl.DataFrame,
    archived: bool | None,
    violations: tuple[str, ...],
) -> Receipt:
    """The proof that goes with the rows `frame`."""
    state, evaluated = end.state, end.evaluated
    request = state.request
    not_closed = EMPTY
    if request.closed.end < request.span.end:
        not_closed = evaluated.unknown.clip(Span(request.closed.end, request.span.end))
    # By position: by name takes a microsecond more, which each answer from the cache would pay.
    return Receipt(
        request.series,
        request.span,
        request.strategy.name,
        end.profile.facts.calendar_name,
        evaluated.as_of,
        request.opened_at,
        end.phases,
        not_closed,
        Later(
            partial(_served, end),
            lambda: fingerprint(frame),
            lambda: evaluated.states.counts,
        ),
        violations,
        end.abandoned,
        0 if end.backfill is None else sum(part.height for part in end.backfill.replaced),
        end.finish.breach,
        archived,
        end.profile.schema.name,
        state.damaged,
        state.damage_healed,
        end.max_staleness,
        None if end.backfill is None else end.backfill.uncoordinated,
        None if end.backfill is None else end.backfill.at_risk,
    )


def _served(end: FetchEnd) -> tuple[Served, ...]:
    return served(
        end.evaluated.answers,
        end.evaluated.span,
        end.evaluated.unknown,
        turns=end.state.turns,
        answered_by=Tier.CACHE if end.state.answered_by is Tier.CACHE else Tier.STORAGE,
    )


def reported(
    pipeline: ConformancePipeline,
    end: FetchEnd,
    check: SchemaCheck,
    baseline: Mapping[str, Any] | None,
    accepted: Sequence[Accepted],
) -> ConformanceReport:
    """What was found in the answer, compared with `baseline`.

    It needs neither the store nor the provider, which may both be gone by then.
    """
    evaluated, state, binding = end.evaluated, end.state, end.profile.schema
    return pipeline.report(
        series=evaluated.series,
        frame=evaluated.frame,
        states=evaluated.states,
        flags=evaluated.flags,
        fingerprint=fingerprint(evaluated.frame),
        as_of=evaluated.as_of,
        previous=baseline,
        accepted=accepted,
        heal=Heal(state.asked_again, state.healed) if state.asked_again else None,
        findings=_found_beside(end, check),
        schema_id=binding.name,
        unchecked=[]
        if binding.why_not is None
        else [Unchecked(SCHEMA, evaluated.frame.height, binding.why_not)],
    )


def _found_beside(end: FetchEnd, check: SchemaCheck) -> list[Finding]:
    """The findings that do not come from flags of bars."""
    evaluated, state, backfill = end.evaluated, end.state, end.backfill
    findings = [*damage_findings(state.damage_met, evaluated.grid, evaluated.span)]
    if backfill is not None:
        findings += backfill.findings
        if backfill.replaced:
            findings += replaced_findings(pl.concat(backfill.replaced), total=evaluated.frame.height)
    return [*findings, *check.findings(evaluated.frame)] if check.violations else findings


def _log_breach(end: FetchEnd, breach: Breach) -> None:
    request = end.state.request
    sla_log.warning(
        "sla.breach",
        node_id=str(request.series),
        interval=str(request.series.timeframe),
        start=iso(request.span.start),
        end=iso(request.span.end),
        phase=breach.phase,
        limit=breach.limit if breach.budget_s is None else breach.budget_s,
        observed=breach.observed if breach.elapsed_s is None else breach.elapsed_s,
        abandoned=", ".join(end.abandoned) or None,
    )
