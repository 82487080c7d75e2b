"""Expressions over whole columns: which ones, and that nodes keep their bits however they are worked out."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.runtime.replay import windows
from qmtl.runtime.replay.whole_columns import Plan, can_be_read, plan
from tests.qmtl.runtime.replay.node_rows import rows_of, same

CLOSE, VOLUME = pl.col("close"), pl.col("volume")
PLANNED = {
    "mean": CLOSE.mean(),
    "mean of the last": CLOSE.tail(5).mean(),
    "mean of the first": CLOSE.head(3).mean().alias("x"),
    "momentum": CLOSE.last() / CLOSE.first() - 1,
    "above": CLOSE.last() > CLOSE.mean(),
    "traded": VOLUME.sum(),
    "channel": (CLOSE.last() - pl.col("low").min()) / (pl.col("high").max() - pl.col("low").min()),
    "choice": pl.when(CLOSE.last() > CLOSE.tail(4).max()).then(1).otherwise(-CLOSE.min()).clip(-1, 1),
    "cast": (CLOSE.last() > CLOSE.first()).cast(pl.Int64),
}
OTHERS = [
    *(CLOSE.std(), CLOSE.median(), CLOSE.ewm_mean(span=4).last(), (CLOSE * VOLUME).sum()),
    *(pl.len(), pl.lit(2.5), CLOSE.slice(1, 3).mean(), pl.col("open", "close").mean(), pl.all().last()),
    *(CLOSE.mean() ** 2, CLOSE.mean().shift(1), CLOSE.diff().last(), CLOSE.rolling_mean(3).last()),
]


def bars(count: int, seed: int, odd: float | None = None) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    close = 100 + np.cumsum(draw.normal(0, 1, count))
    volume: list[float | None] = draw.random(count).tolist()
    if odd is not None or seed % 2:
        volume[int(draw.integers(count))] = odd
    return rows_of(close, volume)


def test_only_what_is_known_is_planned() -> None:
    assert all(isinstance(plan(one), Plan) for one in PLANNED.values())
    assert [one for one in OTHERS if plan(one) is not None] == []


def test_a_plan_names_each_aggregate_once() -> None:
    found = plan(PLANNED["channel"])
    assert found is not None
    assert sorted((one.kind, one.column) for one in found.aggregates) == [
        ("Last", "close"), ("Max", "high"), ("Min", "low"),
    ]  # fmt: skip


def test_columns_with_holes_or_of_other_types_are_left_alone() -> None:
    rows = bars(5, seed=1)
    assert can_be_read(rows["close"])
    assert not can_be_read(rows["volume"])
    assert not can_be_read(rows["ts"])


@given(
    count=st.integers(40, 90),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
    odd=st.sampled_from([None, 0.0, -0.0, math.nan, math.inf]),
)
@settings(deadline=None, max_examples=60)
def test_nodes_are_those_of_each_window_alone(count: int, width: int, seed: int, odd: float | None) -> None:
    rows = bars(count, seed, odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_MANY", 1)
        patch.setattr(windows, "_TRIED", 3)
        found = windows.values(PLANNED, rows, width=width, first=width - 1)
    for name, expression in PLANNED.items():
        alone = [
            rows.slice(at - width + 1, width).select(expression.alias("value")).item()
            for at in range(width - 1, rows.height)
        ]
        assert len(found[name]) == len(alone)
        assert all(map(same, found[name], alone)), name


def test_what_gives_other_bits_than_polars_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, nodes = bars(400, seed=2), {"mean": CLOSE.mean()}
    right = windows.values(nodes, rows, width=20, first=19)
    wrong = Plan.values

    def off(self: Plan, columns: dict[str, np.ndarray], width: int, count: int) -> pl.Series:
        return wrong(self, columns, width, count) * (1 + 2**-52)

    monkeypatch.setattr(Plan, "values", off)
    found = windows.values(nodes, rows, width=20, first=19)
    assert isinstance(found["mean"], pl.Series)
    assert found["mean"].equals(pl.Series(right["mean"]))
