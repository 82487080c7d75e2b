"""Whether two runs traded the same, and were worth the same on each day, to the cent."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

CENT = 0.005  # what rounds to nothing
FEE = 0.001
CASH = 100_000.0


def differences(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> list[str]:
    """In words; empty where all fills are the same, and the equity of each day that the peer names."""
    found = []
    for mine, theirs in zip_longest(ours["fills"], peer["fills"]):
        same = mine and theirs and mine[0] == theirs[0] and mine[1] == theirs[1]
        if not same or abs(mine[2] - theirs[2]) > 1e-9 or abs(mine[3] - theirs[3]) > CENT:
            found.append(f"fill: {mine} here, {theirs} there")
    equity = dict(ours["equity"])
    for day, value in peer["equity"]:
        if day not in equity or abs(equity[day] - value) > CENT:
            found.append(f"equity of {day}: {equity.get(day)} here, {value} there")
    return found


def shortfalls(peer: Mapping[str, Any], bars: Path) -> list[float]:
    """By how much the cost of each order that the peer refused passed the cash; it never had a position.

    It asks for the whole cost, with the fee, at the close at which the order is given: the day before it is
    refused.
    """
    with bars.open(newline="", encoding="utf-8") as file:
        closes = {row["date"]: float(row["close"]) for row in csv.DictReader(file)}
    days = list(closes)
    given = [(units, closes[days[days.index(day) - 1]]) for day, units in peer["refused"]]
    assert all(units == CASH // close for units, close in given), "as many as the cash pays without the fee"
    return [units * close * (1 + FEE) - CASH for units, close in given]
