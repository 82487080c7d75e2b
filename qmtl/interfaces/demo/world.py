"""Act six: a world is planned and filled, a strategy runs in it, and its proof outlives a correction."""

from __future__ import annotations

import json
from pathlib import Path

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, HOUR, iso
from qmtl.interfaces.demo.commands import run
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.testing.bars import synthetic_bars

SYMBOLS = ("BTC", "ETH")
WORLD = """world:
  id: demo
  data:
    presets:
      - id: majors
        preset: ohlcv.files
        timeframe: 1h
        universe: {symbols: [BTC, ETH]}
        window: {warmup_bars: 100, min_history: 30d}
        seamless: {stabilization_bars: 2}
"""
STRATEGY = """import polars as pl
import qmtl


class Cross(qmtl.Strategy):
    price = qmtl.StreamInput(preset="majors", window=48)
    fast = qmtl.node(price, pl.col("close").tail(12).mean())
    slow = qmtl.node(price, pl.col("close").mean())

    def on_bar(self, bar, portfolio):
        portfolio.target(bar.series, 0.5 if self.fast > self.slow else 0.0)
"""
SHOWN = 14


def world(stage: Stage, folder: Path) -> None:
    """Write a dozen lines and a world file, and type the commands that a strategy author types."""
    now = SystemClock().now()
    # Up to now: what a world wants is counted back from the newest closed bar. Two are held back: another one
    # may close meanwhile.
    history = Span(now // DAY * DAY - 40 * DAY, now // HOUR * HOUR)
    submit = (
        f"submit cross.py --world world.yml --start {iso(history.start + 10 * DAY)} "
        f"--end {iso(history.start + 40 * DAY)} --proof proof.json --report report.html"
    )
    stage.act("Act six: a world, a strategy that names no provider, and a proof")
    place = folder / "world"
    (place / "data").mkdir(parents=True)
    for symbol in SYMBOLS:
        synthetic_bars(f"ohlcv:files:{symbol}:1h", history).write_csv(place / "data" / f"{symbol}-1h.csv")
    for name, text in (
        ("world.yml", WORLD),
        ("cross.py", STRATEGY),
        ("qmtl.yml", "seamless: {store: bars}\n"),
    ):
        (place / name).write_text(text)
    stage.say(STRATEGY)
    for command, claim in (
        ("world plan world.yml", "the world says what it would fetch, from where, and what is missing"),
        ("world apply world.yml", "it is filled, and ready"),
        (submit, "the strategy runs in it: the preset gives its bars, warm-up and policies"),
    ):
        _typed(stage, place, command, claim)
    _corrected(stage, place, history, submit)


def _corrected(stage: Stage, place: Path, history: Span, submit: str) -> None:
    """Bars are corrected; the proof is verified on those of then, and a new run comes to something else."""
    frame = synthetic_bars("ohlcv:files:BTC:1h", history).tail(200).with_columns(close="high")
    frame.write_csv(place / "corrected.csv")
    _typed(
        stage,
        place,
        "import corrected.csv --series ohlcv:files:BTC:1h",
        "two hundred bars of it are corrected",
    )
    _typed(
        stage,
        place,
        "replay verify proof.json",
        "the same bars as then are read, and the same fills and equity come of them",
    )
    if stage.failed:
        return
    before = json.loads((place / "proof.json").read_text())["outcome"]
    _typed(stage, place, submit, "a new run is given the corrected bars")
    after = json.loads((place / "proof.json").read_text())["outcome"]
    stage.check("and its proof is another one", before != after)
    stage.say(f"  Its page: {place / 'report.html'}")


def _typed(stage: Stage, place: Path, command: str, claim: str) -> None:
    stage.say(f"  $ qmtl {command}")
    done = run(command.split(), place)
    lines = (done.stdout + done.stderr).splitlines()
    for line in lines[:SHOWN]:
        stage.say(f"    {line}")
    if len(lines) > SHOWN:
        stage.say(f"    ... and {len(lines) - SHOWN} more")
    is_ready = not any(line.startswith("fail ") for line in lines) or "plan" in command
    stage.check(claim, done.returncode == 0 and is_ready)
