"""The single place that puts a provider together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from qmtl.foundation.calendars import Calendar
from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.observability.metrics import Metrics, Unread
from qmtl.foundation.schema.governance.decisions import ValidationMode
from qmtl.foundation.sla import SLAPolicy
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.flag_keeper import FlagKeeper
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.vendors.base import LiveFeed, Vendor
from qmtl.runtime.sdk.commit_watch import CommitWatch
from qmtl.runtime.sdk.fetch_executor import FetchExecutor
from qmtl.runtime.sdk.local_tiers import LocalTiers
from qmtl.runtime.sdk.loop_thread import LoopThread
from qmtl.runtime.sdk.open_parts import OpenParts
from qmtl.runtime.sdk.options import check_max_bytes, check_max_staleness, check_policy
from qmtl.runtime.sdk.profile_table import ProfileRow, ProfileTable, profile_table
from qmtl.runtime.sdk.result_builder import ResultBuilder
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer, mode_named, records_of
from qmtl.runtime.sdk.series_profile import ProfileResolver
from qmtl.runtime.sdk.stores import opened_store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from qmtl.foundation.schema.registry.contract import SchemaRegistry
    from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
    from qmtl.runtime.coordination.fallback_leases import FallbackLeases

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, eq=False)
class ProviderParts:
    """What a provider works with.

    partial_ok, progress: what holds for calls that do not say. max_bytes: of one answer of several series.
    """

    store: Store
    clock: Clock
    profiles: ProfileResolver
    watch: CommitWatch
    executor: FetchExecutor
    results: ResultBuilder
    schemas: SchemaEnforcer
    loop: LoopThread
    life: OpenParts
    partial_ok: bool
    progress: bool
    max_bytes: int


def provider_parts(
    store: str | PathLike[str] | Store,
    *,
    vendors: Mapping[str, Vendor] | Vendor | None,
    live: Mapping[str, LiveFeed] | LiveFeed | None,
    calendars: Mapping[str, str | Calendar] | None,
    declared: Iterable[tuple[str, SeriesFacts]],
    sla: SLAPolicy | None,
    profiles: Iterable[ProfileRow],
    conformance: ConformancePipeline | None,
    cache_bytes: int,
    metrics_registry: CollectorRegistry | Unread | None,
    clock: Clock | None,
    schemas: SchemaRegistry | None,
    validation_mode: str | None,
    default_validation_mode: str | None,
    rules: SettlementPolicy | None,
    retention: float | None,
    max_staleness: float,
    partial_ok: bool,
    progress: bool,
    max_bytes: int,
    coordinator: str | DistributedBackfillCoordinator | None = None,
    coordinator_token: str | None = None,
) -> ProviderParts:
    """The parts of a provider; see `SeamlessDataProvider` for what each parameter means."""
    clock = clock or SystemClock()
    check_policy(sla)
    check_max_bytes(max_bytes)
    check_max_staleness(max_staleness)
    opened = opened_store(store, clock=clock, retention=retention, max_staleness=max_staleness)
    closes_store = opened is not store
    try:
        table = profile_table(
            vendors=vendors, live=live, calendars=calendars, declared=declared, sla=sla, rows=profiles
        )
        metrics, pipeline = Metrics(metrics_registry), conformance or ConformancePipeline()
        default = default_validation_mode or os.environ.get("QMTL_SCHEMA_VALIDATION_MODE")
        enforcer = SchemaEnforcer(
            schemas,
            records_of(schemas, opened),
            mode=mode_named(validation_mode),
            default=mode_named(default) or ValidationMode.CANARY,
            clock=clock,
            subject_of=table.subject,
        )
        leases, is_own = _leases(opened, coordinator, coordinator_token, metrics, table)
        resolver, cache = ProfileResolver(table, opened, enforcer), RangeCache(cache_bytes)
        policy = rules or SettlementPolicy()
        keeper = FlagKeeper(opened, clock, pipeline.max_context)
        executor = FetchExecutor(
            store=opened,
            local=LocalTiers(opened, cache, pipeline, keeper, clock, policy),
            clock=clock,
            metrics=metrics,
            rules=policy,
            schemas=enforcer,
            leases=leases,
        )
        loop = LoopThread(clock)
        return ProviderParts(
            store=opened,
            clock=clock,
            profiles=resolver,
            watch=CommitWatch(opened, cache, resolver),
            executor=executor,
            results=ResultBuilder(opened, pipeline, enforcer, metrics, table.unserved, clock),
            schemas=enforcer,
            loop=loop,
            life=OpenParts(
                opened,
                closes_store,
                keeper,
                cache,
                lambda: table.sources,
                enforcer,
                loop,
                leases if is_own else None,
            ),
            partial_ok=partial_ok,
            progress=progress,
            max_bytes=max_bytes,
        )
    except BaseException:
        if closes_store:
            opened.close()
        raise


def _leases(
    store: Store,
    coordinator: str | DistributedBackfillCoordinator | None,
    token: str | None,
    metrics: Metrics,
    table: ProfileTable,
) -> tuple[FallbackLeases | None, bool]:
    """Those of a coordinator, if there is one, and whether they are the provider's to close.

    Vendors share their rate budgets with the other machines of that coordinator, then.
    """
    if coordinator is None:
        coordinator = os.environ.get("QMTL_SEAMLESS_COORDINATOR_URL") or None
        token = token or os.environ.get("QMTL_SEAMLESS_COORDINATOR_TOKEN") or None
    if coordinator is None:
        return None, False
    from qmtl.runtime.coordination import coordinated  # only beside a coordinator
    from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator

    is_own = not isinstance(coordinator, DistributedBackfillCoordinator)
    if not isinstance(coordinator, DistributedBackfillCoordinator):
        coordinator = DistributedBackfillCoordinator(coordinator, token=token)
    found = coordinated.coordinated_leases(store, coordinator, token=token, metrics=metrics)
    table.share_rates(coordinator.rates)
    return found, is_own
