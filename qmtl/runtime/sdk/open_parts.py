"""What a provider has open, and when it is closed: by `close()`, as garbage, or at the end of the program."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field

from qmtl.runtime.io.store.embedded import EmbeddedStore
from qmtl.runtime.sdk.loop_thread import LoopThread
from qmtl.runtime.sdk.schemas import Schemas
from qmtl.runtime.sdk.shell import Shell
from qmtl.runtime.sdk.sources import close_each


@dataclass(eq=False)
class OpenParts:
    """Knows nothing of the provider itself, so that it can outlive it by the moment that closing takes."""

    store: EmbeddedStore
    shell: Shell
    schemas: Schemas
    loop: LoopThread
    behind: set[Future[None]] = field(default_factory=set)
    process: int = field(default_factory=os.getpid)
    closed: bool = False

    def belong_to(self, owner: object) -> None:
        """Close, at the latest, when `owner` is gone or the program ends."""
        _OPEN.add(self)
        weakref.finalize(owner, self._close_elsewhere).atexit = False

    def close(self) -> None:
        """Cancel what goes on behind answers; close vendors, feeds, registry and store. Twice is once.

        A vendor or feed that fails to close is logged; one that hangs is left behind after some seconds.
        """
        if self.closed:
            return
        self.closed = True
        _OPEN.discard(self)
        if os.getpid() != self.process:  # threads and connections are the parent's to end
            self.store.close()
            return
        for future in list(self.behind):
            future.cancel()
        self.schemas.close()
        try:
            self.loop.close(self._close_sources)
        finally:
            self.shell.cache.clear()
            self.store.close()

    async def _close_sources(self) -> None:
        await close_each([*self.shell.vendors.made, *self.shell.feeds.made])

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
                closing.callback(parts.store.close)  # no vendor was ever asked
