"""Ranges that were read lately, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.holding import Holding

_NOTHING: dict[Span, Holding] = {}


class RangeCache:
    """Holdings by series and range; any sub-range of one is a slice of it.

    Least recently used ranges leave first when the sum of bytes passes `max_bytes`; a range larger than
    that is not kept.
    Safe to use from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._lock = threading.Lock()
        self._by_series: dict[str, dict[Span, Holding]] = {}  # by node id
        self._used: OrderedDict[Holding, int] = OrderedDict()  # bytes, the longest unused first
        self._newest: dict[str, int] = {}

    def get(self, series: SeriesId, span: Span, now: int) -> Holding | None:
        """The holding cut to `span`, if one range covers it whole and is still valid at `now` (ns)."""
        with self._lock:
            for holding in self._by_series.get(series.text, _NOTHING).values():
                if holding.span.start <= span.start and span.end <= holding.span.end:
                    if holding.valid_until is not None and now >= holding.valid_until:
                        continue
                    self._used.move_to_end(holding)
                    break
            else:
                return None
        return holding.cut(span)

    def put(self, holding: Holding) -> None:
        """Keep a range; ranges within it are let go, since it serves what they served."""
        size = holding.nbytes
        if size > self.max_bytes or holding.span.is_empty:
            return
        with self._lock:
            name = holding.series.text
            if holding.tx < self._newest.get(name, 0):
                return
            for held in list(self._by_series.get(name, _NOTHING).values()):
                if holding.span.contains(held.span):
                    self._drop(held)
            self._by_series.setdefault(name, {})[holding.span] = holding
            self._used[holding] = size
            self.bytes += size
            while self.bytes > self.max_bytes:
                self._drop(next(iter(self._used)))

    def forget(self, series: SeriesId, tx: int) -> None:
        """Let go of what was read of a series before commit `tx`, or is being read just now."""
        with self._lock:
            self._newest[series.text] = tx
            for holding in list(self._by_series.get(series.text, _NOTHING).values()):
                if holding.tx < tx:
                    self._drop(holding)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._by_series.clear()
            self._used.clear()
            self.bytes = 0

    def _drop(self, holding: Holding) -> None:
        ranges = self._by_series[holding.series.text]
        del ranges[holding.span]
        if not ranges:
            del self._by_series[holding.series.text]
        self.bytes -= self._used.pop(holding)
