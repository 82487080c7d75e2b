"""Turns the end of a journey into an answer, or into the error that says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import polars as pl

from qmtl.foundation.errors import first_of
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.observability.log import sla_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.conformance.findings import Finding, of_damage, of_replaced
from qmtl.runtime.conformance.flags import EMPTY_FLAGS
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.registered import NOT_CHECKED, SchemaCheck
from qmtl.runtime.conformance.report import SCHEMA, ConformanceReport, Heal, Unchecked
from qmtl.runtime.coordination.backfill import Filling
from qmtl.runtime.io.holding import Holding
from qmtl.runtime.planning.request import Fill, Tier
from qmtl.runtime.planning.session import Breach, Finish
from qmtl.runtime.sdk.journey import Journey
from qmtl.runtime.sdk.outcome import (
    Fault,
    conformance_error,
    damage_error,
    describe,
    describe_missing,
    missing_error,
    schema_error,
    sla_error,
)
from qmtl.runtime.sdk.receipt import Later, Receipt, Served
from qmtl.runtime.sdk.results import FetchResult, fill_no_trade
from qmtl.runtime.sdk.schemas import Held, Schemas, hold
from qmtl.runtime.sdk.shell import Shell


class Answerer:
    """Judges, raises or answers, archives, and counts."""

    def __init__(self, shell: Shell, schemas: Schemas, metrics: Metrics) -> None:
        self._shell = shell
        self._schemas = schemas
        self._metrics = metrics
        # A cached answer reads nothing from the store, as long as nobody has written to it. Bounded: one per
        # series and version of the store, the longest unused left out first.
        self._baseline = lru_cache(maxsize=1024)(self._read_baseline)

    def answer(self, journey: Journey, finish: Finish, fill: Fill | None, version: int) -> FetchResult:
        """The result of a journey. Raises in the order SLA, source, missing, schema, conformance.

        version: of the store, as it was last noticed.
        """
        request = journey.request
        holding = journey.holding or _nothing(journey)
        check = self._check(journey, holding)
        total = self._shell.clock.monotonic() - journey.opened
        phases = journey.session.ledger.as_dict(total)
        self._metrics.observe_phases(request.series, phases)
        if finish.breach is not None:
            _log_breach(journey, finish.breach)

        clean = not (holding.flags or journey.filling is not None or check.violations or journey.damage_met)
        accepted = self._shell.store.accepted(request.series) if holding.flags else ()
        report = self._report(
            journey, holding, check, accepted=accepted, baseline=self._baseline(request.series, version)
        )
        archived = None
        if not clean:
            report = cache(report)  # looked at here already; a clean answer leaves it to the result
            archived = self._archive(journey, holding, report)
        faults: list[Fault] = []
        if finish.breach is not None or finish.holes or finish.failure is not None or not clean:
            faults = self._faults(journey, finish, holding, check, accepted, phases, report)
        # The first that raises carries the others, those that the request would have answered included.
        faults_in_order = sorted(faults, key=lambda fault: not fault.raises)
        if faults_in_order and faults_in_order[0].raises:
            error = first_of(fault.error() for fault in faults_in_order)
            self._metrics.count_fetch(request.series, request.strategy.name, type(error).__name__)
            raise error
        self._metrics.count_fetch(
            request.series, request.strategy.name, "partial" if finish.holes else "complete"
        )
        self._count_bars(journey, holding)
        violations = tuple(fault.text for fault in faults)
        return self._result(journey, finish, holding, phases, report, archived, fill, violations)

    def _read_baseline(self, series: SeriesId, version: int) -> dict[str, Any] | None:
        """What reports of the series are compared with, in this version of the store."""
        return self._shell.store.baseline_report(series)

    def _earlier_close(self, holding: Holding) -> float | None:
        """The last close before the range, at the same commit."""
        start = holding.span.start
        snapshot = self._shell.store.read(
            holding.series, Span(start, start), as_of=holding.as_of or None, context=1
        )
        before = snapshot.rows.head(snapshot.first)["close"]
        return None if before.is_empty() else float(before[-1])

    def _count_bars(self, journey: Journey, holding: Holding) -> None:
        rest = holding.frame.height
        for tier in journey.missing_before:
            brought = journey.grid.count(journey.brought_by(tier) & holding.states.present)
            self._metrics.count_bars_served(holding.series, tier, brought)
            rest -= brought
        self._metrics.count_bars_served(holding.series, journey.session.answered_by or Tier.STORAGE, rest)

    def _faults(
        self,
        journey: Journey,
        finish: Finish,
        holding: Holding,
        check: SchemaCheck,
        accepted: Sequence[Accepted],
        phases: Mapping[str, float],
        report: Callable[[], ConformanceReport],
    ) -> list[Fault]:
        """All that is wrong with the answer, in the order in which it is raised: no one hides another."""
        request, held, failure = journey.request, journey.held, finish.failure
        vendors = self._shell.vendors
        answers_breach = request.sla is not None and request.sla.on_breach == "partial"
        strict = not request.partial_ok
        # A breach that is answered takes what it left behind with it: sources and holes are its consequence.
        holes_raise = strict and not (finish.breach is not None and answers_breach)
        faults = []
        if finish.breach is not None:
            breach = finish.breach
            faults.append(
                Fault(
                    describe(breach),
                    strict and not answers_breach,
                    lambda: sla_error(breach, request, phases, _abandoned(journey)),
                )
            )
        if damaged := journey.damage_left:
            lost = partial(damage_error, request, damaged, failure)
            faults.append(Fault(lost().what, holes_raise and request.strategy.holes_raise, lost))
        if failure is not None:
            why = "" if failure.why is None else f": {failure.why}"
            faults.append(Fault(failure.what + why, holes_raise and bool(finish.holes), lambda: failure))
        # What damage took is not called missing beside it.
        unknown = holding.unknown.clip(request.closed) - journey.damage_left
        absent = holding.absent.clip(request.closed)
        if finish.holes and (unknown or absent) and request.strategy.holes_raise:
            faults.append(
                Fault(
                    describe_missing(journey.grid, unknown, absent),
                    holes_raise,
                    lambda: missing_error(
                        request,
                        journey.grid,
                        unknown,
                        absent,
                        self._shell.store,
                        unserved=None if vendors.find(request.series) else vendors.unserved(request.series),
                    ),
                )
            )
        if check.violations and held.is_strict:
            broken = partial(
                schema_error, held, check, holding.frame, series=request.series, span=request.span
            )
            faults.append(Fault(broken().what, True, broken))
        if self._raises(holding, accepted):
            found = partial(conformance_error, request, report())
            faults.append(Fault(found().what, strict, found))
        return faults

    def _raises(self, holding: Holding, accepted: Sequence[Accepted]) -> bool:
        """Whether an error or a warning names a bar that is not accepted."""
        if not holding.flags:
            return False
        verdict = self._shell.pipeline.verdict(
            holding.flags,
            holding.states,
            frame=holding.frame,
            accepted=accepted,
        )
        return bool(verdict.errors or verdict.warnings)

    def _check(self, journey: Journey, holding: Holding) -> SchemaCheck:
        """What the rows break of the schema in force; what was read from the store is counted."""
        held = journey.held
        check = holding.check
        if check.schema is not held.schema:  # registered since the rows were read
            check = hold(holding.frame, held)
        elif journey.session.answered_by is Tier.CACHE:
            return check
        if held.schema is not None:
            rows, failed = holding.frame.height, check.failed(holding.frame) if check.violations else 0
            changed = journey.filling is not None and journey.filling.added > 0
            self._schemas.observe(held, checked=rows, failed=failed, changed=changed)
            if failed:
                self._metrics.count_schema_failures(held.subject, held.mode, failed)
        return check

    def _report(
        self,
        journey: Journey,
        holding: Holding,
        check: SchemaCheck,
        *,
        accepted: Sequence[Accepted],
        baseline: Mapping[str, Any] | None,
    ) -> Callable[[], ConformanceReport]:
        """Puts the report together when it is asked for, from what is known now: an answer stays as it is.

        It needs neither the store nor the provider, which may both be gone by then.
        """
        asked_again, filling = journey.session.asked_again, journey.filling
        heal = None if not asked_again else Heal(asked_again, asked_again - self._shell.suspects(holding))
        return partial(
            _reported,
            self._shell.pipeline,
            journey.held,
            holding,
            check,
            baseline=baseline,
            accepted=accepted,
            heal=heal,
            filling=filling,
            damage_met=journey.damage_met,
        )

    def _archive(
        self, journey: Journey, holding: Holding, report: Callable[[], ConformanceReport]
    ) -> bool | None:
        """Keep the report if this call changed data, or found what the newest archived one does not tell.

        None: there was nothing to keep. False: the store cannot be written.
        """
        if journey.request.as_of is not None:
            return None
        store = self._shell.store
        changed = journey.filling is not None and (journey.filling.added or journey.filling.replaced)
        if not changed and not report().says_more_than(store.newest_report(holding.series)):
            return None
        self._metrics.count_findings(holding.series, report().findings)
        return store.archive_report(holding.series, report().to_json()) is not None

    def _result(
        self,
        journey: Journey,
        finish: Finish,
        holding: Holding,
        phases: Mapping[str, float],
        report: Callable[[], ConformanceReport],
        archived: bool | None,
        fill: Fill | None,
        violations: tuple[str, ...],
    ) -> FetchResult:
        request = journey.request
        frame = holding.frame
        if fill is not None:
            frame = fill_no_trade(
                frame,
                holding.states,
                fill,
                has_volume=journey.facts.has_volume is not False,
                earlier_close=self._earlier_close(holding) if fill == "flat" else None,
            )
        not_closed = EMPTY
        if request.closed.end < request.span.end:
            not_closed = holding.unknown.clip(Span(request.closed.end, request.span.end))
        receipt = Receipt(
            series=request.series,
            span=request.span,
            strategy=request.strategy.name,
            calendar=journey.facts.calendar_name,
            as_of=holding.as_of,
            opened_at=request.opened_at,
            phases=phases,
            not_closed=not_closed,
            later=Later(
                lambda: _served(journey, holding),
                lambda: fingerprint(frame),
                lambda: holding.states.counts,
            ),
            violations=violations,
            abandoned=_abandoned(journey),
            damaged=journey.damage_left,
            healed=journey.damage_met - journey.damage_left,
            replaced=0 if journey.filling is None else sum(part.height for part in journey.filling.replaced),
            breach=finish.breach,
            archived=archived,
            schema_id=journey.held.name,
        )
        return FetchResult(frame, receipt, _states=lambda: holding.states, _report=report)


def _reported(
    pipeline: ConformancePipeline,
    held: Held,
    holding: Holding,
    check: SchemaCheck,
    *,
    baseline: Mapping[str, Any] | None,
    accepted: Sequence[Accepted],
    heal: Heal | None,
    filling: Filling | None,
    damage_met: Coverage,
) -> ConformanceReport:
    """What was found in the answer, compared with `baseline`."""
    damage = of_damage(damage_met, holding.grid, holding.span)
    filled = [] if filling is None else [*filling.findings, *_of_replaced(filling, holding)]
    return pipeline.report(
        series=holding.series,
        frame=holding.frame,
        states=holding.states,
        flags=holding.flags,
        fingerprint=fingerprint(holding.frame),
        as_of=holding.as_of,
        previous=baseline,
        accepted=accepted,
        heal=heal,
        findings=[*damage, *filled, *check.findings(holding.frame)],
        schema_id=held.name,
        unchecked=_unchecked(held, holding.frame),
    )


def _unchecked(held: Held, frame: pl.DataFrame) -> list[Unchecked]:
    return [] if held.why_not is None else [Unchecked(SCHEMA, frame.height, held.why_not)]


def _log_breach(journey: Journey, breach: Breach) -> None:
    request = journey.request
    sla_log.warning(
        "sla.breach",
        node_id=str(request.series),
        interval=str(request.series.timeframe),
        start=iso(request.span.start),
        end=iso(request.span.end),
        phase=breach.phase,
        limit=breach.limit if breach.budget_s is None else breach.budget_s,
        observed=breach.observed if breach.elapsed_s is None else breach.elapsed_s,
        abandoned=", ".join(_abandoned(journey)) or None,
    )


def _abandoned(journey: Journey) -> tuple[str, ...]:
    filling = journey.filling
    return (filling.source,) if filling is not None and filling.abandoned else ()


def _of_replaced(filling: Filling, holding: Holding) -> list[Finding]:
    if not filling.replaced:
        return []
    return of_replaced(pl.concat(filling.replaced), among=holding.frame.height)


def _nothing(journey: Journey) -> Holding:
    """What is known when the store did not answer in time: that nobody has been asked."""
    span, grid = journey.request.span, journey.grid
    expected = grid.expected(span)
    states = BarStates(span, grid, EMPTY, EMPTY, Coverage.of(span) - expected, EMPTY, expected)
    return Holding(
        journey.request.series,
        grid,
        journey.facts,
        empty_bars(),
        states,
        EMPTY_FLAGS,
        NOT_CHECKED,
        answers=(),
        tx=0,
        as_of=0,
        valid_until=None,
    )


def _served(journey: Journey, holding: Holding) -> tuple[Served, ...]:
    """Each source's answers, split by the tier that brought them in this call."""
    base = Tier.CACHE if journey.session.answered_by is Tier.CACHE else Tier.STORAGE
    live, filled = journey.brought_by(Tier.LIVE), journey.brought_by(Tier.BACKFILL)
    by_source: dict[str, list[tuple[int, int]]] = {}
    for answer in holding.answers:
        by_source.setdefault(answer.source, []).append((answer.start, answer.end))
    rows = []
    for source, spans in by_source.items():
        cells = Coverage(spans).clip(holding.span) - holding.unknown  # an absence may have expired
        for tier, part in (
            (base, cells - live - filled),
            (Tier.BACKFILL, cells & filled),
            (Tier.LIVE, cells & live),
        ):
            if part:
                rows.append(Served(tier, source, part))
    return tuple(sorted(rows, key=lambda row: row.cells.hull.start))
