"""`qmtl world`: from a file to a plan, to bars, and every slip with its place; `qmtl presets` beside it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.times import to_ns
from qmtl.runtime.testing import ScriptedVendor
from tests.qmtl.command_line import CommandLine

Vendor = Callable[..., ScriptedVendor]

TEXT = """\
world:
  id: majors-of-mine
  data:
    presets:
      - id: majors
        preset: ohlcv.binance.spot.1h
        universe: {symbols: [BTC/USDT, ETH/USDT]}
        window: {backfill_start: 2024-01-01}
        seamless: {sla_preset: baseline, publish_fingerprint: true}
"""


@pytest.fixture(autouse=True)
def afternoon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows end now, early in an hour and in the middle of New York's day.

    By the machine's clock an hour may close between two questions; and in winter New York's day is not over
    for an hour after midnight UTC, so that polygon does not answer for its bar yet.
    """
    ahead = to_ns("2026-03-18T18:05:00Z") - time.time_ns()
    monkeypatch.setattr(SystemClock, "now", staticmethod(lambda: time.time_ns() + ahead))


@pytest.fixture
def world(cli: CommandLine) -> Path:
    path = cli.folder / "world.yml"
    path.write_text(TEXT)
    return path


def test_a_world_that_can_be_used(cli: CommandLine, world: Path) -> None:
    result = cli.run("world", "validate", world)
    assert (result.exit_code, result.stdout) == (
        0,
        f"{world}: the world majors-of-mine has 1 preset of 2 series together\n",
    )
    said = cli.json("world", "validate", world)
    assert (said["presets"], len(said["series"])) == (["majors"], 2)


def test_a_slip_ends_with_2_and_its_place(cli: CommandLine, world: Path) -> None:
    world.write_text(TEXT.replace("sla_preset", "sla_prest"))
    result = cli.run("world", "validate", world)
    assert result.exit_code == 2
    assert f"{world}:9:20: the key 'world.data.presets[0].seamless.sla_prest' is not known" in result.stderr
    assert "did you mean 'sla_preset'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_follows_from_a_world(cli: CommandLine, world: Path) -> None:
    (shown,) = cli.json("world", "show", world)["presets"]
    assert shown["series"] == ["ohlcv:binance:BTC/USDT:1h", "ohlcv:binance:ETH/USDT:1h"]
    assert (shown["vendor"], shown["schema"]) == ("ccxt:binance", "ohlcv.binance.1h")
    assert (shown["backfill_start"], shown["publish_fingerprint"]) == ("2024-01-01", True)
    assert shown["budgets"]["sync_gap"] == 10_000
    text = cli.run("world", "show", world).stdout
    assert "conformance  strict-blocking: warnings and errors that nobody has accepted raise" in text
    assert "declared     calendar 24x7" in text


def test_a_plan_makes_no_store_and_asks_nobody(cli: CommandLine, world: Path, vendor: Vendor) -> None:
    asked = vendor()
    result = cli.run("world", "plan", world)
    assert result.exit_code == 0, result.output
    assert "bars nobody has answered for; 'qmtl world apply' asks for them" in result.stdout
    assert asked.calls == []
    assert not cli.store.exists()
    plan = cli.json("world", "plan", world)
    (one,) = plan["presets"]
    assert (plan["ready"], one["ready"]) == (False, False)
    assert (
        one["to_fetch"] == one["bars"] == 2 * one["series"]["ohlcv:binance:BTC/USDT:1h"]["bars"] > 2 * 8_000
    )
    assert [check["subject"] for check in one["readiness"]] == [
        *("vendor", "coverage", "freshness", "conformance", "schema")
    ]


def test_a_plan_tells_requests_and_time_by_the_limits_of_the_exchange(cli: CommandLine, world: Path) -> None:
    pytest.importorskip("ccxt", reason="needs qmtl[ccxt]")
    (one,) = cli.json("world", "plan", world)["presets"]
    assert (one["source"], one["bars_a_request"], one["requests_a_second"]) == ("ccxt:binance", 1000, 20.0)
    assert one["requests"] >= one["to_fetch"] // 1000
    assert one["seconds"] == one["requests"] / 20.0
    assert one["bytes"] == pytest.approx(6.6 * one["to_fetch"], abs=2)
    assert "ccxt:binance (1,000 bars a request, 20 a second)" in cli.run("world", "plan", world).stdout


def test_a_world_is_applied_and_then_ready(cli: CommandLine, world: Path, vendor: Vendor) -> None:
    vendor()
    result = cli.json("world", "apply", world)
    (applied,) = result["applied"]
    counts = applied["counts"]["ohlcv:binance:BTC/USDT:1h"]
    assert (counts["unknown"], counts["present"] > 8_000) == (0, True)
    assert len(applied["fingerprints"]) == 2
    assert (result["failures"], result["presets"][0]["to_fetch"]) == ([], 0)
    assert result["bytes_per_bar_measured"] is True
    text = cli.run("world", "apply", world).stdout
    assert "all that is expected" in text
    assert applied["fingerprints"]["ohlcv:binance:BTC/USDT:1h"] in text


def test_what_fails_where_partial_answers_are_not_welcome_ends_with_its_code(
    cli: CommandLine, world: Path
) -> None:
    cli.config.write_text(
        "seamless:\n  vendors:\n    - {match: '*BTC*', kind: files, path: 'lost/{symbol}.csv'}\n"
        "    - {match: '*', kind: files, path: 'lost-too/{symbol}.csv'}\n"
    )
    result = cli.run("world", "apply", world)
    assert (result.exit_code, "there is no file" in result.stderr) == (2, True), result.output
    world.write_text(TEXT.replace("baseline", "tolerant-partial"))
    result = cli.run("world", "apply", world)
    assert result.exit_code == 0, result.output
    assert "2 series failed; the others went on:" in result.stdout
    assert len(cli.json("world", "apply", world)["applied"][0]["errors"]) == 2


def test_detached_work_needs_a_coordinator(cli: CommandLine, world: Path) -> None:
    result = cli.run("world", "apply", world, "--detach")
    assert result.exit_code == 2
    assert "no coordinator is named" in result.stderr


def test_the_worlds_of_a_folder(cli: CommandLine, world: Path) -> None:
    (cli.folder / "broken.yml").write_text(TEXT.replace("  id: majors-of", "  di: majors-of"))
    (cli.folder / "other.yaml").write_text("- 1\n")
    found = cli.json("world", "list")
    assert [(Path(one["file"]).name, one["world"], one["series"]) for one in found] == [
        ("broken.yml", None, None),
        ("world.yml", "majors-of-mine", 2),
    ]
    assert "'world.di' is not known" in found[0]["problem"]
    assert "majors-of-mine" in cli.run("world", "list", cli.folder).stdout
    empty = cli.folder / "empty"
    empty.mkdir()
    assert cli.run("world", "list", empty).stdout == f"no world file in {empty}\n"
    assert cli.run("world", "list", empty / "x").exit_code == 2


def test_the_schema_for_editors(cli: CommandLine) -> None:
    schema = json.loads(cli.run("world", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"version", "world"} == {*schema["properties"]}


def test_presets_are_listed_and_shown(cli: CommandLine) -> None:
    listed = cli.json("presets", "list")
    assert "ohlcv.binance.spot.1m" in {one["preset"] for one in listed}
    assert {one["from"] for one in listed} == {"qmtl"}
    shown = cli.run("presets", "show", "ohlcv.kraken.spot.1m").stdout
    assert "# from qmtl\npreset: ohlcv.kraken.spot.1m\n" in shown
    refused = cli.run("presets", "show", "ohlcv.krakn.spot.1m")
    assert (refused.exit_code, "did you mean 'ohlcv.kraken.spot.1m'?" in refused.stderr) == (2, True)


def test_presets_of_ones_own_are_listed_too(cli: CommandLine, world: Path) -> None:
    own = cli.folder / "presets"
    own.mkdir()
    (own / "mine.yml").write_text('preset: mine\nmeaning: of the desk\nseries: "ohlcv:mine:{symbol}:1d"\n')
    by_folder = cli.json("presets", "show", "mine", "--folder", own)
    assert by_folder == {
        "from": str(own / "mine.yml"),
        "preset": "mine",
        "meaning": "of the desk",
        "series": "ohlcv:mine:{symbol}:1d",
    }
    world.write_text(TEXT.replace("    presets:", "    preset_folder: presets\n    presets:"))
    assert "mine" in {one["preset"] for one in cli.json("presets", "list", "--world", world)}
    assert cli.run("presets", "list", "--world", world, "--folder", own).exit_code == 2


def test_a_world_of_us_equities_against_a_simulated_polygon(
    cli: CommandLine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp", reason="needs qmtl[testing]")
    from qmtl.runtime.testing import SimulatedPolygon

    world.write_text(
        TEXT.replace("ohlcv.binance.spot.1h", "ohlcv.polygon.us_equity.1d").replace(
            "BTC/USDT, ETH/USDT", "AAPL"
        )
    )
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.folder / "state"))
    result = cli.run("world", "apply", world)
    assert (result.exit_code, "the variable POLYGON_API_KEY is not set" in result.stderr) == (7, True), (
        result.output
    )
    with SimulatedPolygon(page_rows=100) as server:
        monkeypatch.setenv("POLYGON_API_KEY", server.key)
        cli.config.write_text(
            "seamless:\n  vendors:\n"
            f"    - {{match: 'ohlcv:polygon:*', kind: polygon, url: '{server.url}', per_minute: 60000}}\n"
        )
        (planned,) = cli.json("world", "plan", world)["presets"]
        assert (planned["source"], planned["bars_a_request"], planned["requests"]) == ("polygon", 50_000, 1)
        applied = cli.run("world", "apply", world, before=("-v",))
        assert applied.exit_code == 0, applied.output
        assert server.key not in applied.output
        (after,) = cli.json("world", "plan", world)["presets"]
    assert after["answered"] == after["bars"] > 500
    assert {check["subject"]: check["outcome"] for check in after["readiness"]}["coverage"] == "ok"


def test_the_requests_of_a_plan_are_those_of_applying_it_and_a_symbol_that_is_not_there_stops_no_other(
    cli: CommandLine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ccxt, against a simulated exchange."""
    pytest.importorskip("ccxt", reason="needs qmtl[ccxt]")
    pytest.importorskip("aiohttp", reason="needs qmtl[testing]")
    from qmtl.runtime.testing import SimulatedExchange

    monkeypatch.setenv("XDG_STATE_HOME", str(cli.folder / "state"))
    lost = TEXT.replace("ETH/USDT", "NO/SUCH")
    world.write_text(lost)
    with SimulatedExchange(["BTC/USDT"]) as exchange:
        cli.config.write_text(
            "seamless:\n  vendors:\n"
            f"    - {{match: 'ohlcv:binance:*', kind: ccxt, exchange: binance, urls: '{exchange.url}'}}\n"
        )
        (planned,) = cli.json("world", "plan", world)["presets"]
        assert exchange.requests == []
        refused = cli.run("world", "apply", world)
        assert (refused.exit_code, "binance has no symbol 'NO/SUCH'" in refused.stderr) == (2, True)
        world.write_text(lost.replace("baseline", "tolerant-partial"))
        applied = cli.json("world", "apply", world)["applied"][0]
        asked = exchange.count()
    assert [*applied["errors"]] == ["ohlcv:binance:NO/SUCH:1h"]
    assert applied["counts"]["ohlcv:binance:BTC/USDT:1h"]["unknown"] == 0
    least = planned["series"]["ohlcv:binance:BTC/USDT:1h"]["requests"]
    assert least <= asked <= least + 4, "some pages may have been asked for before the other series failed"


def test_all_series_of_an_input_share_one_bar() -> None:
    from qmtl.foundation.series import SeriesId
    from qmtl.interfaces.cli.world import _OneBar
    from qmtl.runtime.ingest.backfill_result import Progress

    seen: list[tuple[str, int, int | None]] = []

    class Shown:
        def advance(self, name: str, done: int, total: int | None) -> None:
            seen.append((name, done, total))

    bar = _OneBar(Shown(), "majors")  # type: ignore[arg-type]
    btc, eth = (SeriesId.parse(f"ohlcv:a:{name}:1m") for name in ("BTC", "ETH"))
    for progress in (Progress(btc, 1, 10), Progress(eth, 0, 5), Progress(btc, 4, 10), Progress(eth, 5, 5)):
        bar.backfilled(progress)
    assert seen == [
        ("majors bars", 1, 10),
        ("majors bars", 1, 15),
        ("majors bars", 4, 15),
        ("majors bars", 9, 15),
    ]


OWN = """\
world:
  id: w1
  data:
    definitions:
      - preset: desk.1d
        series: "ohlcv:desk:{symbol}:1d"
        vendor: {kind: files, path: "{symbol}.csv"}
        calendar: 24x7
    presets:
      - id: stocks
        preset: desk.1d
        universe: {symbols: [AAA, BBB]}
        window: {warmup_bars: 5, backfill_start: 2024-01-01}
"""
WINDOW = "warmup_bars: 5, backfill_start: 2024-01-01"
VENDOR = '{kind: files, path: "{symbol}.csv"}'


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("24x7", "XNYZ", ":10:9: the calendar 'XNYZ' is not known"),
        ("24x7", "desk", ":10:9: the calendar 'desk' is not known"),
        (
            WINDOW,
            "backfill_start: 2150-01-01",
            ":10:9: history begins at 2150-01-01, where no bar has closed",
        ),
        (WINDOW, "warmup_bars: 50000, backfill_start: 2024-01-01", "is longer than history"),
        (WINDOW, "min_history: 40000d, backfill_start: 2024-01-01", "before backfill_start"),
        (WINDOW, "min_history: 1000000000d", "reaches back beyond 1677-09-22"),
        (WINDOW, f"warmup_bars: {10**12}", "fewer than 1,000,000,000,000 bars"),
        (WINDOW, f"warmup_bars: {10**30}", "fewer than 1,000,000,000,000,000,"),
        ("    universe", f"    seamless: {{stabilization_bars: {10**9}}}\n        universe", "fewer than"),
        ("1d", "1x", "1x"),
        ("{symbol}:1d", "{symbol}}:1d", "has a '}' that belongs to no field"),
        ("{symbol}:1d", "{symbol}-{timefram}:1d", "has a '{' that belongs to no field"),
        ("calendar: 24x7", "calendar: 24x7\n        calendar: FX", "is given twice"),
        ("calendar: 24x7", "anchor: open", "cannot be used"),
        ("[AAA, BBB]", "[AAA", "this is not YAML"),
        ("warmup_bars: 5", "warmup_bars: -5", "cannot be used"),
        (OWN, "- a\n", "holds no sections"),
        (OWN, "", "needs 'world'"),
    ],
)
def test_what_a_plan_refuses_is_not_valid(cli: CommandLine, before: str, after: str, says: str) -> None:
    path = cli.folder / "own.yml"
    path.write_text(OWN.replace(before, after))
    for command in ("validate", "plan"):
        result = cli.run("world", command, path)
        assert result.exit_code == 2, result.output
        assert says in " ".join(result.stderr.split()), command
        assert "next:" in result.stderr


@pytest.mark.parametrize(
    ("vendor", "says"),
    [
        ('{kind: files, path: "{sym}.csv"}', "has a field {sym} that is not known"),
        ('{kind: files, path: "{symbol.csv"}', "has a '{' that belongs to no field"),
        ('{kind: files, path: "symbol}.csv"}', "has a '}' that belongs to no field"),
        ('{kind: files, path: "{{symbol}}.csv"}', "has a '{' that belongs to no field"),
        ('{kind: files, path: "a.csv", where: {ticker: "{symbol"}}', "has a '{' that belongs to no field"),
        ('{kind: files, path: "s3://bars/{symbol}.csv"}', "is not served"),
        ('{kind: files, path: "a.csv", where: {ticker: "{sym}"}}', "has a field {sym} that is not known"),
        ('{kind: files, path: "a.csv", tz: Mars}', "the time zone 'Mars' is not known"),
        ('{kind: python, object: "no.such:thing"}', "there is no module no"),
        ("{kind: polygon, url: nohttp}", "is not a URL of HTTP"),
    ],
)
def test_a_vendor_that_cannot_be_made_is_not_valid(cli: CommandLine, vendor: str, says: str) -> None:
    path = cli.folder / "own.yml"
    path.write_text(OWN.replace(VENDOR, vendor))
    result = cli.run("world", "validate", path)
    assert result.exit_code == 2, result.output
    text = " ".join(result.stderr.split())
    assert f"the vendor of the preset desk.1d ({path}:5:9) cannot be made" in text
    assert says in text
    assert "next:" in result.stderr
    assert cli.run("world", "plan", path).exit_code == 0, "which lists it beside all else"


def test_a_package_that_is_not_there_says_nothing_of_a_world(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cli.folder / "own.yml"
    path.write_text(OWN.replace(VENDOR, "{kind: ccxt, exchange: binance}"))
    monkeypatch.setitem(sys.modules, "ccxt", None)
    monkeypatch.setitem(sys.modules, "ccxt.async_support", None)
    assert cli.run("world", "validate", path).exit_code == 0
    assert not cli.store.exists(), "and no store is made"
