"""Aggregates over whole columns have the bits that polars gives for each window alone."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qmtl.runtime.replay import kernels
from qmtl.runtime.replay.kernels import KERNELS, Aggregate, can_take


def numbers(count: int, seed: int) -> np.ndarray:
    """Of very different sizes, so that each order of adding them ends in other digits."""
    draw = np.random.default_rng(seed)
    return draw.normal(0, 1, count) * 10.0 ** draw.integers(-6, 6, count)


def alone(kind: str, window: np.ndarray) -> float:
    return float(getattr(pl.Series(window), kind.lower())())


@pytest.mark.parametrize("kind", list(KERNELS))
@given(width=st.integers(1, 700), more=st.integers(0, 40), seed=st.integers(0, 99))
@example(width=127, more=9, seed=1)
@example(width=128, more=9, seed=1)
@example(width=129, more=9, seed=1)
@example(width=640, more=9, seed=1)
@settings(deadline=None, max_examples=40)
def test_each_is_that_of_its_window_to_the_last_bit(kind: str, width: int, more: int, seed: int) -> None:
    values = numbers(width + more, seed)
    found = KERNELS[kind](values, width)
    assert found.tolist() == [alone(kind, values[at : at + width]) for at in range(more + 1)]


def test_the_order_of_adding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # Were all orders alike for these numbers, the test above would show nothing.
    values = numbers(400, 1)
    windows = [values[at : at + 200] for at in range(201)]
    assert KERNELS["Sum"](values, 200).tolist() != [float(np.cumsum(one)[-1]) for one in windows]
    monkeypatch.setattr(kernels, "_AT_ONCE", 7)
    assert KERNELS["Sum"](values, 200).tolist() == [alone("Sum", one) for one in windows]


@pytest.mark.parametrize("of_end", [False, True])
@pytest.mark.parametrize("rows", [None, 1, 5, 20, 99])
@pytest.mark.parametrize("count", [1, 7, 31])
def test_an_aggregate_may_be_of_the_first_or_the_last_rows(
    of_end: bool, rows: int | None, count: int
) -> None:
    values, width = numbers(50, 3), 20
    found = Aggregate("Mean", "close", rows, of_end).over(values, width, count)
    windows = [values[at - width : at] for at in range(50 - count + 1, 51)]
    size = width if rows is None else min(rows, width)
    assert found.tolist() == [
        alone("Mean", one[-size:] if of_end and rows else one[:size]) for one in windows
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
def test_values_whose_order_matters_are_not_taken(value: float) -> None:
    assert can_take(np.array([1.0, 0.0, 2.0]))
    assert not can_take(np.array([1.0, value, 2.0]))
