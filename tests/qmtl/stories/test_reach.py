"""What is found in a range depends neither on the range asked nor on what else is stored."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from qmtl.foundation.errors import ConformancePipelineError
from qmtl.foundation.frames import PRICES, bars, stamps
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, MINUTE, to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES, DAILY = "ohlcv:test:A/B:1m", "ohlcv:test:REUSED:1d"
SILENCE, STALE, JUMP = "temporal.silence", "quality.stale_run", "quality.price_jump"

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]


def hours(start: str, end: str) -> Coverage:
    return Coverage.of(Span(to_ns(start), to_ns(end)))


def test_a_range_that_nobody_asked_for_is_no_silence(make: Make) -> None:
    """Three quiet minutes at an end are none; the hours behind them are unknown, and no part of them."""
    quiet = hours("2024-01-01T19:57Z", "2024-01-01T20:00Z") | hours("2024-01-02T00:00Z", "2024-01-02T00:03Z")
    vendor = ScriptedVendor(no_trade=quiet)
    first, second = ("2024-01-01T08:00Z", "2024-01-01T20:00Z"), ("2024-01-02T00:00Z", "2024-01-03T00:00Z")
    with make(vendor) as alone:
        assert alone.fetch(SERIES, *first).report.passes
        assert alone.fetch(SERIES, *second).report.passes
    again = make(vendor)
    for start, end in (first, second):
        result = again.fetch(SERIES, start, end)
        assert result.report.findings == ()
        assert result.report.could_not_check == ()
    # Once somebody has asked, and nothing traded there either, it is one silence of 246 minutes.
    vendor.no_trade |= hours("2024-01-01T20:00Z", "2024-01-02T00:00Z")
    again.fetch(SERIES, first[1], second[0], partial_ok=True)
    report = again.fetch(SERIES, first[0], second[1], partial_ok=True).report
    assert {finding.rule: finding.count for finding in report.findings} == {SILENCE: 246}


def test_a_feed_that_stopped_before_a_range_that_nobody_asked_for_is_found(make: Make) -> None:
    vendor = ScriptedVendor(no_trade=hours("2024-01-01T18:00Z", "2024-01-01T20:00Z"))
    ranges = ("2024-01-01T08:00Z", "2024-01-01T20:00Z"), ("2024-01-02T00:00Z", "2024-01-03T00:00Z")
    provider = make(vendor)
    for start, end in (*ranges, *ranges):
        report = provider.fetch(SERIES, start, end, partial_ok=True).report
        found = {finding.rule: finding.count for finding in report.findings}
        assert found == ({SILENCE: 120} if start == ranges[0][0] else {})


def stuck(first: int, last: int, count: int) -> pl.DataFrame:
    frame = synthetic_bars(SERIES, Span(to_ns("2024-01-01"), to_ns("2024-01-01") + count * MINUTE))
    price = frame["close"][first]
    here = pl.int_range(pl.len()).is_between(first, last - 1)
    return frame.with_columns(
        pl.when(here).then(pl.lit(price)).otherwise(name).alias(name) for name in PRICES
    )


@pytest.mark.parametrize(
    ("start", "end", "bars"),
    [
        pytest.param("2024-01-12", "2024-01-19", 7 * 1440, id="seven days inside"),
        pytest.param("2024-01-11", "2024-01-21", 10 * 1440, id="exactly"),
        pytest.param("2024-01-01", "2024-02-01", 10 * 1440, id="the whole month"),
        pytest.param("2024-01-15T06:00Z", "2024-01-15T06:05Z", 5, id="five minutes"),
        pytest.param("2024-01-10T23:00Z", "2024-01-11T01:00Z", 60, id="over its begin"),
        pytest.param("2024-01-20T23:00Z", "2024-01-21T01:00Z", 60, id="over its end"),
        pytest.param("2024-01-01", "2024-01-11", 0, id="before"),
        pytest.param("2024-01-21", "2024-02-01", 0, id="behind"),
    ],
)
@pytest.mark.parametrize("whole_month_first", [True, False])
def test_every_bar_of_a_stuck_feed_is_named_whatever_is_asked(
    make: Make, start: str, end: str, bars: int, whole_month_first: bool
) -> None:
    vendor = ScriptedVendor({SERIES: stuck(10 * 1440, 20 * 1440, 31 * 1440)})
    provider = make(vendor)
    provider.backfill(SERIES, "2024-01-01", "2024-02-01")
    if whole_month_first:  # then a part is cut from the cache
        provider.fetch(SERIES, "2024-01-01", "2024-02-01", partial_ok=True)
    report = provider.fetch(SERIES, start, end, partial_ok=True).report
    assert {finding.rule: finding.count for finding in report.findings} == ({STALE: bars} if bars else {})
    if bars:
        with pytest.raises(ConformancePipelineError):
            provider.fetch(SERIES, start, end)
        assert provider.accept(SERIES, start, end) == {STALE: (bars, bars)}
        assert provider.fetch(SERIES, start, end).report.passes


def test_a_ticker_that_is_used_again_after_ten_months_is_a_jump(make: Make) -> None:
    """Another company, 178 times as dear, behind a hole of ten months."""
    before = synthetic_bars(DAILY, Span(to_ns("2022-01-01"), to_ns("2022-12-31")))
    after = synthetic_bars(DAILY, Span(to_ns("2023-11-01"), to_ns("2024-01-31")))
    factor = 178 * before["close"][-1] / after["open"][0]
    after = after.with_columns(pl.col(name) * factor for name in PRICES)
    frame = bars(
        [*stamps(before).tolist(), *stamps(after).tolist()],
        {
            name: [*before[name].to_list(), *after[name].to_list()]
            for name in ("open", "high", "low", "close", "volume")
        },
    )
    provider = make(ScriptedVendor({DAILY: frame}))
    provider.backfill(DAILY, "2022-01-01", "2022-12-31")
    provider.backfill(DAILY, "2023-11-01", "2024-01-31")
    for start in ("2022-01-01", "2023-10-31", "2023-11-01"):
        report = provider.fetch(DAILY, start, "2024-01-31", strategy="FAIL_FAST", partial_ok=True).report
        (finding,) = (finding for finding in report.findings if finding.severity == "warning")
        assert (finding.rule, finding.count, finding.first_ts) == (JUMP, 1, to_ns("2023-11-01"))
    # What lies behind the bar in question is sound.
    assert provider.fetch(DAILY, "2023-11-02", "2024-01-31").report.passes
    assert provider.fetch(DAILY, "2022-01-01", "2022-12-31").frame.height * DAY == 364 * DAY
