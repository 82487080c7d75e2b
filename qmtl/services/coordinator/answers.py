"""What workers and people are answered: leases as JSON values; times are ISO 8601 UTC."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.times import SECOND, iso
from qmtl.runtime.coordination.lease_records import ShardRecord
from qmtl.runtime.coordination.shard_leases import Claimed, Done, Ended, Granted, Held
from qmtl.services.coordinator.lease_service import Claims
from qmtl.services.coordinator.sessions import SessionStatus


class SessionAnswer(BaseModel):
    """The worker's session, and how long it lasts from now on if it is not renewed."""

    session: str
    expires_in_s: float


class EndedAnswer(BaseModel):
    """How the attempt before ended, which did not complete the shard, and when that was noticed."""

    holder: str
    why: str
    at: str | None


class ShardAnswer(BaseModel):
    """granted: claim_id, expires_in_s. held: holder, progress, retry_after_ms. done: as_of.

    ended: of granted and held, if an attempt before has ended without completing the shard.
    """

    state: str
    lease_key: str
    claim_id: str | None = None
    expires_in_s: float | None = None
    holder: str | None = None
    progress: dict[str, int] | None = None
    retry_after_ms: int | None = None
    as_of: str | None = None
    ended: EndedAnswer | None = None


class ClaimAnswer(SessionAnswer):
    """In the order of the keys."""

    answers: list[ShardAnswer]


class LeaseAnswer(BaseModel):
    """What is known of a shard; `violation` is why nobody has completed it, after too many attempts."""

    lease_key: str
    state: str
    attempts: int
    holder: str | None
    claim_id: str | None
    progress: dict[str, int] | None
    why: str | None
    as_of: str | None
    since: str
    violation: dict[str, Any] | None


class LeasesAnswer(BaseModel):
    """Some leases, by key; `next` is where the next page begins: ask again with `after` set to it."""

    leases: list[LeaseAnswer]
    next: str | None


class StepAnswer(BaseModel):
    """event: granted, completed, failed, expired, requeued, abandoned; or of a job, and of its shards,
    job.queued, job.taken, job.failed, ... The other facts are from then on. job: of the steps of jobs.
    at: by the clock of a coordinator. revision: of the commit; these order by arrival.
    """

    id: str
    revision: int
    at: str
    event: str
    job: str | None
    lease_key: str | None
    holder: str | None
    claim_id: str | None
    attempts: int
    why: str | None


class HistoryAnswer(BaseModel):
    """Steps in the order of time; `next` is where the next page begins: ask again with `after` set to it.

    revision: of the newest commit before the page was read. now: by the clock of coordinators that is
    furthest behind: what comes later is dated no earlier.
    """

    steps: list[StepAnswer]
    next: str | None
    revision: int
    now: str


class WorkerAnswer(BaseModel):
    worker: str
    session: str
    ttl_s: int


class EndAnswer(BaseModel):
    status: str


def session_json(status: SessionStatus) -> dict[str, Any]:
    return {"session": status.session.id, "expires_in_s": round(status.expires_in_s, 3)}


def claims_json(claims: Claims) -> dict[str, Any]:
    session = session_json(claims.status)
    return session | {"answers": [_answer(one, session["expires_in_s"]) for one in claims.answers]}


def _answer(answer: Claimed, expires_in_s: float) -> dict[str, Any]:
    lease_key = str(answer.key)
    match answer:
        case Granted(_, claim_id, _, ended):
            more: dict[str, Any] = {"state": "granted", "claim_id": claim_id, "expires_in_s": expires_in_s}
            more |= _ended(ended)
        case Held(_, holder, progress, retry_after_s, ended):
            more = {"state": "held", "holder": holder, "progress": _progress(progress)}
            more |= {"retry_after_ms": round(retry_after_s * 1000), **_ended(ended)}
        case Done(_, as_of):
            more = {"state": "done", "as_of": iso(as_of)}
    return {"lease_key": lease_key, **more}


def _ended(ended: Ended | None) -> dict[str, Any]:
    if ended is None:
        return {}
    at = None if ended.at is None else iso(ended.at)
    return {"ended": {"holder": ended.holder, "why": ended.why, "at": at}}


def lease_json(record: ShardRecord) -> dict[str, Any]:
    lease, violation = record.lease, record.lease.violation
    return {
        "lease_key": str(lease.key),
        "state": lease.state.value,
        "attempts": lease.attempts,
        "holder": lease.holder,
        "claim_id": lease.claim_id,
        "progress": _progress(lease.progress),
        "why": lease.why,
        "as_of": None if lease.as_of is None else iso(lease.as_of),
        "since": iso(round(record.at * 1000) * (SECOND // 1000)),
        "violation": None if violation is None else {"attempts": violation.attempts, "why": violation.why},
    }


def _progress(progress: ShardProgress | None) -> dict[str, int] | None:
    return None if progress is None else progress._asdict()
