"""A run gives a strategy what a naive loop over all bars gives it, however the rows come in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError, StrategyError
from qmtl.foundation.frames import BAR_SCHEMA
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Part, Run, counterpart

A1, B1 = SeriesId.parse("ohlcv:x:A:1m"), SeriesId.parse("ohlcv:x:B:1m")
A5, IDX = SeriesId.parse("ohlcv:x:A:5m"), SeriesId.parse("ohlcv:y:INDEX:5m")
CLOSE = pl.col("close")

Rows = dict[SeriesId, pl.DataFrame]


def bars(series: SeriesId, count: int, seed: int, *, holes: bool = True) -> pl.DataFrame:
    """Rows of `count` steps from 1970 on, with some of them missing."""
    draw = np.random.default_rng(seed)
    there = np.sort(draw.permutation(count)[: max(1, int(count * 0.8))]) if holes else np.arange(count)
    close = 100 + np.cumsum(draw.normal(0, 1, len(there)))
    ts = pl.Series(there * series.timeframe.step).cast(BAR_SCHEMA["ts"])
    opened = close + draw.normal(0, 0.2, len(there))
    return pl.DataFrame(
        {
            "ts": ts, "open": opened, "high": close + 1, "low": close - 1, "close": close,
            "volume": draw.random(len(there)),
        },
        schema=BAR_SCHEMA,
    )  # fmt: skip


def no_nodes(series: Sequence[SeriesId]) -> list[Reader]:
    return [Reader("one", tuple(series), 1, {})]


class Recorder:
    """Orders at random, by what it is given, and notes all that it sees."""

    def __init__(self, seed: int, series: Sequence[SeriesId]) -> None:
        self.draw = np.random.default_rng(seed)
        self.series = series
        self.seen: list[Any] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        nodes = {name: value for name, value in vars(self).items() if name.startswith("n_")}
        held = {str(series): units for series, units in portfolio.positions.items()}
        self.seen.append((bar, nodes, portfolio.cash, portfolio.equity, held))
        other = self.series[self.draw.integers(len(self.series))]
        match self.draw.integers(8):
            case 0:
                portfolio.target(bar.series, float(self.draw.choice([-0.5, 0.0, 0.25, 1.0])))
            case 1:
                portfolio.order(bar.series, float(self.draw.normal(0, 50)))
            case 2 if str(other) in held:
                portfolio.close(other)


class Naive:
    """The same market by the book: every question is answered from all rows, nothing is kept."""

    def __init__(self, rows: Rows, readers: Sequence[Reader], model: FillModel, recorder: Recorder) -> None:
        self.rows, self.readers, self.model, self.recorder = rows, readers, model, recorder
        self.now, self.orders = 0, []
        self.portfolio = Portfolio(model, self)

    def closed(self, series: SeriesId) -> list[int]:
        return [ts + series.timeframe.step for ts in self.rows[series]["ts"].cast(pl.Int64).to_list()]

    def known(self, series: SeriesId) -> pl.DataFrame:
        return self.rows[series].head(sum(closed <= self.now for closed in self.closed(series)))

    def last_close(self, series: SeriesId) -> float:
        return float(self.known(series)["close"][-1])

    def next_open(self, series: SeriesId, since: int) -> tuple[int, float] | None:
        for ts, price in self.rows[series].select(pl.col("ts").cast(pl.Int64), "open").iter_rows():
            if ts >= since:
                return ts, price
        return None

    def run(self, start: int) -> list[tuple[int, float, float]]:
        events = [
            (closed, place, row)
            for place, series in enumerate(self.rows)
            for row, closed in enumerate(self.closed(series))
        ]
        marks: dict[int, tuple[float, float]] = {}
        for closed, place, row in sorted(events):
            series = list(self.rows)[place]
            values = self.rows[series].row(row)
            ts = self.rows[series]["ts"].cast(pl.Int64)[row]
            self.now = closed
            nodes = {}
            for reader in self.readers:
                owner = counterpart(reader, series)
                if owner is None:
                    nodes |= dict.fromkeys(reader.nodes)
                    continue
                window = self.known(owner).tail(reader.window)
                if window.height < reader.window:
                    break
                for name, node in reader.nodes.items():
                    is_expression = isinstance(node, pl.Expr)
                    nodes[name] = window.select(node).item() if is_expression else node(window)
            else:
                if ts >= start:
                    self.portfolio.fill_due(closed)
                    vars(self.recorder).update(nodes)
                    self.recorder.on_bar(Bar(series, ts, closed, *values[1:]), self.portfolio)
                    marks[closed] = (self.portfolio.cash, self.portfolio.equity)
        return [(closed, *worth) for closed, worth in marks.items()]


def grids(rows: Rows) -> dict[SeriesId, Grid]:
    return {series: Grid(series.timeframe) for series in rows}


def stretches(rows: Rows, cuts: Sequence[int]) -> list[tuple[Rows, int]]:
    """The rows cut at these times, each part with the time at which it ends."""
    edges = [-1, *sorted(cuts), 2**62]
    at = pl.col("ts").cast(pl.Int64)
    return [
        ({series: frame.filter((at >= a) & (at < b)) for series, frame in rows.items()}, b)
        for a, b in pairwise(edges)
    ]


READERS = {
    "minutes": {"n_mean": CLOSE.mean(), "n_mom": CLOSE.last() - CLOSE.first()},
    "fives": {"n_high": pl.col("high").max()},
    "index": {"n_index": lambda window: window["close"][-1]},
}


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_run_is_what_a_naive_loop_gives(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 999))
    rows = {
        A1: bars(A1, 60, seed),
        B1: bars(B1, 60, seed + 1),
        A5: bars(A5, 12, seed + 2),
        IDX: bars(IDX, 12, seed + 3),
    }
    windows = [data.draw(st.integers(1, 5)) for _ in READERS]
    belongs = ((A1,), (A5,), (IDX,))
    wide = data.draw(st.booleans())
    if wide:
        belongs = ((A1, B1), (A5,), (IDX,))
    rows = {series: rows[series] for owned in belongs for series in owned}
    model = FillModel(
        price=data.draw(st.sampled_from(["next_open", "close"])),
        fee_bps=data.draw(st.sampled_from([0.0, 10.0])),
        slippage_bps=data.draw(st.sampled_from([0.0, 5.0])),
        units=data.draw(st.sampled_from(["fractional", "integer"])),
    )
    start = data.draw(st.sampled_from([0, 10 * MINUTE, 31 * MINUTE]))
    readers = [
        Reader(name, owned, window, nodes)
        for (name, nodes), owned, window in zip(READERS.items(), belongs, windows, strict=True)
    ]
    recorder, expected = Recorder(seed, list(rows)), Recorder(seed, list(rows))
    run = Run(recorder, readers, grids(rows), model, start=start)
    for part, until in stretches(rows, data.draw(st.lists(st.integers(0, 60 * MINUTE), max_size=4))):
        run.play(Part(part), until)
    naive = Naive(rows, readers, model, expected)
    marks = naive.run(start)

    assert [one[:2] for one in recorder.seen] == [one[:2] for one in expected.seen]
    assert recorder.seen == expected.seen
    outcome = run.outcome
    assert outcome.fills == naive.portfolio.fills
    assert outcome.open_orders == naive.portfolio.open_orders
    assert outcome.bars == len(expected.seen)
    found = list(zip(*(array.tolist() for array in outcome.marks), strict=True))
    assert [(ts, cash) for ts, cash, _ in found] == [(ts, cash) for ts, cash, _ in marks]
    for (_, _, equity), (_, _, by_book) in zip(found, marks, strict=True):
        assert math.isclose(equity, by_book, rel_tol=1e-12, abs_tol=1e-9)


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_no_decision_depends_on_what_comes_after_it(data: st.DataObject) -> None:
    """Every bar that closes after some moment is another one, or is not there: nothing up to it changes."""
    seed, now = data.draw(st.integers(0, 999)), data.draw(st.integers(5, 55)) * MINUTE
    rows = {A1: bars(A1, 60, seed), B1: bars(B1, 60, seed + 1), A5: bars(A5, 12, seed + 2)}
    other = {one: bars(one, 300 * MINUTE // one.timeframe.step, seed + 7) for one in rows}
    model = FillModel(price=data.draw(st.sampled_from(["next_open", "close"])))

    def hidden(one: SeriesId, frame: pl.DataFrame) -> pl.DataFrame:
        """As it was, as far as it is known at `now`: of a bar that has opened and not closed, its open."""
        ts = pl.col("ts").cast(pl.Int64)
        is_closed = ts + one.timeframe.step <= now
        opened = frame.filter(ts < now).with_columns(
            pl.when(is_closed).then(name).otherwise(pl.col(name) * 3 + 1).alias(name)
            for name in ("high", "low", "close", "volume")
        )
        return pl.concat([opened, other[one].filter(ts >= now)])

    changed = {one: hidden(one, frame) for one, frame in rows.items()}
    seen = []
    for market in (rows, changed):
        recorder = Recorder(seed, list(market))
        readers = [
            Reader("minutes", (A1, B1), 3, READERS["minutes"]),
            Reader("fives", (A5,), 2, READERS["fives"]),
        ]
        run = Run(recorder, readers, grids(market), model, start=0)
        cuts = data.draw(st.lists(st.integers(0, 60 * MINUTE), max_size=2))
        for part, until in stretches(market, cuts):
            run.play(Part(part), until)
        seen.append([one for one in recorder.seen if one[0].closed <= now])
    assert seen[0] == seen[1]


class Raising:
    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        1 / (bar.ts - 5 * MINUTE)


def test_an_error_of_a_strategy_names_the_bar_and_its_nodes() -> None:
    rows = {A1: bars(A1, 10, 1, holes=False)}
    readers = [Reader("price", (A1,), 3, {"mean": CLOSE.mean()})]
    run = Run(Raising(), readers, grids(rows), FillModel(), start=0)
    with pytest.raises(StrategyError) as caught:
        run.play(Part(rows))
    error = caught.value
    assert error.bar_ts == 5 * MINUTE
    assert error.nodes == {"mean": rows[A1].slice(3, 3).select(CLOSE.mean()).item()}
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "Raising.on_bar raised ZeroDivisionError: division by zero" in str(error)
    assert "ohlcv:x:A:1m" in str(error)
    assert "1970-01-01T00:05:00Z" in str(error)


class Buying:
    """Orders once, at its third bar."""

    def __init__(self, **order: Any) -> None:
        self.order, self.bars = order, 0

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.bars += 1
        if self.bars == 3:
            portfolio.order(**self.order)


def played(strategy: Any, rows: Mapping[SeriesId, pl.DataFrame], model: FillModel) -> Run:
    run = Run(strategy, no_nodes(list(rows)), grids(dict(rows)), model, start=0)
    run.play(Part(rows))
    return run


def test_an_order_is_filled_at_the_next_open_and_seen_after_it() -> None:
    rows = {A1: bars(A1, 6, 2, holes=False)}
    outcome = played(Buying(series=A1, units=2), rows, FillModel(fee_bps=10, slippage_bps=20)).outcome
    [fill] = outcome.fills
    price = rows[A1]["open"][3] * (1 + 20 / 10_000)
    assert (fill.ts, fill.price, fill.units) == (3 * MINUTE, price, 2.0)
    assert fill.fee == 2.0 * price * 10 / 10_000
    # The decision was made at minute 3, where it is not worth anything yet.
    assert outcome.marks.cash.tolist() == [100_000.0] * 3 + [fill.cash] * 3


def test_a_buy_goes_as_far_as_the_cash() -> None:
    rows = {A1: bars(A1, 6, 2, holes=False)}
    outcome = played(Buying(series=A1, units=1e6), rows, FillModel(units="integer", fee_bps=10)).outcome
    [fill] = outcome.fills
    assert fill.wanted == 1e6
    assert fill.units == math.floor(fill.units) > 0
    assert 0 <= fill.cash < fill.price * 1.01


def test_an_order_behind_the_last_bar_stays_open() -> None:
    rows = {A1: bars(A1, 3, 2, holes=False)}
    outcome = played(Buying(series=A1, units=1), rows, FillModel()).outcome
    assert not outcome.fills
    assert [(order.series, order.units, order.made) for order in outcome.open_orders] == [
        (A1, 1.0, 3 * MINUTE)
    ]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"series": B1, "units": 1}, "ohlcv:x:B:1m is no series of the strategy's inputs"),
        ({"series": A1, "units": float("nan")}, "units=nan is no number that can be ordered"),
        ({"series": A1, "units": None}, "units=None is no number that can be ordered"),
        ({"series": "A", "units": 1}, "'A' is not a node id"),
    ],
)
def test_an_order_that_cannot_be_used_says_why(order: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        played(Buying(**order), {A1: bars(A1, 6, 2, holes=False)}, FillModel())
    assert says in str(caught.value)


def test_a_node_belongs_to_the_bars_of_its_instrument_or_to_all() -> None:
    both, single = Reader("prices", (A1, B1), 1, {}), Reader("index", (IDX,), 1, {})
    assert counterpart(both, A5) == A1
    assert counterpart(both, IDX) is None
    assert counterpart(single, A1) == IDX
    assert counterpart(Reader("twice", (A1, A5), 1, {}), SeriesId.parse("ohlcv:x:A:15m")) is None


class Asking:
    """Asks for the node of another series."""

    run: Run

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if bar.series == A1:
            self.found.append((bar.closed, self.run.value("mean", B1)))


def test_a_strategy_may_ask_for_a_node_of_another_series() -> None:
    rows = {series: bars(series, 20, seed) for seed, series in enumerate((A1, B1))}
    asking = Asking()
    readers = [Reader("price", (A1, B1), 3, {"mean": CLOSE.mean()})]
    asking.run = run = Run(asking, readers, grids(rows), FillModel(), start=0)
    for part, until in stretches(rows, [7 * MINUTE, 15 * MINUTE]):
        run.play(Part(part), until)
    naive = Naive(rows, readers, FillModel(), Recorder(0, []))
    for closed, value in asking.found:
        naive.now = closed
        window = naive.known(B1).tail(3)
        assert value == (window.select(CLOSE.mean()).item() if window.height == 3 else None)
    assert any(value is not None for _, value in asking.found)
    with pytest.raises(InvalidRequestError, match="'mean' has no series that belongs to ohlcv:y:INDEX:5m"):
        run.value("mean", IDX)
    with pytest.raises(InvalidRequestError, match="no node 'median'"):
        run.value("median", A1)


def test_whole_units_beyond_those_that_floats_tell_apart_come_to_an_end() -> None:
    model = FillModel(units="integer", cash=7e20, fee_bps=10)
    units, _, paid, _ = model.filled(1e21, 100.0, 7e20)
    assert 0 < units < 7e18
    assert paid <= 7e20
