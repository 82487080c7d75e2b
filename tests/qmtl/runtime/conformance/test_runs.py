"""Every bar of a stuck feed is named, and bars that were made up are, by their share."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.flags import EMPTY_FLAGS
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS
from qmtl.runtime.testing.bars import synthetic_bars

PIPELINE = ConformancePipeline()
GRID = Grid(Timeframe.parse("1m"))
FACTS = SeriesFacts()
STALE, PADDED = "quality.stale_run", "quality.zero_volume_padding"
TEN_DAYS = 14_400


def minutes(count: int) -> pl.DataFrame:
    return synthetic_bars("ohlcv:test:A/B:1m", Span(0, count * MINUTE))


def frozen(frame: pl.DataFrame, rows: range, *, volume: float = 1.5) -> pl.DataFrame:
    """One price in some rows: that of the close before them."""
    price = frame["close"][max(rows.start - 1, 0)]
    here = pl.int_range(pl.len()).is_between(rows.start, rows.stop - 1)
    return frame.with_columns(
        pl.when(here).then(pl.lit(price if name in PRICES else volume)).otherwise(name).alias(name)
        for name in (*PRICES, "volume")
    )


def flagged(frame: pl.DataFrame, rule: str) -> list[int]:
    """The minutes that a rule flags, and no other rule flags any."""
    flags = PIPELINE.flag(frame, grid=GRID, facts=FACTS)
    assert set(flags.rules()) <= {rule}
    return (flags.stamps(rule) // MINUTE).tolist()


def part(frame: pl.DataFrame, first: int, last: int) -> list[int]:
    """What is flagged within a part of the rows, with as many rows around as it asks for."""
    around = PIPELINE.max_context if PIPELINE.needs_more_context(frame, first, last, GRID) else CONTEXT
    rows = frame[max(first - around, 0) : last + around]
    return [minute for minute in flagged(rows, STALE) if first <= minute < last]


# -- stuck feeds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [60, 64, 127, 200, 4_095, 4_096, TEN_DAYS])
def test_every_bar_of_a_stuck_feed_is_named(length: int) -> None:
    run = range(1_000, 1_000 + length)
    # The first bar of one price only repeats the close before it; all the others repeat a bar.
    assert flagged(frozen(minutes(length + 2_000), run), STALE) == list(run)[not_long(length) :]


def not_long(length: int) -> int:
    """A run of 60 bars has 59 that repeat the one before: too few."""
    return length if length - 1 < DEFAULT_THRESHOLDS.run_rows else 0


def test_ten_days_of_one_price_are_named_from_within_as_from_without() -> None:
    frame = frozen(minutes(3 * TEN_DAYS), range(TEN_DAYS, 2 * TEN_DAYS))
    assert flagged(frame, STALE) == list(range(TEN_DAYS, 2 * TEN_DAYS))
    for first, last in (
        (TEN_DAYS + 2_000, TEN_DAYS + 12_080),  # seven days inside
        (TEN_DAYS, 2 * TEN_DAYS),
        (TEN_DAYS - 10, TEN_DAYS + 10),
        (2 * TEN_DAYS - 1, 2 * TEN_DAYS),
        (TEN_DAYS + 7_000, TEN_DAYS + 7_001),
        (2 * TEN_DAYS, 2 * TEN_DAYS + 100),
    ):
        inside = set(range(first, last)) & set(range(TEN_DAYS, 2 * TEN_DAYS))
        assert part(frame, first, last) == sorted(inside)


def test_the_bar_that_the_others_repeat_is_named_only_if_it_did_not_move() -> None:
    frame = minutes(900)
    real = frame.row(299, named=True)
    here = pl.int_range(pl.len()).is_between(299, 499)
    frame = frame.with_columns(
        pl.when(here).then(pl.lit(real[name])).otherwise(name).alias(name) for name in PRICES
    )
    assert real["high"] > real["low"]
    assert flagged(frame, STALE) == list(range(300, 500))


def test_a_series_that_is_nothing_but_stuck_is_named() -> None:
    assert flagged(frozen(minutes(TEN_DAYS), range(TEN_DAYS)), STALE) == list(range(TEN_DAYS))
    assert flagged(frozen(minutes(40), range(40)), STALE) == []


def test_a_feed_that_is_stuck_again_and_again_is_named() -> None:
    frame = minutes(3_000)
    for start in (500, 1_000, 1_500):
        frame = frozen(frame, range(start, start + 460))
    expected = [m for start in (500, 1_000, 1_500) for m in range(start, start + 460)]
    assert flagged(frame, STALE) == expected


def test_repeated_bars_are_the_habit_of_a_quiet_series() -> None:
    frame = minutes(900)
    for start in range(10, 880, 25):
        frame = frozen(frame, range(start, start + 20))
    assert PIPELINE.flag(frozen(frame, range(410, 480)), grid=GRID, facts=FACTS) is EMPTY_FLAGS
    # And still a stuck feed stands out.
    assert set(flagged(frozen(frame, range(410, 600)), STALE)) >= set(range(410, 600))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_part_is_judged_as_in_the_whole_however_long_the_runs_are(data: st.DataObject) -> None:
    """Runs of every length up to beyond `run_always`, and ranges that begin and end anywhere among them."""
    frame = minutes(12_000)
    at = 0
    for _ in range(data.draw(st.integers(1, 5))):
        at += data.draw(st.integers(1, 700))
        length = data.draw(st.one_of(st.integers(1, 90), st.integers(3_900, 4_300)))
        if at + length > frame.height:
            break
        frame = frozen(frame, range(at, at + length))
        at += length
    whole = flagged(frame, STALE)
    first = data.draw(st.integers(0, min(at + 100, frame.height - 1)))
    last = min(first + data.draw(st.integers(1, 300)), frame.height)
    assert part(frame, first, last) == [minute for minute in whole if first <= minute < last]


def test_what_is_read_around_a_run_is_bounded() -> None:
    frame = frozen(minutes(3 * TEN_DAYS), range(100, 3 * TEN_DAYS - 100))
    first = TEN_DAYS
    assert PIPELINE.needs_more_context(
        frame[first - CONTEXT : first + 10 + CONTEXT], CONTEXT, CONTEXT + 10, GRID
    )
    assert PIPELINE.max_context == 4_096 + 64
    calm = minutes(1_000)
    assert not any(PIPELINE.needs_more_context(calm, first, first + 100, GRID) for first in range(0, 900, 7))


# -- made-up bars ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [32, 54, 60, 120, 5_000])
def test_made_up_bars_are_found_where_the_series_otherwise_trades(length: int) -> None:
    run = range(300, 300 + length)
    assert flagged(frozen(minutes(length + 600), run, volume=0.0), PADDED) == list(run)


def test_a_few_made_up_bars_are_no_finding() -> None:
    assert flagged(frozen(minutes(900), range(300, 320), volume=0.0), PADDED) == []


def test_made_up_bars_are_found_by_their_share() -> None:
    """43 % of the bars, in runs of up to 54: none of them long, and together too many."""
    rng = np.random.default_rng(5)
    frame, at, runs = minutes(20_000), 10, []
    while at < 19_900:
        length = int(min(rng.geometric(1 / 9), 54))
        runs.append(range(at, at + length))
        at += length + int(rng.geometric(1 / 12))
    padded = np.zeros(frame.height, dtype=bool)
    for run in runs:
        padded[run.start : run.stop] = True
    last = frame["close"].to_numpy().copy()
    for row in np.flatnonzero(padded):
        last[row] = last[row - 1]
    frame = frame.with_columns(
        pl.when(pl.Series(padded)).then(pl.Series(last)).otherwise(name).alias(name) for name in PRICES
    ).with_columns(pl.when(pl.Series(padded)).then(0.0).otherwise("volume").alias("volume"))
    assert 0.40 < padded.mean() < 0.46
    named = flagged(frame, PADDED)
    assert set(named) <= set(np.flatnonzero(padded).tolist())
    assert len(named) > 0.9 * padded.sum()


def test_with_few_rows_a_share_says_nothing() -> None:
    assert flagged(frozen(minutes(31), range(5, 25), volume=0.0), PADDED) == []
    assert flagged(frozen(minutes(40), range(5, 25), volume=0.0), PADDED) == list(range(5, 25))


def test_a_bar_of_the_whole_day_is_found_in_its_hour() -> None:
    """The share is that of the rows around, so a part says what the whole says."""
    frame = frozen(minutes(2_000), range(900, 950), volume=0.0)
    whole = flagged(frame, PADDED)
    inner = PIPELINE.flag(frame[836:1_000], grid=GRID, facts=FACTS).clip(Span(900 * MINUTE, 936 * MINUTE))
    assert (inner.ts // MINUTE).tolist() == [m for m in whole if m < 936]
    assert stamps(frame)[900] // MINUTE == whole[0]
