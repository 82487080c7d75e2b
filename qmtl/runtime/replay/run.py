"""One run of a strategy: bars are read a stretch at a time, and delivered in the order of their closes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import LATEST
from qmtl.runtime.replay.bars import Bar, Gap, Revision
from qmtl.runtime.replay.budget import OWN_FAILURES
from qmtl.runtime.replay.changes import Change, KnownGap, revision_of, row_of
from qmtl.runtime.replay.equity import Closes, Marks, marks
from qmtl.runtime.replay.events import Shown, events, shown, worked_out
from qmtl.runtime.replay.failures import bar_at, failed_at, failed_when_told, name_bar
from qmtl.runtime.replay.left_undone import refuse_undone
from qmtl.runtime.replay.orders import Fill, FillModel, Order
from qmtl.runtime.replay.portfolio import Portfolio
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.tape import Tape
from qmtl.runtime.replay.tape_market import TapeMarket
from qmtl.runtime.replay.weights import Weights, in_turn, weight_changes


class Strategy(Protocol):
    """What a run needs of a strategy: nodes are put into its `__dict__` before each bar."""

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> object: ...
    def on_gap(self, gap: Gap, portfolio: Portfolio) -> object: ...
    def on_revision(self, revision: Revision, portfolio: Portfolio) -> object: ...


class Part(NamedTuple):
    """What a run goes on with: rows of all series, ascending, behind those of before.

    known: from when on each row is known (int ns UTC), ascending; empty: each from the end of its cell on.
    changes, gaps: what becomes known of bars before, and that bars are missing, in order of time.
    """

    rows: Mapping[SeriesId, pl.DataFrame]
    known: Mapping[SeriesId, Int64Array] = MappingProxyType({})
    changes: Sequence[Change] = ()
    gaps: Sequence[KnownGap] = ()


class Outcome(NamedTuple):
    """What a run has come to so far."""

    bars: int
    fills: Sequence[Fill]
    open_orders: Sequence[Order]
    marks: Marks


class Run:
    """`play` it one stretch of rows after the other; `outcome` is what came of all of them.

    grids: of all series. start: bars that open before it (int ns UTC) only fill windows, and what changes
    until then is not told. spare: rows that may be taken back, by series. A gap is delivered before the first
    bar that is known at its time or later. weights: decide in place of `on_bar`; all at once, where they are
    row-wise and nothing else is listened to.
    """

    def __init__(
        self,
        strategy: Strategy,
        readers: Sequence[Reader],
        grids: Mapping[SeriesId, Grid],
        model: FillModel,
        *,
        start: int,
        spare: Mapping[SeriesId, int] = MappingProxyType({}),
        weights: Weights | None = None,
        listens: bool = True,
    ) -> None:
        self._strategy = strategy
        self._weights = weights
        self._is_at_once = weights is not None and weights.is_rowwise and not listens
        self._gaps: deque[KnownGap] = deque()
        self._readers = readers
        self._start = start
        self._model = model
        self._names = tuple(name for reader in readers for name in reader.nodes)
        self._expressions = tuple(name for reader in readers for name in reader.expressions)
        self._tapes = {
            series: Tape(series, grid, reach=_reach(readers, series) + spare.get(series, 0))
            for series, grid in grids.items()
        }
        self._counterparts = {
            (reader.name, series): counterpart(reader, series) for reader in readers for series in self._tapes
        }
        self._market = TapeMarket(self._tapes)
        self.portfolio = Portfolio(model, self._market)
        self._bars = 0
        self._marks: list[Marks] = []

    def play(self, part: Part, until: int = LATEST) -> None:
        """Go on to a time (int ns UTC): with what is known by then, the rest waits for the next stretch.

        Raises `StrategyError` where the strategy fails.
        """
        order = list(self._tapes)
        self._gaps.extend(sorted(part.gaps, key=lambda one: (one.at, order.index(one.gap.series))))
        rows = part
        for at, changes in groupby(part.changes, key=lambda change: change.at):
            # What changes at a moment is known to the bars of that moment.
            self._advance(rows, at - 1)
            rows = Part({})
            self._revise(list(changes), at)
        self._advance(rows, until)

    def _advance(self, part: Part, until: int) -> None:
        for series, tape in self._tapes.items():
            tape.read(part.rows.get(series), until, part.known.get(series))
            for reader in self._readers:
                if series in reader.series:
                    reader.read(tape)
        self.portfolio.look_again()
        found = shown(self._tapes, self._readers, self._counterpart, start=self._start)
        filled, held, cash = len(self.portfolio.fills), dict(self.portfolio.positions), self.portfolio.cash
        if self._is_at_once:
            self._deliver_changes(found, until)
        else:
            self._deliver(found, until)
        self._bars += sum(len(part.places) for part in found)
        closes = {
            series: Closes(tape.known, tape.rows["close"].to_numpy()) for series, tape in self._tapes.items()
        }
        moments = _moments(found)
        self._marks.append(marks(moments, closes, self.portfolio.fills[filled:], self._model, held, cash))

    def _revise(self, changes: Sequence[Change], at: int) -> None:
        touched = dict.fromkeys(change.series for change in changes)
        for change in changes:
            self._tapes[change.series].revise(change.ts, row_of(change), at)
        for series in touched:
            for reader in self._readers:
                if series in reader.series:
                    reader.read_again(self._tapes[series], at)
        if at <= self._start:
            return
        self._market.now = at
        self._deliver_gaps(at)
        self.portfolio.fill_due(at)
        for change in changes:
            for reader in self._readers:
                owner = self._counterpart(reader, change.series)
                values = {} if owner is None else reader.newest(self._tapes[owner])
                self._strategy.__dict__.update({name: values.get(name) for name in reader.nodes})
            revision = revision_of(change, self._tapes[change.series].grid)
            try:
                answer = self._strategy.on_revision(revision, self.portfolio)
                refuse_undone(answer, self._named("on_revision"))
            except QmtlError as error:  # it says what to do
                name_bar(error, change.series, change.ts, self._values)
                raise
            except OWN_FAILURES as cause:  # as of bars
                told = "on_revision", change.series, change.ts, self.now
                raise failed_when_told(self._strategy, *told, cause) from cause

    @property
    def now(self) -> int:
        """The moment at which the strategy is (int ns UTC)."""
        return self._market.now

    @property
    def outcome(self) -> Outcome:
        ts, cash, equity = (np.concatenate(parts) for parts in zip(*self._marks, strict=True))
        return Outcome(self._bars, self.portfolio.fills, self.portfolio.open_orders, Marks(ts, cash, equity))

    def kept(self) -> dict[str, Any]:
        """What `take_up` of another run of the same strategy goes on with, between two stretches."""
        return {
            "now": self._market.now,
            "bars": self._bars,
            "marks": self._marks,
            "gaps": self._gaps,
            "portfolio": self.portfolio.kept(),
            "tapes": [tape.kept() for tape in self._tapes.values()],
            "known": [reader.known for reader in self._readers],
        }

    def take_up(self, kept: Mapping[str, Any]) -> None:
        self._market.now, self._bars = kept["now"], kept["bars"]
        self._marks, self._gaps = kept["marks"], kept["gaps"]
        self.portfolio.take_up(kept["portfolio"])
        for tape, of in zip(self._tapes.values(), kept["tapes"], strict=True):
            tape.take_up(of)
        for reader, known in zip(self._readers, kept["known"], strict=True):
            reader.known.update(known)

    def drop_ahead(self) -> None:
        """Forget rows that are read and not known yet, and gaps that are not told: they will come again."""
        self._gaps.clear()
        for tape in self._tapes.values():
            tape.drop_ahead()

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
                place = int(reader.known[owner].at(np.array([self._market.now]))[0])
                return reader.value(node, self._tapes[owner], place) if place >= 0 else None
        raise InvalidRequestError(
            f"the strategy has no node {node!r}", next_step=f"use one of {', '.join(self._names)}"
        )

    def _counterpart(self, reader: Reader, series: SeriesId) -> SeriesId | None:
        return self._counterparts[reader.name, series]

    def _deliver_changes(self, parts: Sequence[Shown], until: int) -> None:
        """What `_deliver` comes to, without a word to the strategy."""
        assert self._weights is not None
        portfolio, market, due, gaps = self.portfolio, self._market, self.portfolio.due_orders, self._gaps
        parts = worked_out(parts)
        changes = weight_changes(self._weights, parts)
        if len(self._tapes) == 1:  # what it is worth depends on no other
            ((series, tape),) = self._tapes.items()
            given = portfolio.follow(series, changes.weights, tape.quotes(changes.known))
            if given:
                market.now = int(changes.known[given - 1])
            changes = changes.behind(given)
        for now, series, weight in changes.in_turn():
            if gaps and gaps[0].at <= now:
                self._deliver_gaps(now)
            if due and due[0][0] < now:
                portfolio.fill_due(now)
            market.now = now
            try:
                portfolio.target(series, weight)
            except QmtlError as error:
                name_bar(error, series, *bar_at(parts, series, now))
                raise
        known = [part for part in parts if len(part.known)]
        if known:
            last = max(known, key=lambda part: int(part.known[-1]))
            market.now = int(last.known[-1])
            portfolio.fill_due(market.now)
        self._deliver_gaps(until)

    def _deliver(self, parts: Sequence[Shown], until: int) -> None:
        portfolio, market, names = self.portfolio, self._market, self._expressions
        on_bar: Callable[[Bar, Portfolio], object] = self._strategy.on_bar
        own = self._strategy.__dict__
        if self._weights is not None:
            weights = in_turn(self._weights, parts, own)

            def on_bar(bar: Bar, portfolio: Portfolio) -> None:
                portfolio.target(bar.series, next(weights))

        found = events(parts)
        due, gaps, bar, calls = portfolio.due_orders, self._gaps, None, found.calls
        try:
            for now, bar, values in zip(found.known, found.bars, found.nodes, strict=False):
                if gaps and gaps[0].at <= now:
                    self._deliver_gaps(now)
                if due and due[0][0] < now:
                    portfolio.fill_due(now)
                market.now = now
                own.update(zip(names, values, strict=True))
                for name, called in calls:
                    own[name] = next(called)
                try:
                    if (answer := on_bar(bar, portfolio)) is not None:
                        refuse_undone(answer, self._named("on_bar"))
                except QmtlError as error:
                    name_bar(error, bar.series, bar.ts, self._values)
                    raise
        except QmtlError:
            raise  # it says what to do
        except OWN_FAILURES as cause:  # whatever a user's strategy raises is its own failure
            assert bar is not None, "only a bar that is delivered calls a strategy"
            raise failed_at(self._strategy, bar, self._values, cause) from cause
        self._deliver_gaps(until)

    def _deliver_gaps(self, until: int) -> None:
        while self._gaps and self._gaps[0].at <= until:
            at, gap = self._gaps.popleft()
            self.portfolio.fill_due(at)
            self._market.now = at
            try:
                refuse_undone(self._strategy.on_gap(gap, self.portfolio), self._named("on_gap"))
            except QmtlError as error:  # it says what to do
                name_bar(error, gap.series, gap.span.start, self._values)
                raise
            except OWN_FAILURES as cause:  # as of bars
                told = "on_gap", gap.series, gap.span.start, self.now
                raise failed_when_told(self._strategy, *told, cause) from cause

    def _named(self, method: str) -> str:
        return f"{type(self._strategy).__name__}.{method}"

    @property
    def _values(self) -> dict[str, Any]:
        """What nodes are worth for the strategy now."""
        return {name: self._strategy.__dict__.get(name) for name in self._names}


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


def _moments(parts: Sequence[Shown]) -> Int64Array:
    """When bars are known, each once, ascending."""
    if len(parts) > 1:
        return np.unique(np.concatenate([part.known for part in parts]))
    every = parts[0].known
    return every[np.append(True, every[1:] != every[:-1])] if len(every) else every
