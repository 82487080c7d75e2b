"""Who works on which shard: one protocol, whether leases live in this process, on this machine or afar."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from qmtl.foundation.errors import LeaseError
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.timeline import Coverage


class ShardRequest(NamedTuple):
    """A shard to be claimed.

    cells: the bars that are missing. read_as_of: the commit time (ns) of the read that found them missing;
    who has completed the shard before that is no reason to refuse the claim.
    """

    key: LeaseKey
    cells: Coverage
    read_as_of: int


class Ended(NamedTuple):
    """How the attempt before ended, which did not complete the shard: whose it was, why, and when that was
    noticed (ns, by the clock of the keeper; None where nobody notices such things)."""

    holder: str
    why: str
    at: int | None


class Granted(NamedTuple):
    """The shard is the caller's until it completes or fails the lease, or a renewal is refused.

    `claim_id` is what the store is asked for fencing tokens with. `uncoordinated`: why it excludes this
    machine's workers alone, where there is a coordinator for several.
    """

    key: LeaseKey
    claim_id: str
    uncoordinated: str | None = None
    ended: Ended | None = None


class Held(NamedTuple):
    """Somebody else works on the shard: who, how far that backfill is (if known), and when to ask again."""

    key: LeaseKey
    holder: str
    progress: ShardProgress | None
    retry_after_s: float
    ended: Ended | None = None


class Done(NamedTuple):
    """Somebody asked for all these cells since they were read, and committed at `as_of` (ns).

    The caller reads the store again: what is missing even then can be claimed.
    """

    key: LeaseKey
    as_of: int


Claimed: TypeAlias = Granted | Held | Done


class ShardLeases(Protocol):
    """Leases on shards. Keys are those of one store; every method may be called from any event loop.

    A lease saves work; it is not what keeps the data right: commits carry fencing tokens, which the store
    checks. Where leases have a lifetime, the implementation keeps those alive that its process holds, and
    refuses to renew what it has lost.
    """

    @property
    def most_at_once(self) -> int:
        """How many shards one worker may hold at a time."""
        ...

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        """Answers in the order of `requests`, without waiting for anybody.

        claim_id: made by the caller, unique, and the same for all that is granted here. A claim that asks
        again for what it holds is granted it again, and keeps its progress: after a time-out one may just
        repeat. Raises
        `LeaseError` or `StoreError` where leases cannot be had at all; then nothing is granted.
        """
        ...

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        """The holder is alive, and this far. Raises `LeaseError` if a lease is not the caller's any more."""
        ...

    def still_held(self, grants: Sequence[Granted]) -> None:
        """Raise `LeaseError` if a lease is known to be lost. Asks nobody, so that each commit may be preceded
        by it; where leases have a lifetime, one that was not renewed in time is lost."""
        ...

    def lost(self, grants: Sequence[Granted]) -> Coroutine[Any, Any, LeaseError] | None:
        """Comes to its end as soon as `still_held` would raise, with that error.

        None where a lease is never lost while its holder lives.
        """
        ...

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        """All cells have been asked for, and what was answered is stored at `as_of` (ns); frees the shards.

        Raises `LeaseError` if a lease is not the caller's any more.
        """
        ...

    async def fail(self, grants: Sequence[Granted], *, why: str, is_away: bool = False) -> None:
        """The work has ended early; frees the shards. Leases that are not the caller's are left alone.

        is_away: the source could not be reached at all, which says nothing of these shards.
        """
        ...
