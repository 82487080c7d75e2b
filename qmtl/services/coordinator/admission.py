"""Whether an etcd can be served from: its version, its health, and whose keys lie where ours would."""

from __future__ import annotations

import json
import re

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.services.coordinator.etcd import PREFIX, Etcd, MemberStatus
from qmtl.services.coordinator.key_values import Conflict, Put

FORMAT = 1
# Older ones lack fixes of leases; 3.4 and 3.5 are not maintained any more.
_OLDEST = (3, 6)


async def admit(etcd: Etcd, *, shard_steps: int = SHARD_STEPS) -> None:
    """Mark the keys as those of coordinators, if there are none yet.

    shard_steps: how many bars make a shard, which all coordinators must agree on. Raises
    `InvalidRequestError` with the reason why this etcd is not served from, and
    `CoordinatorUnavailableError` if it does not answer.
    """
    members = await etcd.status()
    for member in members:
        _refuse_unfit(member)
    if len({member.cluster for member in members}) > 1:
        raise InvalidRequestError(
            "the addresses are of several etcd clusters",
            why=", ".join(f"{member.url} is of {member.cluster}" for member in members),
            next_step="give the members of one cluster",
        )
    ours = {"format": FORMAT, "shard_steps": shard_steps}
    # In this order: what another coordinator, begun at the same moment, writes in between is not foreign.
    others = await etcd.page("", most=1)
    marked = dict(await etcd.page("format", most=1))
    if others and "format" not in marked:
        raise _foreign(f"there is {PREFIX + others[0][0]!r}, and no {PREFIX + 'format'!r}")
    outcome = await etcd.commit({"format": 0}, {"format": Put(json.dumps(ours).encode())})
    if isinstance(outcome, Conflict):
        entry = outcome.current["format"]
        assert entry is not None  # it was not as expected: absent
        _compare(entry.value, ours)


def _refuse_unfit(member: MemberStatus) -> None:
    found = re.match(r"(\d+)\.(\d+)", member.version)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        raise InvalidRequestError(
            f"the etcd at {member.url} has version {member.version}",
            why="the coordinator relies on fixes of leases that came with 3.6",
            next_step="run etcd 3.6 or 3.7",
        )
    if member.alarms:
        raise InvalidRequestError(
            f"the etcd at {member.url} has raised an alarm, and may refuse to store anything",
            why="; ".join(alarm.strip() for alarm in member.alarms),
            next_step="NOSPACE: compact and defragment it, or raise its quota, then disarm the alarm",
        )


def _compare(stored: bytes, ours: dict[str, int]) -> None:
    try:
        theirs = json.loads(stored)
        found = {name: theirs[name] for name in ours}
    except (ValueError, TypeError, KeyError):
        raise _foreign(f"{PREFIX + 'format'!r} is {stored[:80]!r}") from None
    differing = [
        f"{name} is {found[name]} there, and {ours[name]} here" for name in ours if found[name] != ours[name]
    ]
    if differing:
        raise InvalidRequestError(
            "other coordinators work with this etcd in another way",
            why="; ".join(differing),
            next_step="run one version of qmtl on all of them, or give this one another etcd",
        )


def _foreign(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the keys of etcd below {PREFIX!r} belong to somebody else",
        why=why,
        next_step="give the coordinator an etcd where nobody else uses these keys",
    )
