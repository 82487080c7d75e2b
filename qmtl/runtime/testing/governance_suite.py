"""What every store of governance records promises, as tests that an implementation inherits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from qmtl.foundation.schema.governance.decisions import Decision, GovernanceRecords, Observation
from qmtl.foundation.times import HOUR, to_ns

SUBJECT = "ohlcv.suite/1m of 50%"
NOON = to_ns("2026-01-01T12:00:00Z")


def decision(number: int) -> Decision:
    """A decision that differs from those of other numbers."""
    action = ("promote", "rollback", "tombstone")[number % 3]
    version = None if action == "rollback" else number + 1
    return Decision(NOON + number, action, version, f"reason {number} é", f"{number + 1}:{number:064x}")  # type: ignore[arg-type]  # one of the three


class GovernanceRecordsSuite:
    """Inherit it, and give a fixture `records` that is empty."""

    def test_nothing_was_decided_or_observed(self, records: GovernanceRecords) -> None:
        assert records.decisions(SUBJECT) == ()
        assert records.observed(SUBJECT) == ()

    def test_decisions_come_back_in_order(self, records: GovernanceRecords) -> None:
        made = tuple(decision(number) for number in range(12))
        for one in made:
            records.decide(SUBJECT, one)
            # Times may stand still or go back; the order of appending is the one that counts.
        records.decide(SUBJECT, made[0])
        assert records.decisions(SUBJECT) == (*made, made[0])

    def test_subjects_are_apart(self, records: GovernanceRecords) -> None:
        records.decide(SUBJECT, decision(0))
        records.observe(SUBJECT, Observation(1, NOON, 5, 1))
        for other in (f"{SUBJECT} ", SUBJECT[:-1], SUBJECT.upper()):
            assert records.decisions(other) == ()
            assert records.observed(other) == ()

    def test_counts_of_one_hour_and_version_add_up(self, records: GovernanceRecords) -> None:
        for checked, failed in ((5, 1), (7, 0), (0, 0), (1, 1)):
            records.observe(SUBJECT, Observation(2, NOON, checked, failed))
        records.observe(SUBJECT, Observation(10, NOON, 100, 0))
        records.observe(SUBJECT, Observation(1, NOON, 9, 9))
        records.observe(SUBJECT, Observation(2, NOON - HOUR, 3, 2))
        assert records.observed(SUBJECT) == (
            Observation(2, NOON - HOUR, 3, 2),
            Observation(1, NOON, 9, 9),
            Observation(2, NOON, 13, 2),
            Observation(10, NOON, 100, 0),
        )

    def test_hours_that_end_before_are_left_out(self, records: GovernanceRecords) -> None:
        hours = [Observation(1, NOON + number * HOUR, number + 1, 0) for number in range(3)]
        for one in hours:
            records.observe(SUBJECT, one)
        for since, first in ((NOON, 0), (NOON + HOUR - 1, 0), (NOON + HOUR, 1), (NOON + HOUR + 1, 1)):
            assert records.observed(SUBJECT, since) == tuple(hours[first:])
        assert records.observed(SUBJECT, NOON + 3 * HOUR) == ()

    def test_many_at_once_lose_nothing(self, records: GovernanceRecords) -> None:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: records.observe(SUBJECT, Observation(1, NOON, n, 1)), range(1, 41)))
            list(threads.map(lambda n: records.decide(SUBJECT, decision(n)), range(20)))
        assert records.observed(SUBJECT) == (Observation(1, NOON, sum(range(41)), 40),)
        assert sorted(records.decisions(SUBJECT), key=lambda one: one.at) == [decision(n) for n in range(20)]
