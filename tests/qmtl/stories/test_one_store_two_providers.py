"""Two providers over one open store ask a vendor once, wherever the store is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.times import to_ns
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
SPAN = (to_ns("2024-01-01"), to_ns("2024-01-02"))


BOTH_ENGINES = True


@pytest.fixture(params=["kept", "memory"])
def store(request: pytest.FixtureRequest, open_store: Callable[..., Store], engine: str) -> Store:
    if request.param == "kept":
        return open_store()
    if engine == "server":
        pytest.skip("what is in memory is tried once")
    return MemoryStore()


def test_two_providers_over_one_store_ask_once(store: Store) -> None:
    vendor = ScriptedVendor(page_rows=720, delay=0.2)
    with (
        SeamlessDataProvider(store, vendors=vendor, metrics_registry=CollectorRegistry()) as one,
        SeamlessDataProvider(store, vendors=vendor, metrics_registry=CollectorRegistry()) as two,
        ThreadPoolExecutor(2) as threads,
    ):
        answers = [threads.submit(provider.fetch, SERIES, *SPAN) for provider in (one, two)]
        first, second = (answer.result(60).frame for answer in answers)
    assert first.height == 1_440
    assert_frame_equal(first, second)
    assert len(vendor.calls) == 1
