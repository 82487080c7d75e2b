"""A target decides as an `on_bar` that orders the same weight at each bar, whichever way it is worked out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.bars import Bar, Gap
from qmtl.runtime.replay.changes import KnownGap
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Outcome, Part, Run
from qmtl.runtime.replay.weights import Weights
from qmtl.runtime.testing import synthetic_bars

A, B = SeriesId.parse("ohlcv:x:A:1m"), SeriesId.parse("ohlcv:x:B:1m")
A5 = SeriesId.parse("ohlcv:x:A:5m")
CLOSE = pl.col("close")
FAST, SLOW, TREND, RISE = (pl.col(name) for name in ("fast", "slow", "trend", "rise"))

# Each with what an author would write in `on_bar` instead.
TARGETS: dict[str, tuple[pl.Expr, Callable[[Any], float]]] = {
    "crossing": (
        pl.when(FAST > SLOW).then(0.5).otherwise(0.0),
        lambda of: 0.5 if of.fast > of.slow else 0.0,
    ),
    "both ways": (
        pl.when((FAST > SLOW) & (TREND.fill_null(1.0) > 0)).then(0.4).otherwise(-0.25),
        lambda of: 0.4 if of.fast > of.slow and (of.trend is None or of.trend > 0) else -0.25,
    ),
    "always": (pl.lit(0.3), lambda of: 0.3),
    "never the same": ((FAST / SLOW - 1).clip(-1, 1), lambda of: min(max(of.fast / of.slow - 1, -1), 1)),
    "not known to be row-wise": (
        pl.when((FAST - SLOW).exp() > 1).then(1).otherwise(0),
        lambda of: 1 if np.exp(of.fast - of.slow) > 1 else 0,
    ),
    "of a function": (
        pl.when(RISE.fill_null(0.0) > 0).then(0.5).otherwise(-0.1),
        lambda of: 0.5 if of.rise is not None and of.rise > 0 else -0.1,
    ),
    "by Python": (
        FAST.map_batches(lambda s: pl.Series(map(math.cos, s)), return_dtype=pl.Float64),
        lambda of: math.cos(of.fast),
    ),
}
NODES = {"fast": CLOSE.tail(3).mean(), "slow": CLOSE.mean()}
SLOWER_NODES = {
    "trend": CLOSE.last() - 100,
    "rise": lambda window: None if window["volume"][-1] is None else window["close"][-1] - window["close"][0],
}
NAMES = [*NODES, *SLOWER_NODES]


class Silent:
    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        raise AssertionError("a target decides in its place")

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None: ...

    def on_revision(self, revision: object, portfolio: Portfolio) -> None: ...


class ByHand(Silent):
    def __init__(self, weight: Callable[[Any], float]) -> None:
        self.weight = weight

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, self.weight(self))


def rows(series: SeriesId, minutes: int, seed: int) -> pl.DataFrame:
    frame = synthetic_bars(series.text, Span(0, minutes * MINUTE), seed=seed)
    there = np.random.default_rng(seed).random(frame.height) < 0.8
    return frame.filter(there)


def played(strategy: Any, parts: Sequence[tuple[Part, int]], model: FillModel, **how: Any) -> Run:
    readers = [Reader("price", (A, B), 5, NODES), Reader("slower", (A5,), 2, SLOWER_NODES)]
    grids = {series: Grid(series.timeframe) for series in (A, B, A5)}
    run = Run(strategy, readers, grids, model, start=20 * MINUTE, **how)
    for part, until in parts:
        run.play(part, until)
    return run


def same(one: Outcome, other: Outcome) -> bool:
    marks = all(a.tobytes() == b.tobytes() for a, b in zip(one.marks, other.marks, strict=True))
    return marks and one[:3] == other[:3]


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_all_ways_come_to_the_same_end(data: st.DataObject) -> None:
    minutes, seed = data.draw(st.integers(30, 400)), data.draw(st.integers(0, 99))
    expression, weight = TARGETS[data.draw(st.sampled_from(list(TARGETS)))]
    model = FillModel(
        price=data.draw(st.sampled_from(["next_open", "close"])),
        fee_bps=data.draw(st.sampled_from([0.0, 7.5])),
        slippage_bps=data.draw(st.sampled_from([0.0, 3.0])),
        units=data.draw(st.sampled_from(["integer", "fractional"])),
    )
    edges = [*sorted(data.draw(st.lists(st.integers(1, minutes - 1), max_size=4, unique=True))), minutes + 10]
    frames = {series: rows(series, minutes, seed + at) for at, series in enumerate((A, B, A5))}
    parts, before = [], -1
    for edge in edges:
        ts = pl.col("ts").cast(pl.Int64)
        of = {s: frame.filter((ts > before * MINUTE) & (ts <= edge * MINUTE)) for s, frame in frames.items()}
        gap = KnownGap(edge * MINUTE, Gap(A, Span(0, MINUTE), "unknown"))
        parts.append((Part(of, gaps=[gap]), edge * MINUTE))
        before = edge
    by_hand = played(ByHand(weight), parts, model)
    weights = Weights(expression, NAMES)
    one_by_one = played(Silent(), parts, model, weights=weights)
    at_once = played(Silent(), parts, model, weights=weights, listens=False)
    assert same(by_hand.outcome, one_by_one.outcome)
    assert same(by_hand.outcome, at_once.outcome)
    if by_hand.outcome.bars:
        assert by_hand.now == at_once.now


def test_only_changes_order_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str, float]] = []
    target = Portfolio.target

    def noted(self: Portfolio, series: SeriesId, weight: float) -> None:
        asked.append((self._market.now, series.text, weight))
        target(self, series, weight)

    monkeypatch.setattr(Portfolio, "target", noted)
    part = (Part({s: rows(s, 300, 1) for s in (A, B, A5)}), 310 * MINUTE)
    expression, _ = TARGETS["crossing"]
    weights = Weights(expression, NAMES)
    every = played(Silent(), [part], FillModel(), weights=weights).outcome.bars
    assert len(asked) == every
    of_all, asked[:] = list(asked), []
    played(Silent(), [part], FillModel(), weights=weights, listens=False)
    assert len(asked) < every / 2
    assert set(asked) <= set(of_all)


def test_nothing_that_is_no_weight_is_ordered() -> None:
    parts = [(Part({s: rows(s, 60, 1) for s in (A, B, A5)}), 70 * MINUTE)]

    def play(expression: pl.Expr, listens: bool) -> None:
        weights = Weights(expression, NAMES)
        played(Silent(), parts, FillModel(), weights=weights, listens=listens)

    def refused(expression: pl.Expr, listens: bool) -> str:
        with pytest.raises(InvalidRequestError) as raised:
            play(expression, listens)
        return str(raised.value)

    for listens in (False, True):
        assert "no node of the strategy" in refused(pl.col("fats") - 1, listens)
        assert "did you mean fast?" in refused(pl.col("fats") - 1, listens)
        assert "several values" in refused(pl.col("fast", "slow"), listens)
        assert "Boolean, which is no weight" in refused(FAST > SLOW, listens)
        assert "weight=None is no number" in refused(pl.when(FAST > SLOW).then(0.5), listens)
        assert "weight=nan is no number" in refused((FAST - FAST) / (SLOW - SLOW), listens)
        assert "cannot be evaluated" in refused(FAST.str.len_chars() * 1.0, listens)


@pytest.mark.parametrize("target", [pl.col("a") / 1e4, pl.col("a") / 7 + 1, (pl.col("a") - 1) / pl.lit(3)])
def test_a_division_by_a_number_is_that_of_each_bar(target: pl.Expr) -> None:
    values = np.linspace(1, 2, 500)
    alone = [pl.DataFrame({"a": [value]}).select(target).item() for value in values.tolist()]
    assert Weights(target, ["a"]).of({"a": values}, 500).to_list() == alone
