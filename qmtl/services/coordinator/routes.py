"""Each route translates a request into one call of the leases, and answers within a bounded time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.times import iso
from qmtl.services.coordinator.answers import (
    ClaimAnswer,
    EndAnswer,
    HistoryAnswer,
    LeaseAnswer,
    LeasesAnswer,
    SessionAnswer,
    WorkerAnswer,
    claims_json,
    lease_json,
    session_json,
)
from qmtl.services.coordinator.bodies import ClaimBody, CompleteBody, FailBody, RenewBody, Time
from qmtl.services.coordinator.history import id_at
from qmtl.services.coordinator.lease_service import LeaseService
from qmtl.services.http.paths import decoded
from qmtl.services.http.wording import JSONAnswer, ProblemDetails

T = TypeVar("T")

# Every answer is there by then, whether etcd has a leader or not.
LIMIT_S = 4.0

_MEANINGS: dict[int | str, dict[str, Any]] = {
    404: {"model": ProblemDetails, "description": "Nothing is known of this shard."},
    409: {"model": ProblemDetails, "description": "Leases are not the worker's any more; `lost` names them."},
    503: {"model": ProblemDetails, "description": "etcd has no leader, or does not answer; ask again."},
}


class LeasesLostError(Exception):
    """What a worker believed to hold, it does not hold."""

    def __init__(self, lost: Sequence[LeaseKey], why: str) -> None:
        super().__init__(why)
        self.lost = [str(key) for key in lost]
        self.why = why


async def in_time(work: Awaitable[T]) -> T:
    """Raises `CoordinatorUnavailableError` at the limit; what was begun may be done all the same."""
    try:
        async with asyncio.timeout(LIMIT_S):
            return await work
    except TimeoutError:
        raise CoordinatorUnavailableError(
            f"etcd did not answer within {LIMIT_S:g} seconds", url="etcd", next_step="ask again"
        ) from None


def known_query(request: Request) -> None:
    """Refuses a parameter that the route does not have: what is misspelt would be ignored without a word."""
    names = [field.alias for field in request.scope["route"].dependant.query_params]
    unknown = sorted(set(request.query_params) - set(names))
    if unknown:
        raise InvalidRequestError(
            f"this route has no query parameter {unknown[0]!r}",
            why=f"it has {', '.join(names)}" if names else "it has none",
        )


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: _MEANINGS[code] for code in (*codes, 503)}


def worker_routes(leases: LeaseService) -> APIRouter:
    """For workers."""
    router = APIRouter(prefix="/v1/leases", tags=["workers"], dependencies=[Depends(known_query)])

    @router.post(
        "/claim", response_model=ClaimAnswer, response_model_exclude_none=True, responses=refusals(409)
    )
    async def claim(body: ClaimBody) -> Response:
        """Claims shards; answers each of them without waiting: granted, held by somebody, or done."""
        claim_id = body.claim_id or uuid.uuid4().hex
        found = await in_time(leases.claim(body.worker, claim_id, body.requests(), ttl_s=body.ttl_s))
        if found.has_ended:
            raise LeasesLostError([], f"the claim {claim_id} has ended before; make a new one")
        return JSONAnswer(claims_json(found))

    @router.post("/renew", response_model=SessionAnswer, responses=refusals(409))
    async def renew(body: RenewBody) -> Response:
        """The worker lives on, and all of its leases; `progress` is shown to those who wait for these."""
        found = await in_time(leases.renew(body.worker, body.claims(), body.shown()))
        if found.status is None:
            raise LeasesLostError(found.lost, "the session of this worker has ended, and its leases with it")
        if found.lost:
            raise LeasesLostError(found.lost, "these leases are not held by this worker and claim")
        return JSONAnswer(session_json(found.status))

    @router.post("/complete", response_model=EndAnswer, responses=refusals(409))
    async def complete(body: CompleteBody) -> Response:
        """All cells have been asked for, and the answers are stored at `as_of`. All leases, or none."""
        lost = await in_time(leases.complete(body.worker, body.claim_id, body.lease_keys, as_of=body.as_of))
        if lost:
            raise LeasesLostError(lost, "these leases are not held by this worker and claim")
        return JSONAnswer({"status": "completed"})

    @router.post("/fail", response_model=EndAnswer, responses=refusals())
    async def fail(body: FailBody) -> Response:
        """The work has ended early; what the claim does not hold is left alone. It gets nothing more."""
        ending = leases.fail(body.worker, body.claim_id, body.lease_keys, why=body.why, is_away=body.is_away)
        await in_time(ending)
        return JSONAnswer({"status": "freed"})

    return router


def reader_routes(leases: LeaseService) -> APIRouter:
    """For people and dashboards."""
    router = APIRouter(prefix="/v1", tags=["looking"], dependencies=[Depends(known_query)])

    @router.get("/leases", response_model=LeasesAnswer, responses=refusals())
    async def listed(after: str = "", limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response:
        """Shards that are held, wait for another attempt, were completed lately, or were given up."""
        found = await in_time(leases.page(after=after, most=limit))
        rest = str(found[-1].lease.key) if len(found) == limit else None
        return JSONAnswer({"leases": [lease_json(record) for record in found], "next": rest})

    @router.get("/leases/{lease_key:path}", response_model=LeaseAnswer, responses=refusals(404))
    async def one(lease_key: str) -> Response:
        """One shard, by `<store>/<series>/<shard>`, percent-encoded or not."""
        try:
            key = LeaseKey.parse(decoded(lease_key))
        except UnicodeDecodeError as failure:
            raise InvalidRequestError("the lease key is not UTF-8", why=str(failure)) from failure
        record = await in_time(leases.record(key))
        if record is None:
            raise HTTPException(404, f"nothing is known of {key}")
        return JSONAnswer(lease_json(record))

    @router.get("/history", response_model=HistoryAnswer, responses=refusals())
    async def history(
        since: Annotated[Time, Query()] = 0,
        after: Annotated[str, Query(pattern=r"^([0-9]{20}(-[0-9a-f]{8})?)?$")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """The steps of leases since a time, or behind the end of a page; each is kept for a day or two.

        limit: of commits, each of which may hold steps of several leases.
        """
        revision, now = await in_time(leases.history.revision()), iso(leases.clocks.earliest())
        steps, rest = await in_time(leases.history.page(after=after or id_at(since), most=limit))
        return JSONAnswer({"steps": steps, "next": rest, "revision": revision, "now": now})

    @router.get("/workers", response_model=list[WorkerAnswer], responses=refusals())
    async def workers() -> Response:
        """Workers with a living session."""
        found = await in_time(leases.workers())
        return JSONAnswer(
            [{"worker": name, "session": one.id, "ttl_s": one.ttl_s} for name, one in found.items()]
        )

    @router.get("/violations", response_model=list[LeaseAnswer], responses=refusals())
    async def violations() -> Response:
        """Shards that have failed too often in a row, and that nobody has completed since."""
        found = await in_time(leases.records())
        return JSONAnswer([lease_json(record) for record in found if record.lease.violation is not None])

    return router
