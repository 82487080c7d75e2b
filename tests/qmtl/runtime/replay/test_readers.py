"""Functions of nodes are called when somebody is given their values, once for a window, and see no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import StrategyError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.bars import Bar, Gap, Revision
from qmtl.runtime.replay.changes import Change, KnownGap
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Part, Run
from qmtl.runtime.replay.weights import Weights
from qmtl.runtime.testing import synthetic_bars

A, B, A5 = (SeriesId.parse(f"ohlcv:x:{one}") for one in ("A:1m", "B:1m", "A:5m"))
TS, CLOSE = pl.col("ts").cast(pl.Int64).last(), pl.col("close")


def rows(series: SeriesId, minutes: int, seed: int = 1) -> pl.DataFrame:
    frame = synthetic_bars(series.text, Span(0, minutes * MINUTE), seed=seed)
    return frame.filter(np.random.default_rng(seed).random(frame.height) < 0.8)


class Memory:
    """What code of a strategy writes down outside of it, and who saw how much of it when."""

    def __init__(self) -> None:
        self.newest = 0  # the newest close of a bar that was written down (ns)
        self.now = 0  # the close of the bar for which functions are called (ns)
        self.seen: list[tuple[str, int, int]] = []

    def write(self, ts: int) -> float:
        self.newest = max(self.newest, ts + MINUTE)
        return 0.25

    def tick(self, now: int) -> None:
        self.now = now

    def look(self, who: str, now: int) -> float:
        self.seen.append((who, now, self.newest))
        return 0.5

    def ahead(self) -> list[tuple[str, int, int]]:
        return [one for one in self.seen if one[2] > one[1]]


class Looking:
    """Looks into the memory at whatever it is called for."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.memory.look("on_bar", bar.closed)

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        self.memory.look("on_gap", gap.span.end)

    def on_revision(self, revision: Revision, portfolio: Portfolio) -> None:
        self.memory.look("on_revision", revision.at)


def closed(window: pl.DataFrame) -> int:
    return int(window["ts"].cast(pl.Int64)[-1]) + MINUTE


Writer = Callable[[Memory], Any]
WRITERS: dict[str, Writer] = {
    "function": lambda memory: lambda window: memory.write(closed(window) - MINUTE),
    "map_elements": lambda memory: TS.map_elements(memory.write, return_dtype=pl.Float64),
    "map_batches": lambda memory: TS.map_batches(
        lambda s: pl.Series([memory.write(int(one)) for one in s]), return_dtype=pl.Float64
    ),
    "rolling_map": lambda memory: pl.col("ts").cast(pl.Float64).rolling_map(
        lambda s: memory.write(int(s[-1])), 1
    ).last(),
    "fold": lambda memory: pl.reduce(
        lambda a, b: pl.Series([memory.write(int(a[-1])) for _ in b]), [TS, CLOSE.last()]
    ),
}  # fmt: skip


def played(memory: Memory, nodes: Mapping[str, Any], **how: Any) -> Run:
    """In three stretches, with a gap and a change in the middle of one."""
    readers = [
        Reader("price", (A, B), 3, nodes),
        # Its window is given as soon as a bar asks for it, which may close later than that.
        Reader("slower", (A5,), 2, {"slow": lambda _: memory.look("slower node", memory.now)}),
    ]
    run = Run(
        Looking(memory), readers, {one: Grid(one.timeframe) for one in (A, B, A5)}, FillModel(),
        start=20 * MINUTE, **how,
    )  # fmt: skip
    frames = {one: rows(one, 200) for one in (A, B, A5)}
    at = pl.col("ts").cast(pl.Int64)
    changed = int(frames[A].filter(at < 100 * MINUTE)["ts"].cast(pl.Int64)[-1])
    for first, last in ((0, 50), (50, 120), (120, 220)):
        inside = (at >= first * MINUTE) & (at < last * MINUTE)
        run.play(
            Part(
                {one: frame.filter(inside) for one, frame in frames.items()},
                changes=[Change(110 * MINUTE, A, changed, None, (1.0, 2.0, 1.0, 2.0, None))][: first == 50],
                gaps=[KnownGap(90 * MINUTE, Gap(A, Span(89 * MINUTE, 90 * MINUTE), "unknown"))][
                    : first == 50
                ],
            ),
            last * MINUTE,
        )
    return run


@pytest.mark.parametrize("kind", list(WRITERS))
def test_what_a_node_writes_down_says_nothing_ahead(kind: str) -> None:
    memory = Memory()
    nodes = {
        "tick": lambda window: memory.tick(closed(window)),
        "note": WRITERS[kind](memory),
        "look": lambda window: memory.look("node", closed(window)),
        "by_expression": TS.map_elements(
            lambda ts: memory.look("expression", ts + MINUTE), return_dtype=pl.Float64
        ),
    }
    run = played(memory, nodes)
    assert run.outcome.bars > 200
    assert not memory.ahead()
    # All of them look, and what was written down for a bar is there when it is delivered.
    assert {who for who, *_ in memory.seen} == {
        *("on_bar", "on_gap", "on_revision"), *("node", "expression", "slower node"),
    }  # fmt: skip
    assert sum(now == newest for who, now, newest in memory.seen if who == "on_bar") > 200


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("listens", [True, False])
def test_what_a_target_reads_says_nothing_ahead(kind: str, listens: bool) -> None:
    memory = Memory()
    nodes = {
        "tick": lambda window: memory.tick(closed(window)),
        "note": WRITERS[kind](memory),
        "ts": TS,
        "look": lambda window: memory.look("node", closed(window)),
    }
    seeing = pl.col("ts").map_elements(lambda ts: memory.look("target", ts + MINUTE), return_dtype=pl.Float64)
    for target in (seeing, pl.col("note"), pl.col("note") + seeing * 0):
        memory.seen, memory.newest = [], 0
        run = played(memory, nodes, weights=Weights(target, [*nodes, "slow"]), listens=listens)
        assert run.outcome.fills
        # A strategy that does not listen has no `on_gap`, and no `on_revision`, that could look.
        assert not [one for one in memory.ahead() if listens or not one[0].startswith("on_")]
        assert len({who for who, *_ in memory.seen}) >= 2


def test_each_window_is_given_once_and_is_that_of_the_bar() -> None:
    windows: list[pl.DataFrame] = []

    def noted(window: pl.DataFrame) -> float:
        windows.append(window)
        return float(window["close"][-1])

    of_minutes, of_fives = rows(A, 100), rows(A5, 100)
    readers = [Reader("price", (A,), 1, {}), Reader("slower", (A5,), 4, {"slow": noted})]
    found: list[tuple[int, float]] = []

    class Noting:
        slow: float
        run: Run

        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            assert self.run.value("slow", A5) == self.slow
            found.append((bar.closed, self.slow))

    strategy = Noting()
    run = strategy.run = Run(
        strategy, readers, {one: Grid(one.timeframe) for one in (A, A5)}, FillModel(), start=0
    )
    for frames in ({A: of_minutes[:50], A5: of_fives[:10]}, {A: of_minutes[50:], A5: of_fives[10:]}):
        run.play(Part(frames), closed(frames[A]))
    ends = of_fives["ts"].cast(pl.Int64) + 5 * MINUTE
    for at, value in found:
        assert value == of_fives.filter(ends <= at)["close"][-1]
    given = [int(window["ts"].cast(pl.Int64)[-1]) for window in windows]
    assert given == sorted(set(given))
    assert len(given) > 10
    for window in windows:
        place = of_fives["ts"].to_list().index(window["ts"][-1])
        assert window.equals(of_fives.slice(place - 3, 4))


def test_a_function_that_changes_its_window_changes_nothing_else() -> None:
    frame = rows(A, 40)
    before = frame.clone()

    def spoil(window: pl.DataFrame) -> float:
        window[0, "close"] = -1.0
        window.drop_in_place("open")
        return float(window["close"][-1])

    seen: list[float] = []

    class Noting:
        spoilt: float
        last: float

        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            seen.append(self.spoilt)
            assert self.spoilt == self.last == bar.close

    readers = [Reader("price", (A,), 4, {"spoilt": spoil, "last": CLOSE.last()})]
    Run(Noting(), readers, {A: Grid(A.timeframe)}, FillModel(), start=0).play(Part({A: frame}))
    assert len(seen) == frame.height - 3
    assert frame.equals(before)


def test_a_function_that_raises_ends_the_run_at_its_bar() -> None:
    frame = rows(A, 40)
    bad = int(frame["ts"].cast(pl.Int64)[20])
    given: list[int] = []

    class Noting:
        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
            given.append(bar.ts)

    nodes = {"n": lambda window: 1 / (closed(window) - MINUTE - bad)}
    run = Run(Noting(), [Reader("price", (A,), 4, nodes)], {A: Grid(A.timeframe)}, FillModel(), start=0)
    with pytest.raises(StrategyError) as caught:
        run.play(Part({A: frame}))
    assert given == frame["ts"].cast(pl.Int64).to_list()[3:20]
    assert (caught.value.bar_ts, caught.value.series) == (bad, A.text)
    assert "node 'n' raised ZeroDivisionError" in str(caught.value)
