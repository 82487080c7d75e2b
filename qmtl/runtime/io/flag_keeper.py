"""Flags that reads have found wait here until some of them are worth a transaction of the store."""

from __future__ import annotations

import logging
import threading

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import QmtlError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.kept_flags import cut
from qmtl.runtime.io.store.contract import FlagArchive
from qmtl.runtime.io.store.values import Judged, Snapshot

_log = logging.getLogger("seamless.store")

# They are handed over once there are so many, or by the first that comes so long after the oldest.
_MANY = 512
_WAITS_S = 1.0


class FlagKeeper:
    """What is not handed over yet is lost with the process: it will be found again. Safe from any thread."""

    def __init__(self, store: FlagArchive, clock: Clock, max_context: int) -> None:
        self._store = store
        self._clock = clock
        self._max_context = max_context
        self._lock = threading.Lock()
        self._waiting: list[Judged] = []
        self._oldest = 0.0

    def add(self, series: SeriesId, rules: bytes, snapshot: Snapshot, flags: Flags) -> None:
        """Flags of the span of a snapshot, and none of its rows breaks the schema.

        Left out where damage is near, and where the next bar would make them void at once.
        """
        reach, step = snapshot.reach, series.timeframe.step
        if reach is None or not snapshot.count:
            return
        ts = stamps(snapshot.rows)
        if self._clock.now() < int(ts[-1]) + CONTEXT * step:
            return
        found = cut(flags, ts, snapshot.span, reach, step=step, max_context=self._max_context)
        judged = [Judged(series, rules, snapshot.tx, kept) for kept in found]
        with self._lock:
            if not self._waiting:
                self._oldest = self._clock.monotonic()
            self._waiting += judged
            ripe = len(self._waiting) >= _MANY or self._clock.monotonic() >= self._oldest + _WAITS_S
        if ripe:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if waiting:
            try:
                self._store.keep_flags(waiting)
            except QmtlError as failure:
                # Of a store that was closed meanwhile, say; answers are right without.
                _log.debug("flags are not kept: %s", failure)
