"""What a job asks for: ranges of series, and the shards they are cut into, counted without making them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.coordination.shards import shard_numbers, shard_span


class WantedRange(NamedTuple):
    """Bars of `series` (a node id) that are wanted; the range is not empty."""

    series: str
    span: Span


class JobShard(NamedTuple):
    """One shard of a job, and the part of it that is wanted."""

    series: str
    shard: int
    span: Span


class JobPlan(Sequence[JobShard]):
    """The shards of some ranges, in their order; each is made when it is asked for.

    shard_steps: how many bars make a shard.
    """

    def __init__(self, ranges: Sequence[WantedRange], shard_steps: int) -> None:
        self.ranges = tuple(ranges)
        self._widths = [shard_steps * SeriesId.parse(one.series).timeframe.step for one in self.ranges]
        counts = (self._last(n) - self._first(n) + 1 for n in range(len(self.ranges)))
        self._behind = list(accumulate(counts))

    def _first(self, number: int) -> int:
        return self.ranges[number].span.start // self._widths[number]

    def _last(self, number: int) -> int:
        return (self.ranges[number].span.end - 1) // self._widths[number]

    def series_of(self, first: int, behind: int) -> set[str]:
        """The series of the shards from number `first` up to `behind`, which is not among them."""
        places = bisect_right(self._behind, first), bisect_right(self._behind, behind - 1)
        return {one.series for one in self.ranges[places[0] : places[1] + 1]}

    def __len__(self) -> int:
        return self._behind[-1] if self._behind else 0

    def __getitem__(self, number: int) -> JobShard:  # type: ignore[override]  # nobody slices a plan
        if not 0 <= number < len(self):
            raise IndexError(number)
        place = bisect_right(self._behind, number)
        before = self._behind[place - 1] if place else 0
        shard = self._first(place) + number - before
        wanted, whole = self.ranges[place].span, shard_span(shard, self._widths[place])
        return JobShard(
            self.ranges[place].series,
            shard,
            Span(max(wanted.start, whole.start), min(wanted.end, whole.end)),
        )


def ranges_of(series: str, cells: Coverage, shard_steps: int) -> list[WantedRange]:
    """The fewest ranges that touch the same shards as the cells, and reach no further than these."""
    width = shard_steps * SeriesId.parse(series).timeframe.step
    found = []
    # Numbers that follow each other are as far from their places as the first of them.
    for _, run in groupby(enumerate(shard_numbers(cells, width)), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        whole = Span(shard_span(numbers[0], width).start, shard_span(numbers[-1], width).end)
        found.append(WantedRange(series, cells.clip(whole).hull))
    return found
