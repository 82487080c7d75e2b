"""A method that gives a coroutine or a generator has done nothing, and its run ends at the first bar."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.bars import Gap
from qmtl.runtime.replay.changes import Change, KnownGap
from qmtl.runtime.replay.left_undone import refuse_undone
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Part, Run
from qmtl.runtime.testing import synthetic_bars

SERIES = SeriesId.parse("ohlcv:x:A:1m")
BARS = synthetic_bars(SERIES.text, Span(0, 10 * MINUTE))
NEW = (1.0, 1.0, 1.0, 1.0, 1.0)


async def later(*of: object) -> None:
    raise AssertionError("nobody awaits it")


def yielding(*of: object) -> Iterator[int]:
    yield 1


async def both(*of: object) -> Any:
    yield 1


class Awaited:
    def __await__(self) -> Iterator[int]:
        yield 1


class Quiet:
    """Methods that give what an instance says."""

    def __init__(self, **methods: Callable[..., object]) -> None:
        for name in ("on_bar", "on_gap", "on_revision"):
            setattr(self, name, methods.get(name, lambda told, portfolio: None))


def played(strategy: Any, node: Callable[[pl.DataFrame], Any] = pl.DataFrame.__len__) -> Run:
    run = Run(
        strategy, [Reader("price", (SERIES,), 1, {"node": node})], {SERIES: Grid(SERIES.timeframe)},
        FillModel(), start=0, spare={SERIES: 5},
    )  # fmt: skip
    gap = KnownGap(5 * MINUTE, Gap(SERIES, Span(0, MINUTE), "unknown"))
    change = Change(8 * MINUTE, SERIES, 6 * MINUTE, NEW, NEW)
    run.play(Part({SERIES: BARS}, changes=[change], gaps=[gap]), 20 * MINUTE)
    return run


# What an author may write without knowing what a call of it gives.
GIVERS = {
    "a lambda": (lambda *of: later(*of), "a coroutine"),
    "a partial of one": (partial(lambda *of: later(*of)), "a coroutine"),
    "something awaitable": (lambda *of: Awaited(), "a coroutine"),
    "a generator": (lambda *of: yielding(*of), "a generator"),
    "a generator expression": (lambda *of: (each for each in of), "a generator"),
    "an asynchronous generator": (lambda *of: both(*of), "a generator"),
}


@pytest.mark.parametrize("method", ["on_bar", "on_gap", "on_revision"])
@pytest.mark.parametrize("giver", GIVERS)
def test_the_first_call_ends_the_run(method: str, giver: str) -> None:
    function, kind = GIVERS[giver]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # also that a coroutine was never awaited
        with pytest.raises(InvalidRequestError) as caught:
            played(Quiet(**{method: function}))
        gc.collect()
    assert f"Quiet.{method} gave {kind}" in str(caught.value)
    assert caught.value.next_step
    assert "at the bar of ohlcv:x:A:1m that opens at 1970-01-01" in str(caught.value)


def test_so_does_the_function_of_a_node() -> None:
    with pytest.raises(InvalidRequestError, match="the function of node 'node' gave a coroutine"):
        played(Quiet(), node=lambda window: later(window))


def test_any_other_answer_is_nobodys_business() -> None:
    for answer in (None, True, 1.0, "text", [1], iter([1]), lambda: later()):
        refuse_undone(answer, "on_bar")
        assert played(Quiet(on_bar=lambda *of, answer=answer: answer)).outcome.bars == 10
