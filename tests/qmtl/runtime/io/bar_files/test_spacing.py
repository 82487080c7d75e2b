"""Files of months and weeks that are imported as days, and of hours as minutes, are recognised."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import DAY, HOUR, MINUTE
from qmtl.runtime.io.bar_files.spacing import advice_on_spacing

MONTHS = [date(2020 + k // 12, k % 12 + 1, 1) for k in range(30)]
WEEKS = [date(2024, 1, 1) + timedelta(days=7 * k) for k in range(30)]
DAYS = [day for k in range(60) if (day := date(2024, 1, 1) + timedelta(days=k)).weekday() < 5]
HOURS = [day * DAY + hour * HOUR for day in range(19000, 19020) for hour in range(14, 21)]


def ns(days: list[date]) -> np.ndarray:
    return np.array([(day - date(1970, 1, 1)).days * DAY for day in days], dtype=np.int64)


def month_ends() -> np.ndarray:
    """The last weekday of each month, as vendors stamp monthly bars."""
    last = [(month - timedelta(days=1)) for month in MONTHS]
    return ns([day - timedelta(days=max(0, day.weekday() - 4)) for day in last])


def advice(ts: np.ndarray, timeframe: str) -> str | None:
    return advice_on_spacing(ts, Timeframe.parse(timeframe))


@pytest.mark.parametrize("ts", [ns(MONTHS), ns(MONTHS)[::-1], month_ends()])
def test_months_as_days(ts):
    message = advice(ts, "1d")
    assert message is not None
    assert "monthly bars" in message
    assert "1w" in message


def test_weeks_as_days():
    holidays = [day + timedelta(days=1) if k % 8 == 0 else day for k, day in enumerate(WEEKS)]
    for days in (WEEKS, holidays):
        message = advice(ns(days), "1d")
        assert message is not None
        assert "name the series with :1w" in message


def test_hours_as_minutes_and_days_as_hours():
    assert ":1h" in (advice(np.array(HOURS, dtype=np.int64), "1m") or "")
    assert ":1d" in (advice(ns(DAYS), "1h") or "")


@pytest.mark.parametrize(
    ("ts", "timeframe"),
    [
        (ns(DAYS), "1d"),
        (ns(WEEKS), "1w"),
        (np.array(HOURS, dtype=np.int64), "1h"),
        (ns(WEEKS)[:5], "1d"),  # too few to be a rhythm
        (np.array([], dtype=np.int64), "1d"),
    ],
)
def test_bars_of_their_own_timeframe(ts, timeframe):
    assert advice(ts, timeframe) is None


def test_a_share_that_seldom_trades_keeps_no_rhythm():
    rng = np.random.default_rng(7)
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    ts = start + np.cumsum(rng.geometric(0.2, 500)) * MINUTE
    assert advice(ts, "1m") is None
