"""A run that was stopped in the middle goes on where it was kept, and comes to the same proof."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
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
    Runner,
    RunResult,
    SeamlessDataProvider,
    Span,
    Strategy,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import to_ns
from qmtl.runtime.sdk import run_history, run_keeper
from qmtl.runtime.testing import synthetic_bars

A, B = "ohlcv:mine:A:1m", "ohlcv:mine:B:1m"
START, END = to_ns("2024-03-02"), to_ns("2024-03-04")


class Killed(BaseException):
    """As a signal would end it: nobody catches it."""


class Learner(Strategy):
    """Its decisions depend on all that it has seen, and on chance."""

    price = StreamInput([A, B], window=20)
    mean = node(price, pl.col("close").mean())
    spread = node(price, lambda window: window["high"].max() - window["low"].min())

    dies_at: int | None = None

    def __init__(self, edge: float = 0.0) -> None:
        self.edge, self.count, self.seen = edge, 0, 0.0

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if self.count == type(self).dies_at:
            raise Killed
        self.count += 1
        self.seen = 0.9 * self.seen + (bar.close - self.mean) / self.spread
        if self.random.random() < 0.05:
            portfolio.target(bar.series, 0.4 if self.seen > self.edge else 0.0)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[SeamlessDataProvider]:
    store = tmp_path / "store"
    for name in (A, B):
        import_frame(store, synthetic_bars(name, Span(to_ns("2024-03-01"), END)), name)
    with SeamlessDataProvider(store, vendors={}) as provider:
        yield provider


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept after a few hundred bars, in a run of several parts."""
    monkeypatch.setattr(run_keeper, "ROWS_BETWEEN", 300)
    monkeypatch.setattr(run_keeper, "EVERY_S", 0.0)
    monkeypatch.setattr(run_history, "_ROWS_AT_ONCE", 1_500)


def submit(history: SeamlessDataProvider, strategy: Any = Learner, **options: Any) -> RunResult:
    given = {"start": START, "end": END, "history_provider": history, **options}
    return Runner.submit(strategy, **given)


@pytest.mark.parametrize("knowledge", ["as_of", "as_known"])
def test_it_goes_on_wherever_it_was_stopped(
    history: SeamlessDataProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    often: None,
    knowledge: str,
) -> None:
    whole = submit(history, knowledge=knowledge)
    assert whole.fills.height > 20
    draw = np.random.default_rng(3)
    state = tmp_path / "run.state"
    for _ in range(4):
        state.unlink(missing_ok=True)
        for place in sorted(draw.integers(0, whole.figures.bars, 3).tolist()):
            monkeypatch.setattr(Learner, "dies_at", place)
            with pytest.raises(Killed):
                submit(history, knowledge=knowledge, resume=state)
        monkeypatch.setattr(Learner, "dies_at", None)
        strategy = Learner()
        found = submit(history, strategy, knowledge=knowledge, resume=state)
        assert json.dumps(found.proof.to_json()) == json.dumps(whole.proof.to_json())
        assert found.fills.equals(whole.fills)
        assert found.equity.equals(whole.equity)
        assert strategy.count == whole.figures.bars


def test_what_was_played_is_not_played_again(
    history: SeamlessDataProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    monkeypatch.setattr(Learner, "dies_at", 4_000)
    with pytest.raises(Killed):
        submit(history, resume=tmp_path / "run.state")
    monkeypatch.setattr(Learner, "dies_at", None)
    calls: list[int] = []
    on_bar = Learner.on_bar

    def counted(self: Learner, bar: Bar, portfolio: Portfolio) -> None:
        calls.append(bar.ts)
        on_bar(self, bar, portfolio)

    monkeypatch.setattr(Learner, "on_bar", counted)
    total = submit(history, resume=tmp_path / "run.state").figures.bars
    assert total - 4_000 <= len(calls) <= total - 4_000 + 300


def test_later_commits_are_not_its_own(
    history: SeamlessDataProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    options = {"end": None, "resume": tmp_path / "run.state"}
    whole = submit(history)
    monkeypatch.setattr(history, "now", lambda: END)
    monkeypatch.setattr(Learner, "dies_at", 3_000)
    with pytest.raises(Killed):
        submit(history, **options)
    monkeypatch.setattr(Learner, "dies_at", None)
    more = synthetic_bars(A, Span(START, END + 1_440 * 60_000_000_000), seed=9)
    import_frame(history.store, more, A)
    monkeypatch.setattr(history, "now", lambda: END + 1_440 * 60_000_000_000)
    assert submit(history, **options).proof == whole.proof


def test_a_state_that_is_not_of_this_run_is_refused(history: SeamlessDataProvider, tmp_path: Path) -> None:
    state = tmp_path / "run.state"
    submit(history, resume=state)

    def refused(strategy: Any = Learner, **options: Any) -> str:
        with pytest.raises(InvalidRequestError) as raised:
            submit(history, strategy, resume=state, **options)
        return str(raised.value)

    assert "is of another run" in refused(seed=1)
    assert "seed: 0 there, 1 now" in refused(seed=1)
    assert "end: " in refused(end=END - 60_000_000_000)
    assert "fills: " in refused(fills=FillModel(fee_bps=1.0))
    assert "knowledge: as_of there, as_known now" in refused(knowledge="as_known")
    assert "attributes: " in refused(Learner(edge=0.5))
    assert "strategy: " in refused(type("Other", (Learner,), {}))
    content = state.read_bytes()
    state.write_bytes(content[:-1])
    assert "is damaged" in refused()
    state.write_bytes(content.replace(b'"format": 1', b'"format": 9'))
    assert "the format 9" in refused()
    state.write_bytes(b"nothing")
    assert "is no state of a run" in refused()
    state.unlink()
    state.mkdir()
    assert "cannot be read" in refused()


def test_what_cannot_be_kept_is_refused_at_the_start(history: SeamlessDataProvider, tmp_path: Path) -> None:
    strategy = Learner()
    strategy.edge = lambda: 0.0  # type: ignore[assignment]
    with pytest.raises(InvalidRequestError, match="cannot be kept"):
        submit(history, strategy, resume=tmp_path / "run.state")
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        submit(history, resume=tmp_path / "no folder" / "run.state")
    assert not list(tmp_path.glob(".*.part"))


CHILD = """
    import sys
    from pathlib import Path
    from qmtl import Runner, SeamlessDataProvider
    from qmtl.runtime.sdk import run_keeper
    from cross import Cross

    run_keeper.ROWS_BETWEEN, run_keeper.EVERY_S = 200, 0.0
    with SeamlessDataProvider("store", vendors={}) as history:
        result = Runner.submit(
            Cross, history_provider=history, start="2024-03-02", end="2024-03-04", resume="run.state"
        )
    Path("proof.json").write_text(repr(result.proof.to_json()))
"""
CROSS = """
    import os, signal
    from pathlib import Path
    import polars as pl
    import qmtl

    class Cross(qmtl.Strategy):
        price = qmtl.StreamInput("ohlcv:mine:A:1m", window=20)
        mean = qmtl.node(price, pl.col("close").mean())

        def __init__(self):
            self.count = 0

        def on_bar(self, bar, portfolio):
            self.count += 1
            if os.environ.get("DIES_AT") == str(self.count):
                os.kill(os.getpid(), signal.SIGKILL)
            portfolio.target(bar.series, 0.5 if bar.close > self.mean and self.random.random() < 0.7 else 0.0)
"""


def test_a_killed_process_goes_on_to_the_same_bytes(history: SeamlessDataProvider, tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    (tmp_path / "cross.py").write_text(textwrap.dedent(CROSS))

    def run(**environment: str) -> int:
        command = [sys.executable, "child.py"]
        return subprocess.run(command, cwd=tmp_path, env=environment, timeout=120).returncode

    proof, state = tmp_path / "proof.json", tmp_path / "run.state"
    assert run(PYTHONHASHSEED="1") == 0
    whole = proof.read_bytes()
    proof.unlink()
    state.unlink()
    assert run(PYTHONHASHSEED="2", DIES_AT="1700") == -9
    assert state.exists()
    assert not proof.exists()
    assert run(PYTHONHASHSEED="3", DIES_AT="1701") == -9
    assert run(PYTHONHASHSEED="4", TZ="Asia/Kathmandu") == 0
    assert proof.read_bytes() == whole


def test_a_class_of_no_module_is_kept_as_any_other(tmp_path: Path) -> None:
    """As one that a program made by `exec`, under a name that nothing was imported by."""
    made: dict[str, Any] = {"__name__": "nowhere"}
    exec(
        "import qmtl\n"
        "class Made(qmtl.Strategy):\n"
        f"    price = qmtl.StreamInput({A!r})\n"
        "    def on_bar(self, bar, portfolio): portfolio.target(bar.series, 0.5)\n",
        made,
    )
    import_frame(tmp_path / "bars", synthetic_bars(A, Span(START, START + 9 * 60 * 10**9)), A)
    with SeamlessDataProvider(tmp_path / "bars", vendors={}) as history:
        first, again = (
            Runner.submit(
                made["Made"], history_provider=history, start=START + 60 * 10**9, end=START + 9 * 60 * 10**9,
                resume=tmp_path / "made.state",
            )
            for _ in range(2)
        )  # fmt: skip
    assert first.proof == again.proof
    assert first.proof.source is None
