"""What counts as row-wise gives each row what it gives that row alone; what may not, does not count."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.replay.rowwise import is_named, is_rowwise, written

A, B = pl.col("a"), pl.col("b")
ROWWISE = {
    "column": A,
    "constant": pl.lit(1.0),
    "nothing": pl.lit(None),
    "choice": pl.when(A > B).then(1.0).otherwise(-1.0),
    "chain": pl.when(A > B).then(1).when(A.is_null()).then(B).otherwise(0.5).alias("x"),
    "arithmetic": -(A - B) * 2 / (B.abs() + 1),
    "logic": ((A > 0) & ~(B <= 0) | (A == B) ^ B.is_not_null()).cast(pl.Float64),
    "clipped": (A * 3).clip(-1, 1),
    "filled": A.fill_null(0).fill_nan(1.0).sign(),
    "of several": pl.max_horizontal(A, pl.min_horizontal(B, 3.0)) + pl.coalesce(A, B, 0),
    "between": pl.when(A.is_between(0, B)).then(A).otherwise(None),
    "finite": A.is_finite() | B.is_infinite() | A.is_nan() | B.is_not_nan(),
}
OTHERS = {
    "shifted": A.shift(-1),
    "aggregate": A.max(),
    "aggregate within": A - A.mean(),
    "aggregate in a condition": pl.when(A.mean() < A).then(1).otherwise(0),
    "running": A.cum_sum(),
    "in turn": A.fill_null(strategy="backward"),
    "grouped": A.mean().over(B),
    "rows": A.filter(B > 0),
    "set of a column": A.is_in(B),
    "numbers of its own": A * pl.lit(pl.Series([1.0, 2.0])),
    "several": pl.col("a", "b"),
    "all": pl.all(),
    "pattern": pl.col("^a$"),
    "count": pl.len() * A,
    "function": A.map_batches(lambda values: values.reverse(), return_dtype=pl.Float64),
    "power, whose digits may depend on neighbours": A**2,
    "to a type of its own": A.cast(pl.Datetime("ns")),
}


def counts(expression: pl.Expr) -> bool:
    form = written(expression)
    return form is not None and is_rowwise(form, is_named)


@pytest.mark.parametrize("name", list(OTHERS))
def test_whatever_may_look_at_other_rows_does_not_count(name: str) -> None:
    assert not counts(OTHERS[name])


number = st.none() | st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0])


@pytest.mark.parametrize("name", list(ROWWISE))
@given(rows=st.lists(st.tuples(number, number), min_size=1, max_size=12))
def test_what_counts_gives_each_row_what_it_gives_alone(
    name: str, rows: list[tuple[float | None, float | None]]
) -> None:
    assert counts(ROWWISE[name])
    frame = pl.DataFrame(rows, schema={"a": pl.Float64, "b": pl.Float64}, orient="row")
    whole = frame.with_columns(ROWWISE[name].alias("x"))["x"]
    alone = pl.concat([one.with_columns(ROWWISE[name].alias("x")) for one in frame.iter_slices(1)])["x"]
    assert whole.equals(alone, check_dtypes=True)
