"""The rate budgets of a fleet, as a coordinator keeps them: what one process asks of it."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Any

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.foundation.observability.log import backfill_log
from qmtl.runtime.coordination.answer_shapes import RATE
from qmtl.runtime.coordination.coordinator_http import CoordinatorHttp
from qmtl.runtime.io.fleet_rates import Spent
from qmtl.runtime.io.rates import LONGEST_PAUSE_S

# A coordinator that did not answer is left alone for so long: each attempt may take seconds.
_PAUSE_S = 2.0


class CoordinatorRates:
    """The `FleetRates` of the coordinator at `url`. Used from any event loop."""

    def __init__(self, url: str, token: str | None, clock: Clock | None = None) -> None:
        self._url = url
        self._token = token
        self._clock = clock or SystemClock()
        self._taker = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._sharers: dict[str, int] = {}
        self._away_until: float | None = None

    def share(self, venue: str) -> float:
        """The part of a budget that this machine may spend by itself: 1 while the coordinator answers."""
        return 1.0 if self._away_until is None else 1.0 / self._sharers.get(venue, 1)

    async def take(self, venue: str, *, cost: float, per_second: float, burst: float) -> Spent | None:
        body = {"venue": venue, "taker": self._taker, "cost": cost, "per_second": per_second, "burst": burst}
        found = await self._ask("take", body)
        if found is None:
            return None
        self._sharers[venue] = found["sharers"]
        return Spent(found["wait_s"], found["pause_s"])

    async def pause(self, venue: str, seconds: float) -> None:
        await self._ask("pause", {"venue": venue, "seconds": min(seconds, LONGEST_PAUSE_S)})

    async def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer, or None while there is none."""
        if self._away_until is not None and self._clock.monotonic() < self._away_until:
            return None
        # A connection for each question: loops come and go, and nobody has to close anything.
        http = CoordinatorHttp(self._url, self._token)
        try:
            found = await http.ask("POST", f"/v1/rates/{path}", RATE, body)
        except CoordinatorUnavailableError as error:
            if self._away_until is None:
                backfill_log.warning("rates.alone", error=error.what, why=error.why)
            self._away_until = self._clock.monotonic() + _PAUSE_S
            return None
        finally:
            await http.close()
        if self._away_until is not None:
            backfill_log.info("rates.coordinated", url=self._url)
        self._away_until = None
        return found
