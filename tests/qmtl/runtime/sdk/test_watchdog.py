"""A strategy that never returns is ended, and the bar at which it hung is named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
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
    Span,
    Strategy,
    StrategyError,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.sdk import played_run
from qmtl.runtime.sdk.watchdog import watched
from qmtl.runtime.testing import synthetic_bars

A = "ohlcv:mine:A:1h"
START, END = to_ns("2024-03-02"), to_ns("2024-03-03")
HUNG = START + 7 * HOUR


@pytest.fixture
def history(tmp_path: Path) -> Iterator[SeamlessDataProvider]:
    import_frame(tmp_path, synthetic_bars(A, Span(START - 24 * HOUR, END)), A)
    with SeamlessDataProvider(tmp_path, vendors={}) as made:
        yield made


HANGS = threading.Event()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a strategy hangs there is always progress: a busy machine may take its time for bars before."""
    HANGS.clear()

    def patiently(budget: float, progress: Callable[[], object]) -> AbstractContextManager[None]:
        steps = count()
        return watched(budget, lambda: progress() if HANGS.is_set() else next(steps))

    monkeypatch.setattr(played_run, "watched", patiently)


def note_that_it_hangs() -> None:
    if not HANGS.is_set():  # once: whoever is interrupted in the middle of `set` may keep its lock
        HANGS.set()


class Hangs(Strategy):
    price = StreamInput(A, window=2)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        while bar.ts == HUNG:
            note_that_it_hangs()
            try:
                raise ValueError("again")
            except Exception:  # noqa: BLE001 - as strategies that must not be stopped do it
                pass


class HangsInNode(Strategy):
    price = StreamInput(A, window=2)

    @staticmethod
    def value(window: pl.DataFrame) -> float:
        while window["ts"].cast(pl.Int64)[-1] == HUNG:
            note_that_it_hangs()
        return 0.0

    mean = node(price, value)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None: ...


def submit(strategy: Any, history: SeamlessDataProvider, budget: Any) -> None:
    Runner.submit(strategy, history_provider=history, start=START, end=END, budget=budget)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("strategy", "where"), [(Hangs, "Hangs.on_bar"), (HangsInNode, "node 'mean'")], ids=["on_bar", "node"]
)
def test_a_strategy_that_never_returns_is_ended(
    strategy: Any, where: str, history: SeamlessDataProvider
) -> None:
    with pytest.raises(StrategyError) as caught:
        submit(strategy, history, 0.3)
    assert f"{where} raised OverBudget: it took longer than `budget=` allows" in str(caught.value)
    assert caught.value.bar_ts == HUNG
    assert caught.value.alone["start"] == "2024-03-02T07:00:00Z"
    # Nothing of it comes later: this thread goes on.
    assert sum(range(100_000)) == 4_999_950_000
    assert history.fetch(A, START, END).frame.height == 24


def test_a_run_that_goes_on_is_left_alone(history: SeamlessDataProvider) -> None:
    class Quick(Strategy):
        price = StreamInput(A, window=2)
        last = node(price, lambda window: window["close"][-1])
        bars = 0

        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            type(self).bars += 1

    submit(Quick, history, 60)
    assert Quick.bars == 24


@pytest.mark.parametrize("budget", [0, -1, True, "1", float("nan"), float("inf")])
def test_what_is_no_budget_is_refused(budget: Any, history: SeamlessDataProvider) -> None:
    with pytest.raises(InvalidRequestError, match=r"budget=.* cannot be used"):
        submit(Hangs, history, budget)
