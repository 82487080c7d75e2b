"""What a keeper of leases for many workers decides: from what is stored, what is answered and stored next.

A worker has one session at a time, with a lifetime that it renews; its leases are held for as long as that
session lives. Nothing here knows the time but by what it is given, and nothing is stored here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from qmtl.foundation import leases
from qmtl.foundation.leases import Lease, LeaseEvent, LeaseKey, LeaseState, ShardProgress, advance, due
from qmtl.foundation.times import SECOND
from qmtl.runtime.coordination.lease_records import ShardRecord, remembered
from qmtl.runtime.coordination.shard_leases import Claimed, Done, Ended, Granted, Held, ShardRequest

# After so many attempts in a row that failed or expired, a shard is abandoned, with its violation.
MOST_ATTEMPTS = 5

RETRY_AFTER_S = 0.2


class Claimant(NamedTuple):
    """Who claims, renews or ends: the name of a worker, its session, and the id of one of its claims."""

    worker: str
    session: str
    claim_id: str


class Kept(NamedTuple):
    """What is stored. sessions: the living session of each worker; of workers that hold none of `records`
    it need not be there. ended: claims that have ended, which are granted nothing more.
    """

    records: Mapping[LeaseKey, ShardRecord]
    sessions: Mapping[str, str]
    ended: frozenset[str] = frozenset()

    def lives(self, record: ShardRecord) -> bool:
        """Whether the session is alive under which the lease was granted."""
        return self.sessions.get(record.lease.holder or "") == record.session


class Transition(NamedTuple):
    """One step in the life of a lease, for logs and counts."""

    event: LeaseEvent
    lease: Lease


@dataclass(frozen=True)
class Decision:
    """What is answered and stored.

    lost: leases that are not the claimant's any more, or its session (all of its leases then). Where there
    are any, nothing changes.
    """

    answers: Sequence[Claimed] = ()
    changed: Mapping[LeaseKey, ShardRecord] = field(default_factory=dict)
    transitions: Sequence[Transition] = ()
    lost: Sequence[LeaseKey] = ()
    has_ended: bool = False
    session_is_gone: bool = False


class _Steps:
    """Collects the steps of one decision."""

    def __init__(self, session: str, now: float) -> None:
        self._session = session
        self._now = now
        self.transitions: list[Transition] = []
        self.changed: dict[LeaseKey, ShardRecord] = {}
        self._ended: dict[LeaseKey, Ended] = {}

    def take(self, lease: Lease, *events: LeaseEvent) -> Lease:
        for event in events:
            lease = advance(lease, event)
            self.transitions.append(Transition(event, lease))
        return lease

    def end(self, lease: Lease, event: LeaseEvent) -> Lease:
        """An attempt has failed or expired; the shard is free again, or abandoned after too many."""
        lease = self.take(lease, event)
        self._ended[lease.key] = Ended(lease.holder or "", lease.why or "", round(self._now * SECOND))
        after = due(lease, now=self._now, most_attempts=MOST_ATTEMPTS)
        assert after is not None  # nothing that failed or expired stays so
        return self.take(lease, after)

    def expire(self, lease: Lease) -> Lease:
        return self.end(replace(lease, expires_at=self._now), leases.Expired(self._now))

    def store(self, lease: Lease, session: str | None = None, ended: Ended | None = None) -> Ended | None:
        """ended: of the attempt before, where none has ended in this decision; what is stored of that."""
        ended = self._ended.get(lease.key, ended)
        self.changed[lease.key] = ShardRecord(lease, session or self._session, self._now, ended)
        return ended


def decide_claim(kept: Kept, who: Claimant, requests: Iterable[ShardRequest], *, now: float) -> Decision:
    """Each shard is granted, held by somebody else, or done. now: seconds since 1970, for what is stored."""
    if kept.sessions.get(who.worker) != who.session:
        return Decision(session_is_gone=True)
    if who.claim_id in kept.ended:
        return Decision(has_ended=True)
    steps = _Steps(who.session, now)
    answers = [_claim(kept, who, request, steps) for request in requests]
    return Decision(answers, steps.changed, steps.transitions)


def _claim(kept: Kept, who: Claimant, request: ShardRequest, steps: _Steps) -> Claimed:
    key, record, cells = request.key, kept.records.get(request.key), remembered(request.cells)
    lease = Lease(key, cells) if record is None else record.lease
    if record is not None and lease.state is LeaseState.HELD:
        if kept.lives(record):
            if (lease.holder, lease.claim_id) == (who.worker, who.claim_id):
                return Granted(key, who.claim_id, ended=record.ended)
            return Held(key, lease.holder or "", lease.progress, RETRY_AFTER_S, record.ended)
        lease = steps.expire(lease)
    if lease.state is LeaseState.COMPLETED:
        as_of = lease.as_of or 0
        if as_of > request.read_as_of and not request.cells - lease.cells:
            return Done(key, as_of)
        lease = Lease(key, cells)  # other cells, or bars that have been reopened since: new work
    if lease.state is LeaseState.ABANDONED:
        # Whoever asks for it by name has a reason to; that nobody has completed it yet stays on record.
        lease = Lease(key, cells, violation=lease.violation)
    if lease.cells is not cells:
        lease = replace(lease, cells=cells)
    lease = steps.take(lease, leases.Granted(who.claim_id, who.worker, None))
    ended = steps.store(lease, ended=None if record is None else record.ended)
    return Granted(key, who.claim_id, ended=ended)


def decide_renewal(
    kept: Kept,
    worker: str,
    claims: Mapping[LeaseKey, str],
    progress: ShardProgress | None,
    *,
    now: float,
) -> Decision:
    """The worker is alive, and this far with what it holds: all of `claims` (by their ids), or none."""
    session = kept.sessions.get(worker)
    if session is None:
        return Decision(lost=list(claims), session_is_gone=True)
    lost = [
        key for key, claim_id in claims.items() if not _holds(kept, Claimant(worker, session, claim_id), key)
    ]
    if lost:
        return Decision(lost=lost)
    steps = _Steps(session, now)
    for key, claim_id in claims.items():
        record = kept.records[key]
        if progress is not None and record.lease.progress != progress:
            # A sign of life is no step that anybody wants to read of.
            renewed = advance(record.lease, leases.Renewed(claim_id, None, progress))
            steps.store(renewed, ended=record.ended)
    return Decision(changed=steps.changed)


def decide_completion(
    kept: Kept, worker: str, claim_id: str, keys: Iterable[LeaseKey], *, as_of: int, now: float
) -> Decision:
    """All of `keys` are completed at `as_of` (ns), or none; what this claim has completed before stays so."""
    session = kept.sessions.get(worker, "")
    who = Claimant(worker, session, claim_id)
    steps = _Steps(session, now)
    lost: list[LeaseKey] = []
    for key in keys:
        record = kept.records.get(key)
        if record is not None and _is_completed_by(record.lease, who):
            continue
        if record is None or not _holds(kept, who, key):
            lost.append(key)
            continue
        lease = steps.take(record.lease, leases.Completed(claim_id, as_of))
        steps.store(replace(lease, violation=None, progress=None))
    return Decision(lost=lost) if lost else Decision(changed=steps.changed, transitions=steps.transitions)


def decide_failure(
    kept: Kept,
    worker: str,
    claim_id: str,
    keys: Iterable[LeaseKey],
    *,
    why: str,
    now: float,
    is_away: bool = False,
) -> Decision:
    """Those of `keys` that are held by this claim are free again; the others are left alone.

    is_away: the source could not be reached, which is no attempt at these bars.
    """
    steps = _Steps("", now)
    for key in keys:
        record = kept.records.get(key)
        if record is not None and _is_held_by(record.lease, worker, claim_id):
            lease = replace(record.lease, attempts=record.lease.attempts - is_away)
            steps.store(steps.end(lease, leases.Failed(claim_id, why)), record.session)
    return Decision(changed=steps.changed, transitions=steps.transitions)


def decide_sweep(kept: Kept, *, now: float) -> Decision:
    """Of all `records`, those whose session has ended expire."""
    steps = _Steps("", now)
    for record in kept.records.values():
        if record.lease.state is LeaseState.HELD and not kept.lives(record):
            steps.store(steps.expire(record.lease), record.session)
    return Decision(changed=steps.changed, transitions=steps.transitions)


def _is_held_by(lease: Lease, worker: str, claim_id: str) -> bool:
    return lease.state is LeaseState.HELD and (lease.holder, lease.claim_id) == (worker, claim_id)


def _holds(kept: Kept, who: Claimant, key: LeaseKey) -> bool:
    record = kept.records.get(key)
    return (
        record is not None
        and _is_held_by(record.lease, who.worker, who.claim_id)
        and record.session == who.session
    )


def _is_completed_by(lease: Lease, who: Claimant) -> bool:
    return lease.state is LeaseState.COMPLETED and (lease.holder, lease.claim_id) == (
        who.worker,
        who.claim_id,
    )
