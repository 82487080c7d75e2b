"""Runs ask once for what belongs together; refused bars share a question."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.ingest.questions import BRIDGE_STEPS, questions, runs


class Weekdays:
    """Open from Monday to Friday, in UTC."""

    def sessions(self, span: Span) -> Coverage:
        days = range(span.start // DAY - 1, span.end // DAY + 1)
        return Coverage((d * DAY, (d + 1) * DAY) for d in days if (d + 3) % 7 < 5)


HOURS = Grid(Timeframe.parse("1h"), Weekdays())


def test_a_weekend_does_not_cut_a_question_in_two() -> None:
    friday, monday = 1 * DAY, 4 * DAY  # 1970-01-02 was a Friday
    missing = Coverage.of(Span(friday, friday + DAY), Span(monday, monday + DAY))
    assert runs(missing, HOURS) == Coverage.of(Span(friday, monday + DAY))


def test_a_known_bar_does() -> None:
    missing = Coverage.of(Span(4 * DAY, 4 * DAY + HOUR), Span(4 * DAY + 2 * HOUR, 4 * DAY + 3 * HOUR))
    assert runs(missing, HOURS) == missing


@given(st.sets(st.integers(0, 24 * 14 - 1)))
def test_runs_against_a_walk_over_the_bars(hours: set[int]) -> None:
    """Oracle: walk the bars; a run goes on over closed bars and ends at a known open one."""
    span = Span(0, 14 * DAY)
    open_hours = set((HOURS.stamps(HOURS.expected(span)) // HOUR).tolist())
    missing = sorted(hours & open_hours)
    expected: list[list[int]] = []
    for hour in missing:
        between = range(expected[-1][1], hour) if expected else ()
        if expected and not any(h in open_hours for h in between):
            expected[-1][1] = hour + 1
        else:
            expected.append([hour, hour + 1])
    stamps = np.array(missing, dtype=np.int64) * HOUR
    assert runs(HOURS.cells(stamps), HOURS) == Coverage((a * HOUR, b * HOUR) for a, b in expected)


ALWAYS = Grid(Timeframe.parse("1m"))
bars = st.sets(st.integers(0, 4 * BRIDGE_STEPS), max_size=40)


@given(bars, bars)
def test_refused_bars_share_a_question_where_they_lie_near_each_other(
    refused: set[int], others: set[int]
) -> None:
    """Oracle: walk the missing bars; a gap between refused runs is crossed if it is narrow."""
    missing = sorted(refused | others)
    exact: list[list[int]] = []
    for minute in missing:
        if exact and exact[-1][1] == minute:
            exact[-1][1] = minute + 1
        else:
            exact.append([minute, minute + 1])
    expected = Coverage((a * MINUTE, b * MINUTE) for a, b in exact)
    spoilt = [run for run in exact if refused & set(range(*run))]
    for before, after in itertools.pairwise(spoilt):
        if after[0] - before[1] <= BRIDGE_STEPS:
            expected |= Coverage.of(Span(before[1] * MINUTE, after[0] * MINUTE))
    cells = [ALWAYS.cells(np.array(sorted(m), dtype=np.int64) * MINUTE) for m in (refused | others, refused)]
    assert questions(*cells, ALWAYS) == expected
