"""The suite sees leases that keep what they must not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, Held, ShardLeases, ShardRequest
from qmtl.runtime.testing import LeaseSuite


class RenewsOneByOne(MemoryLeases):
    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        for grant in grants:
            await super().renew([grant], progress)


class KeepsProgress(MemoryLeases):
    """Shows what an earlier claim had done."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: dict[LeaseKey, ShardProgress] = {}

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        await super().renew(grants, progress)
        self._latest |= dict.fromkeys((grant.key for grant in grants), progress)

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        answers = await super().claim(requests, claim_id=claim_id)
        return [
            one._replace(progress=self._latest.get(one.key)) if isinstance(one, Held) else one
            for one in answers
        ]


def run(leases: ShardLeases, test: str, *more: str) -> None:
    getattr(LeaseSuite(), test)(lambda: leases, *more)


@pytest.mark.parametrize(
    ("wrong", "test", "more"),
    [
        (RenewsOneByOne, "test_no_progress_is_kept_where_one_lease_is_lost", ()),
        (KeepsProgress, "test_a_new_holder_begins_without_progress", ("complete",)),
        (KeepsProgress, "test_a_new_holder_begins_without_progress", ("fail",)),
    ],
)
def test_wrong_leases_are_found(wrong: type[MemoryLeases], test: str, more: tuple[str, ...]) -> None:
    run(MemoryLeases(), test, *more)
    with pytest.raises(AssertionError):
        run(wrong(), test, *more)
