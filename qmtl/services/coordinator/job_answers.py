"""What is answered of jobs: JSON values; times are ISO 8601 UTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from qmtl.foundation.times import SECOND, iso
from qmtl.runtime.coordination.job_blocks import Failures
from qmtl.services.coordinator.answers import SessionAnswer
from qmtl.services.coordinator.job_service import Job, ListedShard
from qmtl.services.coordinator.job_taking import Taken


class AwayAnswer(BaseModel):
    """So many shards wait because their source was away, the first until then; why: its reason."""

    shards: int
    until: str
    why: str


class JobAnswer(BaseModel):
    """`ended`: completed or cancelled, with `end`; both null while shards are taken.

    What is `claimed` of a cancelled job goes on, and is done in the end, or queued for ever.
    """

    job: str
    store: str
    by: str
    at: str
    shards: int
    queued: int
    claimed: int
    done: int
    violations: int
    ended: str | None
    end: str | None
    away: AwayAnswer | None


class ViolationAnswer(BaseModel):
    lease_key: str
    attempts: int
    why: str


class OneJobAnswer(JobAnswer):
    """With the first two hundred of its violations."""

    violated: list[ViolationAnswer]


class JobsAnswer(BaseModel):
    jobs: list[JobAnswer]


class JobShardAnswer(BaseModel):
    """state: queued, claimed, done or violation; attempts: that have failed; why: the last of them."""

    number: int
    lease_key: str
    state: str
    worker: str | None = None
    since: str | None = None
    attempts: int | None = None
    why: str | None = None


class JobShardsAnswer(BaseModel):
    """Shards of an open job; `next` is where the next page begins: ask again with `after` set to it."""

    shards: list[JobShardAnswer]
    next: int | None


class TakenAnswer(BaseModel):
    """What the worker is to fill: `[start, end)` of a series, which lies in one shard."""

    job: str
    number: int
    lease_key: str
    series: str
    start: str
    end: str
    attempts: int


class TakeAnswer(SessionAnswer):
    """taken: null if there is nothing to do; then ask again after `retry_after_ms`."""

    taken: TakenAnswer | None
    retry_after_ms: int


def job_json(job: Job) -> dict[str, Any]:
    facts = job.header.facts
    end = facts.get("end", facts.get("cancelled"))
    return {
        "job": job.header.job,
        "store": facts["store"],
        "by": facts["by"],
        "at": _time(facts["at"]),
        "shards": facts["shards"],
        **job.counts._asdict(),
        "ended": facts.get("ended", "cancelled" if job.header.is_cancelled else None),
        "end": None if end is None else _time(end),
        "away": _away_json(job.away),
    }


def _away_json(away: Sequence[Failures]) -> dict[str, Any] | None:
    if not away:
        return None
    first = min(away, key=lambda failed: failed.not_before)
    return {"shards": len(away), "until": _time(first.not_before), "why": first.why}


def one_job_json(job: Job) -> dict[str, Any]:
    return {**job_json(job), "violated": list(job.violations)}


def shard_json(shard: ListedShard) -> dict[str, Any]:
    facts: dict[str, Any] = {"number": shard.number, "lease_key": shard.lease_key, "state": shard.state.value}
    if shard.claim is not None:
        facts |= {"worker": shard.claim.worker, "since": _time(shard.claim.since)}
    if shard.failures is not None:
        facts |= {"attempts": shard.failures.in_all, "why": shard.failures.why}
    return facts


def taken_json(taken: Taken) -> dict[str, Any]:
    return {
        "job": taken.job,
        "number": taken.number,
        "lease_key": taken.lease_key,
        "series": taken.shard.series,
        "start": iso(taken.shard.span.start),
        "end": iso(taken.shard.span.end),
        "attempts": taken.attempts,
    }


def _time(seconds: float) -> str:
    return iso(round(seconds * 1000) * (SECOND // 1000))
