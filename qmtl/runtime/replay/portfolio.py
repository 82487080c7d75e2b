"""What a strategy holds, and the orders that it gives."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Any, Protocol

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso
from qmtl.runtime.replay.one_weight import Holding, Quotes, followed
from qmtl.runtime.replay.orders import MOST, Fill, FillModel, Order, beyond_numbers


class Market(Protocol):
    """What is known of prices at one moment."""

    @property
    def now(self) -> int: ...
    def last_close(self, series: SeriesId) -> float:
        """The newest close that is known. Raises `InvalidRequestError` where there is none."""
        ...

    def next_open(self, series: SeriesId, since: int) -> tuple[int, float] | None:
        """Time and price of the first open at or after `since`, for fills alone; None behind the last row."""
        ...


class Portfolio:
    """Cash and positions. A strategy orders with `target`, `order` and `close`, and may look at all of it."""

    def __init__(self, model: FillModel, market: Market) -> None:
        self._model = model
        self._market = market
        self._cash = float(model.cash)
        # By node id, whose hash Python keeps.
        self._units: dict[str, float] = {}
        self._targets: dict[str, float] = {}
        self._series: dict[str, SeriesId] = {}  # those that were ever held
        self._due: list[tuple[int, int, Order, float]] = []  # a heap by time, then by number
        self._waiting: list[tuple[int, Order]] = []  # whose next open is not read yet, by number
        self._orders = 0
        self.fills: list[Fill] = []

    # -- what a strategy does -----------------------------------------------------------------------------

    def target(self, series: SeriesId | str, weight: float) -> None:
        """Hold `weight` of the equity in a series: 1.0 is all of it, 0.0 nothing, -0.5 half of it short.

        Orders what is missing to it, by the equity and the newest close of this moment. The same weight given
        again is no new order: prices move it, and `rebalance` brings it back.
        """
        # By its text, whose hash Python keeps: most bars of most strategies end here.
        if self._targets.get(series if isinstance(series, str) else series.text, math.nan) != weight:
            self.rebalance(series, weight)

    def rebalance(self, series: SeriesId | str, weight: float) -> None:
        """As `target`, also where the weight was given before."""
        series, weight = _series(series), _number("weight", weight)
        price = self._market.last_close(series)
        if price <= 0 and weight:
            raise InvalidRequestError(
                f"a weight of {weight} cannot be held at a price of {price}",
                series=series,
                next_step="order units instead: portfolio.order(series, units)",
            )
        text = series.text
        wanted = weight * self.equity / price if weight else 0.0
        if not abs(wanted) <= MOST:
            raise beyond_numbers(f"a weight of {weight!r}, {wanted:g} units,", series)
        missing = self._model.rounded(wanted) - self._units.get(text, 0.0)
        if self._due or self._waiting:
            missing -= self._on_its_way(series)
        self._place(series, missing)
        self._targets[text] = weight

    def order(self, series: SeriesId | str, units: float) -> None:
        """Buy `units`; sell them if they are negative."""
        series, units = _series(series), _number("units", units)
        if abs(units) > MOST:
            raise beyond_numbers(f"an order of {units!r} units", series)
        self._targets.pop(series.text, None)
        self._place(series, self._model.rounded(units))

    def close(self, series: SeriesId | str) -> None:
        """Hold nothing of a series."""
        self.target(series, 0.0)

    @property
    def cash(self) -> float:
        return self._cash

    @property
    def positions(self) -> Mapping[SeriesId, float]:
        """Units by series; those that are not held are left out."""
        return MappingProxyType({self._series[of]: units for of, units in self._units.items() if units})

    def position(self, series: SeriesId | str) -> float:
        """Units of one series; negative if they are short."""
        return self._units.get(_series(series).text, 0.0)

    @property
    def equity(self) -> float:
        """Cash, and positions at their newest closes."""
        last_close, series = self._market.last_close, self._series
        worth = [units * last_close(series[of]) for of, units in self._units.items() if units]
        try:
            return self._cash + math.fsum(worth)
        except (OverflowError, ValueError):  # of infinities, and of sums that become some
            raise beyond_numbers("what is held") from None

    # -- what the run does --------------------------------------------------------------------------------

    @property
    def due_orders(self) -> list[tuple[int, int, Order, float]]:
        """Orders whose fill is known: when, its number, the order and the price; the soonest is the first."""
        return self._due

    @property
    def open_orders(self) -> list[Order]:
        """Not filled yet, in the order in which they were given."""
        every = [(number, order) for _, number, order, _ in self._due] + self._waiting
        return [order for _, order in sorted(every, key=lambda one: one[0])]

    def kept(self) -> dict[str, Any]:
        """What `take_up` goes on with: all but the market and the model."""
        return {name: value for name, value in vars(self).items() if name not in ("_market", "_model")}

    def take_up(self, kept: Mapping[str, Any]) -> None:
        vars(self).update(kept)

    def fill_due(self, before: int) -> None:
        """Fill what is due before a time."""
        while self._due and self._due[0][0] < before:
            ts, _, order, price = heapq.heappop(self._due)
            self._fill(order, ts, price)

    def follow(self, series: SeriesId, weights: Sequence[float | None], quotes: Quotes) -> int:
        """`target` for each weight at its quote, and fill what is due, where no other series is ever held.

        Ends before the first that this is not enough for; returns how many weights were given.
        """
        self.fill_due(quotes.moments[0] if quotes.moments else 0)
        if self._due or self._waiting:
            return 0
        text = series.text
        before = Holding(self._cash, self._units.get(text, 0.0), self._targets.get(text, math.nan))
        given, after, fills, due = followed(series, before, weights, quotes, self._model)
        if fills:
            self._cash, self._units[text], self._series[text] = after.cash, after.units, series
            self.fills += fills
            self._orders += len(fills)
        if given:
            self._targets[text] = after.target
        if due is not None:
            self._orders += 1
            at, order, price = due
            heapq.heappush(self._due, (at, self._orders, order, price))
        return given

    def look_again(self) -> None:
        """Later rows were read: find the opens that orders wait for."""
        waiting, self._waiting = self._waiting, []
        for number, order in waiting:
            self._schedule(number, order)

    def _place(self, series: SeriesId, units: float) -> None:
        if not units:
            return
        self._orders += 1
        now = self._market.now
        order = Order(series, units, now)
        if self._model.price == "close":
            self._fill(order, now, self._market.last_close(series))
        else:
            self._schedule(self._orders, order)

    def _schedule(self, number: int, order: Order) -> None:
        opening = self._market.next_open(order.series, order.made)
        if opening is None:
            self._waiting.append((number, order))
        else:
            heapq.heappush(self._due, (opening[0], number, order, opening[1]))

    def _on_its_way(self, series: SeriesId) -> float:
        every = [*(order for _, _, order, _ in self._due), *(order for _, order in self._waiting)]
        return math.fsum(order.units for order in every if order.series == series)

    def _fill(self, order: Order, ts: int, price: float) -> None:
        series, text = order.series, order.series.text
        units, price, paid, fee = self._model.filled(order.units, price, self._cash)
        if not abs(paid) <= MOST:
            raise beyond_numbers(f"an order of {order.units!r} units, given at {iso(order.made)},", series)
        self._cash -= paid
        position = self._units[text] = self._units.get(text, 0.0) + units
        self._series[text] = series
        # What `Fill(...)` does, in half the time: there are as many of them as changes of mind.
        fill = (series, ts, units, price, fee, order.units, self._cash, position)
        self.fills.append(tuple.__new__(Fill, fill))


def _series(series: SeriesId | str) -> SeriesId:
    return series if isinstance(series, SeriesId) else SeriesId.parse(series)


def _number(name: str, value: object) -> float:
    if type(value) is float and math.isfinite(value):  # nearly always; the rest costs more
        return value
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InvalidRequestError(
            f"{name}={value!r} is no number that can be ordered",
            next_step="a node that has no value yet gives None, and one that divides by zero NaN or infinity",
        )
    return float(value)
