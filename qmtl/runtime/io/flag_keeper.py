"""Flags that reads have found wait here until some of them are worth a transaction of the store."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import QmtlError
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.kept_flags import cut, stretches_of
from qmtl.runtime.io.store.contract import FlagArchive
from qmtl.runtime.io.store.values import Judged, Point, Snapshot

_log = logging.getLogger("seamless.store")

# They are handed over once there are so many, or by the first that comes so long after the oldest.
_MANY = 512
_WAITS_S = 1.0
# So many stretches that small ranges were read of are remembered.
_REMEMBERED = 65_536


class FlagKeeper:
    """What is not handed over yet is lost with the process: it will be found again. Safe from any thread."""

    def __init__(self, store: FlagArchive, clock: Clock, max_context: int) -> None:
        self._store = store
        self._clock = clock
        self._max_context = max_context
        self._lock = threading.Lock()
        self._waiting: list[Judged] = []
        self._oldest = 0.0
        # How often a small range was read of them, whose flags were not kept.
        self._met: Counter[tuple[str, bytes, Span]] = Counter()

    def worth_judging(self, series: SeriesId, rules: bytes, span: Span, grid: Grid) -> Span | None:
        """All of the stretches that a small range lies in, at the second such range: a third will follow.

        None where their flags would not be kept for long, where foreign code would be asked about more time
        than the caller asked for, where the store would take long to read them, and at all other times: to
        judge them takes as long as the fetch itself.
        """
        step = series.timeframe.step
        whole = stretches_of(span, step)
        if not (self._store.reads_ahead and grid.is_always_open) or span.is_empty:
            return None
        if 2 * span.length > whole.length:
            return None
        key = series.text, rules, whole
        if self._met[key] >= 2 or self._clock.now() < whole.end + CONTEXT * step:
            return None
        with self._lock:
            if len(self._met) >= _REMEMBERED:
                self._met.clear()
            self._met[key] += 1
            return grid.align(whole) if self._met[key] == 2 else None

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
        judged = [Judged(series, rules, Point(snapshot.tx, snapshot.as_of), kept) for kept in found]
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
