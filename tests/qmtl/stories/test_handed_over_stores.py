"""What a store that is handed over decides: who asks, whose writes count, what is read again."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Commit, Snapshot
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_proxy import StoreProxy
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
START = to_ns("2024-01-01")
FORMATS = Path(__file__).parents[1] / "runtime" / "io" / "sql" / "sqlite" / "formats"

Make = Callable[..., qmtl.SeamlessDataProvider]


def test_providers_of_one_store_ask_for_each_bar_once(make: Make, clock: FakeClock) -> None:
    """Shards of a store in memory are claimed between all providers of it, as those of a folder are."""
    memory, vendor = MemoryStore(clock=clock), ScriptedVendor(page_rows=200, delay=0.001)
    providers = [make(vendor, store=memory) for _ in range(3)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(one.fetch_async(SERIES, START, START + DAY) for one in providers))

    found = asyncio.run(all_at_once())
    assert all(one.frame.equals(found[0].frame) for one in found)
    asked = [Span(span.start, span.end) for _, span in vendor.calls]
    assert sum(span.length for span in asked) == DAY
    assert Coverage(asked) == Coverage.of(Span(START, START + DAY))


class LateStore(StoreProxy):
    """Another writer commits just before each commit of ours."""

    def commit(self, series: SeriesId, write: Any) -> Commit:
        for shard in write.fences:
            self.inner.open_fence(series, [shard], "another worker")
        return self.inner.commit(series, write)


def test_a_backfill_that_was_overtaken_says_so(make: Make, clock: FakeClock) -> None:
    memory = MemoryStore(clock=clock)
    provider = make(ScriptedVendor(), store=LateStore(memory))
    with pytest.raises(qmtl.StaleFenceError):
        provider.fetch(SERIES, START, START + DAY)
    assert memory.read(SeriesId.parse(SERIES), Span(START, START + DAY)).frame.is_empty()


class CountedReads(StoreProxy):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.reads = 0

    def read(self, *args: Any, **options: Any) -> Snapshot:
        self.reads += 1
        return self.inner.read(*args, **options)


def test_what_the_cache_holds_is_not_read_again_and_commits_of_others_are_noticed(
    make: Make, clock: FakeClock
) -> None:
    memory = MemoryStore(clock=clock)
    store = CountedReads(memory)
    provider = make(ScriptedVendor(), store=store)
    first = provider.fetch(SERIES, START, START + DAY)
    reads = store.reads
    assert provider.fetch(SERIES, START, START + DAY).frame.equals(first.frame)
    assert store.reads == reads
    memory.retract(SeriesId.parse(SERIES), Span(START, START + DAY), reason="by somebody else")
    with pytest.raises(qmtl.MissingDataError):
        provider.fetch(SERIES, START, START + DAY, strategy="FAIL_FAST")
    assert store.reads > reads


@pytest.mark.parametrize("format", [1, 4])
def test_an_older_store_that_cannot_be_written_is_read(make: Make, tmp_path: Path, format: int) -> None:
    place = tmp_path / "old"
    place.mkdir()
    (place / "bars.sqlite").write_bytes(
        gzip.decompress((FORMATS / f"format_{format}.sqlite.gz").read_bytes())
    )
    (place / "bars.lock").touch()
    with EmbeddedStore(place, read_only=True) as store:
        provider = make({}, store=store)
        found = provider.fetch(
            "ohlcv:old:BTC/USDT:1m",
            "1970-01-01T00:00Z",
            "1970-01-01T10:00Z",
            strategy="FAIL_FAST",
            partial_ok=True,
        )
        assert found.frame.height == 600
        with make(ScriptedVendor(), store=store) as asking, pytest.raises(qmtl.StoreError):
            asking.fetch("ohlcv:old:BTC/USDT:1m", "1970-01-05", "1970-01-06")
