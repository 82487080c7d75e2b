"""What an answer proves, against an oracle that looks at one bar, and one half minute, at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.facts import OwnCalendar, SeriesFacts
from qmtl.foundation.frames import TS, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND
from qmtl.runtime.conformance.screen import screen
from qmtl.runtime.ingest.answers import write_of
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.values import Write

GRID = Grid(Timeframe.parse("1m"))
FACTS = SeriesFacts()
POLICY = SettlementPolicy(settle=60.0, absent_expiry=3600.0)
HALF = MINUTE // 2
BARS = 12

# open, high, low, close, volume of a row, by what it is.
ROWS: dict[str, tuple[float | None, ...]] = {
    "good": (10.0, 11.0, 9.0, 10.0, 1.0),
    "impossible": (10.0, 8.0, 9.0, 10.0, 1.0),
    "empty": (None, None, None, None, None),
}


def minutes(*numbers: int) -> Coverage:
    return Coverage((n * MINUTE, (n + 1) * MINUTE) for n in numbers)


def rows(kinds: dict[int, str]) -> pl.DataFrame:
    """A row in each of some minutes."""
    values = list(zip(*(ROWS[kind] for kind in kinds.values()), strict=True)) or [()] * 5
    return pl.DataFrame(
        [
            pl.Series("ts", [minute * MINUTE for minute in kinds], dtype=pl.Int64).cast(TS),
            *(
                pl.Series(name, column, dtype=pl.Float64)
                for name, column in zip(("open", "high", "low", "close", "volume"), values, strict=True)
            ),
        ]
    )


def write(
    kinds: dict[int, str],
    answered: Coverage,
    absent: Coverage = EMPTY,
    *,
    asked_at: int = HOUR,
    policy: SettlementPolicy = POLICY,
    stored: Coverage = EMPTY,
    refused_before: Coverage = EMPTY,
    facts: SeriesFacts = FACTS,
) -> Write:
    """The write of these rows, screened as every page is."""
    screened = screen(rows(kinds), grid=GRID, facts=facts, within=Span(0, DAY), now=asked_at)
    return write_of(
        screened,
        answered,
        absent,
        grid=GRID,
        facts=facts,
        source="vendor",
        asked_at=asked_at,
        settlement=policy,
        stored=stored,
        refused_before=refused_before,
    )


class Answer(NamedTuple):
    """One answer, in half minutes where it speaks of time, and in minutes where it speaks of bars."""

    kinds: dict[int, str]
    answered: set[int]
    absent: set[int]
    stored: set[int]
    refused_before: set[int]
    asked_at: int
    settle: float


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    halves = st.sets(st.integers(0, 2 * BARS - 1))
    numbers = st.sets(st.integers(0, BARS - 1))
    first = draw(st.integers(0, 2 * BARS - 1))
    answered = draw(st.one_of(halves, st.just(set(range(first, 2 * BARS)))))
    # A page has rows where it answers only.
    whole = [n for n in range(BARS) if {2 * n, 2 * n + 1} <= answered]
    kinds = draw(
        st.dictionaries(st.sampled_from(whole), st.sampled_from(sorted(ROWS))) if whole else st.just({})
    )
    return Answer(
        dict(sorted(kinds.items())),
        answered,
        draw(halves) & answered,
        draw(numbers),
        draw(numbers),
        draw(st.integers(0, 2 * BARS + 4)) * HALF + draw(st.sampled_from([0, 1, 7 * SECOND])),
        draw(st.sampled_from([0.0, 30.0, 60.0, 100.5, 3600.0])),
    )


@given(answers())
def test_an_answer_against_a_walk_over_its_bars(answer: Answer) -> None:
    made = write(
        answer.kinds,
        Coverage((h * HALF, (h + 1) * HALF) for h in answer.answered),
        Coverage((h * HALF, (h + 1) * HALF) for h in answer.absent),
        asked_at=answer.asked_at,
        policy=SettlementPolicy(settle=answer.settle, absent_expiry=10.0),
        stored=minutes(*answer.stored),
        refused_before=minutes(*answer.refused_before),
    )
    present, answered, absent, retracted, refused = [], set(), set(), set(), set()
    for bar in range(BARS):
        kind, closes = answer.kinds.get(bar), (bar + 1) * MINUTE
        is_forming = closes > answer.asked_at
        is_bad = kind == "impossible" or (kind is not None and is_forming)
        is_row = kind == "good" and not is_bad
        if is_row:
            present.append(bar * MINUTE)
        if is_bad and bar not in answer.stored:
            retracted.add(bar)
            if bar in answer.refused_before:
                refused.add(bar)
        is_settled = closes + round(answer.settle * SECOND) <= answer.asked_at
        for half in (2 * bar, 2 * bar + 1):
            if half in answer.absent and not is_row:
                absent.add(half)
            elif half in answer.answered and not is_bad and (is_row or is_settled):
                answered.add(half)
    assert stamps(made.frame).tolist() == present
    assert made.answered == Coverage((h * HALF, (h + 1) * HALF) for h in answered)
    assert made.absent == Coverage((h * HALF, (h + 1) * HALF) for h in absent)
    assert made.retracted == minutes(*retracted)
    assert made.refused == minutes(*refused)


def test_silence_counts_only_once_it_has_settled() -> None:
    """Asked at 00:10:30 with a minute of grace: bars up to 00:09 had closed long enough before."""
    asked_at = 10 * MINUTE + 30 * SECOND
    made = write({}, Coverage.of(Span(0, HOUR)), asked_at=asked_at)
    assert made.answered == Coverage.of(Span(0, 9 * MINUTE))
    assert made.checked_at == asked_at
    assert made.source == "vendor"


def test_a_row_is_proof_before_it_has_settled() -> None:
    made = write({9: "good"}, Coverage.of(Span(0, HOUR)), asked_at=10 * MINUTE)
    assert made.answered == minutes(*range(10))
    assert stamps(made.frame).tolist() == [9 * MINUTE]


def test_all_that_was_answered_is_too_young() -> None:
    made = write({}, minutes(58, 59), asked_at=59 * MINUTE)
    assert made.answered == EMPTY
    assert made.frame.height == 0


def test_a_row_beats_the_absence_that_its_own_source_names() -> None:
    made = write({1: "good"}, minutes(0, 1, 2), minutes(1, 2))
    assert made.answered == minutes(0, 1)
    assert made.absent == minutes(2)
    assert made.absent_until == HOUR + 3600 * SECOND


def test_an_impossible_row_makes_its_bar_unknown_and_the_second_time_lets_it_rest() -> None:
    made = write({0: "impossible", 1: "impossible"}, minutes(0, 1, 2), refused_before=minutes(1, 2))
    assert made.answered == minutes(2)
    assert made.retracted == minutes(0, 1)
    assert made.refused == minutes(1)
    assert made.refused_until == HOUR + 3600 * SECOND
    assert made.quarantine is not None
    assert stamps(made.quarantine).tolist() == [0, MINUTE]


def test_a_stored_row_stays_with_its_answer_when_an_impossible_one_comes() -> None:
    made = write({0: "impossible", 1: "good"}, minutes(0, 1), stored=minutes(0))
    assert made.retracted == EMPTY
    assert made.answered == minutes(1)
    assert made.covered == minutes(1)


def test_a_bar_that_an_empty_row_speaks_of_did_not_trade() -> None:
    made = write({0: "empty", 1: "good"}, minutes(0, 1))
    assert made.answered == minutes(0, 1)
    assert stamps(made.frame).tolist() == [MINUTE]


def test_an_answer_that_brings_no_impossible_row_has_no_quarantine() -> None:
    assert write({0: "good"}, minutes(0)).quarantine is None


def test_what_is_declared_goes_along_but_not_the_name_of_an_own_calendar() -> None:
    facts = SeriesFacts(calendar=OwnCalendar("mine"), has_volume=True)
    assert write({}, minutes(0), facts=facts).declared == SeriesFacts(has_volume=True)


@pytest.mark.parametrize("settle", [0.0, 0.5, 59.999])
def test_the_grace_is_counted_from_the_close(settle: float) -> None:
    asked_at = 2 * MINUTE + int(settle * SECOND)
    policy = SettlementPolicy(settle=settle, absent_expiry=1.0)
    assert write({}, minutes(0, 1), asked_at=asked_at, policy=policy).answered == minutes(0, 1)
    assert write({}, minutes(0, 1), asked_at=asked_at - 1, policy=policy).answered == minutes(0)


def test_no_answer_at_all_changes_nothing() -> None:
    made = write({}, EMPTY)
    assert made.covered == EMPTY
    assert np.array_equal(stamps(made.frame), [])
