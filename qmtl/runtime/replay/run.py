"""One run of a strategy: bars are read a stretch at a time, and delivered in the order of their closes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError, QmtlError, StrategyError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import LATEST, iso
from qmtl.runtime.replay.bars import Bar, Gap
from qmtl.runtime.replay.equity import Closes, Marks, marks
from qmtl.runtime.replay.events import Events, Reader, events
from qmtl.runtime.replay.orders import Fill, FillModel, Order
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.tape import Tape


class Strategy(Protocol):
    """What a run needs of a strategy: nodes are put into its `__dict__` before each bar."""

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> object: ...
    def on_gap(self, gap: Gap, portfolio: Portfolio) -> object: ...


class Outcome(NamedTuple):
    """What a run has come to so far."""

    bars: int
    fills: Sequence[Fill]
    open_orders: Sequence[Order]
    marks: Marks


class Run:
    """`play` it one stretch of rows after the other; `outcome` is what came of all of them.

    grids: of all series. start: bars that open before it (int ns UTC) only fill windows. gaps: what is
    missing behind it; each is delivered before the first bar that closes at its end or later.
    """

    def __init__(
        self,
        strategy: Strategy,
        readers: Sequence[Reader],
        grids: Mapping[SeriesId, Grid],
        model: FillModel,
        *,
        start: int,
        gaps: Iterable[Gap] = (),
    ) -> None:
        self._strategy = strategy
        self._gaps = deque(sorted(gaps, key=lambda gap: (gap.span.end, list(grids).index(gap.series))))
        self._readers = readers
        self._start = start
        self._model = model
        self._names = tuple(name for reader in readers for name in reader.nodes)
        self._tapes = {
            series: Tape(series, grid, reach=_reach(readers, series)) for series, grid in grids.items()
        }
        self._counterparts = {
            (reader.name, series): counterpart(reader, series) for reader in readers for series in self._tapes
        }
        self._market = _Market(self._tapes)
        self.portfolio = Portfolio(model, self._market)
        self._bars = 0
        self._marks: list[Marks] = []

    def play(self, rows: Mapping[SeriesId, pl.DataFrame], until: int = LATEST) -> None:
        """Go on with the next stretch: the rows of all series that open before `until` (int ns UTC).

        Each is ascending, behind the rows of before. Bars that close after `until` wait for the next stretch.
        Raises `StrategyError` where the strategy fails.
        """
        for series, tape in self._tapes.items():
            tape.read(rows[series], until)
            for reader in self._readers:
                if series in reader.series:
                    reader.read(tape)
        self.portfolio.look_again()
        found = events(self._tapes, self._readers, self._counterpart, start=self._start)
        filled, held, cash = len(self.portfolio.fills), dict(self.portfolio.positions), self.portfolio.cash
        self._deliver(found, until)
        self._bars += len(found.closed)
        closes = {
            series: Closes(tape.closed, tape.rows["close"].to_numpy()) for series, tape in self._tapes.items()
        }
        every = np.array(found.closed, dtype=np.int64)
        moments = every[np.append(True, every[1:] != every[:-1])] if len(every) else every
        self._marks.append(marks(moments, closes, self.portfolio.fills[filled:], self._model, held, cash))

    @property
    def outcome(self) -> Outcome:
        ts, cash, equity = (np.concatenate(parts) for parts in zip(*self._marks, strict=True))
        return Outcome(self._bars, self.portfolio.fills, self.portfolio.open_orders, Marks(ts, cash, equity))

    def value(self, node: str, series: SeriesId) -> Any:
        """What a node is worth now for one series of its input, or for the one that belongs to `series`."""
        for reader in self._readers:
            if node in reader.nodes:
                owner = counterpart(reader, series)
                if owner is None:
                    raise InvalidRequestError(
                        f"node {node!r} has no series that belongs to {series}",
                        next_step=f"use one of {', '.join(map(str, reader.series[:5]))}",
                    )
                known = reader.known[owner]
                place = int(known.at(np.array([self._market.now]))[0])
                return known.values[node][place] if place >= 0 else None
        raise InvalidRequestError(
            f"the strategy has no node {node!r}", next_step=f"use one of {', '.join(self._names)}"
        )

    def _counterpart(self, reader: Reader, series: SeriesId) -> SeriesId | None:
        return self._counterparts[reader.name, series]

    def _deliver(self, found: Events, until: int) -> None:
        portfolio, market, names = self.portfolio, self._market, self._names
        on_bar: Callable[[Bar, Portfolio], object] = self._strategy.on_bar
        own = self._strategy.__dict__
        due, gaps, bar = portfolio.due_orders, self._gaps, None
        try:
            for closed, bar, values in zip(found.closed, found.bars, found.nodes, strict=False):
                if gaps and gaps[0].span.end <= closed:
                    self._deliver_gaps(closed)
                if due and due[0][0] < closed:
                    portfolio.fill_due(closed)
                market.now = closed
                own.update(zip(names, values, strict=True))
                on_bar(bar, portfolio)
            self._deliver_gaps(until)
        except QmtlError:
            raise  # it says what to do
        except Exception as cause:  # whatever a user's strategy raises is its own failure, and is named
            raise self._failed(bar, cause) from cause

    def _deliver_gaps(self, until: int) -> None:
        while self._gaps and self._gaps[0].span.end <= until:
            gap = self._gaps.popleft()
            self.portfolio.fill_due(gap.span.end)
            self._market.now = gap.span.end
            self._strategy.on_gap(gap, self.portfolio)

    def _failed(self, bar: Bar | None, cause: Exception) -> StrategyError:
        kind = type(self._strategy).__name__
        if bar is None or bar.closed != self._market.now:
            at = self._market.now
            return StrategyError(
                f"{kind}.on_gap raised {type(cause).__name__}: {cause}",
                why=f"at the gap that ended at {iso(at)}",
                bar_ts=at,
            )
        nodes = {name: self._strategy.__dict__.get(name) for name in self._names}
        values = ", ".join(f"{name} {value!r}" for name, value in nodes.items())
        return StrategyError(
            f"{kind}.on_bar raised {type(cause).__name__}: {cause}",
            series=bar.series,
            why=f"at the bar that opened at {iso(bar.ts)}, close {bar.close!r}"
            + (f", with {values}" if values else ""),
            bar_ts=bar.ts,
            nodes=nodes,
        )


class _Market:
    """What is known at `now`."""

    def __init__(self, tapes: Mapping[SeriesId, Tape]) -> None:
        self._tapes = tapes
        self.now = 0

    def last_close(self, series: SeriesId) -> float:
        return self._tape(series).last_close(self.now)

    def next_open(self, series: SeriesId, since: int) -> tuple[int, float] | None:
        return self._tape(series).next_open(since)

    def _tape(self, series: SeriesId) -> Tape:
        try:
            return self._tapes[series]
        except KeyError:
            known = ", ".join(map(str, list(self._tapes)[:5]))
            raise InvalidRequestError(
                f"{series} is no series of the strategy's inputs",
                next_step=f"use one of {known}" + (", ..." if len(self._tapes) > 5 else ""),
            ) from None


def counterpart(reader: Reader, series: SeriesId) -> SeriesId | None:
    """The series of an input that belongs to a bar of `series`.

    That one; or else the only one of the same instrument; or else the only one that the input has.
    """
    if series in reader.series:
        return series
    same = [one for one in reader.series if (one.venue, one.symbol) == (series.venue, series.symbol)]
    if len(same) == 1:
        return same[0]
    return reader.series[0] if len(reader.series) == 1 else None


def _reach(readers: Sequence[Reader], series: SeriesId) -> int:
    return max((reader.window for reader in readers if series in reader.series), default=1) - 1
