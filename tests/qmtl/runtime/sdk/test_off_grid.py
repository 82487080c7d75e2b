"""Stamps off the grid are shown between the opens beside them, with what usually explains them."""

from __future__ import annotations

import numpy as np
import pytest

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.sdk.off_grid import advice_off_grid, beside_grid

NOON = to_ns("2024-01-02T12:00Z")


def grid(timeframe: str) -> Grid:
    return Grid(Timeframe.parse(timeframe))


def test_stamps_on_the_grid_say_nothing() -> None:
    assert beside_grid(np.array([NOON, NOON + 5 * MINUTE]), grid("5m")) == ""
    assert beside_grid(np.array([], dtype=np.int64), grid("5m")) == ""


def test_each_stamp_stands_between_the_opens_beside_it() -> None:
    shown = beside_grid(np.array([NOON, NOON + 7 * MINUTE]), grid("5m"))
    assert shown == "2024-01-02T12:07:00Z lies between 2024-01-02T12:05:00Z and 2024-01-02T12:10:00Z"


def test_three_are_enough() -> None:
    shown = beside_grid(NOON + (5 * np.arange(9) + 1) * MINUTE, grid("5m")).split("; ")
    assert [one[11:16] for one in shown] == ["12:01", "12:06", "12:11"]


@pytest.mark.parametrize(
    ("timeframe", "label", "named", "not_named"),
    [
        ("1d", "close", "`label=session`", "tz=ZONE"),
        ("1d", "open", "`label=session`", "the close of a day"),
        ("1m", "open", "`label=close`", "tz=ZONE"),  # no zone is off by a part of a minute
        ("1h", "open", "tz=ZONE", "label=session"),
        ("30m", "open", "tz=ZONE", "label=session"),
        ("15m", "open", "`label=close`", "tz=ZONE"),  # zones are apart by quarters of an hour
    ],
)
def test_the_advice_fits_the_timeframe(timeframe: str, label: str, named: str, not_named: str) -> None:
    advice = advice_off_grid(grid(timeframe), label)
    assert named in advice
    assert not_named not in advice
