"""From `world.data.presets[]` follow the provider, the series and the policies of a strategy's inputs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from qmtl import (
    Bar,
    InvalidRequestError,
    MissingDataError,
    Portfolio,
    Runner,
    Span,
    Strategy,
    StreamInput,
    node,
)
from qmtl.foundation.times import HOUR, to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.testing import synthetic_bars
from qmtl.runtime.worlds.loading import load_world

FIRST, START, END = (to_ns(day) for day in ("2024-02-01", "2024-03-02", "2024-03-04"))
WORLD = """\
world:
  id: desk
  data:
    presets:
      - id: majors
        preset: ohlcv.files
        timeframe: 1h
        universe: {symbols: [BTC, ETH]}
        window: {warmup_bars: 100, min_history: 1d}
"""
SECOND = """\
      - id: index
        preset: ohlcv.files
        timeframe: 4h
        universe: {symbols: [INDEX]}
        window: {min_history: 1d}
"""
STRATEGY = """\
import polars as pl
import qmtl


class Cross(qmtl.Strategy):
    price = qmtl.StreamInput(preset="majors", window=20)
    fast = qmtl.node(price, pl.col("close").tail(5).mean())
    slow = qmtl.node(price, pl.col("close").mean())

    def on_bar(self, bar, portfolio):
        portfolio.target(bar.series, 0.5 if self.fast > self.slow else 0.0)
"""


class Cross(Strategy):
    price = StreamInput(preset="majors", window=20)
    fast = node(price, pl.col("close").tail(5).mean())
    slow = node(price, pl.col("close").mean())

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, 0.5 if self.fast > self.slow else 0.0)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a world, its files, a strategy, and settings that name an empty store."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for symbol, timeframe in (("BTC", "1h"), ("ETH", "1h"), ("INDEX", "4h")):
        bars = synthetic_bars(f"ohlcv:files:{symbol}:{timeframe}", Span(FIRST, END))
        bars.write_csv(f"data/{symbol}-{timeframe}.csv")
    Path("qmtl.yml").write_text("seamless: {store: bars}\n")
    Path("world.yml").write_text(WORLD)
    Path("cross.py").write_text(STRATEGY)
    return tmp_path


class TestRunnerCLIBuildsAnSDPInstance:
    """Its name and that of each test are one sentence."""

    def test_from_presets_and_data_specs_and_injects_it_into_stream_inputs_when_a_world_is_specified(
        self, desk: Path
    ) -> None:
        result = Runner.submit(Cross, world="world.yml", start=START, end=END)
        assert result.figures.bars == 2 * 48
        assert {part.series for part in result.proof.read} == {"ohlcv:files:BTC:1h", "ohlcv:files:ETH:1h"}
        assert min(part.span.start for part in result.proof.read) == START - 100 * HOUR, "the warm-up"
        assert {part.schema_id for part in result.proof.read} != {"unknown"}
        assert Path("bars").is_dir(), "the store of the settings"

    def test_from_presets_and_data_specs_and_injects_it_into_stream_inputs_when_a_world_is_specified_to_cli(
        self, desk: Path
    ) -> None:
        run = CliRunner().invoke(
            app,
            ["submit", "cross.py", "--world", "world.yml", "--start", "2024-03-02", "--end", "2024-03-04",
             "--proof", "proof.json", "--report", "report.html"],
        )  # fmt: skip
        assert run.exit_code == 0, run.output
        assert "<h1>cross.py:Cross</h1>" in Path("report.html").read_text("utf-8")
        assert "strategy     cross.py:Cross" in run.output
        assert "bars         96, from 2024-03-02T01:00:00Z to 2024-03-04\n" in run.output
        proof = json.loads(Path("proof.json").read_text())
        same = Runner.submit(Cross, world="world.yml", start=START, end=END).proof
        assert proof["outcome"] == same.outcome
        assert proof["read"] == [part.to_json() for part in same.read]


def test_a_proof_of_a_command_is_verified_by_a_command(desk: Path) -> None:
    runner = CliRunner()
    run = runner.invoke(
        app,
        ["submit", "cross.py", "--world", "world.yml", "--start", "2024-03-02", "--end", "2024-03-04",
         "--proof", "proof.json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    run = runner.invoke(app, ["replay", "verify", "proof.json"])
    assert run.exit_code == 0, run.output
    assert "verified     proof.json: the same bars, the same fills, the same equity\n" in run.output
    assert json.loads(runner.invoke(app, ["--json", "replay", "verify", "proof.json"]).stdout)["verified"]
    proof = json.loads(Path("proof.json").read_text())
    Path("older.json").write_text(json.dumps(proof | {"versions": proof["versions"] | {"numpy": "0.1"}}))
    older = runner.invoke(app, ["replay", "verify", "older.json"])
    assert older.exit_code == 0, older.output
    assert f"beside       numpy: {proof['versions']['numpy']} now, 0.1 in the proof\n" in older.output
    [beside] = json.loads(runner.invoke(app, ["--json", "replay", "verify", "older.json"]).stdout)["beside"]
    assert beside.startswith("numpy: ")
    Path("other.py").write_text(STRATEGY.replace("0.5 if", "0.25 if"))
    run = runner.invoke(app, ["replay", "verify", "proof.json", "--strategy", "other.py"])
    assert run.exit_code == 4, run.output
    assert "the run of cross.py:Cross does not repeat its proof" in run.output
    assert "strategy: other.py:Cross now, cross.py:Cross in the proof; source: blake3:" in run.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no file proof.json"),
        ("{", "proof.json cannot be read as JSON"),
        ("[]", "proof.json is no proof"),
        ("{}", "proof.json does not say from which file its strategy came"),
        ('{"submitted": {"strategy": "cross.py"}}', "the proof has the format None"),
        ('{"format": 1, "submitted": {"strategy": "cross.py"}}', "is no proof"),
        ('{"format": 9, "submitted": {"strategy": "cross.py"}}', "has the format 9"),
        ('{"format": 1, "submitted": 5}', "submitted: 5 is not what was submitted"),
    ],
)
def test_what_is_no_proof_is_refused(desk: Path, text: str | None, says: str) -> None:
    if text is not None:
        Path("proof.json").write_text(text)
    run = CliRunner().invoke(app, ["replay", "verify", "proof.json"])
    assert run.exit_code == 2, run.output
    assert says in run.output


def test_a_bar_that_fails_names_the_command_that_runs_it_alone(desk: Path) -> None:
    fails = "        if bar.ts == 1709427600000000000:\n            raise KeyError('here')\n"
    Path("cross.py").write_text(
        STRATEGY.replace("        portfolio.target", f"{fails}        portfolio.target")
    )
    runner = CliRunner()
    run = runner.invoke(
        app, ["submit", "cross.py", "--world", "world.yml", "--start", "2024-03-02", "--end", "2024-03-04"]
    )
    assert run.exit_code == 2, run.output
    assert "on_bar raised KeyError: 'here'" in run.output
    assert "2024-03-03T01:00:00Z" in run.output
    assert "with fast " in run.output
    [_, command] = " ".join(run.output.split()).split("run this bar alone: qmtl ")
    words = shlex.split(command)
    assert words[:6] == ["submit", "cross.py", "--world", "world.yml", "--start", "2024-03-03T01:00:00Z"]
    again = runner.invoke(app, words)
    assert again.exit_code == 2, again.output
    assert again.output.split("raised")[1].split("with")[0] == run.output.split("raised")[1].split("with")[0]


def test_an_input_without_a_name_takes_the_only_preset_or_that_of_the_run(desk: Path) -> None:
    class Any(Cross):
        price = StreamInput(window=20)
        fast = node(price, pl.col("close").mean())
        slow = node(price, pl.col("open").mean())

    one = Runner.submit(Any, world="world.yml", start=START, end=END)
    assert {part.series for part in one.proof.read} == {"ohlcv:files:BTC:1h", "ohlcv:files:ETH:1h"}
    Path("world.yml").write_text(WORLD + SECOND)
    with pytest.raises(InvalidRequestError, match=r"names no preset, and the world 'desk' has 2") as caught:
        Runner.submit(Any, world="world.yml", start=START, end=END)
    assert "majors, index" in str(caught.value)
    index = Runner.submit(Any, world="world.yml", data_preset="index", start=START, end=END)
    assert {part.series for part in index.proof.read} == {"ohlcv:files:INDEX:4h"}


def test_presets_that_cannot_be_used_are_refused(desk: Path) -> None:
    class Other(Cross):
        price = StreamInput(preset="major", window=20)
        fast = node(price, pl.col("close").mean())
        slow = node(price, pl.col("open").mean())

    with pytest.raises(InvalidRequestError, match=r"two presets for input 'price': 'majors' and 'index'"):
        Runner.submit(Cross, world="world.yml", data_preset="index", start=START, end=END)
    with pytest.raises(InvalidRequestError) as caught:
        Runner.submit(Other, world="world.yml", start=START, end=END)
    assert "majors" in str(caught.value), "the nearest name"


def test_a_warm_up_that_is_longer_than_history_is_refused(desk: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        Runner.submit(Cross, world="world.yml", start=FIRST + 50 * HOUR, end=END)
    assert "of the 100 bars before 2024-02-03T02:00:00Z that windows need there are 50" in str(caught.value)
    Path("world.yml").write_text(WORLD.replace("min_history: 1d", "backfill_start: 2024-03-01"))
    with pytest.raises(InvalidRequestError, match="a warm-up of 100 bars is longer than history"):
        Runner.submit(Cross, world="world.yml", start=START, end=END)


def test_a_preset_that_asks_nobody_leaves_holes_to_the_reader(desk: Path) -> None:
    Path("world.yml").write_text(WORLD + "        seamless: {backfill_mode: never}\n")
    with pytest.raises(MissingDataError, match=r"of the 100 bars before 2024-03-02 .* there are 0"):
        Runner.submit(Cross, world="world.yml", start=START, end=END)


def test_a_world_that_is_loaded_is_taken_as_well(desk: Path) -> None:
    world = load_world("world.yml")
    one = Runner.submit(Cross, world=world, start=START, end=END)
    two = Runner.submit(Cross(), world="world.yml", start=START, end=END)
    assert one.proof == two.proof


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.py"], "there is no file missing.py"),
        (["cross.py:Crossing"], "cross.py has no strategy 'Crossing'"),
        (["bad.py"], "line 2: ZeroDivisionError: division by zero"),
        (["none.py"], "none.py has no strategy"),
        (["two.py"], "two.py has 2 strategies"),
        (["torn.py"], "SyntaxError: '(' was never closed (torn.py, line 1)"),
        (["cross.py", "--mode", "live"], "there are no feeds of exchanges yet"),
        (["cross.py", "--seed", "-1"], "seed=-1 cannot be used"),
        (["cross.py", "--budget", "nan"], "budget=nan cannot be used"),
        (["cross.py", "--resume", ""], "'--resume'"),
        (["cross.py", "--mode", "paper", "--feed", "fed", "--speed", "nan"], "speed=nan cannot be used"),
        (["needing.py"], "Needing() cannot be made"),
        (["cross.py", "--data-preset", "nobody"], "two presets for input 'price'"),
        (["cross.py", "--proof", "nowhere/proof.json"], "the folder of nowhere/proof.json is not there"),
        (["cross.py", "--proof", "world.yml"], "world.yml"),
    ],
)
def test_a_command_that_cannot_be_run_says_why(desk: Path, arguments: list[str], says: str) -> None:
    Path("bad.py").write_text("a = 1\na / 0\n")
    Path("torn.py").write_text("print(\n")
    Path("none.py").write_text("import qmtl\n")
    takes = STRATEGY.replace("    def on", "    def __init__(self, a): ...\n\n    def on")
    Path("needing.py").write_text(takes.replace("Cross", "Needing"))
    Path("two.py").write_text("import qmtl\nclass A(qmtl.Strategy): ...\nclass B(qmtl.Strategy): ...\n")
    run = CliRunner().invoke(
        app, ["submit", *arguments, "--world", "world.yml", "--start", "2024-03-02", "--end", "2024-03-04"]
    )
    assert run.exit_code == 2, run.output
    assert says in run.output
    assert Path("world.yml").read_text() == WORLD


def test_without_a_world_the_store_of_the_settings_is_read(desk: Path) -> None:
    Path("own.py").write_text(STRATEGY.replace('preset="majors"', '"ohlcv:mine:A:1h"'))
    bars = synthetic_bars("ohlcv:mine:A:1h", Span(FIRST, END))
    bars.write_csv("a.csv")
    runner = CliRunner()
    assert runner.invoke(app, ["import", "a.csv", "--series", "ohlcv:mine:A:1h"]).exit_code == 0
    run = runner.invoke(app, ["--json", "submit", "own.py", "--start", "2024-03-02", "--end", "2024-03-04"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["figures"]["bars"] == 48
