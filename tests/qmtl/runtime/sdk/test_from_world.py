"""A world becomes a provider: vendor, facts, schema, SLA and conformance of a preset are rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.schema import Schema, SchemaRegistryClient, SchemaType
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.governance.decisions import Decision
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.sdk.from_world import provider_of_world
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.runtime.worlds.policies import BACKFILL_MODES, CONFORMANCE_PRESETS, SLA_PRESETS

WORLD = """\
world:
  id: w
  data:
    presets:
      - id: a
        preset: ohlcv.binance.spot.1m
        universe: {{symbols: [BTC/USDT]}}
        seamless: {{{seamless}}}
"""
BTC, ETH = "ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ETH/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
FILES = """\
world:
  id: w
  data:
    presets:
      - {id: a, preset: ohlcv.files, timeframe: 1h, universe: {symbols: [X]}}
"""

Make = Callable[..., SeamlessDataProvider]


@pytest.fixture
def make(tmp_path: Path, clock: FakeClock, registry: CollectorRegistry) -> Iterator[Make]:
    """A provider of a world of this text; `vendor` stands in its settings."""
    made: list[SeamlessDataProvider] = []
    (tmp_path / "qmtl.yml").write_text("seamless: {store: bars}\n")

    def build(text: str, vendor: Any = None, **options: Any) -> SeamlessDataProvider:
        (tmp_path / "world.yml").write_text(text)
        if vendor is not None:
            options["vendors"] = vendor
        provider = provider_of_world(
            tmp_path / "world.yml",
            tmp_path / "qmtl.yml",
            clock=clock,
            metrics_registry=registry,
            **options,
        )
        made.append(provider)
        return provider

    yield build
    for provider in made:
        provider.close()


def test_the_vendor_of_the_preset_serves(make: Make, tmp_path: Path) -> None:
    span = Span(*map(to_ns, DAY))
    (tmp_path / "data").mkdir()
    bars = ScriptedVendor().bars("ohlcv:files:X:1h", span)
    bars.write_csv(tmp_path / "data" / "X-1h.csv")
    result = make(FILES).fetch("ohlcv:files:X:1h", *DAY)
    assert result.frame.equals(bars)
    assert "backfill (files:" in str(result.receipt)


def test_a_vendor_that_the_settings_name_goes_before_that_of_the_preset(make: Make) -> None:
    of_place = ScriptedVendor()
    provider = make(WORLD.format(seamless=""), {"ohlcv:binance:*": of_place})
    assert provider.fetch(BTC, *DAY).frame.height == 1440
    assert [call.series.text for call in of_place.calls] == [BTC]


def test_without_vendors_in_the_settings_those_of_ccxt_serve_what_is_not_in_the_world(make: Make) -> None:
    described = repr(make(WORLD.format(seamless="")))
    assert "ohlcv:binance:*:1m by ccxt:binance" in described
    assert "the exchanges of ccxt" in described


def test_facts_of_the_preset_are_declared(make: Make) -> None:
    provider = make(WORLD.format(seamless=""), ScriptedVendor())
    assert provider.fetch(BTC, *DAY).receipt.calendar == "24x7"
    assert provider.store.facts(SeriesId.parse(BTC)) == SeriesFacts(calendar="24x7")


def test_a_preset_and_settings_that_contradict_each_other_are_refused_with_both(make: Make) -> None:
    other = [("ohlcv:binance:*", SeriesFacts(calendar="XNYS"))]
    with pytest.raises(qmtl.InvalidRequestError) as refused:
        make(WORLD.format(seamless=""), ScriptedVendor(), declared=other).fetch(BTC, *DAY)
    why = str(refused.value.why)
    assert "the preset ohlcv.binance.spot.1m says '24x7'" in why
    assert "seamless.series says 'XNYS'" in why


@pytest.mark.parametrize("name", SLA_PRESETS)
def test_each_sla_preset(make: Make, name: str) -> None:
    """A gap of more than 10,000 bars, and a source that has nothing."""
    preset = SLA_PRESETS[name]
    provider = make(WORLD.format(seamless=f"sla_preset: {name}"), {})
    assert provider._parts.profiles.of(SeriesId.parse(BTC)).sla == preset.policy
    week = ("2024-01-01", "2024-01-09")
    served = make(WORLD.format(seamless=f"sla_preset: {name}"), ScriptedVendor())
    if name == "baseline":
        with pytest.raises(qmtl.SeamlessSLAExceeded) as breach:
            served.fetch(BTC, *week)
        assert (breach.value.phase, breach.value.limit) == ("sync_gap", 10_000)
    else:
        result = served.fetch(BTC, *week)
        assert bool(result.receipt.violations) is (name == "tolerant-partial")
        assert result.frame.height == (0 if name == "tolerant-partial" else 8 * 1440)


def test_holes_are_answered_where_the_sla_preset_is_partial(make: Make) -> None:
    tolerant = make(WORLD.format(seamless="sla_preset: permissive"), ScriptedVendor(absent=whole()))
    assert tolerant.fetch(BTC, *DAY).coverage.counts["absent"] == 1440
    with pytest.raises(qmtl.MissingDataError):
        make(WORLD.format(seamless="sla_preset: baseline"), ScriptedVendor(absent=whole())).fetch(BTC, *DAY)


def whole() -> qmtl.Coverage:
    return qmtl.Coverage.of(Span(*map(to_ns, DAY)))


@pytest.mark.parametrize("name", CONFORMANCE_PRESETS)
def test_each_conformance_preset(make: Make, name: str) -> None:
    frame = ScriptedVendor().bars(BTC, Span(*map(to_ns, DAY)))
    low = pl.when(pl.int_range(pl.len()) == 700).then(1e-3).otherwise("low")
    vendor = ScriptedVendor({BTC: frame.with_columns(low=low)})
    provider = make(WORLD.format(seamless=f"conformance_preset: {name}"), vendor)
    if name == "strict-blocking":
        with pytest.raises(qmtl.ConformancePipelineError):
            provider.fetch(BTC, *DAY)
    else:
        result = provider.fetch(BTC, *DAY)
        assert [one.rule for one in result.report.findings if one.severity == "warning"] == [
            "quality.price_spike"
        ]
        assert len(result.receipt.violations) == (1 if name == "warn-only" else 0)
    report = provider.store.newest_report(SeriesId.parse(BTC))
    assert report is not None, "it is archived under each"


@pytest.mark.parametrize("mode", BACKFILL_MODES)
def test_each_backfill_mode_is_a_strategy(make: Make, mode: str) -> None:
    vendor = ScriptedVendor()
    provider = make(WORLD.format(seamless=""), vendor)
    result = provider.fetch(BTC, *DAY, strategy=BACKFILL_MODES[mode].strategy, partial_ok=True)
    assert result.frame.height == (1440 if mode == "foreground" else 0)
    result.pending.wait()
    assert bool(vendor.calls) is (mode != "never")


def test_policies_are_of_the_series_of_the_world_alone(make: Make) -> None:
    provider = make(WORLD.format(seamless="sla_preset: permissive"), ScriptedVendor())
    profiles = provider._parts.profiles
    assert profiles.of(SeriesId.parse(BTC)).partial_ok is True
    assert profiles.of(SeriesId.parse(ETH)).partial_ok is None


@pytest.mark.parametrize("subject", ["ohlcv.binance.1m", "ohlcv"])
def test_the_data_spec_of_a_preset_is_its_subject_in_a_registry(
    make: Make, clock: FakeClock, subject: str
) -> None:
    """Nothing in the world names it; canary counts, strict refuses."""
    schemas = SchemaRegistryClient(MemoryStorage())
    builtin = (BUILTIN / "ohlcv.json").read_text(encoding="utf-8")
    impossible = builtin.replace('"type": ["number", "null"]', '"type": ["number", "null"], "maximum": -1')
    assert impossible != builtin
    schemas.register(subject, Schema(impossible, SchemaType.JSON))
    world = WORLD.format(seamless="conformance_preset: observe")
    provider = make(world, ScriptedVendor(), schemas=schemas)
    result = provider.fetch(BTC, *DAY)
    assert result.receipt.schema_id == f"{subject}:1"
    # Whoever promotes the subject needs to know nothing of the world, and the world nothing of the promotion.
    schemas.records().decide(subject, Decision(clock.now(), "promote", 1, "", "1:0"))
    strict = make(world, ScriptedVendor(), schemas=schemas, store=provider.store)
    with pytest.raises(qmtl.SchemaValidationError) as refused:
        strict.fetch(BTC, *DAY)
    assert refused.value.subject == subject


def test_a_vendor_that_cannot_be_made_is_named_by_its_preset(make: Make) -> None:
    own = """\
    definitions:
      - {preset: mine, series: "ohlcv:mine:{symbol}:1h", vendor: {kind: ccxt, exchange: binanse}}
"""
    provider = make(FILES.replace("ohlcv.files, timeframe: 1h", "mine") + own)
    with pytest.raises(qmtl.SettingsError) as refused:
        provider.fetch("ohlcv:mine:X:1h", *DAY)
    message = str(refused.value)
    assert "the vendor of the preset mine" in message
    assert "world.yml:7:9" in message
    assert "did you mean binance" in message


def test_inputs_with_the_same_vendor_share_it(make: Make) -> None:
    three = (
        WORLD.format(seamless="")
        + """\
      - {id: b, preset: ohlcv.binance.spot.1h, universe: {symbols: [BTC/USDT]}}
      - {id: c, preset: ohlcv.kraken.spot.1m, universe: {symbols: [BTC/USD]}}
"""
    )
    table = make(three)._parts.profiles.table
    minutes, hours = (
        table.vendor(SeriesId.parse(f"ohlcv:binance:BTC/USDT:{frame}")) for frame in ("1m", "1h")
    )
    assert minutes is hours
    kraken = table.vendor(SeriesId.parse("ohlcv:kraken:BTC/USD:1m"))
    assert getattr(kraken, "name", None) == "ccxt:kraken"
