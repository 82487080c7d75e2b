"""The cases as this package runs them, on real daily bars that come with bokeh_sampledata."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import bokeh_sampledata
import polars as pl

import qmtl
from qmtl.runtime.sdk.from_world import provider_of_world

SYMBOLS = ("IBM", "MSFT")
FIRST, LAST = "2005-01-03", "2013-03-01"
# Nodes see a hundred bars, and as many lie before the first one that is delivered.
WINDOW = 100


class _Recorded(qmtl.Strategy):
    price = qmtl.StreamInput(preset="stock", window=WINDOW)
    fast = qmtl.node(price, pl.col("close").tail(20).mean())
    slow = qmtl.node(price, pl.col("close").mean())


class Hold(_Recorded):
    def __init__(self) -> None:
        self.bought = False

    def on_bar(self, bar: qmtl.Bar, portfolio: qmtl.Portfolio) -> None:
        if not self.bought:
            self.bought = True
            portfolio.order(bar.series, 100)


class Cross(_Recorded):
    def on_bar(self, bar: qmtl.Bar, portfolio: qmtl.Portfolio) -> None:
        portfolio.target(bar.series, 0.9 if self.fast > self.slow else 0.0)


class AllIn(_Recorded):
    def on_bar(self, bar: qmtl.Bar, portfolio: qmtl.Portfolio) -> None:
        portfolio.target(bar.series, 1.0 if self.fast > self.slow else 0.0)


CASES: dict[str, type[qmtl.Strategy]] = {"hold": Hold, "cross": Cross, "all in": AllIn}
WORLD = """\
world:
  id: stock
  data:
    definitions:
      - preset: samples.us.1d
        series: "ohlcv:samples:{{symbol}}:1d"
        vendor: {{kind: files, path: "{{symbol}}.csv"}}
        calendar: XNYS
    presets:
      - id: stock
        preset: samples.us.1d
        universe: {{symbols: [{symbol}]}}
        window: {{backfill_start: {first}}}
"""


def write_bars(folder: Path, symbol: str) -> Path:
    """The bars of a symbol from `FIRST` to `LAST`, as a file that both sides read."""
    packed = Path(bokeh_sampledata.__path__[0]) / "_data" / "stocks.csv.gz"
    with gzip.open(packed, "rt", encoding="utf-8") as file:
        rows = [row[1:7] for row in csv.reader(file) if row[0] == symbol and FIRST <= row[1] <= LAST]
    path = folder / f"{symbol}.csv"
    lines = [["date", "open", "high", "low", "close", "volume"], *rows]
    path.write_text("".join(f"{','.join(line)}\n" for line in lines), encoding="utf-8")
    return path


def run(folder: Path, symbol: str, case: str) -> dict[str, Any]:
    """In the form in which the peer gives it."""
    world = folder / f"{symbol}.yml"
    world.write_text(WORLD.format(symbol=symbol, first=FIRST), encoding="utf-8")
    days = pl.read_csv(folder / f"{symbol}.csv")["date"]
    (folder / "qmtl.yml").write_text("seamless: {store: bars}\n", encoding="utf-8")
    model = qmtl.FillModel(fee_bps=10, units="integer")
    with provider_of_world(world, folder / "qmtl.yml", progress=False) as history:
        result = qmtl.Runner.submit(
            CASES[case], world=world, history_provider=history, start=days[WINDOW],
            end="2013-03-02", fills=model,
        )  # fmt: skip
    fills = result.fills.with_columns(pl.col("ts").dt.strftime("%Y-%m-%d"))
    equity = result.equity.select(pl.col("ts").dt.offset_by("-1d").dt.strftime("%Y-%m-%d"), "equity")
    return {
        "version": qmtl.__version__,
        "fills": [list(row) for row in fills.select("ts", "units", "price", "fee").rows()],
        "cut": fills.filter(pl.col("units") != pl.col("wanted")).select("ts", "wanted").rows(),
        "equity": [list(row) for row in equity.rows()],
    }
