"""The coordinator as an application: its routes, its sweeps, and how it answers what it cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio.from_thread
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from qmtl.foundation import leases
from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.foundation.observability.log import coordinator_log
from qmtl.foundation.observability.metrics import Metrics
from qmtl.runtime.coordination.lease_keeping import Transition
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.services.coordinator.embedded import EmbeddedLeases
from qmtl.services.coordinator.etcd import Etcd
from qmtl.services.coordinator.job_events import JobEvent
from qmtl.services.coordinator.job_routes import job_routes
from qmtl.services.coordinator.job_service import JobService
from qmtl.services.coordinator.lease_service import LeaseService
from qmtl.services.coordinator.memory_keys import MemoryKeys
from qmtl.services.coordinator.rate_routes import rate_routes
from qmtl.services.coordinator.rate_service import RateService
from qmtl.services.coordinator.routes import LeasesLostError, in_time, reader_routes, worker_routes
from qmtl.services.http.access import Credentials
from qmtl.services.http.application import application
from qmtl.services.http.wording import PLAIN, JSONAnswer, sentence

SWEEP_S = 1.0
# A hundred shards whose missing bars lie scattered.
BODY_LIMIT = 4 * 2**20


def make_app(
    keys: Etcd | MemoryKeys,
    *,
    stores: Mapping[str, LocalLeases] | None = None,
    credentials: Credentials | None = None,
    body_limit: int = BODY_LIMIT,
    clock: Clock | None = None,
) -> ASGIApp:
    """An ASGI application; the connections to etcd are closed when it ends.

    stores: those of this machine, by their ids, where leases are kept in the memory of this process.
    """
    metrics, clock = Metrics(), clock or SystemClock()
    service = (
        EmbeddedLeases(keys, stores, clock, partial(told, metrics))
        if isinstance(keys, MemoryKeys) and stores is not None
        else LeaseService(keys, clock, partial(told, metrics), told_of_clock)
    )
    jobs = JobService(
        keys,
        clock,
        service.sessions,
        service.history,
        partial(told_of_job, metrics),
        service.refuse_other,
    )

    async def sweep() -> None:
        await service.clocks.compare()
        await service.sweep(jobs.expire)
        await jobs.tidy()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sweep_always(sweep))
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.wait({sweeping})
            await keys.close()

    return application(
        (
            worker_routes(service),
            reader_routes(service),
            job_routes(jobs),
            rate_routes(RateService(keys, clock)),
        ),
        name="coordinator",
        title="qmtl coordinator",
        description="Leases on shards of backfills, and jobs made of them, for workers on many machines.",
        check_ready=lambda: anyio.from_thread.run(in_time, service.check()),
        warnings=lambda: [clock_warning(seconds) for seconds in service.clocks.apart().values()],
        credentials=credentials,
        own_errors={CoordinatorUnavailableError: _unavailable, LeasesLostError: _lost},
        body_limit=body_limit,
        lifespan=lifespan,
        direct=("/v1/leases/claim", "/v1/leases/renew", "/v1/leases/complete"),
    )


async def sweep_always(sweep: Callable[[], Any], pause_s: float = SWEEP_S) -> None:
    """Sweep every second, until cancelled; what one sweep could not do, the next one does."""
    was_told = False
    while True:
        try:
            await sweep()
            was_told = False
        except CoordinatorUnavailableError as error:
            if not was_told:
                coordinator_log.warning("sweep.failed", error=sentence(error))
            was_told = True
        await asyncio.sleep(pause_s)


def told(metrics: Metrics, transition: Transition) -> None:
    """Log and count a step in the life of a lease."""
    event, lease = transition
    name = type(event).__name__.lower()
    ended_badly = isinstance(event, leases.Expired | leases.Abandoned)
    log = coordinator_log.warning if ended_badly else coordinator_log.info
    log(
        f"lease.{name}",
        lease_key=str(lease.key),
        holder=lease.holder,
        claim_id=lease.claim_id,
        attempts=lease.attempts,
        why=lease.why,
    )
    metrics.count_lease_event(name)
    if isinstance(event, leases.Expired):
        metrics.count_expired_lease("session_ended")


def told_of_job(metrics: Metrics, event: JobEvent) -> None:
    """Log and count a step in the life of a job or of one of its shards."""
    ended_badly = event.name in ("failed", "away", "expired", "violation")
    log = coordinator_log.warning if ended_badly else coordinator_log.info
    known = {name: value for name, value in event.facts.items() if value is not None}
    log(f"job.{event.name}", job=event.job, **known)
    metrics.count_job_event(event.name)


def told_of_clock(who: str, ahead_s: int) -> None:
    """Log that the clock of another coordinator is apart; one of the two is wrong."""
    side = "ahead" if ahead_s > 0 else "behind"
    coordinator_log.warning("clocks.apart", coordinator=who, seconds=abs(ahead_s), side=side)


def clock_warning(ahead_s: int) -> str:
    """The same, for whoever asks whether this one is ready: it is, for only dates depend on its clock."""
    side = "ahead of" if ahead_s > 0 else "behind"
    return (
        f"the clock of another coordinator is {abs(ahead_s)} s {side} this one's; "
        "which one, says clocks.apart in the log; keep both in step with NTP"
    )


async def _unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, CoordinatorUnavailableError)
    coordinator_log.warning("etcd.unavailable", error=sentence(error))
    return PLAIN.refuse(503, sentence(error), headers={"retry-after": "1"})


async def _lost(request: Request, error: Exception) -> Response:
    assert isinstance(error, LeasesLostError)
    body = {"title": "Conflict", "status": 409, "detail": error.why, "lost": error.lost}
    return JSONAnswer(body, 409, media_type="application/problem+json")
