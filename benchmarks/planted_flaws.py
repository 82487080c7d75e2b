"""python -m benchmarks.planted_flaws [--data FOLDER] [--markdown FILE]: how many planted flaws are found.

Real bars, one flaw at a time in one bar of them, the rules of the package: how many of the flaws raise a
warning at the very bar, and which bars raise one as they are. The shares come with `bokeh_sampledata`; the
other series lie outside this project, see `real_data`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.real_data import DATA, OCTOBOT, recorded
from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import PRICES, bars, stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.context_window import CONTEXT
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import PRICE_JUMP, PRICE_SPIKE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.importing import import_file

# Bars of each series that get a flaw, spread evenly.
SAMPLES = 100
# A flaw this near to an existing one is not counted.
_BESIDE = 8
_BEGIN, _END = "<!-- planted: begin -->", "<!-- planted: end -->"

Columns = dict[str, np.ndarray[Any, np.dtype[np.float64]]]
Plant = Callable[[Columns, int], None]


def wick(factor: float) -> Plant:
    """The low (a factor below one) or the high of one bar is that many times what it was."""

    def plant(columns: Columns, row: int) -> None:
        columns["low" if factor < 1 else "high"][row] *= factor

    return plant


def whole_bar(factor: float) -> Plant:
    """All four prices of one bar are that many times what they were."""

    def plant(columns: Columns, row: int) -> None:
        for name in PRICES:
            columns[name][row] *= factor

    return plant


def jump(factor: float) -> Plant:
    """All prices from one bar on are that many times what they were."""

    def plant(columns: Columns, row: int) -> None:
        for name in PRICES:
            columns[name][row:] *= factor

    return plant


FLAWS: Mapping[str, Plant] = {
    "low -10 %": wick(0.9),
    "low -20 %": wick(0.8),
    "low -50 %": wick(0.5),
    "high x2": wick(2),
    "high x10": wick(10),
    "bar x2": whole_bar(2),
    "bar x10": whole_bar(10),
    "bar x100": whole_bar(100),
    "jump :2": jump(0.5),
    "jump x10": jump(10),
    "jump x100": jump(100),
}


@dataclass(frozen=True)
class Market:
    """A series of real bars. kind: shares, coins, currencies or futures."""

    name: str
    kind: str
    frame: pl.DataFrame
    grid: Grid

    @property
    def usual_range(self) -> float:
        """The median true range of a bar, as a share of its price."""
        close = self.frame["close"].shift(1).fill_null(self.frame["open"])
        high = pl.select(pl.max_horizontal(self.frame["high"], close)).to_series()
        low = pl.select(pl.min_horizontal(self.frame["low"], close)).to_series()
        return float(np.median(high.to_numpy() / low.to_numpy() - 1))

    def warnings(self) -> dict[str, Int64Array]:
        """The bars that are spikes or jumps as they are, by rule."""
        flags = _flags(self.frame, self.grid)
        return {rule: flags.stamps(rule) for rule in (PRICE_SPIKE, PRICE_JUMP)}

    def share_found(self, flaw: str) -> float:
        """The share of bars at which the flaw raises a warning, of those with none beside them as it is.

        Each is judged among 64 rows on either side, so that one flaw does not hide the next.
        """
        ts = stamps(self.frame)
        already = np.searchsorted(ts, np.concatenate(list(self.warnings().values())))
        # The first and the last bar have neighbours on one side only.
        rows = np.unique(np.linspace(1, len(ts) - 2, SAMPLES).astype(int))
        chosen = [row for row in rows.tolist() if not (np.abs(already - row) <= _BESIDE).any()]
        return sum(self._is_found(FLAWS[flaw], row) for row in chosen) / len(chosen)

    def _is_found(self, plant: Plant, row: int) -> bool:
        low, high = max(row - CONTEXT, 0), min(row + 1 + CONTEXT, self.frame.height)
        part = self.frame[low:high]
        columns = {name: part[name].to_numpy().copy() for name in PRICES}
        plant(columns, row - low)
        flags = _flags(
            part.with_columns(pl.Series(name, values) for name, values in columns.items()), self.grid
        )
        at = int(stamps(part)[row - low])
        return any(at in flags.stamps(rule) for rule in (PRICE_SPIKE, PRICE_JUMP))


def _flags(frame: pl.DataFrame, grid: Grid) -> Any:
    return ConformancePipeline().flag(frame, grid=grid, facts=SeriesFacts(has_volume=False))


# -- real series ----------------------------------------------------------------------------------------


def shares() -> list[Market]:
    """Thirteen years of days of five shares, from the package `bokeh_sampledata`."""
    from bokeh_sampledata import stocks

    grid = Grid(SeriesId.parse("ohlcv:usa:X:1d").timeframe, calendar_named("XNYS"))
    found = []
    for name in ("IBM", "MSFT", "GOOG", "AAPL", "FB"):
        columns = getattr(stocks, name)
        days = np.array(columns["date"], dtype="datetime64[ns]").astype(np.int64)
        values = {key: columns[key] for key in PRICES} | {"volume": [float(v) for v in columns["volume"]]}
        found.append(Market(f"{name} 1d", "shares", bars(days, values), grid))
    return found


LEAN = {"columns": "ts,open,high,low,close,volume"}
US = {**LEAN, "calendar": "XNYS", "scale": "open,high,low,close=0.0001", "tz": "America/New_York"}
QUOTES = {"columns": "ts,open,high,low,close,volume=", "calendar": "FX"}
FILES: Sequence[tuple[str, str, str, Mapping[str, Any]]] = (
    ("YHOO 1d", "shares", "equity/backtrader/datas/yhoo-1996-2014.txt.gz", {"calendar": "XNYS"}),
    ("BTC/USD 1d", "coins", "crypto/Lean/Data/crypto/coinbase/daily/btcusd_trade.zip", LEAN),
    ("SPY 1h", "shares", "equity/Lean/Data/equity/usa/hour/spy.zip", US),
    ("AAPL 1h", "shares", "equity/Lean/Data/equity/usa/hour/aapl.zip", US),
    ("EUR/USD 1h", "currencies", "fx/Lean/Data/forex/oanda/hour/eurusd.zip", QUOTES),
    (
        "SPY 1m",
        "shares",
        "equity/pyalgotrade/testcases/data/nt-spy-minute-2011-03.csv.gz",
        {**LEAN, "calendar": "XNYS", "label": "close"},
    ),
    (
        "6EH4 1m",
        "futures",
        "futures/nautilus_trader/tests/test_data/xcme/6EH4.XCME_1min_bars_20240101_20240131.csv.gz",
        {"columns": "ts=timestamp_utc", "label": "close", "calendar": "FX"},
    ),
    (
        "BTC-PERP 1m",
        "coins",
        "crypto/nautilus_trader/tests/test_data/btc-perp-20211231-20220201_1m.csv.gz",
        {},
    ),
)
RECORDED = (
    ("ETH/USDT 1d", f"{OCTOBOT}1581776676.5721796.data"),
    ("ADA/BTC 1d", f"{OCTOBOT}1581775117.1713624.data"),
    ("ETH/USDT 1h", f"{OCTOBOT}1581776676.5721796.data"),
    ("ADA/BTC 1m", f"{OCTOBOT}1581775117.1713624.data"),
)


def others(data: Path) -> list[Market]:
    """The series that lie outside this project: shares, coins, currencies; days, hours, minutes."""
    with tempfile.TemporaryDirectory() as folder, closing(EmbeddedStore(folder)) as store:
        found = [_imported(store, data, *each) for each in FILES]
    return [*found, *(_recorded(name, data / path) for name, path in RECORDED)]


def _imported(
    store: EmbeddedStore, data: Path, name: str, kind: str, path: str, options: Mapping[str, Any]
) -> Market:
    symbol, timeframe = name.split()
    series = SeriesId.parse(f"ohlcv:x:{symbol}:{timeframe}")
    result = import_file(store, data / path, series, **options)
    facts = store.facts(series) or SeriesFacts()
    grid = Grid(series.timeframe, calendar_named(facts.calendar), facts.anchor or "clock")
    return Market(name, kind, store.read(series, result.span).frame, grid)


def _recorded(name: str, path: Path) -> Market:
    symbol, timeframe = name.split()
    grid = Grid(SeriesId.parse(f"ohlcv:x:{symbol}:{timeframe}").timeframe)
    return Market(name, "coins", recorded(path, symbol, timeframe), grid)


# -- the table ------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What the rules find in one market: shares of planted flaws, and bars that are flagged as they are."""

    market: Market
    found: Mapping[str, float]
    spikes: int
    jumps: int


def measure(market: Market) -> Measured:
    found = {flaw: market.share_found(flaw) for flaw in FLAWS}
    already = market.warnings()
    return Measured(market, found, len(already[PRICE_SPIKE]), len(already[PRICE_JUMP]))


def table(measured: Sequence[Measured]) -> str:
    """Markdown: one line per series, days first, from calm to wild."""
    lines = [
        "| series | usual range | " + " | ".join(FLAWS) + " | spikes as it is | jumps as it is |",
        "| --- | ---: |" + " ---: |" * (len(FLAWS) + 2),
    ]
    order = {"1d": 0, "1h": 1, "1m": 2}
    for one in sorted(measured, key=lambda m: (order[m.market.name.split()[1]], m.market.usual_range)):
        cells = [
            f"{one.market.name} ({one.market.kind})",
            f"{one.market.usual_range:.2%}",
            *(f"{share:.0%}" for share in one.found.values()),
            str(one.spikes),
            str(one.jumps),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def in_document(text: str, made: str) -> str:
    """The text with the table in its place."""
    return re.sub(f"{_BEGIN}.*{_END}", f"{_BEGIN}\n\n{made}\n{_END}", text, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted_flaws")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of real data")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="renew the table within FILE")
    asked = parser.parse_args(arguments)
    made = table([measure(market) for market in (*shares(), *others(asked.data))])
    if asked.markdown:
        text = asked.markdown.read_text(encoding="utf-8")
        asked.markdown.write_text(in_document(text, made), encoding="utf-8")
    else:
        sys.stdout.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
