"""Weights of one series alone come to what a portfolio comes to that is asked bar by bar, or refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Part, Run
from qmtl.runtime.replay.weights import Weights

SERIES = SeriesId.parse("ohlcv:x:A:1m")
WEIGHT = Weights(pl.col("weight"), ["weight"])
ODD_WEIGHTS = [None, math.nan, math.inf, 1e300, -0.0]
ODD_PRICES = [0.0, -3.0, 1e-300, 1e300, math.inf, math.nan]


class Asked:
    """Orders the weight of each bar itself."""

    weight: Any

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, self.weight)

    def on_gap(self, gap: object, portfolio: Portfolio) -> None: ...

    def on_revision(self, revision: object, portfolio: Portfolio) -> None: ...


def rows(at: Sequence[int], prices: Sequence[float], weights: Sequence[float | None]) -> pl.DataFrame:
    """A bar per minute of `at`; its volume is the weight that it asks for."""
    opens = [prices[0], *prices[:-1]]
    ts = pl.Series([minute * MINUTE for minute in at]).cast(BAR_SCHEMA["ts"])
    columns = {"open": opens, "high": prices, "low": prices, "close": prices, "volume": weights}
    return pl.DataFrame({"ts": ts, **columns}, schema=BAR_SCHEMA)


def played(parts: Sequence[tuple[Part, int]], model: FillModel, weights: Weights | None) -> tuple[Any, ...]:
    """All that came of it, bit by bit; or what was refused, and what had been filled by then."""
    readers = [Reader("price", (SERIES,), 1, {"weight": pl.col("volume").last()})]
    grids = {SERIES: Grid(SERIES.timeframe)}
    run = Run(Asked(), readers, grids, model, start=0, weights=weights, listens=weights is None)
    try:
        for part, until in parts:
            run.play(part, until)
    except InvalidRequestError as error:
        return "refused", str(error), repr(run.portfolio.fills), run.now
    bars, fills, open_orders, marks = run.outcome
    kept = {name: value for name, value in run.portfolio.kept().items() if name != "fills"}
    return bars, repr(fills), open_orders, [of.tobytes() for of in marks], repr(kept), run.now


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_the_same_as_bar_by_bar(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    draw = np.random.default_rng(data.draw(st.integers(0, 999)))
    at = np.sort(draw.permutation(count + count // 4)[:count]).tolist()
    prices = (100 * np.exp(np.cumsum(draw.normal(0, 0.05, count)))).tolist()
    weights: list[Any] = draw.choice([0.0, 0.5, 1.0, -1.0, 1 / 3], count).tolist()
    for values, odd in ((prices, ODD_PRICES), (weights, ODD_WEIGHTS)):
        for place in data.draw(st.lists(st.integers(0, count - 1), max_size=1)):
            values[place] = data.draw(st.sampled_from(odd))
    model = FillModel(
        price=data.draw(st.sampled_from(["next_open", "close"])),
        fee_bps=data.draw(st.sampled_from([0.0, 7.5])),
        slippage_bps=data.draw(st.sampled_from([0.0, 3.0])),
        units=data.draw(st.sampled_from(["integer", "fractional"])),
        cash=data.draw(st.sampled_from([100_000.0, 10.0, 0.0, 1e299])),
    )
    frame = rows(at, prices, weights)
    # Also several that are known at one moment, and some that are known late.
    late = draw.choice(data.draw(st.sampled_from([[0], [0, 1, 3, 4]])), count) * (MINUTE // 2)
    known = np.maximum.accumulate((np.array(at) + 1) * MINUTE + late)
    edges = [*sorted(set(data.draw(st.lists(st.integers(1, count), max_size=3)))), 10**6]
    parts, before = [], 0
    for edge in edges:
        places = [place for place, minute in enumerate(at) if before <= minute < edge]
        part = Part({SERIES: frame[places]}, {SERIES: known[places]})
        parts.append((part, edge * MINUTE))
        before = edge
    expected = played(parts, model, None)
    event(str(expected[0] == "refused"))
    assert played(parts, model, WEIGHT) == expected


def test_only_what_is_out_of_the_ordinary_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would say nothing of the shorter way."""
    asked = []
    target = Portfolio.target
    monkeypatch.setattr(
        Portfolio, "target", lambda self, *of: (asked.append(self._market.now), target(self, *of))[1]
    )
    count = 400
    prices, weights = [100.0 + place % 7 for place in range(count)], [0.5, 1.0] * (count // 2)
    frame = rows(range(count), prices, weights)
    parts = [(Part({SERIES: frame[:200]}), 200 * MINUTE), (Part({SERIES: frame[200:]}), count * MINUTE)]
    for price in ("next_open", "close"):
        asked.clear()
        played(parts, FillModel(price=price), WEIGHT)
        # The last one of each stretch has no open behind it yet, or is filled where it is given.
        assert len(asked) <= 4


@pytest.mark.parametrize("weights", [None, WEIGHT])
def test_a_first_weight_that_is_none_is_refused(weights: Weights | None) -> None:
    refused = played(
        [(Part({SERIES: rows([0, 1], [5.0, 6.0], [None, 0.5])}), 9 * MINUTE)], FillModel(), weights
    )
    assert refused[0] == "refused"
    assert "weight=None is no number" in refused[1]
