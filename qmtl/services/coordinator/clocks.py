"""How far apart the clocks of the coordinators before one database are, each as this one sees it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable

from qmtl.foundation.clock import Clock
from qmtl.foundation.times import SECOND
from qmtl.services.coordinator.json_entries import as_json
from qmtl.services.coordinator.key_values import KeyValues, Put, UnknownLifetimeError
from qmtl.services.coordinator.shared_lifetimes import SharedLifetimes

# A coordinator says what its clock shows so often, and is forgotten after this, or twice as long.
_TOLD_S, _KEPT_S = 5.0, 15
# More than this is said in the log.
APART_S = 30

_CLOCKS = "clocks/"
_MOST = 1_000


class Clocks:
    """on_apart: called with who it is, and seconds that its clock is ahead, when it is found to be apart."""

    def __init__(
        self, keys: KeyValues, clock: Clock, on_apart: Callable[[str, int], None] = lambda *_: None
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._on_apart = on_apart
        self._lifetimes = SharedLifetimes(keys, clock)
        self._own = f"{socket.gethostname()[:100]}:{os.getpid()}:{os.urandom(4).hex()}"
        self._told_at: float | None = None
        # By coordinator: the revision at which it was seen, and how much its clock was ahead then (ns).
        self._others: dict[str, tuple[int, int]] = {}
        self._apart: set[str] = set()

    def earliest(self) -> int:
        """What the clock shows that is furthest behind (ns): nothing is dated earlier from now on."""
        return self._clock.now() + min(0, *(ahead for _, ahead in self._others.values()), 0)

    def apart(self) -> dict[str, int]:
        """The coordinators whose clocks are too far apart from this one's, and seconds that each is ahead."""
        found = {who: ahead for who, (_, ahead) in sorted(self._others.items())}
        return {who: round(ahead / SECOND) for who, ahead in found.items() if abs(ahead) > APART_S * SECOND}

    async def _tell(self) -> None:
        # In memory, where no coordinator has marked the keys, there is nobody to tell.
        marked = dict(await self._keys.page("format", most=1)).get("format")
        if marked is None:
            return
        try:
            value = Put(as_json({"at": self._clock.now()}), await self._lifetimes.of(_KEPT_S))
            await self._keys.commit({"format": marked.revision}, {_CLOCKS + self._own: value})
        except UnknownLifetimeError:
            self._lifetimes.forget()  # the next time does it

    async def compare(self) -> None:
        """Say what this clock shows, and see what the others do. Meant to be called every second."""
        monotonic = self._clock.monotonic()
        if self._told_at is None or monotonic - self._told_at >= _TOLD_S:
            await self._tell()
            self._told_at = monotonic
        found = await self._keys.page(_CLOCKS, most=_MOST)
        now, seen = self._clock.now(), {}
        for key, entry in found:
            who = key.removeprefix(_CLOCKS)
            before = self._others.get(who)
            if who != self._own:
                is_new = before is None or before[0] != entry.revision
                seen[who] = (entry.revision, json.loads(entry.value)["at"] - now) if is_new else before
        self._others = {who: one for who, one in seen.items() if one is not None}
        apart = self.apart()
        for who, seconds in apart.items():
            if who not in self._apart:
                self._on_apart(who, seconds)
        self._apart = set(apart)
