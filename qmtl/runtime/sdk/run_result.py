"""What came of a run: fills, equity, a few figures, and the proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.frames import TS
from qmtl.foundation.html import facts_table
from qmtl.foundation.texts import fact_lines, on_screen
from qmtl.foundation.times import DAY, iso
from qmtl.foundation.words import counted
from qmtl.runtime.replay.bars import Unclean
from qmtl.runtime.replay.equity import drawdowns
from qmtl.runtime.replay.orders import FillModel, Order
from qmtl.runtime.replay.run import Outcome
from qmtl.runtime.sdk.proof import Proof
from qmtl.runtime.sdk.run_report import page


class Figures(NamedTuple):
    """What is asked first of a run. Fractions: 0.1 is ten percent.

    total_return: of the cash at the start. max_drawdown: the deepest fall below an earlier high; negative.
    turnover: traded value as a multiple of the mean equity. fees: paid, in the currency of the prices.
    daily_volatility: standard deviation of the returns from one UTC day to the next that has bars (n - 1);
    None for fewer than three such days.
    """

    bars: int
    total_return: float
    max_drawdown: float
    daily_volatility: float | None
    fills: int
    cut_fills: int
    open_orders: int
    turnover: float
    fees: float


@dataclass(frozen=True, eq=False)
class RunResult:
    """The end of a run. `equity`, `fills` and `figures` are worked out when they are first asked for.

    unclean: bars with findings, and missing ones; none unless a policy lets a run go on with them.
    """

    outcome: Outcome
    model: FillModel
    proof: Proof
    unclean: Sequence[Unclean] = ()

    @cached_property
    def equity(self) -> pl.DataFrame:
        """A row for each moment at which bars closed: `ts`, `cash`, `equity`, `drawdown`.

        drawdown: how far below its highest value so far the equity is, as a fraction, from 0 down to -1.
        """
        ts, cash, equity = self.outcome.marks
        columns = {
            "ts": pl.Series(ts).cast(TS),
            "cash": cash,
            "equity": equity,
            "drawdown": drawdowns(equity),
        }
        return pl.DataFrame(columns)

    @cached_property
    def fills(self) -> pl.DataFrame:
        """A row for each fill, in order: `ts`, `series`, and as Float64 what follows.

        units: negative for a sale. price: with slippage. wanted: units that were ordered. cash, position:
        after the fill. fee: in the currency of the prices.
        """
        rows = [(str(fill.series), *fill[1:]) for fill in self.outcome.fills]
        numbers = ("units", "price", "fee", "wanted", "cash", "position")
        schema = {"series": pl.String, "ts": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
        return pl.DataFrame(rows, schema=schema, orient="row").select(
            pl.col("ts").cast(TS), "series", *numbers
        )

    @property
    def open_orders(self) -> list[Order]:
        """Orders that no bar came to fill."""
        return list(self.outcome.open_orders)

    @cached_property
    def figures(self) -> Figures:
        marks, fills = self.outcome.marks, self.outcome.fills
        end = float(marks.equity[-1]) if len(marks.equity) else self.model.cash
        traded = sum(abs(fill.units * fill.price) for fill in fills)
        mean = float(marks.equity.mean()) if len(marks.equity) else self.model.cash
        return Figures(
            bars=self.outcome.bars,
            total_return=end / self.model.cash - 1.0 if self.model.cash else 0.0,
            max_drawdown=float(drawdowns(marks.equity).min(initial=0.0)),
            daily_volatility=_daily_volatility(marks.ts, marks.equity),
            fills=len(fills),
            cut_fills=sum(fill.units != fill.wanted for fill in fills),
            open_orders=len(self.outcome.open_orders),
            turnover=traded / mean if mean else 0.0,
            fees=sum(fill.fee for fill in fills),
        )

    def to_html(self) -> str:
        """A page with figures, plots, fills and proof; it needs no other file."""
        return page(self.summary().lines(), self.outcome, self.unclean, self.proof)

    def summary(self) -> Summary:
        """What a person asks first; it prints as a table."""
        return Summary(self)

    def __repr__(self) -> str:
        return repr(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


class Summary:
    """The figures of a run and where they come from, a fact a line."""

    def __init__(self, result: RunResult) -> None:
        self._result = result

    def lines(self) -> list[tuple[str, str]]:
        result = self._result
        figures, marks, model = result.figures, result.outcome.marks, result.model
        if not len(marks.ts):
            return [("strategy", result.proof.strategy), ("bars", "none in the range")]
        volatility = figures.daily_volatility
        shown = [
            ("strategy", result.proof.strategy),
            ("bars", f"{figures.bars:,}, from {iso(int(marks.ts[0]))} to {iso(int(marks.ts[-1]))}"),
            ("equity", f"{model.cash:,.2f} to {marks.equity[-1]:,.2f}, {figures.total_return:+.2%}"),
            ("drawdown", f"{figures.max_drawdown:.2%} at the deepest"),
            ("volatility", "too few days" if volatility is None else f"{volatility:.2%} a day"),
            ("fills", f"{figures.fills:,}, turnover {figures.turnover:,.1f}, fees {figures.fees:,.2f}"),
            ("assumed", f"filled at {model.price.replace('_', ' ')}, fee {model.fee_bps:g} bps, "
             f"slippage {model.slippage_bps:g} bps, {model.units} units"),
        ]  # fmt: skip
        if figures.cut_fills:
            shown.append(("cash", f"was too little for {counted(figures.cut_fills, 'order')}"))
        if figures.open_orders:
            shown.append(("not filled", f"{counted(figures.open_orders, 'order')}: no bar came behind"))
        return [*shown, *(line for line in result.proof.lines() if line[0] in _PROVEN)]

    def __repr__(self) -> str:
        return on_screen(fact_lines(self.lines()))

    def _repr_html_(self) -> str:
        return facts_table(self.lines())


# What a summary shows of its proof.
_PROVEN = ("read", "as of", "known", "findings", "outcome")


def _daily_volatility(ts: np.ndarray, equity: np.ndarray) -> float | None:
    days = ts // DAY
    last = np.append(days[1:] != days[:-1], True) if len(days) else np.zeros(0, dtype=bool)
    of_days = equity[last]
    if len(of_days) < 3 or not (of_days > 0).all():
        return None
    return float(np.std(of_days[1:] / of_days[:-1] - 1.0, ddof=1))
