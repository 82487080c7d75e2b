"""All rules over a range: the same flags however the rows are cut, and a report that counts them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import TS, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates, bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance import pipeline as module
from qmtl.runtime.conformance.acceptance import accept
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import SILENCE
from qmtl.runtime.testing.bars import synthetic_bars
from tests.qmtl.runtime.conformance.counting import raising

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
GRID = Grid(SERIES.timeframe)
FACTS = SeriesFacts()
PIPELINE = ConformancePipeline()
COUNT = 400
SPAN = Span(0, COUNT * MINUTE)
SPIKE, OFF, MISSING = "quality.price_spike", "temporal.off_grid", "schema.missing_price"


def market() -> pl.DataFrame:
    """Minutes with a wick at 100, a hole from 200 to 260, and a bar off the grid behind 300."""
    frame = synthetic_bars(SERIES, SPAN)
    place = pl.int_range(pl.len())
    frame = frame.with_columns(high=pl.when(place == 100).then(pl.col("high") * 3).otherwise("high"))
    astray = frame[300:301].with_columns(ts=(pl.col("ts") + pl.duration(seconds=5)).cast(TS))
    kept = pl.concat([frame[:200], frame[260:]])
    return pl.concat([kept, astray]).sort("ts")


def flag(frame: pl.DataFrame, **options: Coverage) -> Flags:
    return PIPELINE.flag(frame, grid=GRID, facts=FACTS, **options)


def states(frame: pl.DataFrame, answered: Coverage) -> BarStates:
    on_grid = stamps(frame)[GRID.on_grid(stamps(frame))]
    return bar_states(SPAN, GRID, on_grid, answered, EMPTY)


def test_each_rule_names_its_bars() -> None:
    flags = flag(market())
    assert set(flags.rules()) == {OFF, SILENCE, SPIKE}
    assert flags.stamps(SPIKE).tolist() == [100 * MINUTE]
    assert flags.stamps(OFF).tolist() == [300 * MINUTE + 5_000_000_000]
    assert flags.spans[SILENCE] == Coverage.of(Span(200 * MINUTE, 260 * MINUTE))


@pytest.mark.parametrize("block", [1, 7, 64, 100])
def test_flags_do_not_depend_on_how_many_rows_are_judged_at_once(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flag(market())
    monkeypatch.setattr(module, "_BLOCK_ROWS", block)
    assert flag(market()) == whole


def test_no_rows_have_no_flags() -> None:
    assert flag(market()[:0]) is EMPTY_FLAGS


def test_the_silence_behind_the_last_row_joins_the_others() -> None:
    behind = Coverage.of(Span(0, (COUNT + 100) * MINUTE))
    flags = flag(market(), answered_behind=behind)
    assert flags.spans[SILENCE] == Coverage.of(
        Span(200 * MINUTE, 260 * MINUTE), Span(COUNT * MINUTE, (COUNT + 100) * MINUTE)
    )


def test_a_hole_that_nobody_answered_for_is_no_silence() -> None:
    heard = Coverage.of(Span(0, 200 * MINUTE), Span(260 * MINUTE, COUNT * MINUTE))
    assert SILENCE not in flag(market(), answered=heard).spans


def test_a_row_rule_follows_what_is_declared() -> None:
    frame = synthetic_bars(SERIES, SPAN).with_columns(volume=pl.lit(None, dtype=pl.Float64))
    without = SeriesFacts(has_volume=False)
    assert not PIPELINE.flag(frame, grid=GRID, facts=without)
    flags = flag(frame)
    assert flags.rules() == ("schema.missing_volume",)
    assert len(flags) == COUNT


def test_a_report_counts_errors_warnings_and_silent_bars() -> None:
    frame = market()
    flags = flag(frame)
    assert raising(frame, flags, states(frame, Coverage.of(SPAN))) == (1, 61)
    # Of the silence only what a source answered for raises.
    heard = Coverage.of(Span(0, 210 * MINUTE), Span(260 * MINUTE, COUNT * MINUTE))
    assert raising(frame, flags, states(frame, heard)) == (1, 11)
    assert raising(frame, EMPTY_FLAGS, states(frame, heard)) == (0, 0)


def test_what_was_accepted_raises_no_more_until_its_bar_changes() -> None:
    frame = market()
    flags = flag(frame)
    known = accept(flags, frame, SPIKE, step=GRID.step) + accept(flags, frame, SILENCE, step=GRID.step)
    now = states(frame, Coverage.of(SPAN))
    assert raising(frame, flags, now, known) == (1, 0)
    changed = frame.with_columns(
        volume=pl.when(pl.col("ts") == frame["ts"][100]).then(7.5).otherwise("volume")
    )
    assert raising(changed, flags, now, known) == (1, 1)


def test_rows_far_from_any_run_need_no_more_than_their_neighbours() -> None:
    frame = market()
    assert not PIPELINE.needs_more_context(frame, 100, 101, GRID)
    price = frame["close"][0]
    stuck = frame.with_columns(pl.lit(price).alias(name) for name in ("open", "high", "low", "close"))
    assert PIPELINE.needs_more_context(stuck, 200, 201, GRID)
    assert PIPELINE.max_context > PIPELINE.thresholds.run_always


def test_a_report_says_what_the_flags_say() -> None:
    frame = market()
    report = PIPELINE.report(
        series=SERIES,
        frame=frame,
        states=states(frame, Coverage.of(SPAN)),
        flags=flag(frame),
        fingerprint="f" * 64,
        as_of=7,
    )
    counts = {finding.rule: finding.count for finding in report.findings}
    assert {rule: counts[rule] for rule in (SPIKE, OFF, SILENCE)} == {SPIKE: 1, OFF: 1, SILENCE: 60}
    assert np.isclose(next(f.fraction for f in report.findings if f.rule == SPIKE), 1 / frame.height)
