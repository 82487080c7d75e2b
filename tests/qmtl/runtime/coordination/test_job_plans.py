"""The shards of a job: the same ones that walking through its ranges gives, and made one at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.coordination.job_plans import JobPlan, JobShard, WantedRange

STEPS = {"ohlcv:test:A:1m": MINUTE, "ohlcv:test:B:1h": HOUR, "ohlcv:test:C:1w": 7 * DAY}
PER_SHARD = 10
times = st.integers(-50 * HOUR, 500 * HOUR)
ranges = st.builds(
    lambda series, start, length: WantedRange(series, Span(start, start + length)),
    st.sampled_from(sorted(STEPS)),
    times,
    st.integers(1, 100 * HOUR),
)


def walked(wanted: WantedRange) -> list[JobShard]:
    width = STEPS[wanted.series] * PER_SHARD
    found, at = [], wanted.span.start
    while at < wanted.span.end:
        shard = at // width
        behind = min((shard + 1) * width, wanted.span.end)
        found.append(JobShard(wanted.series, shard, Span(at, behind)))
        at = behind
    return found


@given(st.lists(ranges, max_size=4))
def test_it_holds_what_walking_finds(given_ranges: list[WantedRange]) -> None:
    plan = JobPlan(given_ranges, PER_SHARD)
    expected = [shard for one in given_ranges for shard in walked(one)]
    assert len(plan) == len(expected)
    assert [plan[number] for number in range(len(plan))] == expected
    for first in range(0, len(plan), 3):
        behind = min(len(plan), first + 5)
        assert plan.series_of(first, behind) == {shard.series for shard in expected[first:behind]}
    for number in (-1, len(plan)):
        with pytest.raises(IndexError):
            plan[number]


def test_a_hundred_years_are_not_made_to_be_counted() -> None:
    plan = JobPlan([WantedRange("ohlcv:test:A:1m", Span(0, 36_525 * DAY))] * 5_000, 1)
    assert len(plan) == 5_000 * 36_525 * 1_440
    assert plan[len(plan) - 1].span == Span(36_525 * DAY - MINUTE, 36_525 * DAY)
