"""Routes of jobs: each translates a request into one call, and answers within a bounded time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from qmtl.services.coordinator.answers import EndAnswer, session_json
from qmtl.services.coordinator.bodies import EndBody, JobBody, JobId, TakeBody
from qmtl.services.coordinator.job_answers import (
    JobAnswer,
    JobsAnswer,
    JobShardsAnswer,
    OneJobAnswer,
    TakeAnswer,
    job_json,
    one_job_json,
    shard_json,
    taken_json,
)
from qmtl.services.coordinator.job_service import JobService
from qmtl.services.coordinator.routes import LeasesLostError, in_time, known_query, refusals
from qmtl.services.http.wording import JSONAnswer

# A worker that has nothing to do asks again after this time.
IDLE_S = 2.0


def job_routes(jobs: JobService) -> APIRouter:
    """For people who queue jobs and look, and for workers."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(known_query)])

    @router.post("", response_model=JobAnswer, responses=refusals())
    async def queue(body: JobBody) -> Response:
        """Queues ranges to be filled. The same job sent again is the same job."""
        ranges = [one.range() for one in body.ranges]
        return JSONAnswer(job_json(await in_time(jobs.queue(body.job, body.store, body.by, ranges))))

    @router.get("", response_model=JobsAnswer, responses=refusals())
    async def listed() -> Response:
        """Jobs that are open, and those that ended within a week; the oldest first."""
        return JSONAnswer({"jobs": [job_json(one) for one in await in_time(jobs.jobs())]})

    @router.post("/take", response_model=TakeAnswer, responses=refusals())
    async def take(body: TakeBody) -> Response:
        """Takes the next shard, which is the worker's until it ends it, or its session ends."""
        taken, status = await in_time(jobs.take(body.asked()))
        shard = None if taken is None else taken_json(taken)
        wait_ms = round(IDLE_S * 1000) if taken is None else 0
        return JSONAnswer({**session_json(status), "taken": shard, "retry_after_ms": wait_ms})

    @router.get("/{job}", response_model=OneJobAnswer, responses=refusals(404))
    async def one(job: JobId) -> Response:
        """One job, with its violations."""
        found = await in_time(jobs.job(job))
        if found is None:
            raise HTTPException(404, f"there is no job {job}")
        return JSONAnswer(one_job_json(found))

    @router.delete("/{job}", response_model=OneJobAnswer, responses=refusals(404))
    async def cancel(job: JobId) -> Response:
        """Cancels a job: nobody takes its shards any more. One that has ended stays as it is."""
        found = await in_time(jobs.cancel(job))
        if found is None:
            raise HTTPException(404, f"there is no job {job}")
        return JSONAnswer(one_job_json(found))

    @router.get("/{job}/shards", response_model=JobShardsAnswer, responses=refusals(404))
    async def shards(
        job: JobId,
        after: Annotated[int, Query(ge=-1, lt=2**31)] = -1,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    ) -> Response:
        """Shards of a job that is open."""
        found = await in_time(jobs.shards(job, after=after, most=limit))
        if found is None:
            raise HTTPException(404, f"there is no open job {job}")
        rest = found[-1].number if len(found) == limit else None
        return JSONAnswer({"shards": [shard_json(shard) for shard in found], "next": rest})

    @router.post("/{job}/end", response_model=EndAnswer, responses=refusals(409))
    async def end(job: JobId, body: EndBody) -> Response:
        """The worker ends its attempt at a shard: done, failed (with why) or released."""
        is_heard = await in_time(jobs.end(job, body.number, body.take_id, body.outcome, body.why))
        if not is_heard:
            raise LeasesLostError([], f"shard {body.number} of {job} is not held under this take_id")
        return JSONAnswer({"status": body.outcome.value})

    return router
