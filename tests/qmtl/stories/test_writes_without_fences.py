"""Imports, retractions, refreshes and live bars are not stopped by a fence that somebody else has opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Deliver, ScriptedFeed, ScriptedVendor, Stop

Make: TypeAlias = Callable[..., qmtl.SeamlessDataProvider]

NAME = "ohlcv:test:BTC/USDT:1m"
SERIES = SeriesId.parse(NAME)
START, END = to_ns("2024-01-31T22:00Z"), to_ns("2024-02-01T00:00Z")
SHARD = START // (10_000 * MINUTE)


@pytest.fixture(params=["memory", "folder", pytest.param("server", marks=pytest.mark.service)])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(engine: str, clock: FakeClock) -> Any:
    """What `make` is given."""
    return MemoryStore(clock=clock) if engine == "memory" else "bars"


def open_elsewhere(provider: qmtl.SeamlessDataProvider) -> dict[int, int]:
    """Somebody else begins work on the shard, and has the newest token of it."""
    return dict(provider.store.open_fence(SERIES, [SHARD], "somebody else"))


def test_an_import(make: Make, store: Any, tmp_path: Path) -> None:
    provider = make(store=store)
    tokens = open_elsewhere(provider)
    bars = ScriptedVendor().bars(SERIES, Span(START, START + HOUR))
    bars.write_parquet(tmp_path / "bars.parquet")
    assert qmtl.import_file(provider, tmp_path / "bars.parquet", NAME).added == 60
    assert provider.store.open_fence(SERIES, [SHARD], "somebody else") == tokens, "their token is the newest"


def test_a_retraction(make: Make, store: Any) -> None:
    provider = make(ScriptedVendor(), store=store)
    provider.fetch(NAME, START, END)
    open_elsewhere(provider)
    assert provider.retract(NAME, START, START + HOUR, reason="a trial").rows == 60


def test_a_refresh_takes_the_shard_over(make: Make, store: Any) -> None:
    """It is a backfill: it opens a fence of its own, and whoever had one before may not write any more."""
    provider = make(ScriptedVendor(), store=store)
    provider.fetch(NAME, START, END)
    tokens = open_elsewhere(provider)
    provider.refresh(NAME, START, START + HOUR)
    late = Write("v", 1, answered=Coverage.of(Span(START, START + HOUR)), fences=tokens)
    with pytest.raises(qmtl.StaleFenceError):
        provider.store.commit(SERIES, late)


def test_live_bars(make: Make, store: Any) -> None:
    """They come after somebody else has opened the fence of their shard."""
    market = ScriptedVendor()
    newest = market.bars(SERIES, Span(END - 2 * MINUTE, END))
    feed = ScriptedFeed([Deliver(1.0, newest.head(1)), Deliver(1.0, newest.tail(1))])
    provider = make(ScriptedVendor(page_rows=118, faults={1: Stop()}), store=store, live=feed)
    tokens: dict[int, int] = {}

    def overtake(progress: object) -> None:
        tokens.update(open_elsewhere(provider))

    result = provider.fetch(NAME, START, END, sla=qmtl.SLAPolicy(live_wait=5.0), on_progress=overtake)
    assert_frame_equal(result.frame, market.bars(SERIES, Span(START, END)))
    assert [served.tier for served in result.receipt.served] == ["backfill", "live"]
    assert tokens == open_elsewhere(provider), "theirs is the newest still"
