"""What a provider has open, and when it is closed: by `close()`, as garbage, or at the end of the program."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qmtl.foundation.observability.log import backfill_log
from qmtl.runtime.io.cache import RangeCache
from qmtl.runtime.io.flag_keeper import FlagKeeper
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.loop_thread import LoopThread
from qmtl.runtime.sdk.schema_enforcer import SchemaEnforcer
from qmtl.runtime.sdk.sources import name_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from qmtl.runtime.coordination.fallback_leases import FallbackLeases

# How long one vendor or feed may take to close its connections.
_CLOSE_S = 2.0


@dataclass(eq=False)
class OpenParts:
    """Knows nothing of the provider itself, so that it can outlive it by the moment that closing takes.

    closes_store: whether the provider opened the store. sources: gives the vendors and feeds to close.
    leases: of a coordinator, if they are the provider's own.
    """

    store: Store
    closes_store: bool
    keeper: FlagKeeper
    cache: RangeCache
    sources: Callable[[], Iterable[object]]
    schemas: SchemaEnforcer
    loop: LoopThread
    leases: FallbackLeases | None = None
    behind: set[Future[None]] = field(default_factory=set)
    process: int = field(default_factory=os.getpid)
    closed: bool = False

    def belong_to(self, owner: object) -> None:
        """Close, at the latest, when `owner` is gone or the program ends."""
        _OPEN.add(self)
        weakref.finalize(owner, self._close_elsewhere).atexit = False

    def close(self) -> None:
        """Cancel what goes on behind answers; close vendors, feeds, registry and store.

        A second call does nothing. A vendor or feed that fails to close is logged; one that hangs is left
        behind after some seconds.
        """
        if self.closed:
            return
        self.closed = True
        _OPEN.discard(self)
        if os.getpid() != self.process:  # threads and connections are the parent's to end
            self.close_store()
            return
        for future in list(self.behind):
            future.cancel()
        self.schemas.close()
        try:
            # A loop is not started only to be closed: after stored answers nobody has a connection.
            if list(self.sources()) or not self.loop.close_unused():
                self.loop.close(self._close_sources)
        finally:
            if self.leases is not None:
                self.leases.close()  # after the loop, on which backfills end their leases
            self.cache.clear()
            self.keeper.flush()
            self.close_store()

    def close_store(self) -> None:
        """A store that was handed over belongs to whoever opened it."""
        if self.closes_store:
            self.store.close()

    async def _close_sources(self) -> None:
        await close_each(self.sources())

    def _close_elsewhere(self) -> None:
        """For the garbage collector, which may be at work on any thread, the provider's own loop included."""
        if self.closed:
            return
        closing = threading.Thread(target=self.close, name="qmtl-close")
        try:
            closing.start()
        except RuntimeError:  # the program is about to end, and starts no more threads
            return  # it stays among the open ones, which are closed at exit


_OPEN: set[OpenParts] = set()


@atexit.register
def _close_all() -> None:
    """Close what programs did not. The threads of providers still run; no new ones can be started."""
    with ExitStack() as closing:  # one that fails does not keep the others open
        for parts in _OPEN:
            if parts.loop.is_started or os.getpid() != parts.process:
                closing.callback(parts.close)
            else:
                closing.callback(parts.close_store)  # no vendor was ever asked


async def close_each(sources: Iterable[object]) -> None:
    """Close the sources that can be closed, whatever one of them does: a failure is logged.

    One that does not come to an end is left. A wish to end the program is raised once all are closed.
    """
    import asyncio  # needed only where there is somebody to close

    from qmtl.runtime.ingest.foreign import closed_or_logged

    leave: SystemExit | KeyboardInterrupt | None = None
    for source in sources:
        try:
            async with asyncio.timeout(_CLOSE_S):
                leave = await closed_or_logged(source, source=name_of(source)) or leave
        except TimeoutError:
            error = f"it takes more than {_CLOSE_S:g} s"
            backfill_log.warning("backfill.close_failed", source=name_of(source), error=error)
    if leave is not None:
        raise leave
