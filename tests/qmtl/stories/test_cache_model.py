"""A provider with a small cache beside others who write: within its bytes, and never a wrong answer."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.frames import empty_bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, SECOND, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock

DAWN = to_ns("2024-01-01")
CELLS = 240
SERIES = [f"ohlcv:test:{symbol}:1m" for symbol in "ABC"]
# Room for two or three ranges, but not for the largest beside any other.
CACHE_BYTES = 24_000


def bars(series: str, span: Span, seed: int) -> pl.DataFrame:
    return synthetic_bars(series, span, seed=seed)


SPANS = st.tuples(st.integers(0, CELLS), st.integers(0, CELLS)).map(
    lambda pair: Span(DAWN + min(pair) * MINUTE, DAWN + max(pair) * MINUTE)
)
NAMES = st.sampled_from(SERIES)


class CacheMachine(RuleBasedStateMachine):
    """The model keeps for each minute what was committed last: a row's seed, or until when it is absent."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock("2024-02-01T00:00:30Z")
        self.provider = SeamlessDataProvider(
            self.folder / "store",
            vendors={},
            cache_bytes=CACHE_BYTES,
            clock=self.clock,
            metrics_registry=CollectorRegistry(),
        )
        # Another connection, of which the provider is not told: as another process would have it.
        self.other = EmbeddedStore(self.folder / "store", clock=self.clock)
        self.rows: dict[tuple[str, int], int] = {}
        self.absent: dict[tuple[str, int], int] = {}
        self.seed = 0
        self.hits = 0
        self.points: list[tuple[int, str, Span, pl.DataFrame]] = []

    def teardown(self) -> None:
        self.provider.close()
        self.other.close()
        shutil.rmtree(self.folder)

    def minutes(self, span: Span) -> range:
        return range(span.start, span.end, MINUTE)

    def expected(self, series: str, span: Span) -> pl.DataFrame:
        seeds = [self.rows.get((series, ts)) for ts in self.minutes(span)]
        frames = [empty_bars()]
        for seed in sorted({seed for seed in seeds if seed is not None}):
            kept = pl.Series([one == seed for one in seeds], dtype=pl.Boolean)
            frames.append(bars(series, span, seed).filter(kept))
        return pl.concat(frames).sort("ts")

    def check(self, series: str, span: Span, result: FetchResult) -> None:
        self.hits += any(served.tier.value == "cache" for served in result.receipt.served)
        assert_frame_equal(result.frame, self.expected(series, span))
        now = self.clock.now()
        states = {
            "present": [ts for ts in self.minutes(span) if (series, ts) in self.rows],
            "absent": [ts for ts in self.minutes(span) if self.absent.get((series, ts), 0) > now],
        }
        for state, stamps in states.items():
            assert getattr(result.coverage, state) == Coverage((ts, ts + MINUTE) for ts in stamps), state

    # -- asking -------------------------------------------------------------------------------------------

    @rule(series=NAMES, span=SPANS)
    def fetch(self, series: str, span: Span) -> None:
        result = self.provider.fetch(series, *span, strategy="FAIL_FAST", partial_ok=True)
        self.check(series, span, result)
        if result.frame.height:
            self.points.append((result.receipt.as_of, series, span, result.frame))

    @rule(series=NAMES, span=SPANS)
    def fetch_on_a_loop(self, series: str, span: Span) -> None:
        work = self.provider.fetch_async(series, *span, strategy="FAIL_FAST", partial_ok=True)
        self.check(series, span, asyncio.run(work))

    @rule(series=NAMES, span=SPANS)
    def fetch_the_same_twice(self, series: str, span: Span) -> None:
        for _ in range(2):
            self.fetch(series, span)

    @precondition(lambda self: self.points)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        as_of, series, span, frame = data.draw(st.sampled_from(self.points))
        then = self.provider.fetch(series, *span, as_of=as_of, strategy="FAIL_FAST", partial_ok=True)
        assert_frame_equal(then.frame, frame)

    # -- what others do -----------------------------------------------------------------------------------

    @rule(series=NAMES, span=SPANS, own=st.booleans())
    def rows_come(self, series: str, span: Span, own: bool) -> None:
        self.clock.advance(0.001)
        self.seed += 1
        frame = bars(series, span, self.seed)
        store = self.provider.store if own else self.other
        write = Write("other", self.clock.now(), frame, answered=Coverage.of(span))
        store.commit(SeriesId.parse(series), write)
        for ts in self.minutes(span):
            self.rows[series, ts] = self.seed
            self.absent.pop((series, ts), None)

    @rule(series=NAMES, span=SPANS, seconds=st.integers(1, 100))
    def bars_are_called_absent(self, series: str, span: Span, seconds: int) -> None:
        self.clock.advance(0.001)
        free = [ts for ts in self.minutes(span) if (series, ts) not in self.rows]
        until = self.clock.now() + seconds * SECOND
        absent = Coverage((ts, ts + MINUTE) for ts in free)
        write = Write("other", self.clock.now(), empty_bars(), absent=absent, absent_until=until)
        self.other.commit(SeriesId.parse(series), write)
        for ts in free:
            self.absent[series, ts] = until

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # -- the bound ----------------------------------------------------------------------------------------

    @invariant()
    def within_its_bytes(self) -> None:
        cache = self.provider._parts.executor.local.cache
        stored = [one for ranges in cache._by_series.values() for one in ranges.values()]
        assert sum(cache._used.values()) == cache.bytes <= CACHE_BYTES
        # polars tells a few bytes more or less of a frame once it has been used.
        assert abs(sum(one.nbytes for one in stored) - cache.bytes) <= 64 * len(stored)
        assert {id(one) for one in stored} == {id(one) for one in cache._used}


CacheMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCache = CacheMachine.TestCase
