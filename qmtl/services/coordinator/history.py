"""The audit trail: each step of leases and jobs, kept for a day and listed in the order of time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from qmtl.foundation.clock import Clock
from qmtl.foundation.times import iso
from qmtl.runtime.coordination.lease_keeping import Transition
from qmtl.services.coordinator.json_entries import as_json
from qmtl.services.coordinator.key_values import KeyValues, Put
from qmtl.services.coordinator.shared_lifetimes import SharedLifetimes

# A step is kept for so long, and at most for twice as long.
KEPT_S = 24 * 3600

_HISTORY = "history/"


class History:
    """Steps that one commit stores are one entry, whose key begins with the time of the coordinator."""

    def __init__(self, keys: KeyValues, clock: Clock, lifetimes: SharedLifetimes) -> None:
        self._keys = keys
        self._clock = clock
        self.lifetimes = lifetimes

    async def entry(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Put | None]:
        """What a commit of these steps stores beside them."""
        if not steps:
            return {}
        now = self._clock.now()
        value = as_json({"at": now, "steps": list(steps)})
        key = f"{_HISTORY}{now:020}-{os.urandom(4).hex()}"
        return {key: Put(value, await self.lifetimes.of(KEPT_S))}

    async def page(self, *, after: str, most: int) -> tuple[list[dict[str, Any]], str | None]:
        """The steps of up to `most` entries behind the id `after`; and where the next page begins, if any.

        Each has an `id`; ids order by time, as far as the clocks of coordinators agree. `revision`: of the
        commit that stored it; these order by arrival, whatever clocks show.
        """
        found = await self._keys.page(_HISTORY, after=_HISTORY + after, most=most)
        steps: list[dict[str, Any]] = []
        for key, entry in found:
            name, facts = key.removeprefix(_HISTORY), json.loads(entry.value)
            steps += [
                {
                    "id": f"{name}.{number}",
                    "revision": entry.revision,
                    "at": iso(facts["at"]),
                    "job": None,
                    **step,
                }
                for number, step in enumerate(facts["steps"])
            ]
        return steps, found[-1][0].removeprefix(_HISTORY) if len(found) == most else None

    async def revision(self) -> int:
        """Of the newest commit of any kind."""
        return await self._keys.revision()


def lease_step(transition: Transition) -> dict[str, Any]:
    event, lease = transition
    return {
        "event": type(event).__name__.lower(),
        "lease_key": str(lease.key),
        "holder": lease.holder,
        "claim_id": lease.claim_id,
        "attempts": lease.attempts,
        "why": lease.why,
    }


def id_at(ns: int) -> str:
    """Entries from this time on come behind it."""
    return f"{max(0, ns):020}"
