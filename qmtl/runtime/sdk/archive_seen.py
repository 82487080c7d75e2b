"""What the archive of reports holds of one series, read once per version of the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.store.contract import ReportArchive


class ArchiveSeen:
    """Each part is read when it is first asked for, and kept. Safe to use from several threads."""

    def __init__(self, archive: ReportArchive, series: SeriesId) -> None:
        self._archive = archive
        self._series = series

    @cached_property
    def baseline(self) -> dict[str, Any] | None:
        """What reports are compared with."""
        return self._archive.baseline_report(self._series)

    @cached_property
    def newest(self) -> dict[str, Any] | None:
        """The report archived last."""
        return self._archive.newest_report(self._series)

    @cached_property
    def accepted(self) -> Sequence[Accepted]:
        """All acceptances."""
        return self._archive.accepted(self._series)

    def forget_reports(self) -> None:
        """Read them again: one was archived by this provider, which has not yet looked at the store since."""
        for name in ("baseline", "newest"):
            vars(self).pop(name, None)
