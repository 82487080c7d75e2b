"""The tiers that need no network: the cache and the store, for one request or for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, cast

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import QmtlError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import SECOND
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.suspects import suspects
from qmtl.runtime.ingest.backfill_result import ReadAt
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.io.evaluate import Subject, evaluate, evaluate_many
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.flag_keeper import FlagKeeper
from qmtl.runtime.io.store.contract import ReadAbandonedError, ReadsIfCurrent, Store
from qmtl.runtime.io.store.values import Snapshot
from qmtl.runtime.io.store.waiting import waiting
from qmtl.runtime.planning.fetch_state import Ask, Event, Filled, Found, NotThere, next_step
from qmtl.runtime.planning.ledger import Breach, Budget
from qmtl.runtime.planning.request import Tier
from qmtl.runtime.sdk.fetch_context import FetchContext

_STORAGE = Ask(Tier.STORAGE)


class OutdatedError(Exception):
    """What a request was opened with is outdated: somebody has committed since."""


@dataclass(frozen=True)
class LocalTiers:
    """What the cache and the store are asked with. keeper: None judges all rows, and keeps nothing of it."""

    store: Store
    cache: RangeCache
    pipeline: ConformancePipeline
    keeper: FlagKeeper | None
    clock: Clock
    rules: SettlementPolicy

    def perform(self, context: FetchContext, step: Ask) -> Event:
        """Ask the cache or the store for the whole span of one request."""
        began = self.clock.monotonic()
        if step.tier is Tier.CACHE:
            request = context.state.request
            evaluated = self.cache.get(request.series, request.span, request.opened_at)
            if evaluated is None:
                return NotThere(Tier.CACHE, self.clock.monotonic() - began)
            return self._found(context, evaluated, Tier.CACHE, began)
        if not context.state.request.strategy.reads_rows:
            return self._scan(context, began)
        budget = self.budget(context, Tier.STORAGE)
        deadline = None if budget is None else began + budget.left_s
        try:
            with nullcontext() if budget is None else waiting(budget.left_s):
                evaluated = self._read(context, None if deadline is None else lambda: self._is_past(deadline))
        except ReadAbandonedError:
            if budget is None:
                raise  # the caller is gone
            evaluated = None
        return self._read_event(context, evaluated, budget, began)

    def read_many(self, contexts: Iterable[FetchContext]) -> Iterator[tuple[FetchContext, Event]]:
        """Those of some requests that read the store next, each with what came of it.

        Requests of one span at one commit time are read by one pass, within the shortest of their budgets.
        Nothing comes of a pass that fails, and to those whose own budget has more time nothing of one that
        took too long: a read of each alone tells, also whose calendar cannot be used.
        """
        reading = [context for context in contexts if _reads_rows(context)]
        reading.sort(key=_kind)
        for _, group in groupby(reading, key=_kind):
            yield from self._read_group(list(group))

    def _read_group(self, group: Sequence[FetchContext]) -> Iterator[tuple[FetchContext, Event]]:
        began = self.clock.monotonic()
        request = group[0].state.request
        budgets = [self.budget(context, Tier.STORAGE) for context in group]
        times_cleared = self.cache.times_cleared
        deadline = min((began + budget.left_s for budget in budgets if budget is not None), default=None)
        found: dict[SeriesId, EvaluatedRange] = {}
        try:
            with nullcontext() if deadline is None else waiting(deadline - began):
                found |= evaluate_many(
                    self.store,
                    self.pipeline,
                    (_subject(context) for context in group),
                    request.span,
                    now=min(_as_at(context) for context in group),
                    as_of=request.as_of,
                    cancelled=lambda: self._is_past(deadline),
                    keeper=self.keeper,
                )
        except ReadAbandonedError:
            pass  # whose budget that was is asked below
        except QmtlError:
            return
        for context, budget in zip(group, budgets, strict=True):
            evaluated = found.get(context.profile.series)
            if evaluated is None and (budget is None or not self._is_past(began + budget.left_s)):
                continue
            if evaluated is not None and request.as_of is None:
                self.cache.put(evaluated, times_cleared)
            yield context, self._read_event(context, evaluated, budget, began)

    def _read_event(
        self, context: FetchContext, evaluated: EvaluatedRange | None, budget: Budget | None, began: float
    ) -> Event:
        seconds = self.clock.monotonic() - began
        if budget is not None and (evaluated is None or seconds > budget.left_s):
            return Filled(Tier.STORAGE, seconds, breach=self.breach(context, budget, seconds))
        assert evaluated is not None  # only a budget ends a read
        return self._found(context, evaluated, Tier.STORAGE, began)

    def _found(self, context: FetchContext, evaluated: EvaluatedRange, tier: Tier, began: float) -> Found:
        context.evaluated, context.read_at = evaluated, ReadAt(evaluated.tx, evaluated.as_of)
        unknown, absent, damaged = evaluated.holes
        doubtful = self._suspects(evaluated) if evaluated.flags else EMPTY
        return Found(tier, unknown, absent, doubtful, self.clock.monotonic() - began, damaged)

    def _scan(self, context: FetchContext, began: float) -> Found:
        """What the store knows of each bar, however long the range is; no rows are kept."""
        request, now = context.state.request, self.clock.now()
        context.read_at = ReadAt(*self.store.newest())  # before the scan, which may see later commits
        states = scan_coverage(self.store, request.series, request.span, context.profile.grid, now=now)
        context.states = states
        seconds = self.clock.monotonic() - began
        return Found(Tier.STORAGE, states.unknown, states.absent, EMPTY, seconds, states.damaged)

    def _is_past(self, deadline: float | None) -> bool:
        return deadline is not None and self.clock.monotonic() > deadline

    def _read(self, context: FetchContext, cancelled: Callable[[], bool] | None) -> EvaluatedRange:
        """The whole span from the store, judged; kept in the cache unless it is a point in time."""
        request, subject = context.state.request, _subject(context)
        times_cleared = self.cache.times_cleared
        evaluated = evaluate(
            self.store,
            self.pipeline,
            subject.series,
            request.span,
            grid=subject.grid,
            facts=subject.facts,
            schema=subject.schema,
            now=_as_at(context),
            as_of=request.as_of,
            cancelled=cancelled,
            keeper=self.keeper,
            read=None if context.unlooked is None else partial(self._read_if_current, context),
        )
        if request.as_of is None:
            self.cache.put(evaluated, times_cleared)
        return evaluated

    def _read_if_current(
        self, fetch: FetchContext, series: SeriesId, span: Span, /, *, as_of: None, **options: Any
    ) -> Snapshot:
        """What the store holds of a span; raises `OutdatedError` if anything has changed unseen."""
        assert fetch.unlooked is not None
        store = cast(ReadsIfCurrent, self.store)  # who has not looked has asked whether it is one
        snapshot = store.read_if_current(fetch.unlooked, series, span, **options)
        if snapshot is None:
            raise OutdatedError
        fetch.unlooked = None
        return snapshot

    def _suspects(self, evaluated: EvaluatedRange) -> Coverage:
        """Stored cells worth one more question."""
        silent, recently_queried = evaluated.silent, EMPTY
        if silent:
            lately = self.clock.now() - int(self.rules.absent_expiry * SECOND)
            recently_queried = Coverage((a.start, a.end) for a in evaluated.answers if a.checked_at > lately)
        return suspects(evaluated.flags, evaluated.grid, silent=silent, recently_queried=recently_queried)

    def budget(self, context: FetchContext, tier: Tier) -> Budget | None:
        """What a step of `tier` has to keep from now on; None is no limit."""
        return context.state.budget(tier, self.clock.monotonic() - context.opened)

    def breach(self, context: FetchContext, budget: Budget | None, seconds: float) -> Breach:
        """That a step took `seconds`, and ended by its budget."""
        assert budget is not None  # only a budget ends a step
        return budget.breach(seconds=seconds, elapsed=self.clock.monotonic() - context.opened)


def _subject(context: FetchContext) -> Subject:
    profile = context.profile
    return Subject(profile.series, profile.grid, profile.facts, profile.schema.schema)


def _as_at(context: FetchContext) -> int:
    # What had expired is judged then, too: the same point in time always gives the same answer.
    request = context.state.request
    return request.opened_at if request.as_of is None else request.as_of


def _reads_rows(context: FetchContext) -> bool:
    return next_step(context.state) == _STORAGE and context.state.request.strategy.reads_rows


def _kind(context: FetchContext) -> tuple[int, int, int, bool]:
    """What requests have in common that are read by one pass."""
    request = context.state.request
    return (*request.span, request.as_of or 0, request.as_of is None)
