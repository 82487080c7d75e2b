"""Ranges that were read lately, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.evaluated_range import EvaluatedRange

_NOTHING: dict[Span, EvaluatedRange] = {}


class RangeCache:
    """Evaluated ranges by series; any sub-range of one is a slice of it.

    Least recently used ranges leave first when the sum of bytes passes `max_bytes`; a range larger than
    that is not kept.
    Safe to use from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._lock = threading.Lock()
        self._by_series: dict[str, dict[Span, EvaluatedRange]] = {}  # by node id
        self._used: OrderedDict[EvaluatedRange, int] = OrderedDict()  # bytes, the longest unused first
        self._newest: dict[str, int] = {}
        self._horizon = 0
        # How often all was let go of; whoever reads a range to keep it looks before.
        self.times_cleared = 0

    def get(self, series: SeriesId, span: Span, now: int) -> EvaluatedRange | None:
        """The range cut to `span`, if one that is kept covers it whole and is still valid at `now` (ns)."""
        with self._lock:
            for evaluated in self._by_series.get(series.text, _NOTHING).values():
                if evaluated.span.start <= span.start and span.end <= evaluated.span.end:
                    if evaluated.valid_until is not None and now >= evaluated.valid_until:
                        continue
                    self._used.move_to_end(evaluated)
                    break
            else:
                return None
        return evaluated.cut(span)

    def put(self, evaluated: EvaluatedRange, times_cleared: int) -> None:
        """Keep a range; ranges within it are let go, since it serves what they served.

        times_cleared: as it was before the range was read.
        """
        if not self.max_bytes or evaluated.span.is_empty:
            return
        size = evaluated.nbytes
        if size > self.max_bytes:
            return
        with self._lock:
            name = evaluated.series.text
            if times_cleared != self.times_cleared:
                return
            if evaluated.tx < self._newest.get(name, 0) or evaluated.as_of < self._horizon:
                return
            for covered in list(self._by_series.get(name, _NOTHING).values()):
                if evaluated.span.contains(covered.span):
                    self._drop(covered)
            self._by_series.setdefault(name, {})[evaluated.span] = evaluated
            self._used[evaluated] = size
            self.bytes += size
            while self.bytes > self.max_bytes:
                self._drop(next(iter(self._used)))

    def forget(self, series: SeriesId, tx: int) -> None:
        """Let go of what was read of a series before commit `tx`, or is being read just now."""
        with self._lock:
            self._newest[series.text] = tx
            for evaluated in list(self._by_series.get(series.text, _NOTHING).values()):
                if evaluated.tx < tx:
                    self._drop(evaluated)

    def forget_before(self, horizon: int) -> None:
        """Let go of what was read at a commit time before `horizon` (ns), or is being read just now."""
        with self._lock:
            if horizon <= self._horizon:
                return
            self._horizon = horizon
            for evaluated in [one for one in self._used if one.as_of < horizon]:
                self._drop(evaluated)

    def clear(self) -> None:
        """Let go of everything, and of what is being read just now."""
        with self._lock:
            self._by_series.clear()
            self._used.clear()
            self._newest.clear()
            self.bytes = self._horizon = 0
            self.times_cleared += 1

    def _drop(self, evaluated: EvaluatedRange) -> None:
        ranges = self._by_series[evaluated.series.text]
        del ranges[evaluated.span]
        if not ranges:
            del self._by_series[evaluated.series.text]
        self.bytes -= self._used.pop(evaluated)
