"""Performs the steps that ask somebody: backfills, and waiting for a live feed."""

from __future__ import annotations

import asyncio

from qmtl.foundation.errors import QmtlError, SourceUnavailableError
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.coordination.lease_choice import leases_of
from qmtl.runtime.ingest.backfill import Backfill
from qmtl.runtime.ingest.backfill_result import BackfillResult
from qmtl.runtime.ingest.pages import UnfitPageError
from qmtl.runtime.ingest.tail import Tail
from qmtl.runtime.ingest.threads import in_thread
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.planning.fetch_state import Event, Filled, Finish, NotThere, advance, next_step
from qmtl.runtime.planning.ledger import Breach
from qmtl.runtime.planning.request import Tier
from qmtl.runtime.sdk.declaring import try_declaration
from qmtl.runtime.sdk.fetch_context import FetchContext
from qmtl.runtime.sdk.fetch_executor import LOCAL, FetchExecutor
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding
from qmtl.runtime.sdk.series_profile import SeriesProfile
from qmtl.runtime.sdk.single_flight import SingleFlight
from qmtl.runtime.sdk.sources import name_of


class Asking:
    """What `FetchExecutor` does once a vendor or a feed is needed. Used on one event loop."""

    def __init__(self, executor: FetchExecutor) -> None:
        self._executor = executor
        self._leases = executor.leases or leases_of(executor.store)
        self._flights = SingleFlight()

    async def drive(self, context: FetchContext) -> Finish:
        """Go on to the end, on the provider's loop."""
        try:
            while not isinstance(step := next_step(context.state), Finish):
                if step.tier not in LOCAL and context.tail is None:
                    self._listen(context)
                if step.tier in LOCAL:
                    event = await in_thread(self._executor.local.perform, context, step)
                elif step.tier is Tier.BACKFILL:
                    event = await self._backfill(context, step.cells)
                else:
                    event = await self._await_live(context, step.cells)
                context.state = advance(context.state, event)
            return step
        finally:
            if context.tail is not None:
                self._count_refused(context.profile.schema, context.tail.refused)
                await context.tail.close()

    async def _backfill(self, context: FetchContext, cells: Coverage) -> Event:
        began = self._executor.clock.monotonic()
        vendor = context.profile.vendor
        if vendor is None or not cells:
            return NotThere(Tier.BACKFILL, 0.0)
        again = context.state.suspects
        budget = self._executor.local.budget(context, Tier.BACKFILL)
        failure: QmtlError | None = None
        breach: Breach | None = None
        try:
            async with asyncio.timeout(None if budget is None else max(0.0, budget.left_s)) as limit:
                await self.fill(context, vendor, cells, again=again)
        except TimeoutError:
            if not limit.expired():
                raise  # of a callback's own
            breach = self._executor.local.breach(context, budget, self._executor.clock.monotonic() - began)
        except SourceUnavailableError as error:
            failure = error
        return Filled(
            Tier.BACKFILL, self._executor.clock.monotonic() - began, failure, breach, asked_again=again
        )

    async def fill(
        self,
        context: FetchContext,
        vendor: Vendor,
        cells: Coverage,
        again: Coverage = EMPTY,
        unless_after: int | None = None,
    ) -> BackfillResult:
        """Share the flight that asks `vendor` for `cells`; see `Backfill.run`."""
        await self._try_declared(context.profile)
        profile = context.profile
        backfill = Backfill(
            self._executor.store,
            self._leases,
            self._executor.clock,
            self._executor.metrics,
            self._executor.rules,
        )

        async def work(result: BackfillResult) -> None:
            try:
                await backfill.run(
                    profile.series,
                    profile.grid,
                    profile.facts,
                    cells - again,
                    vendor,
                    result,
                    context.on_progress,
                    again=again,
                    unless_after=unless_after,
                    read_at=context.read_at,
                )
            except UnfitPageError as refused:
                self._count_refused(profile.schema, refused.rows)
                raise
            finally:
                self._count_refused(profile.schema, result.quarantined)

        key = (profile.series, cells, again, id(vendor))
        context.backfill = self._flights.joined(key, BackfillResult(name_of(vendor)))
        return await self._flights.share(key, context.backfill, work)

    async def _try_declared(self, profile: SeriesProfile) -> None:
        """Try on the stored bars what the next commit would declare; raises `InvalidRequestError`."""
        store, series = self._executor.store, profile.series

        def tried() -> None:
            try_declaration(store, series, profile.grid, profile.facts, store.facts(series))

        if profile.facts.storable.to_mapping():
            await in_thread(tried)

    def _count_refused(self, binding: SchemaBinding, rows: int) -> None:
        """Rows that the store cannot hold, refused in either mode, are failures of the schema as well."""
        if rows:
            self._executor.schemas.observe(binding, checked=rows, failed=rows, changed=True)
            self._executor.metrics.count_schema_failures(binding.subject, binding.mode, rows)

    def _listen(self, context: FetchContext) -> None:
        """Open the live feed before any vendor is asked, if the end of the answer is missing."""
        feed, state = context.profile.feed, context.state
        if feed is not None and Tier.LIVE in state.tiers and state.tail:
            context.tail = Tail(
                feed,
                context.profile.series,
                source=name_of(feed),
                grid=context.profile.grid,
                facts=context.profile.facts,
                clock=self._executor.clock,
                settlement=self._executor.rules,
            )

    async def _await_live(self, context: FetchContext, cells: Coverage) -> Event:
        began = self._executor.clock.monotonic()
        tail, missing = context.tail, context.state.tail & cells
        if tail is None or not missing:
            return NotThere(Tier.LIVE, 0.0)
        await self._try_declared(context.profile)
        if context.on_asked is not None:
            context.on_asked()
        budget = self._executor.local.budget(context, Tier.LIVE)
        failure: QmtlError | None = None
        breach: Breach | None = None
        # Without a budget a bar is waited for as long as a source may take to settle.
        left = self._executor.rules.settle if budget is None else max(0.0, budget.left_s)
        try:
            async with asyncio.timeout(left) as limit:
                await tail.store_missing(missing, self._executor.store)
        except SourceUnavailableError as error:
            failure = error
        except TimeoutError:
            if not limit.expired():
                raise
            if budget is not None:
                breach = self._executor.local.breach(
                    context, budget, self._executor.clock.monotonic() - began
                )
        return Filled(Tier.LIVE, self._executor.clock.monotonic() - began, failure, breach)
