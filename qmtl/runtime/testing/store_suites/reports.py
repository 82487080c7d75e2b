"""The archive of reports, as tests that an implementation inherits."""

from __future__ import annotations

from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES


class ReportArchiveSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    def test_reports_are_appended_and_listed_newest_first(self, store: Store) -> None:
        assert (store.reports(), store.newest_report(SERIES), store.baseline_report(SERIES)) == (
            [],
            None,
            None,
        )
        given = [
            {"errors": 0, "warnings": 0, "n": 0},
            {"errors": 0, "warnings": 2},
            {"errors": 1, "warnings": 0},
        ]
        numbers = [store.archive_report(SERIES, one) for one in given]
        store.archive_report(OTHER, {"errors": 0, "warnings": 0, "name": "é"})
        assert None not in numbers
        assert len(set(numbers)) == 3
        listed = store.reports(SERIES)
        assert [one["report"] for one in listed] == given[::-1]
        assert [one["number"] for one in listed] == numbers[::-1]
        assert {one["series"] for one in listed} == {SERIES.text}
        assert all(isinstance(one["archived_at"], int) for one in listed)
        assert [one["series"] for one in store.reports()] == [OTHER.text, *[SERIES.text] * 3]
        assert store.newest_report(SERIES) == given[2]
        assert store.baseline_report(SERIES) == given[0], "a bad run does not become the measure of the next"

    def test_what_was_archived_is_a_copy(self, store: Store) -> None:
        findings = [1]
        report = {"errors": 0, "warnings": 0, "findings": findings}
        store.archive_report(SERIES, report)
        findings.append(2)
        assert store.newest_report(SERIES) == {"errors": 0, "warnings": 0, "findings": [1]}

    def test_acceptances_are_recorded_once_and_listed_in_order(self, store: Store) -> None:
        first, second = Accepted("b.rule", 5, 6, "f1"), Accepted("a.rule", 9, 12, "f2")
        assert store.accept(SERIES, [first, second, first]) == 2
        assert store.accept(SERIES, [second, Accepted("b.rule", 1, 2, "f3")]) == 1
        assert store.accepted(SERIES) == [second, Accepted("b.rule", 1, 2, "f3"), first]
        assert store.accepted(OTHER) == []
        assert store.accept(OTHER, []) == 0

    def test_what_was_read_of_the_archive_is_out_of_date_after_a_write(self, store: Store) -> None:
        first = store.changed_since(None).token
        store.archive_report(SERIES, {"errors": 0, "warnings": 0})
        assert store.has_changed(first)
        second = store.changed_since(first).token
        store.accept(SERIES, [Accepted("b.rule", 5, 6, "f1")])
        assert store.has_changed(second)
        assert len({first, second, store.changed_since(second).token}) == 3
