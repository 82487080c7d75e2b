"""What a process says is understood to the last bit, and nothing in it is run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmtl import (
    InvalidRequestError,
    LookAheadError,
    MissingDataError,
    QmtlError,
    SeriesId,
    Span,
    StrategyError,
    StreamInput,
)
from qmtl.runtime.replay.equity import Marks
from qmtl.runtime.replay.orders import Fill, Order
from qmtl.runtime.replay.run import Outcome
from qmtl.runtime.sdk.isolation.messages import (
    error_of,
    error_values,
    input_of,
    input_values,
    outcome_message,
    outcome_of,
)

A = SeriesId.parse("ohlcv:mine:A/B:C:1h")


def test_an_outcome_comes_to_the_last_bit() -> None:
    odd = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, math.inf, 1 / 3]
    marks = Marks(np.array([1, 2**62]), np.array([0.1, math.nan]), np.array([b"\n"[0] / 3, 10.0]))
    outcome = Outcome(7, [Fill(A, 2**62, *odd)], [Order(A, -1.5, 3)], marks)
    found = outcome_of(outcome_message(outcome))
    assert found[:3] == outcome[:3]
    assert math.copysign(1, found.fills[0].price) == -1
    for one, other in zip(found.marks, outcome.marks, strict=True):
        assert one.tobytes() == other.tobytes()
    empty = Outcome(0, [], [], Marks(*(np.zeros(0, dtype=d) for d in ("i8", "f8", "f8"))))
    assert outcome_of(outcome_message(empty))[:3] == empty[:3]


@pytest.mark.parametrize(
    "error",
    [
        StrategyError("it raised", bar_ts=3, nodes={"fast": 1.5, "no": None}, series=A, why="so"),
        LookAheadError("it tried", tried="read bars", next_step="do not"),
        InvalidRequestError("a value", span=Span(1, 2)),
    ],
)
def test_an_error_is_the_same(error: QmtlError) -> None:
    found = error_of(error_values(error, ""))
    assert found == error
    assert not getattr(found, "__notes__", [])
    assert "line 3" in error_of(error_values(error, "line 3")).__notes__[0]


def test_an_error_of_another_kind_keeps_its_words() -> None:
    found = error_of(error_values(MissingDataError("bars are missing", holes={}, series=A), ""))
    assert type(found) is InvalidRequestError
    assert str(found) == f"bars are missing\n  series: {A}"
    assert (
        type(error_of({"kind": "sys", "what": "w", "facts": {"span": None}, "trace": ""}))
        is InvalidRequestError
    )


def test_a_value_that_json_has_not_is_told_by_its_repr() -> None:
    values = error_values(StrategyError("it raised", bar_ts=3, nodes={"odd": object}), "")
    assert values["facts"]["nodes"] == {"odd": "<class 'object'>"}


@pytest.mark.parametrize(
    "made",
    [StreamInput(A, window=3), StreamInput(preset="majors", allow_partial=True), StreamInput()],
)
def test_an_input_declares_the_same(made: StreamInput) -> None:
    made.name = "price"
    found = input_of(input_values(made))
    found.name = "price"
    assert vars(found) == vars(made)
