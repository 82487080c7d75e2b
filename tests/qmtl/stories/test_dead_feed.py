"""A source that goes on answering after its feed has died: hours that its habit does not explain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import qmtl
from qmtl.foundation.calendars import FX
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")
DIED = DAWN + 12 * HOUR
DEAD = Span(DIED, DAWN + DAY)


def silent(result: qmtl.FetchResult) -> list[tuple[int, int]]:
    return [
        (finding.first_ts, finding.count)
        for finding in result.report.findings
        if finding.rule == "temporal.silence"
    ]


def test_a_feed_that_died_is_reported_wherever_the_range_ends(make: Make) -> None:
    provider = make(ScriptedVendor(no_trade=Coverage.of(DEAD)))
    with pytest.raises(qmtl.ConformancePipelineError, match=r"temporal\.silence"):
        provider.fetch(SERIES, DAWN, DEAD.end)
    # Every part of the silence is told as such, also where it is no longer than a bar.
    for start, end in ((DIED - HOUR, DIED + HOUR), (DIED + HOUR, DIED + 2 * HOUR), (DIED, DIED + MINUTE)):
        result = provider.fetch(SERIES, start, end, partial_ok=True)
        first = max(start, DIED)
        assert silent(result) == [(first, (end - first) // MINUTE)]
    assert provider.fetch(SERIES, DAWN, DIED).report.findings == ()


def test_what_nobody_answered_for_ends_the_silence(make: Make) -> None:
    provider = make(ScriptedVendor(no_trade=Coverage.of(DEAD)))
    provider.backfill(SERIES, DAWN, DIED + 3 * HOUR)
    provider.backfill(SERIES, DIED + 4 * HOUR, DEAD.end)
    result = provider.fetch(SERIES, DAWN, DEAD.end, strategy="FAIL_FAST", partial_ok=True)
    assert silent(result) == [(DIED, 180)]


def test_a_few_quiet_bars_at_the_end_are_nothing(make: Make) -> None:
    quiet = Coverage.of(Span(DIED - 2 * MINUTE, DIED))
    assert make(ScriptedVendor(no_trade=quiet)).fetch(SERIES, DAWN, DIED).report.findings == ()


def test_a_weekend_is_no_silence_and_the_monday_after_it_is(make: Make, clock: FakeClock) -> None:
    name, friday = "ohlcv:test:X:1h", to_ns("2024-01-05T22:00Z")
    after = Coverage.of(Span(friday, to_ns("2024-01-09")))
    vendor = ScriptedVendor(grid=Grid(Timeframe.parse("1h"), FX), no_trade=after)
    provider = make(vendor, calendars={"*": "FX"})
    assert provider.fetch(name, "2024-01-01", "2024-01-07T22:00Z").report.findings == ()
    reported = provider.fetch(name, "2024-01-01", "2024-01-09", partial_ok=True)
    assert silent(reported) == [(to_ns("2024-01-07T22:00Z"), 26)]


def test_the_silence_ends_when_the_feed_comes_back(make: Make, clock: FakeClock) -> None:
    vendor = ScriptedVendor(no_trade=Coverage.of(DEAD))
    provider = make(vendor)
    provider.fetch(SERIES, DAWN, DEAD.end, partial_ok=True)
    vendor.no_trade = Coverage()
    clock.advance(25 * 3600)
    healed = provider.fetch(SERIES, DAWN, DEAD.end)
    assert healed.coverage.counts["present"] == 1440, "it was asked about once more"
