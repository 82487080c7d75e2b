"""Reports and acceptances in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted


class MemoryReports:
    """Implements `ReportArchive`. Reports are kept as JSON texts, so that nobody changes them afterwards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._closed = False
        self._writes = 0  # of any kind: what was derived from the store before one may be out of date
        self._reports: list[tuple[SeriesId, int, str]] = []
        self._accepted: dict[SeriesId, dict[Accepted, int]] = {}

    @contextmanager
    def _open(self) -> Iterator[None]:
        """For one thread at a time, while the store is open."""
        with self._lock:
            self._refuse_closed()
            yield

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError("the store is closed", path="memory", next_step="make a new one")

    def archive_report(self, series: SeriesId, report: Mapping[str, Any]) -> int | None:
        with self._open():
            self._reports.append((series, self._clock.now(), json.dumps(report, allow_nan=False)))
            self._writes += 1
            return len(self._reports)

    def newest_report(self, series: SeriesId) -> dict[str, Any] | None:
        return next((one["report"] for one in self.reports(series)), None)

    def baseline_report(self, series: SeriesId) -> dict[str, Any] | None:
        reports = (one["report"] for one in self.reports(series))
        return next((one for one in reports if one.get("errors") == 0 and one.get("warnings") == 0), None)

    def reports(self, series: SeriesId | None = None) -> list[dict[str, Any]]:
        with self._open():
            found = [
                {"number": number, "series": name.text, "archived_at": at, "report": json.loads(text)}
                for number, (name, at, text) in enumerate(self._reports, start=1)
                if series is None or name == series
            ]
        return found[::-1]

    def accept(self, series: SeriesId, accepted: Iterable[Accepted]) -> int:
        with self._open():
            known = self._accepted.setdefault(series, {})
            new = [one for one in dict.fromkeys(accepted) if one not in known]
            known.update(dict.fromkeys(new, self._clock.now()))
            self._writes += 1
            return len(new)

    def accepted(self, series: SeriesId) -> list[Accepted]:
        with self._open():
            known = self._accepted.get(series, {})
            return sorted(known, key=lambda one: (one.rule, one.start, one.end, known[one]))

    def close(self) -> None:
        """The store cannot be used afterwards, and what it holds is gone with its last user."""
        self._closed = True
