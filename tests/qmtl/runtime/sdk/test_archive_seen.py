"""What is archived of a series is read once, and again after a report was archived."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.archive_seen import ArchiveSeen

SERIES = SeriesId.parse("ohlcv:test:A/B:1h")
GOOD, BAD = {"errors": 0, "warnings": 0}, {"errors": 0, "warnings": 1}


def read(seen: ArchiveSeen) -> tuple[Any, Any, Sequence[Accepted]]:
    return seen.baseline, seen.newest, seen.accepted


def test_each_part_is_read_once_and_reports_again_once_forgotten(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "bars") as store:
        seen = ArchiveSeen(store, SERIES)
        assert read(seen) == (None, None, [])
        store.archive_report(SERIES, GOOD)
        store.archive_report(SERIES, BAD)
        store.accept(SERIES, [Accepted("b.rule", 5, 6, "f1")])
        assert read(seen) == (None, None, [])
        seen.forget_reports()
        assert read(seen) == (GOOD, BAD, [])
        assert read(ArchiveSeen(store, SERIES)) == (GOOD, BAD, [Accepted("b.rule", 5, 6, "f1")])
