"""Ranges that are judged together have the flags that each has by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from qmtl.foundation.frames import TS, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, LATEST, MINUTE
from qmtl.runtime.conformance import together
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.together import Range, flags_together, range_to_share
from tests.qmtl.runtime.conformance.test_range_independence import FACTS, GRIDS, PIPELINE, troubled

MINUTES = GRIDS[0]
ALWAYS = Coverage.of(Span(0, LATEST))


def part_of(frame: pl.DataFrame, span: Span, grid: Grid, answered: Coverage = ALWAYS) -> Range | None:
    """The rows of the span, with as much context as there is."""
    first, last = stamps(frame).searchsorted(span).tolist()
    low, high = max(first - CONTEXT, 0), min(last + CONTEXT, frame.height)
    return range_to_share(frame[low:high], first - low, last - low, answered, grid)


def alone(one: Range, span: Span, grid: Grid) -> Flags | None:
    if PIPELINE.needs_more_context(one.rows, one.first, one.last, grid):
        return None
    return PIPELINE.flag(one.rows, grid=grid, facts=FACTS).clip(span)


def found_together(ranges: list[Range], span: Span, grid: Grid = MINUTES) -> list[Flags | None]:
    return list(flags_together(PIPELINE, ranges, span, grid=grid, facts=FACTS))


@pytest.mark.parametrize("most", [together._MOST_ROWS, 2_000])
@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([0, 0, 30])), min_size=1, max_size=6),
    st.integers(120, 1_200),
    st.integers(1, 900),
)
def test_each_range_is_judged_as_it_is_alone(
    most: int, series: list[tuple[int, int]], first: int, count: int
) -> None:
    """With faults of every kind, some bars off the grid, in lines of a few ranges or of all."""
    start = 4_000 * DAY + first * MINUTE
    span = Span(start, start + count * MINUTE)
    ranges = []
    for seed, late in series:
        frame = troubled(seed, MINUTES)
        late_by = pl.when(pl.int_range(frame.height) % 3 == 0).then(late).otherwise(0) * pl.duration(
            seconds=1
        )
        one = part_of(frame.with_columns((pl.col("ts") + late_by).cast(TS)), span, MINUTES)
        ranges += [] if one is None else [one]
    event(f"{len(ranges)} ranges")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "_MOST_ROWS", most)
        found = found_together(ranges, span)
    assert found == [alone(one, span, MINUTES) for one in ranges]
    event(f"some flags: {any(found)}; some need more context: {None in found}")


def test_every_rule_of_this_kind_is_met_together() -> None:
    seen: set[str] = set()
    span = Span(4_000 * DAY + 200 * MINUTE, 4_000 * DAY + 1_400 * MINUTE)
    parts = [part_of(troubled(seed, MINUTES), span, MINUTES) for seed in range(40)]
    for flags in found_together([one for one in parts if one is not None], span):
        seen |= set() if flags is None else set(flags.rules())
    assert seen >= {
        "quality.price_jump",
        "quality.price_spike",
        "quality.stale_run",
        "quality.volume_spike",
        "quality.zero_volume_padding",
        "temporal.other_timeframe",
        "temporal.silence",
    }


def test_a_line_ends_where_time_ends() -> None:
    """Four ranges of about 66 years fit between 1997 and 2262; the others are another line."""
    grid = Grid(Timeframe.parse("1w"))
    start, week = grid.ceil(11_000 * DAY), 7 * DAY
    span = Span(start, start + 60 * 52 * week)
    ranges = []
    for seed in range(6):
        frame = troubled(seed, grid, count=span.length // week + 300)
        ts = span.start - 150 * week + np.arange(frame.height) * week
        one = part_of(frame.with_columns(pl.Series("ts", ts).cast(TS)), span, grid)
        assert one is not None
        ranges.append(one)
    lines: list[int] = []

    class Counting(ConformancePipeline):
        def flag(self, rows: pl.DataFrame, **given: Any) -> Flags:
            lines.append(rows.height)
            return super().flag(rows, **given)

    found = list(flags_together(Counting(), ranges, span, grid=grid, facts=FACTS))
    assert found == [alone(one, span, grid) for one in ranges]
    assert any(found)
    assert len(lines) == 2


def test_what_may_not_share_stays_alone() -> None:
    frame, step = troubled(1, MINUTES), MINUTES.step
    ts = stamps(frame)
    span = Span(int(ts[CONTEXT]), int(ts[-CONTEXT - 1]) + step)
    whole = Coverage.of(Span(int(ts[0]), int(ts[-1]) + step))
    assert part_of(frame, span, MINUTES, whole) is not None
    assert part_of(frame, Span(span.start - step, span.end), MINUTES, whole) is None, (
        "a row is lacking before"
    )
    assert part_of(frame, Span(span.start, span.end + step), MINUTES, whole) is None, "and behind"
    assert part_of(frame, Span(span.start, span.start), MINUTES, whole) is None, "there is nothing to judge"
    hole = Coverage.of(Span(int(ts[9]), int(ts[10])))
    assert part_of(frame, span, MINUTES, whole - hole) is None, "nobody has answered for a part"
    calendar = GRIDS[1]
    other = troubled(1, calendar)
    ts = stamps(other)
    span = Span(int(ts[CONTEXT]), int(ts[-CONTEXT - 1]) + calendar.step)
    assert part_of(other, span, calendar) is None, "a calendar expects something else at each time"


def test_a_long_range_stays_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = troubled(1, MINUTES)
    span = Span(int(stamps(frame)[CONTEXT]), int(stamps(frame)[1_000]))
    one = part_of(frame, span, MINUTES)
    assert one is not None
    monkeypatch.setattr(together, "_MOST_ROWS", one.rows.height - 1)
    assert part_of(frame, span, MINUTES) is None
