"""How fast a venue may be asked: one budget per venue, shared by all processes of the machine."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import platformdirs

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.times import SECOND, iso
from qmtl.runtime.io.fleet_rates import FleetRates

T = TypeVar("T")

# The longest ban that a venue is known to speak is three days; a pause that ends later was written by a clock
# that has been set back since, and is not believed.
LONGEST_PAUSE_S = 3 * 24 * 3600
_LONGEST_PAUSE = LONGEST_PAUSE_S * SECOND

# A pause that lasts longer than this is worth an error rather than a wait.
PATIENCE_S = 300.0

# Another process holds the file for well under a millisecond. One that was stopped in that moment holds it
# for ever; then this process goes on alone.
_LOCK_TRIES = 40
_LOCK_PAUSE_S = 0.05


class Meter(NamedTuple):
    """What is remembered of a venue: when its budget will be whole again, and until when nobody may ask.

    Both in nanoseconds of wall time, since processes share no other clock.
    """

    full_at: int = 0
    paused_until: int = 0


def admit(meter: Meter, now: int, *, cost: float, per_second: float, burst: float) -> tuple[Meter, int]:
    """May something of this cost be asked now? The generic cell rate algorithm (ITU-T I.371), which is pure.

    The new meter, and nanoseconds to wait: 0 if the cost is booked; else nothing is, and one asks again then.
    A budget holds `burst`, and gains `per_second`.
    """
    interval = SECOND / per_second
    # No more than a burst is ever owed (and a nanosecond of rounding); a later time was written under another
    # clock or rate.
    full_at = max(now, min(meter.full_at, now + round(burst * interval) + 1))
    wait = max(full_at + round((cost - burst) * interval) - now, pause_left(meter, now), 0)
    if wait > 0:
        return meter, wait
    return meter._replace(full_at=full_at + round(cost * interval)), 0


def paused(meter: Meter, now: int, seconds: float) -> Meter:
    """Nobody asks for so long from `now` on; a longer pause stays."""
    asked = min(round(seconds * SECOND), _LONGEST_PAUSE)
    return meter._replace(paused_until=now + max(pause_left(meter, now), asked))


def pause_left(meter: Meter, now: int) -> int:
    """Nanoseconds for which nobody may ask."""
    return max(0, min(meter.paused_until - now, _LONGEST_PAUSE))


class RateBudgetWarning(UserWarning):
    """Processes of this machine do not share their budget."""


class RateBudget:
    """The budget of one venue: `await budget.take()` before each request.

    venue: its name; all budgets of this name and path are one, in whatever process.
    per_second: how much cost is regained each second. burst: how much may be spent at once.
    path: the file that processes share; None is `rates.sqlite` in the user's state directory. If it cannot be
        written, the budget warns once (`RateBudgetWarning`) and holds for this process alone.

    `fleet`: where other machines share it too, if they do. While nobody answers there, this machine spends a
    part of it by itself.

    Waiting is `asyncio.sleep`; nobody holds the file meanwhile. A waiter that is cancelled has spent nothing.
    """

    def __init__(
        self,
        venue: str,
        *,
        per_second: float,
        burst: float | None = None,
        path: Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        burst = max(1.0, per_second) if burst is None else burst
        if not (per_second > 0 and burst > 0):
            raise InvalidRequestError(f"a budget of {per_second} per second, {burst} at once, allows nothing")
        self.venue = venue
        self.per_second = per_second
        self.burst = burst
        self.path = Path(path) if path is not None else platformdirs.user_state_path("qmtl") / "rates.sqlite"
        self._clock = clock or SystemClock()
        self.fleet: FleetRates | None = None
        self._alone = False

    def __getstate__(self) -> dict[str, Any]:
        """For a budget of another process, which shares its file; a fleet is told of it there."""
        return vars(self) | {"fleet": None}

    async def take(self, cost: float = 1.0) -> None:
        """Spend `cost`, as soon as the budget has it. A cost above the burst is spent as one burst.

        Raises `SourceUnavailableError` if the venue asked to be left alone for more than `PATIENCE_S`.
        """
        cost = min(cost, self.burst)
        # Programs of this machine that know of no fleet share its file all the same.
        await self._take_here(cost, 1.0 if self.fleet is None else self.fleet.share(self.venue))
        while self.fleet is not None:
            spent = await self.fleet.take(self.venue, cost=cost, per_second=self.per_second, burst=self.burst)
            if spent is None or spent.wait_s == 0:
                return
            self._be_patient(round(spent.pause_s * SECOND))
            await asyncio.sleep(spent.wait_s)

    async def _take_here(self, cost: float, share: float) -> None:
        """Of the budget of this machine, or of a part of it."""
        burst = max(cost, self.burst * share)

        def spend(meter: Meter, now: int) -> tuple[Meter, tuple[int, int]]:
            meter, wait = admit(meter, now, cost=cost, per_second=self.per_second * share, burst=burst)
            return meter, (wait, pause_left(meter, now))

        while True:
            wait, pause = await self._update(spend)
            if wait == 0:
                return
            self._be_patient(pause)
            await asyncio.sleep(wait / SECOND)

    def _be_patient(self, pause: int) -> None:
        if pause > PATIENCE_S * SECOND:
            raise SourceUnavailableError(
                f"{self.venue} is not to be asked before {iso(self._clock.now() + pause)}",
                source=self.venue,
                is_away=True,
                why="it refused a request and named this time",
                next_step="try again then; asking earlier makes such bans longer",
            )

    async def pause(self, seconds: float) -> None:
        """Nobody asks this venue for so long: what it said in Retry-After. A longer pause stays."""
        await self._update(lambda meter, now: (paused(meter, now, seconds), None))
        if self.fleet is not None:
            await self.fleet.pause(self.venue, seconds)

    async def _update(self, change: Callable[[Meter, int], tuple[Meter, T]]) -> T:
        """Read, change and write the venue's row as one step among all processes."""
        tries = 0
        while not self._alone:
            try:
                return self._update_file(change)
            except (OSError, sqlite3.Error) as error:
                tries += 1
                if not _is_locked(error) or tries == _LOCK_TRIES:
                    self._go_alone(error)
                else:
                    await asyncio.sleep(_LOCK_PAUSE_S)
        return self._update_own(change)

    def _update_file(self, change: Callable[[Meter, int], tuple[Meter, T]]) -> T:
        # A connection per step costs a fifth of a millisecond, and so needs no care across threads and forks.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=0.05, isolation_level=None)) as table:
            # Only a power cut can lose something, and then all there is to lose is a moment's budget.
            table.execute("PRAGMA synchronous = OFF")
            table.execute("BEGIN IMMEDIATE")
            try:
                table.execute(
                    "CREATE TABLE IF NOT EXISTS meter"
                    " (venue TEXT PRIMARY KEY, full_at INTEGER NOT NULL, paused_until INTEGER NOT NULL)"
                )
                row = table.execute(
                    "SELECT full_at, paused_until FROM meter WHERE venue = ?", [self.venue]
                ).fetchone()
                meter, answer = change(Meter(*row) if row else Meter(), self._clock.now())
                table.execute("INSERT OR REPLACE INTO meter VALUES (?, ?, ?)", [self.venue, *meter])
                table.execute("COMMIT")
            except BaseException:
                table.rollback()
                raise
            return answer

    def _update_own(self, change: Callable[[Meter, int], tuple[Meter, T]]) -> T:
        key = (self.venue, str(self.path))
        with _own_lock:
            _own_meters[key], answer = change(_own_meters.get(key, Meter()), self._clock.now())
        return answer

    def _go_alone(self, error: Exception) -> None:
        self._alone = True
        warnings.warn(
            f"the rate budget of {self.venue} holds for this process alone: {self.path} cannot be used "
            f"({error}). Make its folder writable, so that processes know of each other.",
            RateBudgetWarning,
            stacklevel=2,
        )


def _is_locked(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the code says more than is needed
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


_own_lock = threading.Lock()
_own_meters: dict[tuple[str, str], Meter] = {}
