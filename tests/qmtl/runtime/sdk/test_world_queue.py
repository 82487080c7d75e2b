"""What of a world is queued for workers: what the store lacks, no more, declared as the world says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import DAY, iso, to_ns
from qmtl.runtime.sdk.from_world import provider_of_world
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.world_queue import ranges_of_world
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.runtime.worlds.loading import load_world
from qmtl.runtime.worlds.world import World

TEXT = """\
world:
  id: w
  data:
    definitions:
      - preset: desk.minutes
        series: "ohlcv:desk:{symbol}:1m"
        calendar: XNYS
    presets:
      - {id: a, preset: desk.minutes, universe: {symbols: [A]}, window: {min_history: 30d}}
      - {id: b, preset: desk.minutes, universe: {symbols: [B]}, window: {min_history: 40d}}
"""
A, B = "ohlcv:desk:A:1m", "ohlcv:desk:B:1m"
NOW = to_ns("2024-02-01")


@pytest.fixture
def opened(
    tmp_path: Path, clock: FakeClock, registry: CollectorRegistry
) -> Iterator[tuple[SeamlessDataProvider, World, ScriptedVendor]]:
    """It is 2024-02-01 00:00:30."""
    (tmp_path / "qmtl.yml").write_text("seamless: {store: bars}\n")
    (tmp_path / "world.yml").write_text(TEXT)
    world, vendor = load_world(tmp_path / "world.yml"), ScriptedVendor()
    with provider_of_world(
        world, tmp_path / "qmtl.yml", vendors=vendor, clock=clock, metrics_registry=registry
    ) as provider:
        yield provider, world, vendor


def test_what_is_missing_is_queued_once_and_declared(
    opened: tuple[SeamlessDataProvider, World, ScriptedVendor],
) -> None:
    provider, world, vendor = opened
    found = {one.series: one.span for one in ranges_of_world(provider, world)}
    assert [*found] == [A, B]
    starts = [iso(found[series].start) for series in (A, B)]
    assert starts == ["2024-01-02T14:30:00Z", "2023-12-26T14:30:00Z"]
    ends = {iso(found[series].end) for series in (A, B)}
    assert ends == {"2024-01-31T21:00:00Z"}, "as XNYS was open"
    assert vendor.calls == []
    for series in (A, B):
        assert provider.store.facts(SeriesId.parse(series)) == SeriesFacts(calendar="XNYS")


def test_what_is_there_is_left_out(opened: tuple[SeamlessDataProvider, World, ScriptedVendor]) -> None:
    provider, world, _ = opened
    (first,) = (one.span for one in ranges_of_world(provider, world) if one.series == A)
    provider.backfill(A, first.start, first.start + 15 * DAY)
    (rest,) = (one.span for one in ranges_of_world(provider, world) if one.series == A)
    assert first.start < rest.start < rest.end == first.end
    for series in (A, B):
        provider.backfill(series, NOW - 41 * DAY, NOW)
    assert ranges_of_world(provider, world) == []


def test_what_is_declared_otherwise_is_refused(
    opened: tuple[SeamlessDataProvider, World, ScriptedVendor],
) -> None:
    provider, world, _ = opened
    provider.store.declare(SeriesId.parse(B), SeriesFacts(calendar="24x7"))
    with pytest.raises(InvalidRequestError, match="calendar"):
        ranges_of_world(provider, world)
    assert provider.store.facts(SeriesId.parse(A)) is None, "nothing was declared"
