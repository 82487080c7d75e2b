"""What a fetch does around its tiers: when it listens, what a spent budget answers, what stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Change, ScriptedFeed, ScriptedVendor, with_value

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")

Make = Callable[..., SeamlessDataProvider]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2024-02-01T00:00:30Z")


@pytest.fixture
def make(tmp_path: Path, clock: FakeClock) -> Iterator[Make]:
    made: list[SeamlessDataProvider] = []

    def build(vendor: Any, **options: Any) -> SeamlessDataProvider:
        options = {"clock": clock, "metrics_registry": CollectorRegistry(), **options}
        made.append(SeamlessDataProvider(tmp_path / "bars", vendors=vendor, **options))
        return made[-1]

    yield build
    for provider in made:
        provider.close()


def test_no_feed_is_opened_for_what_is_stored(make: Make) -> None:
    vendor, feed = ScriptedVendor(), ScriptedFeed([])
    make(vendor).fetch(SERIES, "2024-01-31T23:00Z")
    result = asyncio.run(make(vendor, live=feed).fetch_async(SERIES, "2024-01-31T23:00Z"))
    assert result.frame.height == 60
    assert feed.calls == []


class SlowToClose(ScriptedVendor):
    """Takes a moment to close its connection, so that a budget is not only spent but passed."""

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        try:
            async for page in super().pages(series, span):
                yield page
        finally:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("budget", ["backfill_wait", "total"])
def test_a_partial_answer_holds_what_was_committed_before_the_budget_was_spent(
    make: Make, budget: str
) -> None:
    vendor = SlowToClose(page_rows=60, delay=1.0)
    policy = qmtl.SLAPolicy.from_mapping({budget: 3.5, "on_breach": "partial"})
    result = make(vendor).fetch(SERIES, DAWN, DAWN + 6 * HOUR, sla=policy)
    assert result.receipt.breach is not None
    assert result.receipt.breach.phase == budget
    assert result.receipt.breach.elapsed_s == pytest.approx(3.6)
    assert_frame_equal(result.frame, vendor.bars(SERIES, Span(DAWN, DAWN + 3 * HOUR)))
    assert result.coverage.unknown == Coverage.of(Span(DAWN + 3 * HOUR, DAWN + 6 * HOUR))


def test_work_behind_an_answer_does_not_change_its_report(make: Make) -> None:
    vendor = ScriptedVendor(faults={0: Change(with_value("close", float("nan")))})
    result = make(vendor).fetch(SERIES, DAWN, DAWN + HOUR, strategy="PARTIAL_FILL")
    result.pending.wait(60)
    assert [finding.rule for finding in result.report.findings] == []


def test_nobody_serves_a_bar_whose_absence_has_expired(make: Make, clock: FakeClock) -> None:
    absent = Coverage.of(Span(DAWN + HOUR, DAWN + 2 * HOUR))
    provider = make(ScriptedVendor(absent=absent))
    options: dict[str, Any] = {"partial_ok": True}
    fresh = provider.fetch(SERIES, DAWN, DAWN + 3 * HOUR, **options)
    assert [served.cells for served in fresh.receipt.served] == [Coverage.of(Span(DAWN, DAWN + 3 * HOUR))]
    clock.advance(25 * 3600)
    late = provider.fetch(SERIES, DAWN, DAWN + 3 * HOUR, strategy="FAIL_FAST", **options)
    assert late.coverage.unknown == absent
    assert [served.cells for served in late.receipt.served] == [
        Coverage.of(Span(DAWN, DAWN + 3 * HOUR)) - absent
    ]
