"""What changes of one weight come to, fill by fill, over plain numbers: a portfolio does it one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.runtime.replay.orders import MOST, Fill, FillModel, Order


class Quotes(NamedTuple):
    """Of one series at ascending moments (int ns UTC), as lists of one length.

    closes: the newest one that is known. opened, opens: time and price of the next open.
    """

    moments: Sequence[int]
    closes: Sequence[float]
    opened: Sequence[int]
    opens: Sequence[float]


class Holding(NamedTuple):
    """Of one series and nothing else; target: the weight that was given last, NaN where there was none."""

    cash: float
    units: float
    target: float


class Followed(NamedTuple):
    """What came of the first `given` weights. due: the order that is not filled yet, with time and price."""

    given: int
    holding: Holding
    fills: list[Fill]
    due: tuple[int, Order, float] | None


def followed(
    series: SeriesId, holding: Holding, weights: Sequence[float | None], quotes: Quotes, model: FillModel
) -> Followed:
    """What `Portfolio.target` and `Portfolio.fill_due` do for each weight at its quote, in order.

    As far as each order is filled before the next quote, and nothing is refused: the others are for them.
    """
    (cash, units, target), fills = holding, list[Fill]()
    given, missing, before = 0, 0.0, target
    made = due = 0
    at = 0.0
    is_at_close, rounded, filled = model.price == "close", model.rounded, model.filled
    for weight, now, close, opened, price in zip(weights, *quotes, strict=False):
        if missing:
            bought, paid_price, paid, fee = filled(missing, at, cash)
            if due >= now or not abs(paid) <= MOST:
                break
            cash -= paid
            units += bought
            # What `Fill(...)` does, in half the time.
            fills.append(tuple.__new__(Fill, (series, due, bought, paid_price, fee, missing, cash, units)))
            missing = 0.0
        if weight != target:
            if weight is None or (weight and close <= 0):
                break
            wanted = weight * (cash + units * close) / close if weight else 0.0
            if not abs(wanted) <= MOST:
                break
            missing, made, before, target = rounded(wanted) - units, now, target, weight
            due, at = (now, close) if is_at_close else (opened, price)
        given += 1
    if missing and is_at_close:  # the last one is filled at once, or refused, where it is given
        return Followed(given - 1, Holding(cash, units, before), fills, None)
    order = (due, Order(series, missing, made), at) if missing else None
    return Followed(given, Holding(cash, units, target), fills, order)
