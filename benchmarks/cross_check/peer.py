"""The cases as backtrader runs them; by its own interpreter: python peer.py BARS.csv CASE. Prints JSON.

It imports nothing of this project. Daily bars; a market order is filled at the open of the next bar.
"""

import csv
import datetime as dt
import json
import sys

import backtrader as bt


class Lines(bt.feed.DataBase):
    """The bars of a file with the columns date, open, high, low, close, volume."""

    def __init__(self, path: str) -> None:
        super().__init__()
        with open(path, newline="", encoding="utf-8") as file:
            self._rows = iter(list(csv.DictReader(file)))

    def _load(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        self.lines.datetime[0] = bt.date2num(dt.datetime.fromisoformat(row["date"]))
        for name in ("open", "high", "low", "close", "volume"):
            getattr(self.lines, name)[0] = float(row[name])
        self.lines.openinterest[0] = 0.0
        return True


class Recorded(bt.Strategy):
    """Begins behind the hundredth bar, and notes fills and the equity of each day from then on."""

    def __init__(self) -> None:
        self.fast = bt.indicators.SimpleMovingAverage(self.data.close, period=20)
        self.slow = bt.indicators.SimpleMovingAverage(self.data.close, period=100)
        self.weight = 0.0
        self.fills, self.equity, self.refused = [], [], []

    def day(self) -> str:
        return self.data.datetime.date(0).isoformat()

    def next(self) -> None:
        if len(self) <= 100:
            return
        self.equity.append([self.day(), self.broker.getvalue()])
        self.decide()

    def target(self, weight: float) -> None:
        if weight != self.weight:
            self.weight = weight
            self.order_target_percent(target=weight)

    def notify_order(self, order: bt.Order) -> None:
        done = order.executed
        if order.status == order.Completed:
            self.fills.append([self.day(), done.size, done.price, done.comm])
        elif order.status in (order.Margin, order.Rejected):
            self.refused.append([self.day(), order.created.size])


class Hold(Recorded):
    def decide(self) -> None:
        if not self.weight:
            self.weight = 1.0
            self.buy(size=100)


class Cross(Recorded):
    def decide(self) -> None:
        self.target(0.9 if self.fast[0] > self.slow[0] else 0.0)


class AllIn(Recorded):
    def decide(self) -> None:
        self.target(1.0 if self.fast[0] > self.slow[0] else 0.0)


CASES = {"hold": Hold, "cross": Cross, "all in": AllIn}


def main(path: str, case: str) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(Lines(path))
    cerebro.addstrategy(CASES[case])
    cerebro.broker.setcash(100_000.0)
    cerebro.broker.setcommission(commission=0.001)
    (ran,) = cerebro.run(runonce=False)
    print(
        json.dumps(
            {"version": bt.__version__, "fills": ran.fills, "refused": ran.refused, "equity": ran.equity}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
