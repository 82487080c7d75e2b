"""Whatever a run, an input, a node or a model is given that cannot be used is refused with facts."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from qmtl import (
    Bar,
    FillModel,
    InvalidRequestError,
    Portfolio,
    QmtlError,
    Runner,
    SeamlessDataProvider,
    Span,
    Strategy,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.sdk.run_arguments import seed_of
from qmtl.runtime.testing import synthetic_bars

A = "ohlcv:mine:A:1h"
START = to_ns("2024-03-01")


class Held(Strategy):
    price = StreamInput(A)

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, self.weight)


class Needing(Held):
    def __init__(self, weight: float, other: float) -> None: ...


class Raising(Held):
    def __init__(self) -> None:
        raise KeyError("nothing there")


class Leaving(Held):
    def __init__(self) -> None:
        raise SystemExit(3)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeamlessDataProvider]:
    store = tmp_path_factory.mktemp("arguments") / "bars"
    import_frame(store, synthetic_bars(A, Span(START - 2 * HOUR, START + 6 * HOUR)), A)
    with SeamlessDataProvider(store, vendors={}) as made:
        yield made


# Of every kind; what one argument takes is wrong for another.
VALUES: list[Any] = [
    None, True, False, 0, 5, -1, 2.5, float("nan"), float("inf"), 1j, 10**30, "x", "", b"x", [], ["x"], {},
    {"a": 1}, (), object(), Held, Held(), print, pl.DataFrame(), pl.col("x"), np.int64(3), np.array([1]),
    np.array([1, 2]), datetime.datetime(2024, 3, 1, 3, tzinfo=datetime.UTC), START + HOUR,
]  # fmt: skip


def refused_or_done(call: Callable[[], object]) -> None:
    """Any error of this package says what was given and what to do; any other is a defect."""
    try:
        call()
    except QmtlError as error:
        told = error.next_step or error.why
    else:
        told = "done"
    assert told


def submitted(history: SeamlessDataProvider, strategy: Any = Held, **options: Any) -> object:
    given = {"history_provider": history, "start": START, "end": START + 3 * HOUR, **options}
    return Runner.submit(strategy, **given)


ARGUMENTS = (
    "strategy", "world", "data_preset", "history_provider", "mode", "start", "end", "knowledge", "as_of",
    "fills", "seed", "budget", "resume", "isolate",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::qmtl.foundation.times.SmallIntWarning")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_argument_of_a_run_is_a_defect(
    history: SeamlessDataProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in VALUES:
        if name == "isolate" and value is True:
            continue  # starts a process, which other tests do
        refused_or_done(lambda value=value: submitted(history, **{name: value}))  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore::qmtl.foundation.times.SmallIntWarning")
@pytest.mark.parametrize("name", [*ARGUMENTS[:4], "start", "end", "as_of", "fills", "seed", "parameters"])
def test_no_argument_of_a_sweep_or_of_a_verification_is_a_defect(
    history: SeamlessDataProvider, name: str
) -> None:
    span = {"start": START, "end": START + 3 * HOUR}
    options = {"strategy": Held, "parameters": [{}], "history_provider": history, **span}
    proof = Runner.submit(Held, history_provider=history, **span).proof
    for value in VALUES:
        given = {**options, name: value}
        refused_or_done(lambda given=given: list(Runner.sweep(**given)))  # type: ignore[misc]
        if name in (*ARGUMENTS[:4], "isolate"):
            given = {"strategy": Held, "history_provider": history, name: value}
            refused_or_done(lambda given=given: Runner.verify(proof, **given))  # type: ignore[misc]


def test_no_argument_of_what_is_declared_is_a_defect() -> None:
    for value in VALUES:
        calls: list[Callable[[], object]] = [
            lambda value=value: StreamInput(value),  # type: ignore[misc]
            lambda value=value: node(value, pl.col("close").mean()),  # type: ignore[misc]
            lambda value=value: node(Held.price, value),  # type: ignore[misc]
        ]
        for name in ("preset", "window", "history_provider", "allow_partial"):
            calls.append(lambda name=name, value=value: StreamInput(A, **{name: value}))  # type: ignore[misc]
        for name in ("price", "fee_bps", "slippage_bps", "units", "cash"):
            calls.append(lambda name=name, value=value: FillModel(**{name: value}))  # type: ignore[misc]
        for call in calls:
            refused_or_done(call)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": -1}, "seed=-1 cannot be used\n  next:   give a whole number from 0 on"),
        ({"seed": "x"}, "seed='x' cannot be used"),
        ({"seed": True}, "seed=True cannot be used"),
        ({"seed": None}, "seed=None cannot be used"),
        ({"fills": {}}, "fills={} cannot be used\n  next:   give a model: qmtl.FillModel(fee_bps=5)"),
        ({"history_provider": "bars"}, "history_provider='bars' cannot be used\n  next:   give a provider"),
        ({"world": 5}, "world=5 cannot be used"),
        ({"mode": ["paper"]}, "mode=['paper'] cannot be used\n  next:   use 'backtest', 'paper'"),
        ({"knowledge": {}}, "knowledge={} cannot be used\n  next:   use 'as_of', 'as_known'"),
        ({"resume": True}, "resume=True cannot be used\n  next:   give the path of a file"),
        ({"isolate": "no"}, "isolate='no' cannot be used\n  next:   give True or False"),
        ({"as_of": np.array([1, 2])}, "as_of"),
        ({"strategy": Needing}, "Needing() cannot be made\n  why:    TypeError: "),
        ({"strategy": Raising}, "Raising() cannot be made\n  why:    KeyError: 'nothing there'"),
        ({"strategy": Leaving}, "Leaving() cannot be made\n  why:    SystemExit: 3"),
        ({"strategy": dict}, "is no strategy"),
    ],
)
def test_what_is_wrong_is_named(history: SeamlessDataProvider, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        submitted(history, **options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "parameters", "says"),
    [
        (None, [{}], "strategy=None cannot be used"),
        (Held, {"weight": 0.5}, "parameters={'weight': 0.5} cannot be used"),
        (Held, 5, "parameters=5 cannot be used"),
        (Held, [5], "5 is no set of parameters"),
        (Held, [{1: 2}], "{1: 2} is no set of parameters"),
        (Held, [{"wight": 0.5}], "Held(wight=0.5) cannot be made"),
        (lambda: None, [{}], "None is no strategy"),
    ],
)
def test_what_cannot_be_swept_is_named(
    history: SeamlessDataProvider, strategy: Any, parameters: Any, says: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        list(Runner.sweep(strategy, parameters, history_provider=history, start=START))
    assert says in str(caught.value)


def test_a_seed_is_a_whole_number() -> None:
    assert [seed_of(one) for one in (0, 7, np.int64(3), 10**30)] == [0, 7, 3, 10**30]
    assert type(seed_of(np.uint8(5))) is int, "as a proof writes it"
