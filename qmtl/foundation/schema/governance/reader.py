"""What is in force for a subject, never older than a few seconds: a rollback needs no restart."""

from __future__ import annotations

import logging
from typing import NamedTuple

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import SchemaRegistryError, StoreError
from qmtl.foundation.schema.governance.decisions import GovernanceRecords, Governed, ValidationMode, in_force

MAX_AGE_S = 5.0

_log = logging.getLogger("seamless.schema")


class _Known(NamedTuple):
    governed: Governed
    read_at: float


class GovernanceReader:
    """Reads the records of a subject again when what is known of it is `max_age_s` old. From any thread.

    Where the records cannot be reached, the last known state stays in force and the log says so. Where none
    is known yet, the error is raised.
    """

    def __init__(
        self, records: GovernanceRecords, *, clock: Clock | None = None, max_age_s: float = MAX_AGE_S
    ) -> None:
        self._records = records
        self._clock = clock or SystemClock()
        self._max_age_s = max_age_s
        self._known: dict[str, _Known] = {}

    def governed(self, subject: str) -> Governed:
        """The mode and the tombstones of a subject."""
        now = self._clock.monotonic()
        known = self._known.get(subject)
        if known is not None and now - known.read_at < self._max_age_s:
            return known.governed
        try:
            governed = in_force(self._records.decisions(subject))
        except (SchemaRegistryError, StoreError) as failure:
            if known is None:
                raise
            _log.warning("the governance of %s cannot be read and stays as it was: %s", subject, failure)
            governed = known.governed
        self._known[subject] = _Known(governed, now)
        return governed

    def age_s(self, subject: str) -> float:
        """How long ago the records of a subject were read; 0 if they never were."""
        known = self._known.get(subject)
        return 0.0 if known is None else self._clock.monotonic() - known.read_at

    def mode(self, subject: str) -> ValidationMode | None:
        """None where no decision was made."""
        return self.governed(subject).mode
