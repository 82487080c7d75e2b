"""Work that several callers wait for, done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from qmtl.runtime.ingest.backfill_result import BackfillResult

# A vendor that ignores cancellation is left behind after this long.
ABANDON_AFTER_S = 0.25


class SingleFlight:
    """Backfills under way, by what they fill. Used on one event loop.

    Each caller waits with a deadline of its own; a flight is cancelled only when the last caller has left.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Flight] = {}

    def joined(self, key: Hashable, filling: BackfillResult) -> BackfillResult:
        """The filling of the flight under way for `key`, or `filling` if there is none."""
        flight = self._under_way.get(key)
        return filling if flight is None else flight.filling

    async def share(
        self,
        key: Hashable,
        filling: BackfillResult,
        work: Callable[[BackfillResult], Coroutine[Any, Any, None]],
    ) -> BackfillResult:
        """Wait for the flight of `key`, starting `work(filling)` if there is none; the flight's own filling.

        Cancelling the caller leaves the flight; raises what the work raises.
        """
        flight = self._under_way.get(key)
        if flight is None:
            begun = _Flight(asyncio.ensure_future(work(filling)), filling)
            begun.task.add_done_callback(lambda _: self._landed(key, begun))
            self._under_way[key] = flight = begun
        flight.waiting += 1
        try:
            await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                self._landed(key, flight)
                await _end(flight)
        return flight.filling

    def _landed(self, key: Hashable, flight: _Flight) -> None:
        """Let go of a flight; one that was left behind may end while another is under way for its key."""
        if self._under_way.get(key) is flight:
            del self._under_way[key]


class _Flight:
    def __init__(self, task: asyncio.Future[None], filling: BackfillResult) -> None:
        self.task = task
        self.filling = filling
        self.waiting = 0


async def _end(flight: _Flight) -> None:
    """Cancel; let what has come be committed, and the vendor close its connections; but not for ever.

    A commit that takes longer goes on in its thread, and is there for the next call.
    """
    saving = flight.filling.stop()
    flight.task.cancel()
    # Whatever it raises later is nobody's concern any more.
    flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
    ending: list[asyncio.Future[Any]] = [flight.task, *([] if saving is None else [saving])]
    await asyncio.wait(ending, timeout=ABANDON_AFTER_S)
    # Who waits for the store has heard of it; only a vendor can ignore its cancellation.
    flight.filling.abandoned = not flight.task.done() and not flight.filling.is_saving
