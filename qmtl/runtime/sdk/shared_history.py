"""History that several runs are given: it is read once, and each gets what it would have read by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import polars as pl

from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.sdk.bound_inputs import BoundInput
from qmtl.runtime.sdk.run_history import History, RangeRead, Stretch, stretches
from qmtl.runtime.sdk.run_parts import AsOf


class _Part(NamedTuple):
    """As `RangeRead`."""

    series: SeriesId
    span: Span
    fingerprint: str
    as_of: int
    schema_id: str


class SharedHistory:
    """histories: with the inputs of all runs, so that they reach as far back as the longest window."""

    def __init__(self, histories: Sequence[History], span: Span) -> None:
        self._histories, self._span = histories, span
        self._before, *self._parts = stretches(histories, span)
        self._grids = {series: grid for history in histories for series, grid in history.grids.items()}
        self._fingerprint = cache(lambda series, first: fingerprint(self._rows(series, first)))

    def of(self, inputs: Sequence[BoundInput]) -> AsOf:
        """As a run with these inputs is given it."""
        earlier: dict[SeriesId, int] = {}
        for one in inputs:
            for series in one.series:
                earlier[series] = max(earlier.get(series, 0), one.earlier)
        first = {series: self._start(series, bars) for series, bars in earlier.items()}
        histories = [
            history._replace(
                grids={series: grid for series, grid in history.grids.items() if series in first},
                gaps=[gap for gap in history.gaps if gap.series in first],
            )
            for history in self._histories
        ]
        return AsOf(
            histories, self._span, [self._windows(first), *(_only(part, first) for part in self._parts)]
        )

    def _windows(self, first: dict[SeriesId, int]) -> Stretch:
        """The bars before the start that the windows of one run need."""
        rows = {series: self._rows(series, start) for series, start in first.items()}
        receipts: list[RangeRead] = []
        for receipt in self._before.receipts:
            if receipt.series in first:
                start = first[receipt.series]
                hashed = self._fingerprint(receipt.series, start)
                span = Span(start, self._span.start)
                receipts.append(_Part(receipt.series, span, hashed, receipt.as_of, receipt.schema_id))
        findings = {
            name: kept
            for name, found in self._before.findings.items()
            if (series := SeriesId.parse(name)) in first
            and (kept := [one for one in found if one.last_ts >= first[series]])
        }
        return Stretch(self._before.until, rows, receipts, findings)

    def _rows(self, series: SeriesId, start: int) -> pl.DataFrame:
        frame = self._before.rows[series]
        return frame.filter(stamps(frame) >= start)

    def _start(self, series: SeriesId, bars: int) -> int:
        """Where the last `bars` bars begin that have closed before the start."""
        ts = stamps(self._before.rows[series])
        ts = ts[self._grids[series].ends(ts) <= self._span.start] if len(ts) else ts
        return int(ts[-min(bars, len(ts))]) if len(ts) else self._span.start


def _only(part: Stretch, series: dict[SeriesId, int]) -> Stretch:
    return Stretch(
        part.until,
        {one: rows for one, rows in part.rows.items() if one in series},
        [receipt for receipt in part.receipts if receipt.series in series],
        {name: found for name, found in part.findings.items() if SeriesId.parse(name) in series},
    )
