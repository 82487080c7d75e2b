"""What a store on an SQL database keeps beside bars: its id, fences, reports, and governance of schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import StoreError
from qmtl.foundation.schema.governance.decisions import Decision, Observation
from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql import archive, fences, governance
from qmtl.runtime.io.sql.database import Database


class SqlRecords:
    """Implements `Fencing`, `ReportArchive` and `GovernanceRecords` on one `Database`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @property
    def location(self) -> str:
        return self._database.location

    @property
    def folder(self) -> Path | None:
        return self._database.folder

    @property
    def read_only(self) -> bool:
        """Whether writes are refused, by request or because the place cannot be written."""
        return self._database.read_only

    # Fences

    @property
    def store_id(self) -> str:
        return self._database.store_id

    @property
    def place_id(self) -> str:
        return self._database.place_id

    @property
    def shard_steps(self) -> int:
        return self._database.shard_steps

    def open_fence(self, series: SeriesId, shards: Iterable[int], claim_id: str) -> dict[int, int]:
        with self._database.writing(series) as connection:
            tokens = fences.open_fence(connection, series, shards, claim_id, self._clock.now())
            connection.execute("COMMIT")
            return tokens

    # Reports

    def archive_report(self, series: SeriesId, report: Mapping[str, Any]) -> int | None:
        try:
            with self._database.writing(series) as connection:
                number = archive.append(connection, series, report, self._clock.now())
                connection.execute("COMMIT")
                return number
        except StoreError as failure:
            # What it tells of can be read all the same.
            if self.read_only or self._database.is_full(failure.__cause__):
                return None
            raise

    def newest_report(self, series: SeriesId) -> dict[str, Any] | None:
        with self._database.reading(series) as connection:
            return archive.newest(connection, series)

    def baseline_report(self, series: SeriesId) -> dict[str, Any] | None:
        with self._database.reading(series) as connection:
            return archive.baseline(connection, series)

    def reports(self, series: SeriesId | None = None) -> list[dict[str, Any]]:
        with self._database.reading(series) as connection:
            return archive.listed(connection, series)

    def accept(self, series: SeriesId, accepted: Iterable[Accepted]) -> int:
        with self._database.writing(series) as connection:
            new = archive.accept(connection, series, accepted, self._clock.now())
            connection.execute("COMMIT")
            return new

    def accepted(self, series: SeriesId) -> list[Accepted]:
        with self._database.reading(series) as connection:
            return archive.accepted(connection, series)

    # Governance of schemas

    def decide(self, subject: str, decision: Decision) -> None:
        with self._database.writing() as connection:
            governance.decide(connection, subject, decision)
            connection.execute("COMMIT")

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        with self._database.reading() as connection:
            return governance.decisions(connection, subject)

    def observe(self, subject: str, observation: Observation) -> None:
        with self._database.writing() as connection:
            governance.observe(connection, subject, observation)
            connection.execute("COMMIT")

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        with self._database.reading() as connection:
            return governance.observed(connection, subject, since)
