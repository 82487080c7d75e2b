"""How fast a venue may be asked by a whole fleet: one budget for each, kept in key values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qmtl.foundation.clock import Clock
from qmtl.foundation.times import SECOND
from qmtl.runtime.io.rates import Meter, admit, pause_left, paused
from qmtl.services.coordinator.json_entries import as_json, contended
from qmtl.services.coordinator.key_values import Conflict, Entry, KeyValues, Put, UnknownLifetimeError
from qmtl.services.coordinator.shared_lifetimes import SharedLifetimes

# A venue that nobody asks is forgotten after this; no pause is longer.
REMEMBERED_S = 4 * 24 * 3600
# Who has asked within so long shares the budget.
SHARING_S = 60.0

_RATES = "rates/"
_TRIES = 12
_MOST_TAKERS = 1_000
_MOST_VENUES = 1_000


class RateAnswer(NamedTuple):
    """wait_s: 0 if the cost is booked; else nothing is, and one asks again then.

    pause_s: of that, because the venue asked to be left alone. sharers: how many have asked lately.
    """

    wait_s: float
    pause_s: float
    sharers: int


class _Kept(NamedTuple):
    meter: Meter
    takers: Mapping[str, float]


class RateService:
    """Many may serve one database: a budget holds for all of them together."""

    def __init__(self, keys: KeyValues, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._lifetimes = SharedLifetimes(keys, clock)
        # What each venue's budget was last seen to be; what may be untrue by now.
        self._seen: dict[str, Entry] = {}
        self._one_by_one = asyncio.Lock()

    async def take(
        self, venue: str, taker: str, *, cost: float, per_second: float, burst: float
    ) -> RateAnswer:
        """Spend `cost` of a budget that holds `burst`, and gains `per_second`."""

        def spent(kept: _Kept, now: int) -> tuple[_Kept, RateAnswer]:
            seconds = now / SECOND
            lately = {one: at for one, at in kept.takers.items() if at > seconds - SHARING_S}
            takers = dict(sorted(lately.items(), key=lambda one: one[1])[1 - _MOST_TAKERS :])
            takers[taker] = seconds
            meter, wait = admit(kept.meter, now, cost=min(cost, burst), per_second=per_second, burst=burst)
            answer = RateAnswer(wait / SECOND, pause_left(meter, now) / SECOND, len(takers))
            return _Kept(meter, takers), answer

        return await self._update(venue, spent)

    async def pause(self, venue: str, seconds: float) -> RateAnswer:
        """Nobody asks this venue for so long; a longer pause stays."""

        def rested(kept: _Kept, now: int) -> tuple[_Kept, RateAnswer]:
            meter = paused(kept.meter, now, seconds)
            left = pause_left(meter, now) / SECOND
            return kept._replace(meter=meter), RateAnswer(left, left, len(kept.takers))

        return await self._update(venue, rested)

    async def _update(
        self, venue: str, change: Callable[[_Kept, int], tuple[_Kept, RateAnswer]]
    ) -> RateAnswer:
        key = _RATES + venue
        async with self._one_by_one:
            for _ in range(_TRIES):
                seen = self._seen.get(venue)
                kept, answer = change(_kept(seen), self._clock.now())
                value = as_json({"meter": list(kept.meter), "takers": kept.takers})
                try:
                    lifetime = await self._lifetimes.of(REMEMBERED_S)
                    outcome = await self._keys.commit(
                        {key: seen.revision if seen else 0}, {key: Put(value, lifetime)}
                    )
                except UnknownLifetimeError:
                    self._lifetimes.forget()
                    continue
                if isinstance(outcome, Conflict):
                    self._see(venue, outcome.current[key])
                    continue
                self._see(venue, Entry(value, outcome.revision))
                return answer
        raise contended(self._keys, _TRIES)

    def _see(self, venue: str, entry: Entry | None) -> None:
        self._seen.pop(venue, None)
        if entry is not None:
            self._seen[venue] = entry
        while len(self._seen) > _MOST_VENUES:
            self._seen.pop(next(iter(self._seen)))


def _kept(entry: Entry | None) -> _Kept:
    if entry is None:
        return _Kept(Meter(), {})
    facts = json.loads(entry.value)
    return _Kept(Meter(*facts["meter"]), facts["takers"])
