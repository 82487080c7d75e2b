"""What a provider is put together from: any store that keeps the contract, opened here or handed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.stores import opened_store
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
HOUR = ("2024-01-01", "2024-01-01T01:00Z")

Make = Callable[..., SeamlessDataProvider]


def test_a_store_in_memory_serves_a_provider_as_one_in_a_folder_does(make: Make, clock: FakeClock) -> None:
    vendor = ScriptedVendor()
    in_memory, in_folder = make(vendor, store=MemoryStore(clock=clock)), make(vendor)
    for provider in (in_memory, in_folder):
        provider.fetch(SERIES, *HOUR)
        assert len(vendor.calls) == 1
        provider.fetch(SERIES, *HOUR, strategy="FAIL_FAST")
        vendor.calls.clear()
    one, other = (provider.fetch(SERIES, *HOUR) for provider in (in_memory, in_folder))
    assert_frame_equal(one.frame, other.frame)
    assert one.receipt.fingerprint == other.receipt.fingerprint
    assert one.receipt.served == other.receipt.served
    assert "series" in repr(in_memory)


def test_providers_that_share_a_store_see_each_others_commits(make: Make, clock: FakeClock) -> None:
    store, vendor = MemoryStore(clock=clock), ScriptedVendor()
    reader = make({}, store=store)
    assert reader.fetch(SERIES, *HOUR, partial_ok=True).frame.is_empty()
    make(vendor, store=store).fetch(SERIES, *HOUR)
    assert reader.fetch(SERIES, *HOUR).frame.height == 60


def test_a_store_that_was_handed_over_stays_open(tmp_path: Path, make: Make, clock: FakeClock) -> None:
    with EmbeddedStore(tmp_path / "bars", clock=clock) as store:
        make(ScriptedVendor(), store=store).close()
        assert store.list_series() == []
    provider = make(ScriptedVendor())
    provider.close()
    with pytest.raises(qmtl.StoreError):
        provider.store.facts(SeriesId.parse(SERIES))


def test_an_address_that_is_not_served_never_becomes_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(qmtl.InvalidRequestError, match="s3://bucket/bars is not served"):
        opened_store("s3://bucket/bars", clock=clock, retention=None)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_parameters_closes_the_store_that_was_opened(make: Make, tmp_path: Path) -> None:
    with pytest.raises(qmtl.InvalidRequestError):
        make(ScriptedVendor(), calendars={"*": 5})
    with pytest.raises(qmtl.InvalidRequestError, match="is not an SLAPolicy"):
        make(ScriptedVendor(), sla="2s")
    assert make(ScriptedVendor()).fetch(SERIES, *HOUR).frame.height == 60


@pytest.mark.parametrize("max_bytes", ["x", None, 0, -1, 1.5, True])
def test_max_bytes_that_is_no_number_of_bytes_is_refused(make: Callable[..., Any], max_bytes: Any) -> None:
    with pytest.raises(qmtl.InvalidRequestError, match=r"max_bytes .* is not a number of bytes"):
        make(max_bytes=max_bytes)


def test_the_class_of_a_store_is_not_a_store() -> None:
    with pytest.raises(qmtl.InvalidRequestError, match=r"the class MemoryStore[\s\S]*MemoryStore\(\.\.\.\)"):
        qmtl.SeamlessDataProvider(MemoryStore)  # type: ignore[arg-type]
