"""One request of a provider: opened, driven through its tiers, and answered."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import SMALL_INT, to_ns, warn_of_small_ints
from qmtl.runtime.ingest.backfill_result import BackfillResult, OnProgress
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.io.store.contract import ReadAbandonedError, ReadsIfCurrent
from qmtl.runtime.io.store.waiting import waiting
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.planning.fetch_state import COMPLETE, Finish, initial_state
from qmtl.runtime.planning.ledger import NOTHING_SPENT, Breach, Budget, budget_for
from qmtl.runtime.planning.request import (
    FILL_STORE,
    Fill,
    OnFindings,
    Request,
    Tier,
    request_of,
    strategy_named,
)
from qmtl.runtime.sdk.fetch_context import FetchContext, FetchEnd
from qmtl.runtime.sdk.fetch_errors import unanswered_error
from qmtl.runtime.sdk.local_tiers import OutdatedError
from qmtl.runtime.sdk.look_ahead import refuse_reading
from qmtl.runtime.sdk.options import FetchOptions, check_fill, check_policy
from qmtl.runtime.sdk.results import FetchResult, Pending
from qmtl.runtime.sdk.series_profile import SeriesProfile
from qmtl.runtime.sdk.wiring import ProviderParts

if TYPE_CHECKING:
    from qmtl.runtime.sdk.fetch_asking import Asking


# How long an answer may look for what it is compared with once its budget is spent.
_LAST_S = 0.25


class Fetcher:
    """What every face of a provider goes through. Safe to use from several threads.

    last: the newest answer.
    """

    def __init__(self, parts: ProviderParts) -> None:
        self.parts = parts
        self.last: FetchResult | None = None
        self._has_budgets = parts.profiles.table.has_budgets
        self._reads_if_current = isinstance(parts.store, ReadsIfCurrent)

    # -- before a request -------------------------------------------------------------------------------

    def begin(self) -> float:
        """What comes before a request that may look at the store; see `CommitWatch.look`."""
        self.refuse_unusable()
        return self.parts.watch.look()

    def look(self, series: SeriesId | None, sla: SLAPolicy | None, began: float) -> float:
        """As `CommitWatch.look`, within the budget of a fetch that began then. series: None for no series."""
        if sla is not None:
            check_policy(sla, series)
        budget = self._budget(series, sla, began)
        if budget is None:
            return self.parts.watch.look()
        with self._within(budget, series, began):
            return self.parts.watch.look()

    def _budget(self, series: SeriesId | None, sla: SLAPolicy | None, began: float) -> Budget | None:
        """Of which what has to be known of the store before a fetch can begin takes its time."""
        policy = sla
        if sla is None and self._has_budgets and series is not None:
            policy = self.parts.profiles.table.sla(series)
        if policy is None:
            return None
        return budget_for(policy, Tier.STORAGE, NOTHING_SPENT, self.parts.clock.monotonic() - began)

    @contextmanager
    def _within(self, budget: Budget, series: SeriesId | None, began: float) -> Iterator[None]:
        try:
            with waiting(budget.left_s):
                yield
        except ReadAbandonedError as abandoned:
            elapsed = self.parts.clock.monotonic() - began
            breach = Breach(budget.phase, budget_s=budget.budget_s, elapsed_s=elapsed)
            raise unanswered_error(breach, series) from abandoned

    def refuse_unusable(self) -> None:
        """Raise `InvalidRequestError` if the provider is closed, or was made in another process.

        And `LookAheadError` while a strategy runs, unless it is its run that asks.
        """
        refuse_reading("read bars")
        life = self.parts.life
        if life.closed:
            raise InvalidRequestError("the provider is closed", next_step="make a new SeamlessDataProvider")
        if os.getpid() != life.process:
            raise InvalidRequestError(
                "the provider was made before a fork, and cannot be used in the child",
                why="a fork copies no threads, and polars has its own: the child would wait for ever",
                next_step="make the provider in the child, and start it with multiprocessing's 'spawn' "
                "or 'forkserver'",
            )

    def is_at_hand(self, series: str | SeriesId, options: FetchOptions) -> bool:
        """Whether a request opens, and the cache answers it, without a disk, a registry or foreign code."""
        parts = self.parts
        return (
            options.get("as_of") is None
            and parts.profiles.is_at_hand(series_of(series), options.get("sla"))
            and parts.watch.is_current
        )

    # -- opening ----------------------------------------------------------------------------------------

    def open(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any,
        strategy: str = "SEAMLESS",
        sla: SLAPolicy | None = None,
        partial_ok: bool | None = None,
        as_of: Any = None,
        fill: Fill | None = None,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
        *,
        began: float | None = None,
        max_staleness: float = 0.0,
    ) -> FetchContext:
        """A request on its way; see `SeamlessDataProvider.fetch`. Raises `InvalidRequestError`.

        began: by the monotonic clock, when the caller began to wait; left out, now. max_staleness: in
        seconds, what the look at the store before it has left open.
        """
        parts = self.parts
        opened = parts.clock.monotonic() if began is None else began
        if fill is not None:
            check_fill(fill, series)
        if sla is not None:
            check_policy(sla, series)
        name = series_of(series)
        budget = self._budget(name, sla, opened)
        if budget is None:
            request, profile = self.request(name, start, end, strategy, sla, partial_ok, as_of)
        else:
            with self._within(budget, name, opened):
                request, profile = self.request(name, start, end, strategy, sla, partial_ok, as_of)
        shows = parts.progress if progress is None else progress
        state = initial_state(request, profile.grid)
        return FetchContext(profile, state, opened, max_staleness, fill, on_progress, shows)

    def request(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any = None,
        strategy: str = "FAIL_FAST",
        sla: SLAPolicy | None = None,
        partial_ok: bool | None = None,
        as_of: Any = None,
    ) -> tuple[Request, SeriesProfile]:
        """What is asked for, and the profile of its series."""
        parts, name = self.parts, series_of(series)
        point = None if as_of is None else to_ns(as_of, name="as_of")
        profile = parts.profiles.of(name) if point is None else parts.profiles.at(name, point)
        first = to_ns(start, name="start")
        last = None if end is None else to_ns(end, name="end")
        if 0 <= first < SMALL_INT:
            warn_of_small_ints(start, end)
        if point is not None:
            warn_of_small_ints(as_of)
        request = request_of(
            name,
            profile.grid,
            first,
            last,
            parts.clock.now(),
            strategy_named(strategy),
            sla or profile.sla,
            self.is_partial(profile.partial_ok if partial_ok is None else partial_ok),
            point,
            profile.on_findings if partial_ok is None else _on_findings(profile, partial_ok),
        )
        return request, profile

    def is_partial(self, partial_ok: bool | None) -> bool:
        """What the caller says, else what the provider was made with."""
        return self.parts.partial_ok if partial_ok is None else partial_ok

    # -- driving ----------------------------------------------------------------------------------------

    def begun(
        self, series: SeriesId, start: Any, end: Any, options: FetchOptions, *, began: float
    ) -> FetchContext:
        """A request opened after a look at the store. began: see `open`.

        It may be more than that: where a server would have to be asked, and all else is at hand, the store is
        read as well, for to look and to read is one trip then.
        """
        if (context := self._begun_unlooked(series, start, end, options, began)) is not None:
            return context
        max_staleness = self.look(series, options.get("sla"), began)
        return self.open(series, start, end, began=began, max_staleness=max_staleness, **options)

    def _begun_unlooked(
        self, series: SeriesId, start: Any, end: Any, options: FetchOptions, began: float
    ) -> FetchContext | None:
        """As `begun`; None where something has changed, or may have, so that all has to begin anew."""
        parts = self.parts
        if not self._reads_if_current or options.get("as_of") is not None:
            return None
        # Of a read that a budget ends nobody would know whether what is at hand was current.
        if options.get("sla") is not None or self._has_budgets:
            return None
        known = parts.watch.version  # before what is at hand, which is no older
        if not parts.profiles.is_at_hand(series, None) or parts.watch.is_current:
            return None
        try:
            context = self.open(series, start, end, began=began, **options)
            context.unlooked = known
            parts.executor.drive_local(context)
        except (InvalidRequestError, OutdatedError):
            return None  # by what is declared now it may be valid
        if context.unlooked is known:  # the cache had it, or there was nothing to read
            context.unlooked, context.max_staleness = None, parts.watch.look()
            if parts.watch.version != known:
                return None
        return context

    def cached(
        self, series: str | SeriesId, start: Any, end: Any, options: FetchOptions, *, began: float
    ) -> tuple[FetchContext, Finish | None]:
        """A request `begun`, and its end if the cache, or what was read with it, holds all of it."""
        context = self.begun(series_of(series), start, end, options, began=began)
        return context, self.parts.executor.drive_local(context, tiers=(Tier.CACHE,))

    def opened_cached(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any,
        options: FetchOptions,
        *,
        began: float | None = None,
        max_staleness: float,
    ) -> tuple[FetchContext, Finish | None]:
        """A request opened, and its end if the cache holds all of it. The store was just looked at."""
        context = self.open(series, start, end, began=began, max_staleness=max_staleness, **options)
        return context, self.parts.executor.drive_local(context, tiers=(Tier.CACHE,))

    @cached_property
    def _asking(self) -> Asking:
        """The steps that ask somebody. Used on the provider's loop alone, and loaded there.

        What cache and store answer does without asyncio, and without all that talks to vendors and feeds.
        """
        from qmtl.runtime.sdk.fetch_asking import Asking

        return Asking(self.parts.executor)

    async def driven(self, context: FetchContext) -> Finish:
        """The request to its end, on the provider's loop, with what a person sees meanwhile."""
        async with self._watched(context):
            return await self._asking.drive(context)

    def to_fill(
        self,
        series: str | SeriesId,
        start: Any,
        end: Any,
        on_progress: OnProgress | None = None,
        progress: bool | None = None,
    ) -> tuple[FetchContext, Finish | None]:
        """A backfill of the closed bars that nobody has answered for; its end, if there are none.

        No budget ends it: it is asked for because it takes long. Raises `InvalidRequestError` if nobody could
        be asked for what is missing.
        """
        context = self.open(
            series, start, end, "AUTO_BACKFILL", partial_ok=True, on_progress=on_progress, progress=progress
        )
        request = context.state.request._replace(strategy=FILL_STORE, sla=None)
        context.state = initial_state(request, context.profile.grid)
        finish = self.parts.executor.drive_local(context)
        assert context.states is not None  # the store is scanned first
        if context.states.unknown.clip(request.closed):
            self.vendor_of(context.profile)
        return context, finish

    def states_after(self, context: FetchContext, finish: Finish) -> BarStates:
        """The states of the bars after a backfill. Raises what the vendor raised."""
        if finish.failure is not None:
            raise finish.failure
        assert context.states is not None  # the store is scanned first and last
        if context.backfill is None:
            return context.states
        return replace(context.states, uncoordinated=context.backfill.uncoordinated)

    async def filled(
        self, context: FetchContext, vendor: Vendor, cells: Coverage, **options: Any
    ) -> BackfillResult:
        """A backfill of `cells`, on the provider's loop, with what a person sees meanwhile."""
        async with self._watched(context):
            return await self._asking.fill(context, vendor, cells, **options)

    @asynccontextmanager
    async def _watched(self, context: FetchContext) -> AsyncIterator[None]:
        if not context.shows_progress:
            yield
            return
        from qmtl.runtime.sdk.progress import BOARD  # needed only where somebody is asked

        async with BOARD.showing(context.profile.series, context.on_progress) as context.on_progress:
            yield

    # -- answering --------------------------------------------------------------------------------------

    def answer(self, context: FetchContext, finish: Finish) -> FetchResult:
        """The result, or the error; work that goes on behind it is started."""
        parts = self.parts
        end = parts.executor.ended(context, finish)
        try:
            if (budget := self._last_budget(context, finish)) is None:
                result = parts.results.answer(end, parts.watch.version)
            else:
                with self._within(budget, context.profile.series, context.opened):
                    result = parts.results.answer(end, parts.watch.version)
            self.last = result
            if parts.schemas.wants_flush:
                self._flush_observations()
            if finish is not COMPLETE and finish.behind:
                result = replace(result, pending=self._ask_behind(context, finish.behind))
            return result
        finally:
            parts.results.close(end)

    def postponed(
        self, context: FetchContext, finish: Finish
    ) -> tuple[FetchEnd, Mapping[str, Any] | None] | None:
        """All that `LaterAnswer` makes the same result of; None where there is more to it than a result."""
        parts = self.parts
        end = parts.executor.ended(context, finish)
        if not end.is_plain:
            return None
        try:
            if (budget := self._last_budget(context, finish)) is None:
                baseline = parts.results.postponed(end, parts.watch.version)
            else:
                with self._within(budget, context.profile.series, context.opened):
                    baseline = parts.results.postponed(end, parts.watch.version)
            if parts.schemas.wants_flush:
                self._flush_observations()
            return end, baseline
        finally:
            parts.results.close(end)

    def _last_budget(self, context: FetchContext, finish: Finish) -> Budget | None:
        """What an answer still asks of the store takes of the whole budget, but a moment there always is."""
        policy, breach = context.state.request.sla, finish.breach
        if breach is not None and breach.budget_s is not None:
            return Budget(breach.phase, breach.budget_s, _LAST_S)
        if policy is None or policy.total is None:
            return None
        elapsed = self.parts.clock.monotonic() - context.opened
        return Budget("total", policy.total, max(_LAST_S, policy.total - elapsed))

    def _flush_observations(self) -> None:
        """To a store beside us at once; over the network behind the answer."""
        schemas = self.parts.schemas
        if schemas.is_local:
            schemas.flush()
        else:
            import asyncio  # needed only beside a registry

            schemas.flushing()
            self.parts.loop.submit(asyncio.to_thread(schemas.flush))

    def _ask_behind(self, context: FetchContext, missing: Coverage) -> Pending:
        vendor, parts = context.profile.vendor, self.parts
        if vendor is None:
            return Pending(None)

        async def ask() -> None:
            await self._asking.fill(context, vendor, missing)

        future = parts.loop.submit(ask())
        parts.life.behind.add(future)
        future.add_done_callback(parts.life.behind.discard)
        return Pending(future)

    # -- looking ----------------------------------------------------------------------------------------

    def coverage(
        self, series: str | SeriesId, start: Any, end: Any = None, *, as_of: Any = None
    ) -> BarStates:
        """The five states of each bar of the range, as the store knows them."""
        request, profile = self.request(series, start, end, partial_ok=True, as_of=as_of)
        return scan_coverage(
            self.parts.store,
            request.series,
            request.span,
            profile.grid,
            now=self.parts.clock.now(),
            as_of=request.as_of,
        )

    def vendor_of(self, profile: SeriesProfile) -> Vendor:
        """Raises `InvalidRequestError` if no vendor serves the series."""
        if profile.vendor is None:
            why, next_step = self.parts.profiles.table.unserved(profile.series)
            raise InvalidRequestError(
                "no vendor serves this series", series=profile.series, why=why, next_step=next_step
            )
        return profile.vendor


def _on_findings(profile: SeriesProfile, partial_ok: bool | None) -> OnFindings | None:
    """What findings do by the profile; a caller who welcomes partial answers is never raised at."""
    if partial_ok and profile.on_findings == "raise":
        return "report"
    return profile.on_findings


def series_of(series: str | SeriesId) -> SeriesId:
    """The series of a node id. Raises `InvalidRequestError`."""
    if isinstance(series, SeriesId):
        return series
    if not isinstance(series, str):
        raise InvalidRequestError(
            f"{series!r} is not a node id", next_step="give a text such as ohlcv:binance:BTC/USDT:1m"
        )
    return SeriesId.parse(series)
