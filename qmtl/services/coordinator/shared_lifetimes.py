"""Lifetimes that many values share, so that what is remembered for a while costs no lifetime of its own."""

from __future__ import annotations

from qmtl.foundation.clock import Clock
from qmtl.services.coordinator.key_values import KeyValues


class SharedLifetimes:
    """One for each number of seconds, begun anew in time: a value stays at least that long, at most twice."""

    def __init__(self, keys: KeyValues, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._current: dict[int, tuple[int, float]] = {}

    async def of(self, seconds: int) -> int:
        """The number of a lifetime that lasts for `seconds` or more."""
        number, until = self._current.get(seconds, (0, 0.0))
        now = self._clock.monotonic()
        if not number or now >= until:
            number = (await self._keys.begin_lifetime(2 * seconds)).number
            self._current[seconds] = number, now + seconds
        return number

    def forget(self) -> None:
        """One of them has ended before its time."""
        self._current.clear()
