"""Bars and writes of the suites: minute bars that are counted from the epoch."""

from __future__ import annotations

import numpy as np
import polars as pl

from qmtl.foundation.frames import bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store.contract import ChangeLog
from qmtl.runtime.io.store.values import Change, ChangeToken, Write

SERIES = SeriesId.parse("ohlcv:suite:BTC/USDT:1m")
OTHER = SeriesId.parse("ohlcv:suite:ETH/USDT:USDT:1m")
STEP = SERIES.timeframe.step


def some_bars(first: int, count: int, *, price: float = 100.0) -> pl.DataFrame:
    """Plain minute bars; bar `n` opens `n` minutes after the epoch."""
    number = np.arange(first, first + count, dtype=np.int64)
    close = price + number % 97 / 100
    values = {
        "open": close,
        "high": close + 0.5,
        "low": close - 0.5,
        "close": close,
        "volume": number % 13 + 0.5,
    }
    return bars(number * STEP, values)


def minutes(first: int, last: int) -> Span:
    """The cells of bars `[first, last)`."""
    return Span(first * STEP, last * STEP)


def write(
    frame: pl.DataFrame | None = None, *, checked_at: int = 10, source: str = "vendor", **fields: object
) -> Write:
    """A write with defaults; `fields` are those of `Write`."""
    given = {} if frame is None else {"frame": frame}
    return Write(source=source, checked_at=checked_at, **given, **fields)  # type: ignore[arg-type]  # fields by name


def changes_since(store: ChangeLog, tx: int) -> list[Change]:
    """What the commits after number `tx` touched."""
    return store.changed_since(ChangeToken(-1, tx)).commits
