"""Coverage records against a dictionary that keeps one entry for each instant."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store.coverage_records import merge, overlay, without
from qmtl.runtime.io.store.values import CoverageRecord, Outcome, Write

WIDTH = 24

# What is known of one instant: outcome, source, when it was asked, until when it holds.
Cells = dict[int, tuple[str, str, int, int | None]]


def record(
    start: int,
    end: int,
    outcome: Outcome = "answered",
    *,
    source: str = "a",
    checked_at: int = 5,
    expires_at: int | None = None,
) -> CoverageRecord:
    return CoverageRecord(start, end, outcome, source, checked_at, expires_at)


def cells_of(records: list[CoverageRecord]) -> Cells:
    """One entry for each instant. Records that overlap fail here."""
    cells: Cells = {}
    for one in records:
        for instant in range(one.start, one.end):
            assert instant not in cells, f"two records speak of {instant}"
            cells[instant] = (one.outcome, one.source, one.checked_at, one.expires_at)
    return cells


@st.composite
def disjoint(draw: st.DrawFn) -> list[CoverageRecord]:
    """Records in order, some of which touch and agree."""
    edges = sorted(draw(st.sets(st.integers(0, WIDTH), max_size=12)))
    made = []
    for start, end in itertools.pairwise(edges):
        if draw(st.booleans()):
            outcome: Outcome = draw(st.sampled_from(["answered", "absent", "refused"]))
            expires_at = None if outcome == "answered" else draw(st.integers(90, 91))
            made.append(
                CoverageRecord(
                    start,
                    end,
                    outcome,
                    draw(st.sampled_from("ab")),
                    draw(st.integers(1, 3)),
                    expires_at,
                )
            )
    return made


@st.composite
def coverages(draw: st.DrawFn) -> Coverage:
    span = st.tuples(st.integers(0, WIDTH), st.integers(0, 8)).map(lambda at: Span(at[0], at[0] + at[1]))
    return Coverage(draw(st.lists(span, max_size=4)))


def instants(coverage: Coverage) -> set[int]:
    return {instant for start, end in coverage for instant in range(start, end)}


@given(disjoint(), coverages())
def test_without_takes_away_those_instants_and_no_others(
    records: list[CoverageRecord], gone: Coverage
) -> None:
    kept = without(records, gone)
    taken = instants(gone)
    assert cells_of(kept) == {at: message for at, message in cells_of(records).items() if at not in taken}
    assert all(one.start < one.end for one in kept)


@given(disjoint(), st.randoms(use_true_random=False))
def test_merge_joins_what_touches_and_agrees_and_keeps_the_older_time(
    records: list[CoverageRecord], random: Any
) -> None:
    """Oracle: walk the instants in order, and begin a new run where anything but the time asked changes."""
    runs: list[list[Any]] = []
    for at, (outcome, source, checked_at, expires_at) in sorted(cells_of(records).items()):
        message = (outcome, source, expires_at)
        if runs and runs[-1][1] == at and runs[-1][2] == message:
            runs[-1][1], runs[-1][3] = at + 1, min(runs[-1][3], checked_at)
        else:
            runs.append([at, at + 1, message, checked_at])
    shuffled = random.sample(records, len(records))
    assert merge(shuffled) == [
        CoverageRecord(start, end, outcome, source, checked_at, expires_at)
        for start, end, (outcome, source, expires_at), checked_at in runs
    ]


@given(disjoint(), coverages(), coverages(), coverages(), coverages())
def test_overlay_against_a_walk_over_the_instants(
    older: list[CoverageRecord],
    answered: Coverage,
    absent: Coverage,
    retracted: Coverage,
    refused: Coverage,
) -> None:
    write = Write(
        "new",
        9,
        answered=answered,
        absent=absent,
        absent_until=99,
        retracted=retracted,
        refused=refused,
        refused_until=98,
    )
    expected = cells_of(older)
    for at in range(2 * WIDTH):
        if at in instants(retracted):
            expected.pop(at, None)
            if at in instants(refused):
                expected[at] = ("refused", "new", 9, 98)
        elif at in instants(absent):
            expected[at] = ("absent", "new", 9, 99)
        elif at in instants(answered):
            expected[at] = ("answered", "new", 9, None)
    records = overlay(older, write)
    # A record that was joined says the older of two times, so times are compared where nothing was joined.
    assert {at: (message[0], message[1], message[3]) for at, message in cells_of(records).items()} == {
        at: (message[0], message[1], message[3]) for at, message in expected.items()
    }
    assert all(message[2] <= expected[at][2] for at, message in cells_of(records).items())
    assert records == merge(records)


def test_a_new_answer_cuts_an_older_one_in_two() -> None:
    older = [record(0, 30, "absent", expires_at=50)]
    assert overlay(older, Write("b", 7, answered=Coverage.of(Span(10, 20)))) == [
        record(0, 10, "absent", expires_at=50),
        record(10, 20, source="b", checked_at=7),
        record(20, 30, "absent", expires_at=50),
    ]


def test_joined_answers_never_claim_a_later_time_than_the_older_of_them() -> None:
    assert overlay([record(0, 10)], Write("a", 7, answered=Coverage.of(Span(10, 20)))) == [record(0, 20)]


def test_an_absence_is_narrower_than_the_answer_around_it() -> None:
    write = Write("a", 5, answered=Coverage.of(Span(0, 9)), absent=Coverage.of(Span(3, 6)), absent_until=40)
    assert overlay([], write) == [record(0, 3), record(3, 6, "absent", expires_at=40), record(6, 9)]


def test_a_refusal_outside_what_is_retracted_says_nothing() -> None:
    older = [record(0, 10)]
    write = Write("b", 7, refused=Coverage.of(Span(0, 10)), refused_until=30)
    assert overlay(older, write) == older


def test_absences_that_expire_apart_stay_apart() -> None:
    apart = [record(0, 5, "absent", expires_at=40), record(5, 9, "absent", expires_at=41)]
    assert merge(apart) == apart


def test_nothing_is_taken_away_by_nothing() -> None:
    records = [record(-5, 0), record(0, 5, "absent", expires_at=1)]
    assert without(records, EMPTY) == records
    assert without([], Coverage.of(Span(0, 5))) == []
