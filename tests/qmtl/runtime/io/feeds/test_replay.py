"""Stored bars come when the clock says that they have closed, each once, at any speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmtl import InvalidRequestError, SeriesId, Span, import_frame
from qmtl.foundation.frames import stamps
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND, to_ns
from qmtl.runtime.io.feeds.replay import ReplayClock, ReplayFeed
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing import FakeClock, synthetic_bars

MINUTES, HOURS = SeriesId.parse("ohlcv:x:A:1m"), SeriesId.parse("ohlcv:x:A:1h")
START = to_ns("2024-03-01")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    for series, end in ((MINUTES, START + 3 * HOUR), (HOURS, START + 3 * DAY)):
        frame = synthetic_bars(series.text, Span(START, end))
        import_frame(tmp_path / "bars", frame.filter(frame["ts"].dt.minute() != 30), series.text)
    with EmbeddedStore(tmp_path / "bars", read_only=True) as opened:
        yield opened


def heard(feed: ReplayFeed, clock: FakeClock, series: SeriesId) -> list[tuple[int, int]]:
    """When each bar came, and when it opened."""

    async def listen() -> list[tuple[int, int]]:
        found = []
        async for update in feed.bars(series):
            assert update.closed
            found += [(clock.now(), ts) for ts in stamps(update.frame).tolist()]
        return found

    loop = clock.new_event_loop()
    try:
        return loop.run_until_complete(listen())
    finally:
        loop.close()


@pytest.mark.parametrize("series", [MINUTES, HOURS])
@pytest.mark.parametrize("since", [0, SECOND, 90 * MINUTE, 90 * MINUTE + 7 * SECOND])
def test_each_bar_that_has_not_closed_yet_comes_at_its_close(
    store: EmbeddedStore, series: SeriesId, since: int
) -> None:
    clock = FakeClock(START + since)
    rows = stamps(store.read(series, Span(START, START + 4 * DAY)).frame)
    step = series.timeframe.step
    found = heard(ReplayFeed(store, clock), clock, series)
    assert found == [(ts + step, ts) for ts in rows.tolist() if ts + step > START + since]


def test_a_series_that_is_not_stored_ends_at_once(store: EmbeddedStore) -> None:
    clock = FakeClock(START)
    assert heard(ReplayFeed(store, clock), clock, SeriesId.parse("ohlcv:x:B:1m")) == []


def test_a_clock_goes_as_fast_as_it_was_told() -> None:
    clock = ReplayClock("2024-03-01", speed=36_000)
    earliest, before, began = time.perf_counter(), clock.now(), time.perf_counter()
    assert before >= START

    async def sleep() -> None:
        await asyncio.sleep(3_600)

    loop = clock.new_event_loop()
    loop.run_until_complete(sleep())
    loop.close()
    ended, passed, latest = time.perf_counter(), clock.now() - before, time.perf_counter()
    assert passed >= HOUR
    # An hour takes a tenth of a second, and a busy machine some more.
    assert 0.09 <= latest - earliest < 60
    # Not to be said more exactly: a busy machine may take its time between two readings.
    assert (
        (ended - began) * 36_000 * SECOND * 0.999 <= passed <= (latest - earliest) * 36_000 * SECOND * 1.001
    )


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), 10**9, True, "2", None])
def test_a_speed_that_is_none_is_refused(speed: Any) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        ReplayClock("2024-03-01", speed)


def test_it_begins_when_it_is_first_asked_for_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: passed[0])
    clock = ReplayClock("2024-03-01", speed=60)
    passed[0] += 5.0
    assert clock.monotonic() == 300.0, "timers go on from when it was made"
    assert clock.now() == START
    passed[0] += 2.0
    assert (clock.now() - START, clock.monotonic()) == (120 * SECOND, 420.0)
