"""How an order becomes a fill: at which price, at what cost, and as far as the cash goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from reprlib import repr as shortly
from typing import Literal, NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId

# Of units, of what an order is worth, and of the cash at the start: sums of more could leave all floats.
MOST = 1e300


@dataclass(frozen=True)
class FillModel:
    """What is assumed of a market that the orders of a strategy do not move.

    price: "next_open": an order is filled at the open of the next bar of its series; "close": at once, at the
        latest close of its series.
    fee_bps, slippage_bps: of the traded value, in basis points (hundredths of a percent). Slippage makes a
        buy dearer and a sale cheaper.
    units: "fractional", or "integer": orders are rounded towards zero.
    cash: at the start, in the currency of the prices.

    A buy that the cash does not pay for is filled as far as it goes. Short sales need no margin, and
    borrowing costs nothing. Raises `InvalidRequestError` for any other value.
    """

    price: Literal["next_open", "close"] = "next_open"
    fee_bps: float = 0.0
    slippage_bps: float = 0.0
    units: Literal["fractional", "integer"] = "fractional"
    cash: float = 100_000.0

    def __post_init__(self) -> None:
        _one_of("price", self.price, ("next_open", "close"))
        _one_of("units", self.units, ("fractional", "integer"))
        for name in ("fee_bps", "slippage_bps", "cash"):
            value = getattr(self, name)
            most = MOST if name == "cash" else 10_000.0
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and 0 <= value < most):
                bound = f", and below {most:,.0f}" if most < MOST else ""
                raise InvalidRequestError(
                    f"{name}={shortly(value)} cannot be used", next_step=f"give a number from 0 on{bound}"
                )

    def rounded(self, units: float) -> float:
        return float(math.trunc(units)) if self.units == "integer" else units

    def cost(self, units: float, price: float) -> tuple[float, float]:
        """What is paid for `units` (negative: what a sale brings) with its fee, and the fee alone."""
        value = units * price
        fee = abs(value) * self.fee_bps / 10_000
        return value + fee, fee

    def filled(self, units: float, price: float, cash: float) -> tuple[float, float, float, float]:
        """As many of `units` as `cash` pays for: units, price with slippage, what is paid, and its fee."""
        away = self.slippage_bps / 10_000
        price *= 1 + away if units > 0 else 1 - away
        paid, fee = self.cost(units, price)
        if paid > cash and units > 0:
            units = self._affordable(price, cash)
            paid, fee = self.cost(units, price)
        return units, price, paid, fee

    def _affordable(self, price: float, cash: float) -> float:
        """As many as `cash` pays for, with fees."""
        units = self.rounded(max(0.0, cash) / (price * (1 + self.fee_bps / 10_000)))
        while units > 0 and self.cost(units, price)[0] > cash:  # the last digit of the division
            # Beyond 2 ** 53 a float has no neighbour that is one less.
            fewer = units - 1 if self.units == "integer" else units
            units = fewer if fewer < units else math.nextafter(units, 0.0)
        return units


class Order(NamedTuple):
    """An order on its way. made: when the strategy gave it (int ns UTC)."""

    series: SeriesId
    units: float
    made: int


class Fill(NamedTuple):
    """An order that was filled, or the part of it that the cash paid for.

    ts: when (int ns UTC). units: negative for a sale. price: with slippage. wanted: units that were ordered.
    cash, position: afterwards.
    """

    series: SeriesId
    ts: int
    units: float
    price: float
    fee: float
    wanted: float
    cash: float
    position: float


def beyond_numbers(what: str, series: SeriesId | None = None) -> InvalidRequestError:
    """To say of what is not finite, or would not stay so."""
    return InvalidRequestError(
        f"{what} is more than can be counted",
        why=f"beyond {MOST:g} sums of what is held are no numbers any more",
        series=series,
        next_step="order less: a node that divides by what is nearly zero gives values as large as this",
    )


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InvalidRequestError(
            f"{name}={shortly(value)} is not known", next_step=f"use one of {', '.join(choices)}"
        )
