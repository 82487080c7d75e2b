"""Each rule of the pipeline finds its bad bars, and not their neighbours; sound bars raise nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import DEFAULT_THRESHOLDS, RULES, RULESET, Thresholds, ruleset
from qmtl.runtime.testing.bars import synthetic_bars
from tests.qmtl.runtime.conformance.counting import raising

PIPELINE = ConformancePipeline()
GRID = Grid(Timeframe.parse("1m"))


class OfficeHours:
    """Monday to Friday, 09:30 to 16:00 UTC."""

    def sessions(self, span: Span) -> Coverage:
        days = range(span.start // DAY - 1, span.end // DAY + 2)
        opens = [
            day * DAY + 9 * HOUR + 30 * MINUTE for day in days if (day + 3) % 7 < 5
        ]  # 1970-01-01: Thursday
        return Coverage((at, at + 6 * HOUR + 30 * MINUTE) for at in opens)


def minutes(count: int, first: int = 0) -> pl.DataFrame:
    return synthetic_bars("ohlcv:test:A/B:1m", Span(first * MINUTE, (first + count) * MINUTE))


def flag(frame: pl.DataFrame, grid: Grid = GRID, **facts: bool) -> Flags:
    return PIPELINE.flag(frame, grid=grid, facts=SeriesFacts(**facts))


def at(frame: pl.DataFrame, rows: range | list[int], **values: Callable[[pl.Expr], object]) -> pl.DataFrame:
    """The frame with columns changed in some rows."""
    here = pl.int_range(pl.len()).is_in(list(rows))
    return frame.with_columns(
        pl.when(here).then(change(pl.col(name))).otherwise(name).alias(name)
        for name, change in values.items()
    )


def found(flags: Flags) -> dict[str, list[int]]:
    """Rule to the minutes it flags."""
    return {
        rule: (flags.stamps(rule) // MINUTE).tolist() for rule in flags.rules() if rule not in flags.spans
    }


def silence(flags: Flags) -> Coverage:
    return flags.spans.get("temporal.silence", EMPTY)


@pytest.mark.parametrize("timeframe", ["1s", "1m", "5m", "1h", "1d", "1w"])
def test_an_ordinary_market_raises_nothing(timeframe: str) -> None:
    grid = Grid(Timeframe.parse(timeframe))
    start = grid.ceil(1_600_000_000 * SECOND)
    frame = synthetic_bars(f"ohlcv:test:C/D:{timeframe}", Span(start, start + 3000 * grid.step))
    assert flag(frame, grid) is EMPTY_FLAGS


@pytest.mark.parametrize("height", [0, 1, 2, 5])
def test_frames_of_few_rows_are_no_trouble(height: int) -> None:
    assert flag(minutes(height)) is EMPTY_FLAGS


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("close", None, "schema.missing_price"),
        ("volume", None, "schema.missing_volume"),
        ("high", float("nan"), "quality.non_finite_price"),
        ("low", 0.0, "quality.nonpositive_price"),
        ("low", 1e9, "quality.high_below_low"),
        ("close", 1e9, "quality.high_not_highest"),
        ("close", 1e-9, "quality.low_not_lowest"),
        ("volume", -1.0, "quality.negative_volume"),
    ],
)
def test_impossible_rows_that_are_stored_are_flagged(column: str, value: float | None, rule: str) -> None:
    frame = at(minutes(300), [150], **{column: lambda _: pl.lit(value, dtype=pl.Float64)})
    flags = flag(frame)
    assert found(flags)[rule] == [150]
    assert raising(frame, flags, states(frame)).errors > 0


def test_rows_off_the_grid_are_flagged() -> None:
    late = pl.lit(3 * SECOND, dtype=pl.Duration("ns"))
    frame = at(minutes(100), [40, 41], ts=lambda ts: ts + late)
    assert flag(frame).stamps("temporal.off_grid").tolist() == [
        40 * MINUTE + 3 * SECOND,
        41 * MINUTE + 3 * SECOND,
    ]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"low": lambda low: low * 0.1}, id="a digit is lost in the low"),
        pytest.param({"high": lambda high: high * 1.2}, id="a wick upwards"),
        pytest.param(dict.fromkeys(PRICES, lambda price: price * 10), id="the whole bar is out of place"),
        pytest.param(dict.fromkeys(PRICES, lambda price: price / 100), id="the bar is in cents"),
    ],
)
@pytest.mark.parametrize("row", [0, 1, 200, 398, 399])
def test_a_spike_is_found_wherever_it_is(bad: dict[str, Callable[[pl.Expr], object]], row: int) -> None:
    frame = at(minutes(400), [row], **bad)
    if len(bad) > 1 and row in (0, 399):
        # Nothing beyond the end tells a whole bar out of place from a new level.
        assert "quality.price_spike" not in found(flag(frame))
    else:
        assert found(flag(frame))["quality.price_spike"] == [row]


def test_a_few_bars_out_of_place_are_a_spike_and_not_a_shift() -> None:
    frame = at(minutes(400), range(200, 203), **dict.fromkeys(PRICES, lambda price: price * 10))
    flags = found(flag(frame))
    assert flags["quality.price_spike"] == [200]
    assert "quality.level_shift" not in flags


def test_a_close_that_becomes_the_next_open_is_still_a_spike() -> None:
    frame = at(minutes(400), [200], high=lambda high: high * 10, close=lambda close: close * 10)
    frame = at(frame, [201], high=lambda high: high * 10, open=lambda open_: open_ * 10)
    assert 200 in found(flag(frame))["quality.price_spike"]


def test_a_wild_market_may_be_wild() -> None:
    rng = np.random.default_rng(7)
    wild = pl.Series(np.exp(rng.exponential(0.05, 600)))
    frame = minutes(600).with_columns(high=pl.col("high") * wild, low=pl.col("low") / wild)
    assert "quality.price_spike" not in found(flag(frame))


def test_a_split_that_was_not_adjusted_is_a_warning() -> None:
    frame = at(minutes(400), range(200, 400), **dict.fromkeys(PRICES, lambda price: price / 7))
    flags = flag(frame)
    assert found(flags) == {"quality.price_jump": [200]}
    assert raising(frame, flags, states(frame)) == (0, 1)


def test_a_loud_bar_is_worth_knowing() -> None:
    frame = at(minutes(400), [200], volume=lambda volume: volume * 0 + 1e9)
    assert found(flag(frame)) == {"quality.volume_spike": [200]}


def test_prices_below_zero_are_not_compared_by_ratio() -> None:
    frame = minutes(400).with_columns(pl.col(name) - 1e6 for name in PRICES)
    assert flag(frame, allow_nonpositive=True) is EMPTY_FLAGS
    # The day on which oil fell from 18 through zero to -38, and came back.
    fall = at(minutes(400), range(200, 210), **{name: lambda price: price * 0 - 37.63 for name in PRICES})
    fall = at(fall, [199, 210], low=lambda low: low * 0, volume=lambda volume: volume)
    assert flag(fall, allow_nonpositive=True) is EMPTY_FLAGS


# -- rhythm ---------------------------------------------------------------------------------------------


def states(frame: pl.DataFrame, grid: Grid = GRID, answered: bool = True):  # type: ignore[no-untyped-def]  # of a test
    ts = stamps(frame)
    span = Span(int(ts[0]), int(ts[-1]) + grid.step)
    return bar_states(span, grid, ts, Coverage.of(span) if answered else EMPTY, EMPTY)


def without(frame: pl.DataFrame, rows: range | Int64Array) -> pl.DataFrame:
    return frame.filter(~pl.int_range(pl.len()).is_in(list(rows)))


def test_hours_without_a_trade_in_a_liquid_market_are_silence() -> None:
    frame = without(minutes(1000), range(400, 833))
    flags = flag(frame)
    assert silence(flags) == Coverage.of(Span(400 * MINUTE, 833 * MINUTE))
    assert raising(frame, flags, states(frame)) == (0, 433)
    # What nobody answered for is a hole, not silence.
    assert raising(frame, flags, states(frame, answered=False)) == (0, 0)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_few_missing_bars_are_no_silence(length: int) -> None:
    assert not silence(flag(without(minutes(1000), range(400, 400 + length))))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_quiet_series_may_be_quiet(share: float) -> None:
    rng = np.random.default_rng(11)
    frame = without(minutes(5000), np.flatnonzero(rng.random(5000) < share))
    assert flag(frame) is EMPTY_FLAGS
    # And still an outage stands out.
    outage = frame.filter((pl.col("ts").to_physical() // MINUTE).is_between(2000, 3000).not_())
    cells = silence(flag(outage))
    assert len(cells) == 1
    assert cells.contains(Span(2000 * MINUTE, 3001 * MINUTE))


def test_with_few_rows_around_silence_cannot_be_judged() -> None:
    frame = without(minutes(60), range(20, 50))
    flags = flag(frame)
    assert not flags
    assert flags.unchecked["temporal.silence"] == Coverage.of(Span(20 * MINUTE, 50 * MINUTE))


def test_bars_of_a_longer_timeframe_are_recognised() -> None:
    frame = pl.concat([minutes(200), minutes(1000, first=200).gather_every(5)])
    flagged = found(flag(frame))["temporal.other_timeframe"]
    assert flagged == list(range(200, 1200, 5)) or flagged == [199, *range(200, 1200, 5)]
    assert "temporal.other_timeframe" not in found(flag(minutes(1200)))
    gappy = minutes(3000).gather_every(5)
    rng = np.random.default_rng(2)
    gappy = without(gappy, np.flatnonzero(rng.random(600) < 0.2))
    assert len(found(flag(gappy))["temporal.other_timeframe"]) == gappy.height


def test_nights_and_weekends_are_no_silence_on_a_calendar() -> None:
    grid = Grid(Timeframe.parse("1m"), OfficeHours())
    frame = synthetic_bars("ohlcv:test:A/B:1m", Span(0, 21 * DAY), grid=grid)
    assert flag(frame, grid) is EMPTY_FLAGS
    # Two hours of one session are: Tuesday 1970-01-13, 11:00 to 13:00.
    tuesday = 12 * DAY
    lost = Span(tuesday + 11 * HOUR, tuesday + 13 * HOUR)
    frame = frame.filter(~pl.Series(Coverage.of(lost).holds(stamps(frame))))
    assert silence(flag(frame, grid)) == Coverage.of(lost)


def test_bars_outside_sessions_are_distinguished_by_their_day() -> None:
    grid = Grid(Timeframe.parse("1m"), OfficeHours())
    session = synthetic_bars("ohlcv:test:A/B:1m", Span(0, 14 * DAY), grid=grid)
    tuesday, saturday = 5 * DAY + 8 * HOUR, 9 * DAY + 12 * HOUR
    extra = [synthetic_bars("ohlcv:test:A/B:1m", Span(t, t + 2 * MINUTE)) for t in (tuesday, saturday)]
    flags = flag(pl.concat([session, *extra]).sort("ts"), grid)
    assert flags.stamps("temporal.extended_hours").tolist() == [tuesday, tuesday + MINUTE]
    assert flags.stamps("temporal.closed_day").tolist() == [saturday, saturday + MINUTE]
    daily = Grid(Timeframe.parse("1d"), OfficeHours())
    frame = synthetic_bars("ohlcv:test:A/B:1d", Span(0, 14 * DAY))
    assert (flag(frame, daily).stamps("temporal.closed_day") // DAY).tolist() == [2, 3, 9, 10]


def test_the_ruleset_tells_of_every_change() -> None:
    assert ruleset(DEFAULT_THRESHOLDS) == RULESET
    assert ruleset(Thresholds(spike_least=0.06)) != RULESET
    assert all(rule.meaning and rule.advice for rule in RULES.values())
