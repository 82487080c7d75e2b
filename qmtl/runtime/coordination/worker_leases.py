"""What a worker may believe of its own leases: which it holds, until when, and what it has yet to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qmtl.foundation.errors import LeaseError
from qmtl.foundation.leases import LeaseKey
from qmtl.runtime.coordination.shard_leases import Granted

# A holder stops when this part of its lifetime is over by its own clock, before anybody else is granted its
# shard: clocks may run apart by a tenth.
TRUSTED = 0.8


class Ending(NamedTuple):
    """What is to be said of a claim: that it completed or failed. path and body: of the request."""

    path: str
    body: Mapping[str, Any]


@dataclass
class _Holding:
    session: str
    until: float


@dataclass
class WorkerLeases:
    """Of one worker. Times are seconds of its own monotonic clock, and are handed in.

    owed: endings that the coordinator has not heard of yet; they are said again until it has.
    """

    owed: list[Ending] = field(default_factory=list)
    _held: dict[tuple[LeaseKey, str], _Holding] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._held)

    def grant(self, grants: Iterable[Granted], session: str, *, sent: float, expires_in_s: float) -> None:
        """What came of a claim that was sent at `sent`: a lifetime never begins later than that."""
        until = sent + TRUSTED * expires_in_s
        for grant in grants:
            self._held[grant.key, grant.claim_id] = _Holding(session, until)
        self.renew(session, sent=sent, expires_in_s=expires_in_s)

    def renew(self, session: str, *, sent: float, expires_in_s: float) -> None:
        """The session lives. Leases of another session are lost: this worker had been given up in between."""
        until = sent + TRUSTED * expires_in_s
        for held, holding in list(self._held.items()):
            if holding.session != session:
                del self._held[held]
            else:
                holding.until = max(holding.until, until)

    def lose(self, lease_keys: Iterable[str]) -> None:
        lost = set(lease_keys)
        for held in [held for held in self._held if str(held[0]) in lost]:
            del self._held[held]

    def lose_all(self) -> None:
        self._held.clear()

    def end(self, grants: Iterable[Granted]) -> None:
        """They are the worker's no more, by its own will."""
        for grant in grants:
            self._held.pop((grant.key, grant.claim_id), None)

    def require(self, grants: Sequence[Granted], now: float) -> None:
        """Raise `LeaseError` unless all of them are held, and for some time yet."""
        for grant in grants:
            holding = self._held.get((grant.key, grant.claim_id))
            if holding is None or now >= holding.until:
                raise LeaseError(
                    "the lease is not held by this claim",
                    lease_key=str(grant.key),
                    series=grant.key.series,
                    why="the coordinator has not confirmed it in time, or has given it to somebody else",
                    next_step="claim the shard again if bars are still missing",
                )
