"""A world is planned without asking anybody, and applied as its policies allow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.schema import Schema, SchemaRegistryClient, SchemaType
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso
from qmtl.runtime.io.vendors.base import Page, Paging
from qmtl.runtime.sdk.from_world import provider_of_world
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.world_plan import apply_preset, plan_world
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.runtime.worlds.loading import load_world
from qmtl.runtime.worlds.world import World

TEXT = """\
world:
  id: w
  data:
    presets:
      - id: a
        preset: ohlcv.binance.spot.1m
        universe: {{symbols: [{symbols}]}}
        window: {{{window}}}
        seamless: {{{seamless}}}
"""
BTC, ETH = "ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ETH/USDT:1m"

Open = Callable[..., tuple[SeamlessDataProvider, World]]


class Limited(ScriptedVendor):
    """A vendor that knows its limits, and lacks a symbol."""

    def paging(self, series: qmtl.SeriesId) -> Paging:
        return Paging(500, per_second=4.0)

    async def pages(self, series: qmtl.SeriesId, span: qmtl.Span) -> AsyncIterator[Page]:
        if series.symbol == "LOST/USDT":
            raise qmtl.InvalidRequestError("the venue has no symbol 'LOST/USDT'", next_step="name another")
        async for page in super().pages(series, span):
            yield page


@pytest.fixture
def opened(tmp_path: Path, clock: FakeClock, registry: CollectorRegistry) -> Iterator[Open]:
    """A provider of a world; it is 2024-02-01 00:00:30."""
    made: list[SeamlessDataProvider] = []
    (tmp_path / "qmtl.yml").write_text("seamless: {store: bars}\n")

    def build(
        vendor: Any, symbols: str = "BTC/USDT, ETH/USDT", window: str = "min_history: 1d", seamless: str = ""
    ) -> tuple[SeamlessDataProvider, World]:
        path = tmp_path / "world.yml"
        path.write_text(TEXT.format(symbols=symbols, window=window, seamless=seamless))
        world = load_world(path)
        provider = provider_of_world(
            world, tmp_path / "qmtl.yml", vendors=vendor, clock=clock, metrics_registry=registry
        )
        made.append(provider)
        return provider, world

    yield build
    for provider in made:
        provider.close()


def test_a_plan_says_what_would_be_fetched_and_asks_nobody(opened: Open) -> None:
    vendor = Limited()
    provider, world = opened(vendor)
    seen: list[tuple[int, int]] = []
    plan = plan_world(provider, world, lambda done, total: seen.append((done, total)))
    (one,) = plan.presets
    assert [iso(edge) for edge in one.history] == ["2024-01-31", "2024-02-01"]
    assert (one.cost.expected, one.cost.answered, one.cost.to_fetch) == (2880, 0, 2880)
    assert (one.cost.requests, one.cost.seconds) == (6, 1.5), "three pages each, four a second"
    assert (one.cost.bytes, plan.bytes_per_bar, plan.measured) == (2 * round(1440 * 6.6), 6.6, False)
    assert (one.source, one.paging) == ("Limited", Paging(500, 4.0))
    assert {check.subject: check.outcome for check in one.checks} == {
        "vendor": "ok",
        "coverage": "fail",
        "freshness": "fail",
        "conformance": "warn",
        "schema": "ok",
    }
    assert not plan.is_ready
    assert vendor.calls == []
    assert seen == [(1, 2), (2, 2)]


def test_after_it_was_applied_nothing_is_left_to_fetch(opened: Open) -> None:
    vendor = Limited()
    provider, world = opened(vendor)
    done = apply_preset(provider, world.presets[0])
    assert {name: states.counts["present"] for name, states in done.states.items()} == {BTC: 1440, ETH: 1440}
    assert (done.errors, done.fingerprints) == ({}, {})
    provider.fetch(BTC, "2024-01-31", "2024-02-01")
    plan = plan_world(provider, world)
    (one,) = plan.presets
    assert (one.cost.answered, one.cost.to_fetch, one.cost.requests) == (2880, 0, 0)
    assert {check.subject: check.outcome for check in one.checks}["coverage"] == "ok"
    assert plan.is_ready
    vendor.calls.clear()
    apply_preset(provider, world.presets[0])
    assert vendor.calls == []


def test_clean_bars_are_known_to_be_clean_once_a_world_was_applied(opened: Open) -> None:
    provider, world = opened(Limited())
    apply_preset(provider, world.presets[0])
    (one,) = plan_world(provider, world).presets
    (judged,) = [check for check in one.checks if check.subject == "conformance"]
    assert (judged.outcome, judged.why) == ("ok", "2 newest reports without a finding that raises")
    apply_preset(provider, world.presets[0])
    assert len(provider.store.reports(SeriesId.parse(BTC))) == 1, "once is enough"


@pytest.mark.parametrize("sla", ["baseline", "tolerant-partial"])
def test_bars_that_break_a_strict_schema_are_an_error_of_their_series(opened: Open, sla: str) -> None:
    provider, world = opened(Limited(), seamless=f"sla_preset: {sla}")
    registry = SchemaRegistryClient()
    schema = {"type": "object", "properties": {"close": {"type": "number", "maximum": 1.0}}}
    registry.register("ohlcv", Schema(json.dumps(schema), SchemaType.JSON))
    strict = provider_of_world(
        world, schemas=registry, validation_mode="strict", vendors=Limited(), store=provider.store,
        clock=provider._parts.clock, metrics_registry=CollectorRegistry(),
    )  # fmt: skip
    if sla == "baseline":
        with pytest.raises(qmtl.SchemaValidationError):
            apply_preset(strict, world.presets[0])
    else:
        done = apply_preset(strict, world.presets[0])
        assert {name: type(error) for name, error in done.errors.items()} == dict.fromkeys(
            [BTC, ETH], qmtl.SchemaValidationError
        )
    strict.close()


def test_disk_is_told_by_what_the_store_measures(opened: Open) -> None:
    provider, world = opened(Limited(), window="min_history: 20d")
    provider.backfill(BTC, "2024-01-20", "2024-02-01")
    plan = plan_world(provider, world)
    (info,) = provider.store.list_series()
    assert plan.measured
    assert plan.bytes_per_bar == info.bytes / (info.rows - info.hot_rows)


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("backfill_start: 2024-01-15", "2024-01-15", "2024-02-01"),
        ("warmup_bars: 60, min_history: 30m", "2024-01-31T23:00:00Z", "2024-02-01"),
        ("min_history: 2h", "2024-01-31T22:00:00Z", "2024-02-01"),
    ],
)
def test_each_field_of_the_window_moves_the_history(opened: Open, window: str, start: str, end: str) -> None:
    (one,) = plan_world(*opened(Limited(), window=window)).presets
    assert [iso(edge) for edge in one.history] == [start, end]


def test_bars_that_are_held_back_are_not_fetched(opened: Open) -> None:
    provider, world = opened(Limited(), window="min_history: 1h", seamless="stabilization_bars: 5")
    done = apply_preset(provider, world.presets[0])
    assert iso(done.states[BTC].span.end) == "2024-01-31T23:55:00Z"
    assert provider.coverage(BTC, "2024-01-31T23:55:00Z", "2024-02-01").counts["unknown"] == 5


def test_fingerprints_are_published_where_the_world_says_so(opened: Open) -> None:
    provider, world = opened(Limited(), seamless="publish_fingerprint: true")
    done = apply_preset(provider, world.presets[0])
    fetched = provider.fetch(BTC, "2024-01-31", "2024-02-01")
    assert done.fingerprints[BTC] == fetched.receipt.fingerprint
    assert {*done.fingerprints} == {BTC, ETH}


def test_a_symbol_that_the_venue_lacks_stops_no_other_where_partial_answers_are_welcome(opened: Open) -> None:
    symbols = "LOST/USDT, BTC/USDT"
    provider, world = opened(Limited(), symbols, seamless="sla_preset: tolerant-partial")
    done = apply_preset(provider, world.presets[0])
    assert {name: error.what for name, error in done.errors.items()} == {
        "ohlcv:binance:LOST/USDT:1m": "the venue has no symbol 'LOST/USDT'"
    }
    assert done.states[BTC].counts["present"] == 1440


def test_and_is_an_error_where_they_are_not(opened: Open) -> None:
    provider, world = opened(Limited(), "LOST/USDT, BTC/USDT", seamless="sla_preset: baseline")
    with pytest.raises(qmtl.InvalidRequestError, match="no symbol 'LOST/USDT'"):
        apply_preset(provider, world.presets[0])


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ("warmup_bars: 5000, backfill_start: 2024-01-31", "a warm-up of 5,000 bars is longer than history"),
        ("min_history: 30d, backfill_start: 2024-01-31", "min_history reaches back to"),
        ("min_history: 0s, backfill_start: 2024-03-01", "where no bar has closed yet"),
    ],
)
def test_windows_that_do_not_fit_are_refused(opened: Open, window: str, says: str) -> None:
    if "min_history" not in window:
        window += ", min_history: 0s"
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        plan_world(*opened(Limited(), window=window))
    assert says in refused.value.what
    assert refused.value.series == BTC


def test_the_vendor_of_the_preset_serves_what_the_settings_do_not_name(opened: Open) -> None:
    provider, world = opened({"ohlcv:other:*": Limited()}, symbols="BTC/USDT")
    checks = {check.subject: check for check in plan_world(provider, world).presets[0].checks}
    assert checks["vendor"].why == "ccxt:binance", "the vendor of the preset"
