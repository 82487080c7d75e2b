"""Stores that hold more of one thing from rung to rung, and the same of everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks import scene
from qmtl.foundation.frames import bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.bars import synthetic_bars

WINDOW = 1_000
# One hundred million minutes later it is 2020: bars of the future are refused.
_START = to_ns("1830-01-01")
_AT_ONCE = 1 << 20


class Holding(NamedTuple):
    """Series of a store that all have bars in `span`, and none behind it for a while."""

    series: Sequence[SeriesId]
    span: Span


class Ladder(NamedTuple):
    """of: what there is more of. what: how much of everything else. build: makes a store in a folder."""

    of: str
    what: str
    full: tuple[int, ...]
    tiny: tuple[int, ...]
    build: Callable[[Path, int], Holding]


def _many_series(folder: Path, count: int) -> Holding:
    """So many series of 2,000 bars, written a hundred at a time."""
    series = [scene.series_number(number) for number in range(count)]
    span = Span(_START, _START + 2_000 * MINUTE)
    with EmbeddedStore(folder) as store:
        for first in range(0, count, 100):
            part = series[first : first + 100]
            store.commit_many({one: scene.write_of(synthetic_bars(one, span)) for one in part})
    return Holding(series, span)


def _long_series(folder: Path, rows: int) -> Holding:
    """One series of so many bars."""
    span = Span(_START, _START + rows * MINUTE)
    with EmbeddedStore(folder) as store:
        for part in _parts(span):
            store.commit(scene.SERIES, scene.write_of(synthetic_bars(scene.SERIES, part)))
    return Holding([scene.SERIES], span)


def _many_records(folder: Path, records: int) -> Holding:
    """One series of 20,000 bars under one coverage record; all others lie apart, before and behind."""
    rows, apart = 20_000, 10_000
    before = _every_other_minute(_START, records // 2)
    start = (before.hull.end if before else _START) + apart * MINUTE
    span = Span(start, start + rows * MINUTE)
    behind = _every_other_minute(span.end + apart * MINUTE, records - 1 - len(before))
    own = scene.write_of(synthetic_bars(scene.SERIES, span))
    with EmbeddedStore(folder) as store:
        store.commit(scene.SERIES, own)
        others = before | behind
        if others:
            store.commit(scene.SERIES, Write(scene.SOURCE, others.hull.end, answered=others))
    return Holding([scene.SERIES], span)


def _many_bytes(folder: Path, size: int) -> Holding:
    """Ten series whose values do not shrink, until the files hold so many bytes."""
    draw = np.random.default_rng(7)
    series = [scene.series_number(number) for number in range(10)]
    rows = max(size // (len(series) * _RANDOM_ROW), 2 * WINDOW)
    span = Span(_START, _START + rows * MINUTE)
    with EmbeddedStore(folder) as store:
        for one in series:
            for part in _parts(span):
                store.commit(one, scene.write_of(_random_bars(draw, part)))
    return Holding(series, span)


# What a row of such values takes at rest, measured: of each number, the bits that nobody can foresee.
_RANDOM_ROW = 30


def _random_bars(draw: np.random.Generator, span: Span) -> pl.DataFrame:
    """Prices that stay within a hundredth, so that no rule warns, with all digits a number can have."""
    ts = np.arange(span.start, span.end, MINUTE)
    low, first, last, high = np.sort(100 + draw.random((4, len(ts))), axis=0)
    volume = 1 + draw.random(len(ts))
    return bars(ts, {"open": first, "high": high, "low": low, "close": last, "volume": volume})


def _every_other_minute(start: int, count: int) -> Coverage:
    starts = start + 2 * MINUTE * np.arange(count)
    return Coverage.from_arrays(starts, starts + MINUTE)


def _parts(span: Span) -> Iterator[Span]:
    for start in range(span.start, span.end, _AT_ONCE * MINUTE):
        yield Span(start, min(start + _AT_ONCE * MINUTE, span.end))


MILLION, GB = 10**6, 10**9
LADDERS = {
    "series": Ladder(
        "series", "of 2,000 bars each", (10, 100, 1_000, 10_000), (10, 100, 1_000), _many_series
    ),
    "rows": Ladder(
        "rows",
        "in one series",
        (MILLION, 10 * MILLION, 100 * MILLION),
        (10_000, 100_000, MILLION),
        _long_series,
    ),
    "records": Ladder(
        "coverage records",
        "of one series",
        (1, 1_000, 100_000),
        (1, 100, 10_000),
        _many_records,
    ),
    "bytes": Ladder(
        "bytes",
        "of bars that do not shrink",
        (GB // 10, GB, 10 * GB),
        (GB // 100, GB // 20),
        _many_bytes,
    ),
}
