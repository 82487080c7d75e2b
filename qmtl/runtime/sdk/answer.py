"""Turns the end of a journey into an answer, or into the error that says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import polars as pl

from qmtl.foundation.errors import QmtlError, SchemaValidationError
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.observability.log import sla_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.findings import Finding, of_damage, of_replaced
from qmtl.runtime.conformance.flags import EMPTY_FLAGS
from qmtl.runtime.conformance.registered import NOT_CHECKED, SchemaCheck
from qmtl.runtime.conformance.report import SCHEMA, ConformanceReport, Heal, Unchecked
from qmtl.runtime.coordination.backfill import Filling
from qmtl.runtime.io.holding import Holding
from qmtl.runtime.planning.request import Fill, Tier
from qmtl.runtime.planning.session import Breach, Finish
from qmtl.runtime.sdk.journey import Journey
from qmtl.runtime.sdk.outcome import (
    conformance_error,
    damage_error,
    describe,
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

    def answer(self, journey: Journey, finish: Finish, fill: Fill | None) -> FetchResult:
        """The result of a journey. Raises in the order SLA, source, missing, conformance."""
        request = journey.request
        holding = journey.holding or _nothing(journey)
        check = self._check(journey, holding)
        total = self._shell.clock.monotonic() - journey.opened
        phases = journey.session.ledger.as_dict(total)
        self._metrics.observe_phases(request.series, phases)
        if finish.breach is not None:
            _log_breach(journey, finish.breach)

        # What goes on behind the answer, and may set another filling, is no part of it.
        report: Callable[[], ConformanceReport] = partial(
            self._report, journey, holding, check, journey.filling
        )
        clean = not (holding.flags or journey.filling is not None or check.violations or journey.damage_met)
        archived = None
        if not clean:
            report = cache(report)  # looked at here already; a clean answer leaves it to the result
            archived = self._archive(journey, holding, report)
        error = None
        if finish.breach is not None or finish.holes or not clean:
            error = self._first_error(journey, finish, holding, check, phases, report, clean)
        if error is not None and not (request.partial_ok and not isinstance(error, SchemaValidationError)):
            self._metrics.count_fetch(request.series, request.strategy.name, type(error).__name__)
            raise error
        self._metrics.count_fetch(
            request.series, request.strategy.name, "partial" if finish.holes else "complete"
        )
        self._count_bars(journey, holding)
        return self._result(journey, finish, holding, phases, report, archived, fill)

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

    def _first_error(
        self,
        journey: Journey,
        finish: Finish,
        holding: Holding,
        check: SchemaCheck,
        phases: Mapping[str, float],
        report: Any,
        clean: bool,
    ) -> QmtlError | None:
        request, vendors = journey.request, self._shell.vendors
        if finish.breach is not None:
            answered = request.sla is not None and request.sla.on_breach == "partial"
            if not answered and not request.partial_ok:
                return sla_error(
                    finish.breach, request, phases, _abandoned(journey), damaged=journey.damage_left
                )
        else:
            if journey.damage_left and request.holes_raise:
                return damage_error(request, journey.damage_left, finish.failure)
            if finish.failure is not None and finish.holes:
                return finish.failure
            if finish.holes and request.holes_raise:
                return missing_error(
                    request,
                    journey.grid,
                    holding.unknown.clip(request.closed),
                    holding.absent.clip(request.closed),
                    self._shell.store,
                    unserved=None
                    if vendors.find(request.series) is not None
                    else vendors.unserved(request.series),
                )
        if check.violations and journey.held.is_strict:
            return schema_error(journey.held, check, holding.frame, series=request.series, span=request.span)
        if not clean and not request.partial_ok and self._raises(holding):
            return conformance_error(request, report())
        return None

    def _raises(self, holding: Holding) -> bool:
        """Whether an error or a warning names a bar that is not accepted."""
        if not holding.flags:
            return False
        verdict = self._shell.pipeline.verdict(
            holding.flags,
            holding.states,
            frame=holding.frame,
            accepted=self._shell.store.accepted(holding.series),
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
        self, journey: Journey, holding: Holding, check: SchemaCheck, filling: Filling | None
    ) -> ConformanceReport:
        store = self._shell.store
        asked_again = journey.session.asked_again
        return self._shell.pipeline.report(
            series=holding.series,
            frame=holding.frame,
            states=holding.states,
            flags=holding.flags,
            fingerprint=fingerprint(holding.frame),
            as_of=holding.as_of,
            previous=store.baseline_report(holding.series),
            accepted=store.accepted(holding.series) if holding.flags else (),
            heal=None if not asked_again else Heal(asked_again, asked_again - self._shell.suspects(holding)),
            findings=[
                *of_damage(journey.damage_met, journey.grid, holding.span),
                *([] if filling is None else [*filling.findings, *_of_replaced(filling, holding)]),
                *check.findings(holding.frame),
            ],
            schema_id=journey.held.name,
            unchecked=_unchecked(journey.held, holding.frame),
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
        violations = [] if finish.breach is None else [describe(finish.breach)]
        if finish.failure is not None:
            violations.append(
                finish.failure.what + ("" if finish.failure.why is None else f": {finish.failure.why}")
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
            violations=tuple(violations),
            abandoned=_abandoned(journey),
            damaged=journey.damage_left,
            healed=journey.damage_met - journey.damage_left,
            replaced=0 if journey.filling is None else sum(part.height for part in journey.filling.replaced),
            breach=finish.breach,
            archived=archived,
            schema_id=journey.held.name,
        )
        return FetchResult(frame, receipt, _states=lambda: holding.states, _report=report)


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
