"""What may stand together gives each window what it gives it alone; what may not, is evaluated alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay import windows
from qmtl.runtime.replay.rowwise import written
from qmtl.runtime.replay.together import may_stand_together
from tests.qmtl.runtime.replay.node_rows import rows_of, same

CLOSE, OPEN, VOLUME, TS = (pl.col(name) for name in ("close", "open", "volume", "ts"))

# Each differs in some windows if they are given to polars together, in one digit or in many.
ALONE = {
    "divided": CLOSE.mean() / 7,
    "sorted": CLOSE.sort().sum(),
    "reversed": CLOSE.reverse().sum(),
    "filled": VOLUME.forward_fill().sum(),
    "without": VOLUME.drop_nulls().sum(),
    "shifted": VOLUME.cum_sum().shift(-2).mean(),
    "scattered": pl.when(TS.dt.hour() > 0).then(OPEN.max()).otherwise(CLOSE.sum()).std(),
    "kurtosis": CLOSE.kurtosis(),
    "skew": VOLUME.skew(),
    "power": CLOSE.last() ** pl.len(),
    "mode": CLOSE.round(0).mode().first(),
    "unique": CLOSE.unique().first(),
    "counts": CLOSE.value_counts().first().struct.field("close"),
    "categories": CLOSE.last().cast(pl.String).cast(pl.Categorical).to_physical(),
    "nothing added": CLOSE.last() + 0,
    "taken from nothing": 0.0 - CLOSE.last(),
    "taken from a number that is none": pl.lit(0.3).round() - CLOSE.last(),
    "taken from a count": CLOSE.null_count() - VOLUME.sum(),
    "sum of one": CLOSE.tail(1).sum(),
    "mean of one": CLOSE.tail(3).slice(2, 5).mean(),
    "grouped": CLOSE.arg_max().over("open").last(),
}
TOGETHER = {
    "mean": CLOSE.mean(),
    "of the newest": CLOSE.tail(5).mean(),
    "volume weighted": (CLOSE * VOLUME).sum() / VOLUME.sum(),
    "momentum": CLOSE.last() / CLOSE.first() - 1,
    "standing": (CLOSE.last() - CLOSE.mean()) / CLOSE.std(),
    "smoothed": CLOSE.ewm_mean(span=4).last(),
    "running": CLOSE.rolling_mean(3).last(),
    "quantile": CLOSE.quantile(0.3),
    "hour": TS.last().dt.hour(),
    "of an hour": pl.when(TS.dt.hour() > 0).then(CLOSE).sum(),
    "first column": pl.first().last().dt.minute(),
    "all": pl.max_horizontal(pl.all().exclude("ts")).max(),
    "count": pl.len(),
}


def counts(expression: pl.Expr, width: int = 128) -> bool:
    form = written(expression)
    return form is not None and may_stand_together(form, width)


@pytest.mark.parametrize("name", list(ALONE))
def test_what_may_see_that_others_are_there_does_not_count(name: str) -> None:
    assert not counts(ALONE[name])


def test_the_width_says_whether_a_sum_is_of_one() -> None:
    assert [width for width in (1, 2, 3, 4) if counts(CLOSE.sum(), width)] == [2, 3, 4]
    assert [width for width in (1, 2, 3, 4) if counts(CLOSE.slice(2, 2).sum(), width)] == [4]
    assert counts(CLOSE.tail(200).sum(), 128)
    assert not counts(CLOSE.slice(-200, 150).sum(), 128)


@pytest.mark.parametrize("name", list(TOGETHER))
def test_what_is_used_most_counts(name: str) -> None:
    assert counts(TOGETHER[name])


def bars(count: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    close = 100 + np.cumsum(draw.normal(0, 1, count))
    close = [close, np.round(close, 1), np.round(close - 100)][seed % 3]
    share = [0.1, 0.0, 1.0, 0.5][seed % 4]
    volume = [None if draw.random() < share else float(value) for value in draw.random(count)]
    return rows_of(close, volume, step=1_200_000_000_000)


Draw = Callable[[st.SearchStrategy[Any]], Any]
_SIZES = st.sampled_from([1, 2, 5, 16, 127, 128, 140])
_NUMBER = st.sampled_from([0, -0.0, 1, -1.0, 0.5, 2])
_ROWS = st.recursive(
    st.sampled_from([CLOSE, OPEN, VOLUME, pl.col("high")]),
    lambda of: st.one_of(
        st.builds(lambda a, b: a + b, of, of), st.builds(lambda a, b: a * b, of, of),
        st.builds(lambda a, b: a / b, of, of), st.builds(lambda a: -a.abs(), of),
        st.builds(lambda a, b: pl.max_horizontal(a, b), of, of), st.builds(lambda a: a.fill_null(0.5), of),
        st.builds(lambda a, b: pl.when(a > b).then(a).otherwise(b), of, of),
        st.builds(lambda a, b: pl.when((TS.dt.hour() > 5) | a.is_null()).then(b), of, of),
        st.builds(lambda a, n: n - a, of, _NUMBER), st.builds(lambda a, n: a - n, of, _NUMBER),
        st.builds(lambda a: (a * 0.1 - 3).clip(-5, 5).round(1), of),
    ),
    max_leaves=4,
)  # fmt: skip
_IN_TURN = st.one_of(
    _ROWS, st.builds(lambda a, n: a.shift(n), _ROWS, st.integers(-3, 3)),
    st.builds(lambda a, n: a.rolling_mean(n, min_samples=1), _ROWS, st.integers(1, 5)),
    st.builds(lambda a, n: a.rolling_std(n), _ROWS, st.integers(2, 5)),
    st.builds(lambda a: a.cum_sum(), _ROWS), st.builds(lambda a: a.diff(), _ROWS),
    st.builds(lambda a: a.ewm_mean(span=3), _ROWS), st.builds(lambda a: a.rank(), _ROWS),
)  # fmt: skip


def _numbers(rows: st.SearchStrategy[pl.Expr], *names: str) -> st.SearchStrategy[pl.Expr]:
    of_all = st.builds(lambda of, name: getattr(of, name)(), rows, st.sampled_from(names))
    of_some = st.builds(
        lambda of, name, size, newest: getattr(of.tail(size) if newest else of.head(size), name)(),
        rows, st.sampled_from(names), _SIZES, st.booleans(),
    )  # fmt: skip
    return of_all | of_some


_NUMBERS = st.recursive(
    _numbers(_ROWS, "sum", "mean", "std", "var")
    | _numbers(_IN_TURN, "min", "max", "first", "last", "median", "count", "n_unique", "null_count")
    | st.builds(lambda of, at: of.quantile(at, "linear"), _IN_TURN, st.sampled_from([0.1, 0.5, 0.9])),
    lambda of: st.one_of(
        st.builds(lambda a, b: a - b, of, of), st.builds(lambda a, b: a * b, of, of),
        st.builds(lambda a, b: a / b, of, of), st.builds(lambda a, n: n - a, of, _NUMBER),
        st.builds(lambda a, n: a + n, of, _NUMBER),
        st.builds(lambda a, b: pl.when(a > b).then(a).otherwise(1.5), of, of),
    ),
    max_leaves=3,
)  # fmt: skip


@given(expression=_NUMBERS, seed=st.integers(0, 30), width=st.sampled_from([1, 2, 6, 33, 127, 128, 150]))
@settings(deadline=None, max_examples=150)
def test_what_counts_gives_each_window_what_it_gives_alone(
    expression: pl.Expr, seed: int, width: int
) -> None:
    rows = bars(width + 20, seed)
    alone = [rows.slice(at, width).select(value=expression)["value"] for at in range(rows.height - width + 1)]
    try:
        found = windows._of_expressions({"node": expression}, rows, width, width - 1)["node"]
    except InvalidRequestError:
        assert not counts(expression, width)
        return
    if counts(expression, width):
        assert all(same(*pair) for pair in zip(found, [one[0] for one in alone], strict=True))
        assert {one.dtype for one in alone} == {found.dtype}


def test_much_of_what_is_drawn_counts() -> None:
    """Else the test above would be about nothing."""
    drawn: list[bool] = []

    @given(_NUMBERS)
    @settings(max_examples=200, database=None, derandomize=True)
    def draw(expression: pl.Expr) -> None:
        drawn.append(counts(expression))

    draw()
    assert sum(drawn) > len(drawn) / 3, (sum(drawn), len(drawn))
