"""A value of a node is what its window alone gives, to the last bit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay import windows
from tests.qmtl.runtime.replay.node_rows import rows_of, same

CLOSE, VOLUME = pl.col("close"), pl.col("volume")
EXPRESSIONS = {
    "mean": CLOSE.mean(),
    "mean_of_last": CLOSE.tail(5).mean(),
    "std": CLOSE.std(),
    "momentum": CLOSE.last() / CLOSE.first() - 1,
    "vwap": (CLOSE * VOLUME).sum() / VOLUME.sum(),
    "smoothed": CLOSE.ewm_mean(span=4).last(),
    "running": CLOSE.rolling_mean(3).last(),
    "median": CLOSE.median(),
    "above": CLOSE.last() > CLOSE.mean(),
    "traded": VOLUME.is_not_null().sum(),
    "highest": pl.col("high").max(),
    "hour": pl.col("ts").last().dt.hour(),
    "number": pl.len(),
    "constant": pl.lit(2.5),
    "sevenths": CLOSE.last() / 7,
    "ten_thousandths": CLOSE.mean() / 1e4,
    "sevenths_of_each": (CLOSE / 7).sum(),
    "floors": CLOSE.last() // 0.49,
    "rests": CLOSE.last() % 0.49,
    "first_column": pl.first().last(),
    "second_column": pl.nth(1).mean(),
    "last_column": pl.last().max(),
    "all_columns": pl.struct(pl.all()).last(),
    "numbers_of_columns": pl.sum_horizontal(pl.all().exclude("ts")).last(),
    "sorted": CLOSE.sort().sum(),
    "unlike": CLOSE.kurtosis(),
    "widest": (pl.max_horizontal(pl.all().exclude("ts")) - pl.col("low")).max(),
}


def bars(count: int, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    close = 100 + np.cumsum(draw.normal(0, 1, count))
    volume = [None if draw.random() < 0.1 else float(value) for value in draw.random(count)]
    return rows_of(close, volume)


@given(st.data())
@settings(deadline=None)
def test_each_value_is_that_of_its_window_alone(data: st.DataObject) -> None:
    rows = bars(data.draw(st.integers(1, 60)), seed=data.draw(st.integers(0, 99)))
    width = data.draw(st.integers(1, rows.height))
    first = data.draw(st.integers(width - 1, rows.height))
    found = windows.values(EXPRESSIONS, rows, width=width, first=first)
    for name, expression in EXPRESSIONS.items():
        alone = [
            rows.slice(at - width + 1, width).select(expression.alias("value")).item()
            for at in range(first, rows.height)
        ]
        assert all(map(same, found[name], alone)), name
        assert len(found[name]) == len(alone)


@pytest.mark.parametrize("node", [CLOSE.last() % 49, CLOSE.last() // 49, CLOSE.last() / 49])
@pytest.mark.parametrize("count", [1, 2, 400])
def test_a_division_by_a_number_does_not_see_how_many_others_there_are(node: pl.Expr, count: int) -> None:
    """polars multiplies a column by the reciprocal, and divides a single number: 2940 % 49 is 49 or 0."""
    rows = bars(count).with_columns(close=pl.lit(2940.0))
    (found,) = set(windows.values({"node": node}, rows, width=1, first=0)["node"])
    assert found == rows.head(1).select(node).item()


def test_blocks_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bars(500)
    whole = windows.values(EXPRESSIONS, rows, width=7, first=6)
    monkeypatch.setattr(windows, "_BLOCK_ROWS", 50)
    for name, found in windows.values(EXPRESSIONS, rows, width=7, first=6).items():
        assert all(map(same, found, whole[name])), name


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        (CLOSE, "gives a value for each row of its window"),
        (CLOSE.tail(3), "gives a value for each row of its window"),
        (pl.col("clos").mean(), "uses the column 'clos', which bars do not have"),
        (pl.all().mean(), "gives a value for each of 6 columns"),
        (CLOSE.mean().over("open"), "gives a value for each row of its window"),
        (CLOSE.str.len_bytes().sum(), "cannot be evaluated over a window"),
    ],
)
def test_what_gives_no_single_value_is_refused(expression: pl.Expr, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        windows.values({"node": expression}, bars(20), width=5, first=4)
    assert says in str(caught.value)
