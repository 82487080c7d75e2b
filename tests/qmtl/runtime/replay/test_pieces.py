"""A run that is played in pieces, and taken up between two of them, comes to the same end."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.bars import Bar, Gap, Revision
from qmtl.runtime.replay.changes import Change, KnownGap
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.pieces import pieces
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.run import Part, Run
from qmtl.runtime.testing import synthetic_bars

A, A5 = SeriesId.parse("ohlcv:x:A:1m"), SeriesId.parse("ohlcv:x:A:5m")
NODES = {"mean": pl.col("close").mean(), "first": lambda window: window["open"][0]}


class Gambler:
    """Orders at random, and remembers all that it is told."""

    def __init__(self) -> None:
        self.draw = np.random.default_rng(7)
        self.seen: list[Any] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.seen.append((bar, self.__dict__["mean"], self.__dict__["first"], portfolio.equity))
        if self.draw.random() < 0.3:
            portfolio.order(bar.series, float(self.draw.normal(0, 3)))
        elif self.draw.random() < 0.3:
            portfolio.target(bar.series, float(self.draw.choice([0.0, 0.4])))

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        self.seen.append(gap)

    def on_revision(self, revision: Revision, portfolio: Portfolio) -> None:
        self.seen.append(revision)
        portfolio.order(A, 1)


def made(strategy: Gambler) -> Run:
    readers = [Reader("minutes", (A,), 4, NODES), Reader("slower", (A5,), 2, {})]
    grids = {series: Grid(series.timeframe) for series in (A, A5)}
    return Run(strategy, readers, grids, FillModel(fee_bps=5.0), start=30 * MINUTE, spare={A: 3})


def of(start: int, end: int) -> tuple[Part, int]:
    span = Span(start * MINUTE, end * MINUTE)
    rows = {series: synthetic_bars(series.text, span) for series in (A, A5)}
    corrected = (101.0, 102.0, 100.0, 101.5, 7.0)
    first = synthetic_bars(A.text, Span(span.start, span.start + MINUTE)).row(0)[1:]
    changes = [Change(span.start + 7 * MINUTE + 5, A, span.start, first, corrected)]
    gaps = [KnownGap(span.start + 9 * MINUTE, Gap(A5, Span(0, 5 * MINUTE), "absent"))]
    return Part(rows, {}, changes, gaps), span.end


PARTS = [of(0, 60), of(60, 200), of(200, 215)]


def end_of(run: Run, strategy: Gambler) -> list[Any]:
    outcome = run.outcome
    return [*outcome[:3], *(column.tobytes() for column in outcome.marks), strategy.seen]


@given(rows=st.integers(1, 300), stopped=st.lists(st.integers(0, 60), max_size=3))
@settings(deadline=None, max_examples=40)
def test_pieces_and_what_was_kept_change_nothing(rows: int, stopped: list[int]) -> None:
    whole = made(plain := Gambler())
    for part, until in PARTS:
        whole.play(part, until)

    run = made(strategy := Gambler())
    cut = [piece for part, until in PARTS for piece in pieces(part, until, rows)]
    for number, (part, until) in enumerate(cut):
        if number in stopped:
            kept = pickle.loads(pickle.dumps((run.kept(), vars(strategy))))
            run = made(strategy := Gambler())
            run.take_up(kept[0])
            vars(strategy).update(kept[1])
        run.play(part, until)
    assert end_of(run, strategy) == end_of(whole, plain)


def test_pieces_are_cut_after_so_many_rows() -> None:
    part, until = PARTS[1]
    found = list(pieces(part, until, 50))
    edges = [edge // MINUTE for _, edge in found]
    assert edges == sorted(set(edges))
    assert len(edges) == 4
    assert edges[-1] == 200
    assert found[0][0].rows == part.rows
    assert not any(piece.rows for piece, _ in found[1:])
    assert [change for piece, _ in found for change in piece.changes] == list(part.changes)
