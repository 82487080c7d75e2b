"""Performs the steps that the planner decides: reads, backfills, listens, and tells what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import QmtlError, SourceUnavailableError
from qmtl.foundation.frames import stamps
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import SECOND
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import IS_ERROR
from qmtl.runtime.coordination.backfill import Backfill, Filling, Rules
from qmtl.runtime.coordination.claims import Claims
from qmtl.runtime.coordination.foreign import told
from qmtl.runtime.coordination.pages import UnfitPageError
from qmtl.runtime.coordination.tail import Tail
from qmtl.runtime.coordination.threads import in_thread
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.holding import Holding
from qmtl.runtime.io.judged import read_judged
from qmtl.runtime.io.store.base import SeriesStore
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.planning.ledger import Budget, budget_for
from qmtl.runtime.planning.request import Request, Tier
from qmtl.runtime.planning.session import (
    Ask,
    Breach,
    Event,
    Filled,
    Finish,
    Found,
    NotThere,
    advance,
    next_step,
)
from qmtl.runtime.sdk.flights import Flights
from qmtl.runtime.sdk.journey import Journey
from qmtl.runtime.sdk.schemas import Held, Schemas, hold
from qmtl.runtime.sdk.sources import Sources, name_of

_LOCAL = (Tier.CACHE, Tier.STORAGE)


class _BudgetSpent(Exception):
    """Raised inside a read of the store to abandon it."""


@dataclass(frozen=True)
class Shell:
    """What a provider's steps need."""

    store: SeriesStore
    cache: RangeCache
    claims: Claims
    vendors: Sources[Vendor]
    feeds: Sources[LiveFeed]
    pipeline: ConformancePipeline
    clock: Clock
    metrics: Metrics
    rules: Rules
    flights: Flights
    schemas: Schemas

    def drive_local(self, journey: Journey, *, tiers: tuple[Tier, ...] = _LOCAL) -> Finish | None:
        """Go on while the next step needs no network (is one of `tiers`); None where it does."""
        while not isinstance(step := next_step(journey.session), Finish):
            if step.tier not in tiers:
                return None
            journey.session = advance(journey.session, self._perform_local(journey, step))
        return step

    async def drive(self, journey: Journey) -> Finish:
        """Go on to the end, on the provider's loop."""
        try:
            while not isinstance(step := next_step(journey.session), Finish):
                if step.tier not in _LOCAL and journey.tail is None:
                    self._listen(journey)
                if step.tier in _LOCAL:
                    event = await in_thread(self._perform_local, journey, step)
                elif step.tier is Tier.BACKFILL:
                    event = await self._backfill(journey, step.cells)
                else:
                    event = await self._await_live(journey, step.cells)
                journey.session = advance(journey.session, event)
            return step
        finally:
            if journey.tail is not None:
                self._count_refused(journey.held, journey.tail.quarantined)
                await journey.tail.close()

    # -- cache and storage ------------------------------------------------------------------------------

    def _perform_local(self, journey: Journey, step: Ask) -> Event:
        began = self.clock.monotonic()
        request = journey.request
        if step.tier is Tier.CACHE:
            held = self.cache.get(request.series, request.span, request.opened_at)
            if held is None:
                return NotThere(Tier.CACHE, self.clock.monotonic() - began)
        else:
            budget = self._budget(journey, Tier.STORAGE)
            deadline = None if budget is None else began + budget.left_s
            try:
                held = self.read(request, journey, lambda: self._check(deadline))
                self._check(deadline)
            except _BudgetSpent:
                spent = self.clock.monotonic() - began
                return Filled(Tier.STORAGE, spent, breach=self._breach(journey, budget, spent))
        journey.holding = held
        journey.damage_met |= held.damaged
        return Found(
            step.tier, held.unknown, held.absent, self.suspects(held), self.clock.monotonic() - began
        )

    def _check(self, deadline: float | None) -> None:
        if deadline is not None and self.clock.monotonic() > deadline:
            raise _BudgetSpent

    def read(self, request: Request, journey: Journey, check: Callable[[], None] | None = None) -> Holding:
        """The whole span from the store, judged; kept in the cache unless it is a point in time."""
        grid, facts, series = journey.grid, journey.facts, request.series
        snapshot, flags = read_judged(
            self.store,
            self.pipeline,
            series,
            request.span,
            grid=grid,
            facts=facts,
            as_of=request.as_of,
            check=check,
        )
        # What had expired is judged then, too: the same point in time always gives the same answer.
        now = request.opened_at if request.as_of is None else request.as_of
        states = bar_states(
            request.span,
            grid,
            stamps(snapshot.frame),
            snapshot.answered,
            snapshot.absent(now),
            snapshot.damaged,
        )
        held_to = hold(snapshot.frame, journey.held)
        expiries = [a.expires_at for a in snapshot.answers if a.expires_at is not None and a.expires_at > now]
        holding = Holding(
            series,
            grid,
            facts,
            snapshot.frame,
            states,
            flags,
            held_to,
            answers=snapshot.answers,
            tx=snapshot.tx,
            as_of=snapshot.as_of,
            valid_until=min(expiries, default=None),
        )
        if request.as_of is None:
            self.cache.put(holding)
        return holding

    def suspects(self, held: Holding) -> Coverage:
        """Stored cells worth one more question: impossible rows, and silences not asked about lately."""
        if not held.flags:
            return EMPTY
        impossible = np.unique(held.flags.ts[IS_ERROR[held.flags.codes]])
        cells = held.grid.cells(impossible) if len(impossible) else EMPTY
        silent = held.silent
        if silent:
            lately = self.clock.now() - int(self.rules.absent_expiry * SECOND)
            silent = silent - Coverage((a.start, a.end) for a in held.answers if a.checked_at > lately)
        return cells | silent

    # -- backfill and live ------------------------------------------------------------------------------

    async def _backfill(self, journey: Journey, cells: Coverage) -> Event:
        began = self.clock.monotonic()
        request = journey.request
        vendor = self.vendors.find(request.series)
        if vendor is None or not cells:
            return Filled(Tier.BACKFILL, 0.0)
        journey.missing_before[Tier.BACKFILL] = journey.session.unknown
        budget = self._budget(journey, Tier.BACKFILL)
        failure: QmtlError | None = None
        breach: Breach | None = None
        try:
            async with asyncio.timeout(None if budget is None else max(0.0, budget.left_s)) as limit:
                await self.fill(journey, vendor, cells, again=journey.session.suspects)
        except TimeoutError:
            if not limit.expired():
                raise  # of a callback's own
            breach = self._breach(journey, budget, self.clock.monotonic() - began)
        except SourceUnavailableError as error:
            failure = error
        seconds = self.clock.monotonic() - began
        return Filled(Tier.BACKFILL, seconds, failure, breach, asked_again=journey.session.suspects)

    async def fill(
        self,
        journey: Journey,
        vendor: Vendor,
        cells: Coverage,
        again: Coverage = EMPTY,
        unless_after: int | None = None,
    ) -> Filling:
        """Share the flight that asks `vendor` for `cells`; see `Backfill.run`."""
        series, grid, facts = journey.request.series, journey.grid, journey.facts
        backfill = Backfill(self.store, self.claims, self.clock, self.metrics, self.rules)
        journey.filling = Filling(name_of(vendor))

        async def work(filling: Filling) -> None:
            try:
                await backfill.run(
                    series,
                    grid,
                    facts,
                    cells - again,
                    vendor,
                    filling,
                    journey.on_progress,
                    again=again,
                    unless_after=unless_after,
                )
            except UnfitPageError as refused:
                self._count_refused(journey.held, refused.rows)
                raise
            finally:
                self._count_refused(journey.held, filling.quarantined)

        key = (series, cells, again, id(vendor))
        journey.filling = self.flights.joined(key, journey.filling)
        return await self.flights.share(key, journey.filling, work)

    def _count_refused(self, held: Held, rows: int) -> None:
        """Rows that the store cannot hold, refused in either mode, are failures of the schema as well."""
        if rows:
            self.schemas.observe(held, checked=rows, failed=rows, changed=True)
            self.metrics.count_schema_failures(held.subject, held.mode, rows)

    def _listen(self, journey: Journey) -> None:
        """Open the live feed before any vendor is asked, if the end of the answer is missing."""
        feed = self.feeds.find(journey.request.series)
        if feed is not None and Tier.LIVE in journey.session.tiers and _at_the_tail(journey):
            journey.tail = Tail(feed, journey.request.series, source=name_of(feed))

    async def _await_live(self, journey: Journey, cells: Coverage) -> Event:
        began = self.clock.monotonic()
        tail, missing = journey.tail, _at_the_tail(journey) & cells
        if tail is None or not missing:
            return Filled(Tier.LIVE, 0.0)
        journey.missing_before[Tier.LIVE] = journey.session.unknown
        request, budget = journey.request, self._budget(journey, Tier.LIVE)
        failure: QmtlError | None = None
        breach: Breach | None = None
        feed_name = name_of(self.feeds.find(request.series))
        # Without a budget a bar is waited for as long as a source may take to settle.
        left = self.rules.settle if budget is None else max(0.0, budget.left_s)
        try:
            async with asyncio.timeout(left) as limit:
                await tail.store_missing(
                    missing,
                    series=request.series,
                    grid=journey.grid,
                    facts=journey.facts,
                    store=self.store,
                    clock=self.clock,
                )
        except SourceUnavailableError as error:
            failure = error
        except OSError as cause:
            if limit.expired():
                if budget is not None:
                    breach = self._breach(journey, budget, self.clock.monotonic() - began)
                return Filled(Tier.LIVE, self.clock.monotonic() - began, None, breach)
            failure = SourceUnavailableError(
                f"the live feed {feed_name} broke off",
                source=feed_name,
                series=request.series,
                span=missing.hull,
                why=told(cause),
                next_step="try again; history is asked of the vendor first",
            )
        return Filled(Tier.LIVE, self.clock.monotonic() - began, failure, breach)

    # -- budgets ----------------------------------------------------------------------------------------

    def _budget(self, journey: Journey, tier: Tier) -> Budget | None:
        policy = journey.request.sla
        # After a breach the store is read once more for what was committed; no budget is left for that.
        if policy is None or journey.session.breach is not None:
            return None
        elapsed = self.clock.monotonic() - journey.opened
        return budget_for(policy, tier, journey.session.ledger, elapsed)

    def _breach(self, journey: Journey, budget: Budget | None, spent: float) -> Breach:
        assert budget is not None  # only a budget ends a step
        elapsed = self.clock.monotonic() - journey.opened
        if budget.phase != "total":
            elapsed = budget.budget_s - budget.left_s + spent
        return Breach(budget.phase, budget_s=budget.budget_s, elapsed_s=elapsed)


def _at_the_tail(journey: Journey) -> Coverage:
    """The missing cells that reach to the newest closed bar: what a live feed may still tell."""
    missing = journey.session.missing
    if not missing or missing.hull.end != journey.request.closed.end:
        return EMPTY
    return Coverage.of(missing.spans[-1])
