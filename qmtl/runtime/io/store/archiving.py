"""A report that has to be archived, where an answer could do without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.store.contract import ReportArchive


def archive(store: ReportArchive, series: SeriesId, report: Mapping[str, Any]) -> None:
    """Archive a report. Raises `StoreError` where it cannot be written, or finds no room."""
    if store.archive_report(series, report) is None:
        raise StoreError(
            "a report is not archived",
            series=series,
            why="the store cannot be written any more, or has no room left",
            next_step="make room, or use a server that can be written; then `qmtl revalidate` the range, "
            "which archives what it finds",
        )
