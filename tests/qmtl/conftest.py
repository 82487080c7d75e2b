"""A provider on a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2024-02-01T00:00:30Z")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def make(
    tmp_path: Path, clock: FakeClock, registry: CollectorRegistry
) -> Iterator[Callable[..., SeamlessDataProvider]]:
    made: list[SeamlessDataProvider] = []

    def build(vendor: Any = None, store: Any = "bars", **options: Any) -> SeamlessDataProvider:
        options = {"clock": clock, "metrics_registry": registry, **options}
        where = tmp_path / store if isinstance(store, str) else store
        provider = SeamlessDataProvider(where, vendors={} if vendor is None else vendor, **options)
        made.append(provider)
        return provider

    yield build
    for provider in made:
        provider.close()
