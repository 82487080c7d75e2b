"""Bars whose rows are impossible are asked for again: in few questions, once, and not again for a while."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
START = to_ns("2024-01-01")
DAY_OF_BARS = Span(START, START + DAY)
GRID = Grid(SeriesId.parse(SERIES).timeframe)


def spoilt(minutes: set[int], value: float | None = -1.0, span: Span = DAY_OF_BARS) -> ScriptedVendor:
    """A vendor whose bars of these minutes have a low of that value (None: they have no value at all)."""
    bars = synthetic_bars(SERIES, span)
    here = pl.Series(np.isin((stamps(bars) - START) // MINUTE, sorted(minutes)))
    columns = ("low",) if value is not None else VALUES
    bad = [
        pl.when(here).then(pl.lit(value, dtype=pl.Float64)).otherwise(name).alias(name) for name in columns
    ]
    return ScriptedVendor({SERIES: bars.with_columns(bad)})


def cells(minutes: set[int]) -> Coverage:
    return GRID.cells(START + np.array(sorted(minutes), dtype=np.int64) * MINUTE)


def ask(provider: SeamlessDataProvider, span: Span = DAY_OF_BARS) -> None:
    with pytest.raises(qmtl.MissingDataError):
        provider.fetch(SERIES, *span)


ALTERNATING = set(range(0, 1440, 2))


def test_alternating_minutes_are_one_question_once_a_day(make: Make, clock: FakeClock) -> None:
    vendor = spoilt(ALTERNATING)
    provider = make(vendor)
    asked = []
    for hours_later in (0, 0, 0, 12, 13):
        clock.advance(hours_later * 3600)
        before = len(vendor.calls)
        ask(provider)
        asked.append(len(vendor.calls) - before)
    # The first time, once more at the next fetch, and then when the absence of an answer has expired.
    assert asked == [1, 1, 0, 0, 1]
    assert provider.coverage(SERIES, *DAY_OF_BARS).unknown == cells(ALTERNATING)


def test_only_what_was_refused_is_committed_of_an_answer_to_that_question(make: Make) -> None:
    vendor = spoilt(ALTERNATING)
    provider = make(vendor)
    ask(provider)
    good = synthetic_bars(SERIES, DAY_OF_BARS)
    # By now the vendor has mended its bars, and corrected one that nobody asks about.
    vendor.frames[SERIES] = good
    vendor.correct(SERIES, good[1:2].with_columns(volume=pl.lit(7.0)))
    healed = provider.fetch(SERIES, *DAY_OF_BARS)
    assert_frame_equal(healed.frame, good)
    assert healed.receipt.replaced == 0


def test_another_process_knows_when_it_was_asked(make: Make) -> None:
    vendor = spoilt({5, 700})
    for _ in range(2):
        ask(make(vendor))
    before = len(vendor.calls)
    ask(make(vendor))
    assert len(vendor.calls) == before


def test_what_is_near_it_is_still_asked_for(make: Make) -> None:
    vendor = spoilt({30, 32}, span=Span(START, START + 2 * HOUR))
    provider = make(vendor)
    first = Span(START, START + HOUR)
    for _ in range(2):
        ask(provider, first)
    ask(provider, Span(START, START + 2 * HOUR))
    assert [call.span for call in vendor.calls] == [
        first,
        Span(START + 30 * MINUTE, START + 33 * MINUTE),
        Span(START + HOUR, START + 2 * HOUR),
    ]


def test_the_error_says_until_when_they_rest_and_what_asks_now(make: Make, clock: FakeClock) -> None:
    provider = make(spoilt({5, 7, 700}))
    with pytest.raises(qmtl.MissingDataError) as first:
        provider.fetch(SERIES, *DAY_OF_BARS)
    assert "refused twice" not in str(first.value.why)
    clock.advance(60)
    for _ in range(2):
        with pytest.raises(qmtl.MissingDataError) as missing:
            provider.fetch(SERIES, *DAY_OF_BARS)
    # Asked again at 00:01:30, and so not before a day later.
    resting = "3 bars refused twice: not asked for again before 2024-02-02T00:01:30Z"
    assert resting in str(missing.value.why)
    assert "refresh" in str(missing.value.next_step)
    with pytest.raises(qmtl.MissingDataError) as local:
        provider.fetch(SERIES, *DAY_OF_BARS, strategy="FAIL_FAST")
    assert "FAIL_FAST asks no vendor" in str(local.value.why)


def test_refresh_asks_for_bars_that_rest(make: Make) -> None:
    vendor = spoilt({5, 700})
    provider = make(vendor)
    for _ in range(2):
        ask(provider)
    vendor.frames[SERIES] = good = synthetic_bars(SERIES, DAY_OF_BARS)
    before = len(vendor.calls)
    ask(provider)
    assert len(vendor.calls) == before, "they rest"
    result = provider.refresh(SERIES, *DAY_OF_BARS)
    assert result.asked == Coverage.of(DAY_OF_BARS)
    assert result.corrections["change"].to_list() == ["added", "added"]
    assert_frame_equal(provider.fetch(SERIES, *DAY_OF_BARS).frame, good)


def test_a_refresh_that_is_refused_again_lets_them_rest_anew(make: Make, clock: FakeClock) -> None:
    vendor = spoilt({5, 700})
    provider = make(vendor)
    for _ in range(2):
        ask(provider)
    clock.advance(23 * 3600)
    assert provider.refresh(SERIES, *DAY_OF_BARS).quarantined == 2
    clock.advance(2 * 3600)
    before = len(vendor.calls)
    ask(provider)
    assert len(vendor.calls) == before


def test_a_retraction_ends_their_rest(make: Make) -> None:
    vendor = spoilt({5, 700})
    provider = make(vendor)
    for _ in range(2):
        ask(provider)
    vendor.frames[SERIES] = good = synthetic_bars(SERIES, DAY_OF_BARS)
    minute = Span(START + 5 * MINUTE, START + 6 * MINUTE)
    assert provider.retract(SERIES, *minute, reason="the source has corrected it").changed
    with pytest.raises(qmtl.MissingDataError) as missing:
        provider.fetch(SERIES, *DAY_OF_BARS)
    assert missing.value.holes["unknown"] == cells({700})
    assert_frame_equal(provider.fetch(SERIES, *minute).frame, good[5:6])


def test_rows_without_any_price_are_not_asked_for_again(make: Make) -> None:
    quiet = {minute for minute in range(1440) if minute * 7919 % 11 < 4}
    vendor = spoilt(quiet, None)
    result = make(vendor).fetch(SERIES, *DAY_OF_BARS)
    assert result.coverage.no_trade == cells(quiet)
    assert result.coverage.counts["present"] == 1440 - len(quiet)
    assert [(f.rule, f.severity, f.count) for f in result.report.findings] == [
        ("temporal.empty_row", "info", len(quiet))
    ]
    make(vendor).fetch(SERIES, *DAY_OF_BARS)
    assert len(vendor.calls) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(minutes=st.sets(st.integers(0, 1439), min_size=1, max_size=60), fetches=st.integers(2, 5))
def test_questions_are_few_however_refused_bars_lie(
    make: Make, tmp_path_factory: pytest.TempPathFactory, minutes: set[int], fetches: int
) -> None:
    vendor = spoilt(minutes)
    provider = make(vendor, store=str(tmp_path_factory.mktemp("bars")))
    for _ in range(fetches):
        ask(provider)
    again = Coverage(call.span for call in vendor.calls[1:])
    # A gap of more than a hundred bars ends a question.
    assert len(vendor.calls) - 1 <= 1440 // 101 + 1
    assert len(again) == len(vendor.calls) - 1, "no bar is asked for twice"
    assert cells(minutes) - again == Coverage()
    assert provider.coverage(SERIES, *DAY_OF_BARS).unknown == cells(minutes)
    provider.close()
