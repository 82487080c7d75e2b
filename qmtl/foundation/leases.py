"""The life of a lease on one shard of a backfill: a table of transitions, and the pure functions on it.

A lease ends completed, or abandoned with its violation. The keeper of leases (this process, or a coordinator)
stores the values of this module and calls `advance`; clocks, locks and networks are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from qmtl.foundation.errors import InvalidRequestError, LeaseError
from qmtl.foundation.timeline import EMPTY, Coverage


class LeaseKey(NamedTuple):
    """What a lease is on: shard number `shard` of `series` (a node id) in a store.

    store_id: the `place_id` of the store: a copy of it in another place has leases of its own.
    As text it is `<store>/<series>/<shard>`. Metrics, logs and interfaces call this text `lease_key`.
    """

    store_id: str
    series: str
    shard: int

    def __str__(self) -> str:
        return f"{self.store_id}/{self.series}/{self.shard}"

    @classmethod
    def parse(cls, text: str) -> LeaseKey:
        """The key of that text. Raises `InvalidRequestError`."""
        store_id, _, rest = text.partition("/")
        series, _, shard = rest.rpartition("/")  # a node id may hold slashes itself
        try:
            number = int(shard)
        except ValueError:
            number = None
        if not store_id or not series or number is None or str(number) != shard:
            raise InvalidRequestError(
                f"{text!r} is not the key of a lease", next_step="write <store>/<series>/<shard>"
            )
        return cls(store_id, series, number)


class ShardProgress(NamedTuple):
    """How far the holder of a shard is: bars answered for, of the bars that its whole backfill asked for."""

    done: int
    total: int


class LeaseState(StrEnum):
    REQUESTED = "requested"
    HELD = "held"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    REQUEUED = "requeued"
    ABANDONED = "abandoned"


class Granted(NamedTuple):
    """A worker holds the shard. `expires_at` (seconds, of the keeper's clock) is None without a lifetime."""

    claim_id: str
    holder: str
    expires_at: float | None


class Renewed(NamedTuple):
    """The holder is alive."""

    claim_id: str
    expires_at: float | None
    progress: ShardProgress | None = None


class Completed(NamedTuple):
    """The holder has asked for all cells; `as_of` (ns) is a commit time at which the answers are stored."""

    claim_id: str
    as_of: int


class Failed(NamedTuple):
    """The holder gives up; `why` is its reason."""

    claim_id: str
    why: str


class Expired(NamedTuple):
    """The holder did not renew in time. `now`: seconds, of the keeper's clock."""

    now: float


class Requeued(NamedTuple):
    """Somebody else may try."""


class Abandoned(NamedTuple):
    """No further attempt is made."""


LeaseEvent: TypeAlias = Granted | Renewed | Completed | Failed | Expired | Requeued | Abandoned

_S = LeaseState

TRANSITIONS: Mapping[tuple[LeaseState, type[LeaseEvent]], LeaseState] = {
    (_S.REQUESTED, Granted): _S.HELD,
    (_S.REQUEUED, Granted): _S.HELD,
    (_S.HELD, Renewed): _S.HELD,
    (_S.HELD, Completed): _S.COMPLETED,
    (_S.HELD, Failed): _S.FAILED,
    (_S.HELD, Expired): _S.EXPIRED,
    (_S.FAILED, Requeued): _S.REQUEUED,
    (_S.EXPIRED, Requeued): _S.REQUEUED,
    (_S.FAILED, Abandoned): _S.ABANDONED,
    (_S.EXPIRED, Abandoned): _S.ABANDONED,
}

# Nothing leaves these.
FINAL = frozenset({LeaseState.COMPLETED, LeaseState.ABANDONED})


class Violation(NamedTuple):
    """A shard that was never completed: how often it was tried, and why the last attempt ended."""

    lease_key: str
    attempts: int
    why: str


@dataclass(frozen=True, slots=True)
class Lease:
    """One shard that has to be filled.

    cells: the bars that are wanted. attempts: how often it was granted. claim_id, holder, expires_at,
    progress: of the newest grant. why: how the newest attempt ended, if it failed or expired. as_of: the
    commit time (ns) of a completed one. violation: of an abandoned one.
    """

    key: LeaseKey
    cells: Coverage = EMPTY
    state: LeaseState = LeaseState.REQUESTED
    attempts: int = 0
    claim_id: str | None = None
    holder: str | None = None
    expires_at: float | None = None
    progress: ShardProgress | None = None
    why: str | None = None
    as_of: int | None = None
    violation: Violation | None = None


def advance(lease: Lease, event: LeaseEvent) -> Lease:
    """The lease after `event`.

    Raises `LeaseError`, and changes nothing, for an event that is not in `TRANSITIONS`, for one of a claim
    that is not the newest, and for an expiry that is not due.
    """
    state = TRANSITIONS.get((lease.state, type(event)))
    if state is None:
        raise _refused(lease, event, f"the lease is {lease.state.value}")
    match event:
        case Granted(claim_id, holder, expires_at):
            return replace(
                lease,
                state=state,
                attempts=lease.attempts + 1,
                claim_id=claim_id,
                holder=holder,
                expires_at=expires_at,
                progress=None,
            )
        case Renewed(claim_id) | Completed(claim_id) | Failed(claim_id) if claim_id != lease.claim_id:
            raise _refused(lease, event, f"it is held by {lease.holder} under another claim")
        case Renewed(_, expires_at, progress):
            return replace(lease, state=state, expires_at=expires_at, progress=progress or lease.progress)
        case Completed(_, as_of):
            return replace(lease, state=state, as_of=as_of)
        case Failed(_, why):
            return replace(lease, state=state, why=why)
        case Expired(now):
            if lease.expires_at is None or now < lease.expires_at:
                raise _refused(lease, event, "its time is not over")
            return replace(lease, state=state, why=f"{lease.holder} was not heard of in time")
        case Requeued():
            return replace(lease, state=state)
        case Abandoned():
            violation = Violation(str(lease.key), lease.attempts, lease.why or "unknown")
            return replace(lease, state=state, violation=violation)


def due(lease: Lease, *, now: float, most_attempts: int) -> LeaseEvent | None:
    """The event that is due, for `advance`: an expiry, or what follows a failed attempt; None without one.

    now: seconds, of the keeper's clock. most_attempts: after this many grants no further attempt is made.
    """
    match lease.state:
        case LeaseState.HELD if lease.expires_at is not None and now >= lease.expires_at:
            return Expired(now)
        case LeaseState.FAILED | LeaseState.EXPIRED:
            return Abandoned() if lease.attempts >= most_attempts else Requeued()
        case _:
            return None


def _refused(lease: Lease, event: LeaseEvent, why: str) -> LeaseError:
    return LeaseError(
        f"the lease cannot be {type(event).__name__.lower()}",
        lease_key=str(lease.key),
        why=why,
        next_step="stop the work on this shard; claim it again if bars are still missing",
    )
