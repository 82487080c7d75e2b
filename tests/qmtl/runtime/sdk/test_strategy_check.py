"""What could not decide, or would not run when it is called, is refused before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl import (
    Bar,
    InvalidRequestError,
    Portfolio,
    Runner,
    SeamlessDataProvider,
    Strategy,
    StreamInput,
    node,
)
from qmtl.runtime.sdk.isolation import sandbox
from qmtl.runtime.sdk.strategy_check import check_strategy

A = "ohlcv:mine:A:1h"
LATER = """\
import qmtl

class Later(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1h")

    async def on_bar(self, bar, portfolio):
        portfolio.target(bar.series, 0.5)
"""


async def later(self: Strategy, told: Any, portfolio: Portfolio) -> None:
    portfolio.target(A, 0.5)


def yielding(self: Strategy, told: Any, portfolio: Portfolio) -> Iterator[int]:
    yield 1


async def both(self: Strategy, told: Any, portfolio: Portfolio) -> Any:
    yield 1


class Callable:
    async def __call__(self, told: Any, portfolio: Portfolio) -> None: ...


def now(self: Strategy, told: Any, portfolio: Portfolio) -> None: ...


def strategy(**methods: Any) -> Strategy:
    made: Strategy = type("Made", (Strategy,), {"price": StreamInput(A), "on_bar": now, **methods})()
    return made


@pytest.mark.parametrize("method", ["on_bar", "on_gap", "on_revision"])
@pytest.mark.parametrize(
    ("function", "says"),
    [
        (later, "is a coroutine"),
        (yielding, "is a generator"),
        (both, "is a generator"),
        (partial(partial(later, None)), "is a coroutine"),
        (Callable(), "is a coroutine"),
        (staticmethod(later), "is a coroutine"),
        (classmethod(later), "is a coroutine"),
        (5, "is 5, and no function"),
        (None, "is None, and no function"),
    ],
)
def test_what_a_call_would_not_run_is_refused(method: str, function: Any, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_strategy(strategy(**{method: function}))
    assert f"Made.{method} {says}" in str(caught.value)
    assert caught.value.next_step


def test_a_function_of_a_node_and_a_target_are_looked_at_as_well() -> None:
    price = StreamInput(A)

    async def mean(window: pl.DataFrame) -> float:
        return 1.0

    with pytest.raises(InvalidRequestError, match="the function of node 'slow' of Made is a coroutine"):
        check_strategy(strategy(price=price, slow=node(price, mean)))
    with pytest.raises(InvalidRequestError, match="and no expression"):
        check_strategy(strategy(on_bar=Strategy.on_bar, target=later))


class Read(Strategy):
    price = StreamInput(A)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None: ...


def _classes() -> dict[str, tuple[Any, str]]:
    shared = StreamInput(A)

    class First(Read):
        shared_by_two = shared

    class Second(Read):
        of_another_name = shared

    class Alias(Read):
        last = node(Read.price, pl.col("close").last())
        same = last

    class Elsewhere(Read):
        last = node(StreamInput(A), pl.col("close").last())

    class Mean(Read):
        mean = node(Read.price, pl.col("close").mean())

    class OtherInput(Mean):
        price = StreamInput("ohlcv:mine:B:1h")

    class Later(Read): ...

    class LaterInput(Read): ...

    class OfInstance(Read):
        def __init__(self) -> None:
            self.last = node(Read.price, pl.col("close").last())

    Later.last = node(Read.price, pl.col("close").last())  # type: ignore[attr-defined]
    LaterInput.other = StreamInput(A)  # type: ignore[attr-defined]
    return {
        "one input in two classes": (First, "'shared_by_two' of First has the name 'of_another_name'"),
        "one node twice": (Alias, "'last' of Alias has the name 'same' as well"),
        "an input that is no attribute": (Elsewhere, "looks at an input that Elsewhere does not have"),
        "an input that is replaced": (OtherInput, "looks at an input that OtherInput does not have"),
        "a node that comes later": (Later, "'last' of Later was added to the class later"),
        "an input that comes later": (LaterInput, "'other' of LaterInput was added to the class later"),
        "a node of an instance": (OfInstance, "'last' is made for an instance of OfInstance"),
    }


@pytest.mark.parametrize("name", [*_classes()])
def test_what_has_not_one_name_in_the_class_is_refused(name: str) -> None:
    made, says = _classes()[name]
    with pytest.raises(InvalidRequestError, match=says) as caught:
        check_strategy(made())
    assert caught.value.next_step


def test_a_strategy_that_decides_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"Made has no on_bar\(.*\), and no target"):
        check_strategy(strategy(on_bar=Strategy.on_bar))


def test_what_runs_is_not_refused() -> None:
    price = StreamInput(A)
    last = node(price, lambda window: window["close"][-1])
    check_strategy(strategy(price=price, last=last))
    check_strategy(strategy(price=price, last=last, on_bar=Strategy.on_bar, target=pl.col("last")))
    check_strategy(strategy(on_bar=partial(now, None)))
    check_strategy(strategy(on_bar=staticmethod(lambda bar, portfolio: None)))


class Silent(Strategy):
    price = StreamInput(A)


def test_it_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    options: dict[str, Any] = {"start": "2024-03-01", "end": "2024-03-02"}
    with SeamlessDataProvider(tmp_path / "empty", vendors={}) as history:
        for run in (
            lambda: Runner.submit(Silent, history_provider=history, **options),
            lambda: list(Runner.sweep(Silent, [{}], history_provider=history, **options)),
        ):
            with pytest.raises(InvalidRequestError, match="Silent has no on_bar"):
                run()


@pytest.mark.skipif(bool(sandbox.why_not()), reason="needs Landlock")
def test_an_isolated_strategy_is_looked_at_in_its_own_process(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(LATER)
    with (
        SeamlessDataProvider(tmp_path / "empty", vendors={}) as history,
        pytest.raises(InvalidRequestError, match=r"Later\.on_bar is a coroutine"),
    ):
        Runner.submit(
            str(tmp_path / "later.py"),
            history_provider=history,
            start="2024-03-01",
            end="2024-03-02",
            isolate=True,
        )
