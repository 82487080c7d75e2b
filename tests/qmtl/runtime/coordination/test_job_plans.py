"""The shards of a job: the same ones that walking through its ranges gives, and made one at a time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.coordination.job_plans import JobPlan, JobShard, WantedRange, ranges_of
from qmtl.runtime.coordination.shards import shard_numbers

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


@given(
    st.sampled_from(sorted(STEPS)),
    st.lists(st.tuples(times, st.integers(1, 30 * HOUR)).map(lambda pair: (pair[0], sum(pair))), max_size=5),
)
def test_ranges_touch_the_shards_of_the_cells_alone(series: str, spans: list[tuple[int, int]]) -> None:
    cells, width = Coverage(spans), STEPS[series] * PER_SHARD
    found = ranges_of(series, cells, PER_SHARD)
    shards = [shard.shard for one in found for shard in JobPlan([one], PER_SHARD)]
    assert shards == shard_numbers(cells, width)
    assert not cells - Coverage.of(*(one.span for one in found))
    for one in found:
        assert cells.clip(one.span).hull == one.span
    # No two of them could be one.
    bounds = [(one.span.start // width, (one.span.end - 1) // width) for one in found]
    assert all(later[0] - earlier[1] > 1 for earlier, later in pairwise(bounds))
