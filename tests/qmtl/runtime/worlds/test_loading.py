"""A world file resolves to its inputs; every slip is told with file, line, column and the nearest name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError, SettingsError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.times import to_ns
from qmtl.foundation.vendor_settings import CcxtSource, FilesSource
from qmtl.runtime.worlds.loading import load_world
from qmtl.runtime.worlds.window import Window
from qmtl.runtime.worlds.world import LivePolicy, World, WorldPreset

# The example of the guide, with every field there is.
EXAMPLE = """\
version: 1
world:
  id: crypto-majors
  data:
    presets:
      - id: majors
        preset: ohlcv.binance.spot.1m
        universe: {symbols: [BTC/USDT, ETH/USDT]}
        window: {warmup_bars: 500, min_history: 30d, backfill_start: 2024-01-01}
        seamless: {sla_preset: baseline, conformance_preset: strict-blocking, backfill_mode: background,
          stabilization_bars: 2, publish_fingerprint: true}
        live: {max_lag: 30s, allow_partial: false}
"""
ENTRY = """\
world:
  id: w
  data:
    presets:
      - id: a
        preset: {preset}
        universe: {{symbols: [{symbols}]}}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "world.yml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def entry(write: Write) -> Callable[..., WorldPreset]:
    """The one input of a world, with these lines added to its entry."""

    def entry(*lines: str, preset: str = "ohlcv.binance.spot.1m", symbols: str = "BTC/USDT") -> WorldPreset:
        text = ENTRY.format(preset=preset, symbols=symbols)
        return load_world(write(text + "".join(f"        {line}\n" for line in lines))).presets[0]

    return entry


def test_every_field_of_a_world(write: Write) -> None:
    path = write(EXAMPLE)
    world = load_world(path)
    assert (world.id, world.path) == ("crypto-majors", path)
    (majors,) = world.presets
    assert (majors.id, majors.preset, majors.origin) == ("majors", "ohlcv.binance.spot.1m", "qmtl")
    names = ["ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ETH/USDT:1m"]
    assert [one.text for one in majors.series] == names
    assert majors.members == {*names}
    assert world.series == majors.series
    assert majors.pattern == "ohlcv:binance:*:1m"
    assert majors.vendor == CcxtSource(kind="ccxt", exchange="binance")
    assert majors.facts == SeriesFacts(calendar="24x7")
    assert majors.window == Window(500, 30 * 86_400.0, to_ns("2024-01-01"), stabilization_bars=2)
    assert (majors.sla_preset, majors.conformance_preset) == ("baseline", "strict-blocking")
    assert (majors.backfill_mode, majors.strategy) == ("background", "PARTIAL_FILL")
    assert majors.publish_fingerprint is True
    assert majors.live == LivePolicy(30.0, allow_partial=False)
    assert majors.schema_subject == "ohlcv.binance.1m"
    assert load_world(world) is world


def test_what_a_world_leaves_out_is_as_the_preset_says_and_else_the_default(
    entry: Callable[..., WorldPreset],
) -> None:
    plain = entry()
    assert plain.window == Window(min_history=30 * 86_400.0), "that of the preset"
    assert plain.live == LivePolicy(120.0, allow_partial=False)
    assert (plain.sla_preset, plain.conformance_preset) == ("baseline", "strict-blocking")
    assert (plain.backfill_mode, plain.publish_fingerprint) == ("foreground", False)


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("window: {warmup_bars: 7}", "window", Window(7, 30 * 86_400.0)),
        ("window: {min_history: 2h}", "window", Window(min_history=7_200.0)),
        ("window: {backfill_start: 2024-01-01T06:00:00Z}", "window", None),
        ("seamless: {sla_preset: permissive}", "sla_preset", "permissive"),
        ("seamless: {conformance_preset: observe}", "conformance_preset", "observe"),
        ("seamless: {backfill_mode: never}", "strategy", "FAIL_FAST"),
        ("seamless: {backfill_mode: foreground}", "strategy", "SEAMLESS"),
        ("seamless: {stabilization_bars: 3}", "window", Window(0, 30 * 86_400.0, None, 3)),
        ("seamless: {publish_fingerprint: true}", "publish_fingerprint", True),
        ("live: {max_lag: 5m}", "live", LivePolicy(300.0, False)),
        ("live: {allow_partial: true}", "live", LivePolicy(120.0, True)),
        ("seamless: {sla_preset: null}", "sla_preset", "baseline"),
    ],
)
def test_each_field_overrides_the_preset(
    entry: Callable[..., WorldPreset], line: str, attribute: str, value: Any
) -> None:
    if value is None:
        value = Window(backfill_start=to_ns("2024-01-01T06:00Z"))  # without the default of the preset
    assert getattr(entry(line), attribute) == value


def test_a_preset_that_leaves_the_timeframe_open(entry: Callable[..., WorldPreset], tmp_path: Path) -> None:
    files = entry("timeframe: 1d", preset="ohlcv.files", symbols="AAPL")
    assert files.series[0].text == "ohlcv:files:AAPL:1d"
    assert isinstance(files.vendor, FilesSource)
    assert files.vendor.path == str(tmp_path / "data/{symbol}-{timeframe}.csv"), "beside the world file"


OWN = """\
preset: mine.daily
series: "ohlcv:desk:{symbol}:1d"
vendor: {kind: files, path: "bars/{symbol}.csv"}
calendar: XNYS
has_volume: false
subject: desk-bars
seamless: {sla_preset: tolerant-partial}
"""


def test_a_preset_of_ones_own_in_a_folder(write: Write, tmp_path: Path) -> None:
    write(OWN, "presets/daily.yml")
    world = load_world(
        write(ENTRY.format(preset="mine.daily", symbols="AAPL") + "    preset_folder: presets\n")
    )
    (mine,) = world.presets
    assert mine.origin == str(tmp_path / "presets/daily.yml")
    assert mine.facts == SeriesFacts(calendar="XNYS", has_volume=False)
    assert (mine.subject, mine.schema_subject, mine.sla_preset) == ("desk-bars",) * 2 + ("tolerant-partial",)
    assert isinstance(mine.vendor, FilesSource)
    assert mine.vendor.path == str(tmp_path / "presets/bars/{symbol}.csv"), "beside its own file"


def test_a_preset_of_ones_own_in_the_world(write: Write, tmp_path: Path) -> None:
    own = "".join(f"        {line}\n" for line in OWN.splitlines()).replace(
        "        preset:", "      - preset:", 1
    )
    path = write(ENTRY.format(preset="mine.daily", symbols="AAPL") + "    definitions:\n" + own)
    (mine,) = load_world(path).presets
    assert mine.origin == f"{path}:9:9"
    assert isinstance(mine.vendor, FilesSource)
    assert mine.vendor.path == str(tmp_path / "bars/{symbol}.csv")


def test_a_world_of_ten_thousand_series(write: Write) -> None:
    symbols = ", ".join(f"S{n}/USDT" for n in range(10_000))
    began = time.process_time()
    world = load_world(write(ENTRY.format(preset="ohlcv.binance.spot.1m", symbols=symbols)))
    assert len(world.series) == 10_000
    assert time.process_time() - began < 30, "some two seconds, of which YAML takes the most"


def test_an_input_is_found_by_its_id(write: Write) -> None:
    world = load_world(write(EXAMPLE))
    assert world.preset("majors") is world.presets[0]
    with pytest.raises(InvalidRequestError) as refused:
        world.preset("major")
    assert refused.value.what == "there is no preset in the world 'crypto-majors' with the id 'major'"
    assert refused.value.next_step == "did you mean 'majors'?"


def slip(old: str, new: str) -> str:
    assert old in EXAMPLE
    return EXAMPLE.replace(old, new)


TWO = """\
      - id: {id}
        preset: ohlcv.binance.spot.1m
        universe: {{symbols: [{symbol}]}}
"""


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (
            slip("spot.1m", "spot.1mm"),
            "7:9",
            ["there is no preset 'ohlcv.binance.spot.1mm'", "did you mean 'ohlcv.binance.spot.1m'?"],
        ),
        (
            EXAMPLE + TWO.format(id="majors", symbol="XRP/USDT"),
            "13:9",
            ["two presets have the id 'majors'", "give one of them another id"],
        ),
        (
            EXAMPLE + TWO.format(id="more", symbol="ETH/USDT"),
            "15:30",
            ["ohlcv:binance:ETH/USDT:1m belongs to the preset 'majors' already"],
        ),
        (
            slip("warmup_bars", "warmup_bar"),
            "9:18",
            ["the key 'world.data.presets[0].window.warmup_bar' is not known", "did you mean 'warmup_bars'?"],
        ),
        (slip("  data:", "  dta:"), "4:3", ["'world.dta' is not known", "did you mean 'data'?"]),
        (slip("world:", "wrld:"), "2:1", ["'wrld' is not known", "did you mean 'world'?"]),
        (slip("version: 1", "version: 2"), "1:1", ["version 2", "reads version 1"]),
        (slip("version: 1", "version: true"), "1:1", ["version True"]),
        (slip("sla_preset: baseline", "sla_preset: base"), "10:20", ["no SLA preset 'base'", "'baseline'?"]),
        (
            slip("strict-blocking", "strict"),
            "10:42",
            ["no conformance preset 'strict'", "did you mean 'strict-blocking'?"],
        ),
        (slip("background", "off"), "10:79", ["no backfill mode False", "foreground, background, never"]),
        (slip("30d", "a month"), "9:36", ["min_history", "'a month' is not a duration"]),
        (slip("backfill_start: 2024-01-01", "backfill_start: 20240101"), "9:54", ["20240101 is not a date"]),
        (slip("warmup_bars: 500", "warmup_bars: -1"), "9:18", ["greater than or equal to 0"]),
        (slip("warmup_bars: 500", "warmup_bars: true"), "9:18", ["valid integer"]),
        (slip("bars: 2,", "bars: 2.5,"), "11:11", ["valid integer"]),
        (slip("fingerprint: true", "fingerprint: 1"), "11:34", ["valid boolean"]),
        (slip("ETH/USDT", "BTC/USDT"), "8:20", ["the symbol 'BTC/USDT' is named twice"]),
        (slip("ETH/USDT", "ON"), "8:40", ["a symbol is read as True", "write it in quotes"]),
        (slip("ETH/USDT", "0700"), "8:40", ["a symbol is read as 448"]),
        (slip("ETH/USDT", "' '"), "8:40", ["the symbol ' ' is empty, padded"]),
        (slip("[BTC/USDT, ETH/USDT]", "[]"), "8:20", ["at least 1 item"]),
        (slip("        live:", "        timeframe: 1m\n        live:"), "12:9", ["has a timeframe already"]),
        (slip("id: crypto-majors", "id: a b"), "3:3", ["'world.id'"]),
        (slip("    presets:", "    preset_folder: nowhere\n    presets:"), "5:5", ["there is no folder"]),
        (slip("id: majors\n", "id: majors\n        id: b\n"), "7:9", ["the key 'id' is given twice"]),
        ("- world\n", "1:1", ["no sections with keys, such as `world:`"]),
        ("world: {id: x}\n", "1:1", ["'world' needs 'data'"]),
        ("", "", ["needs 'world'"]),
    ],
)
def test_slips(write: Write, text: str, place: str, says: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        load_world(write(text))
    message = str(refused.value)
    assert f"world.yml:{place}" in message if place else "world.yml" in message
    for part in says:
        assert part in message, message


def test_yaml_whose_anchors_explode_is_refused_at_once(write: Write) -> None:
    levels = [f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}]" for n in range(1, 40)]
    with pytest.raises(SettingsError, match="more than 100,000 values"):
        load_world(write("\n".join(["b0: &b0 [x, x]", *levels])))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{symbol}:1d", "AAPL:1d", "does not hold {symbol} once"),
        ("{symbol}:1d", "{symbol}:1x", "timeframe '1x' is not known"),
        ("kind: files, path:", "kind: files, paht:", "did you mean 'path'?"),
        ("kind: files,", "kind: file,", "'ccxt', 'files'"),
        ("calendar:", "calender:", "did you mean 'calendar'?"),
        ("subject:", "feed: {kind: websocket}\nsubject:", "a preset cannot name a live feed yet"),
        ("preset: mine.daily", "preset: ohlcv.files", "there are two presets 'ohlcv.files'"),
    ],
)
def test_slips_in_a_preset_of_ones_own(write: Write, old: str, new: str, says: str) -> None:
    assert old in OWN
    write(OWN.replace(old, new), "presets/daily.yml")
    with pytest.raises(InvalidRequestError) as refused:
        load_world(write(ENTRY.format(preset="mine.daily", symbols="AAPL") + "    preset_folder: presets\n"))
    assert says in str(refused.value)
    assert "daily.yml" in str(refused.value)


def test_a_world_is_a_value(write: Write) -> None:
    assert load_world(write(EXAMPLE)) == load_world(write(EXAMPLE))
    assert isinstance(load_world(write(EXAMPLE)), World)
