"""Performs the steps that the planner decides, as far as cache and store go, and hands back what happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qmtl.foundation.clock import Clock
from qmtl.foundation.observability.metrics import Metrics
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.planning.fetch_state import Event, Finish, NotThere, advance, next_step
from qmtl.runtime.planning.request import Tier
from qmtl.runtime.sdk.fetch_context import FetchContext, FetchEnd
from qmtl.runtime.sdk.local_tiers import LocalTiers
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer
from qmtl.runtime.sdk.series_profile import SeriesProfile

if TYPE_CHECKING:
    from qmtl.runtime.coordination.shard_leases import ShardLeases

LOCAL = (Tier.CACHE, Tier.STORAGE)


@dataclass(frozen=True)
class FetchExecutor:
    """What a provider's steps need. leases: of a coordinator; None for those that go with the store."""

    store: Store
    local: LocalTiers
    clock: Clock
    metrics: Metrics
    rules: SettlementPolicy
    schemas: SchemaEnforcer
    leases: ShardLeases | None = None

    def drive_local(self, context: FetchContext, *, tiers: tuple[Tier, ...] = LOCAL) -> Finish | None:
        """Go on while the next step needs no network (is one of `tiers`); None where it does.

        A vendor or a feed that there is not needs none either, once the store was asked.
        """
        while not isinstance(step := next_step(context.state), Finish):
            if step.tier in tiers:
                event: Event = self.local.perform(context, step)
            elif tiers is LOCAL and _asks_nobody(context.profile, step.tier):
                event = NotThere(step.tier, 0.0)
            else:
                return None
            context.state = advance(context.state, event)
        return step

    def read_stored(self, contexts: Iterable[FetchContext]) -> None:
        """Advance those of some requests that read the store next, by as few reads as possible.

        A request whose read fails stays where it is: what it raises by itself names the series.
        """
        for context, event in self.local.read_many(contexts):
            context.state = advance(context.state, event)

    def ended(self, context: FetchContext, finish: Finish) -> FetchEnd:
        """What the answer is made of."""
        profile, evaluated = context.profile, context.evaluated
        if evaluated is None:
            span = context.state.request.span
            evaluated = EvaluatedRange.of_nothing(profile.series, profile.grid, profile.facts, span)
        return FetchEnd(
            profile,
            context.state,
            finish,
            evaluated,
            context.backfill,
            context.changed_data,
            context.opened,
            {},
            context.fill,
            context.max_staleness,
        )


def _asks_nobody(profile: SeriesProfile, tier: Tier) -> bool:
    return (profile.vendor if tier is Tier.BACKFILL else profile.feed) is None
