"""In which order a strategy meets bars, and what its nodes are worth then.

A bar exists from the end of its cell, or from when it was known, never earlier. All bars that are known from
one moment on are known at that moment: nodes have the values of all of them, whichever is delivered first.
They are delivered in the order in which inputs are declared and name their series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.errors import StrategyError
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.tape import Tape
from qmtl.runtime.replay.windows import Function, values

Objects = np.ndarray[tuple[int], np.dtype[np.object_]]

# Of one type, or of objects where values may be missing.
Column = np.ndarray[tuple[int], np.dtype[Any]]

Counterpart = Callable[["Reader", SeriesId], SeriesId | None]


@dataclass(frozen=True, eq=False)
class Reader:
    """One input of a strategy: its series, how many bars its windows have, and the nodes that use them."""

    name: str
    series: tuple[SeriesId, ...]
    window: int
    nodes: Mapping[str, pl.Expr | Function]
    known: dict[SeriesId, Known] = field(default_factory=dict)

    def read(self, tape: Tape) -> None:
        """Work out the nodes over the newest rows of one of its series."""
        first = max(tape.fresh, self.window - 1)
        first = min(first, tape.rows.height)
        before = self.known.get(tape.series)
        if first < self.window - 1:  # the first rows of all: no window is whole yet
            self.known[tape.series] = Known(tape.known[:0], {name: _objects(()) for name in self.nodes})
            return
        try:
            found = values(self.nodes, tape.rows, width=self.window, first=first)
        except StrategyError as error:
            error.series = tape.series.text
            raise
        since = tape.known[first:]
        if before is not None and len(before.since):
            # The newest values of before: they hold until the first bar of this stretch is known.
            since = np.append(before.since[-1:], since)
            found = {name: [before.values[name][-1], *after] for name, after in found.items()}
        self.known[tape.series] = Known(since, {name: _objects(after) for name, after in found.items()})

    def read_again(self, tape: Tape, at: int) -> None:
        """Work out the nodes of the newest window once more: rows have changed at a time (int ns UTC)."""
        rows = tape.rows.tail(self.window)
        if rows.height < self.window:
            self.known[tape.series] = Known(tape.known[:0], {name: _objects(()) for name in self.nodes})
            return
        found = values(self.nodes, rows, width=self.window, first=self.window - 1)
        since = np.array([at], dtype=np.int64)
        self.known[tape.series] = Known(since, {name: _objects(after) for name, after in found.items()})


class Known(NamedTuple):
    """Values of nodes by name, and since when each is known (int ns UTC)."""

    since: Int64Array
    values: Mapping[str, Objects]

    def at(self, times: Int64Array) -> Int64Array:
        """The place of the value that is known at each time; -1 where there is none yet."""
        return np.searchsorted(self.since, times, "right") - 1

    @property
    def newest(self) -> dict[str, Any]:
        """The values that are known last; none, if no window is whole."""
        return {name: of[-1] for name, of in self.values.items()} if len(self.since) else {}


_NOTHING = Known(np.zeros(0, dtype=np.int64), {})


class Events(NamedTuple):
    """Bars in order, each with the time at which it is known, and what all nodes are worth then.

    None stands for the value of a node that does not belong to the bar.
    """

    known: list[int]
    bars: Iterator[Bar]
    nodes: Iterator[tuple[Any, ...]]


def events(
    tapes: Mapping[SeriesId, Tape],
    readers: Sequence[Reader],
    counterpart: Counterpart,
    *,
    start: int,
) -> Events:
    """The bars of the newest stretch that open at or after `start`, once all nodes have a value."""
    columns: list[list[Column]] = []
    times: list[Int64Array] = []
    for series, tape in tapes.items():
        owners = [counterpart(reader, series) for reader in readers]
        known = [
            _NOTHING if owner is None else reader.known[owner]
            for reader, owner in zip(readers, owners, strict=True)
        ]
        shown = np.arange(tape.fresh, tape.rows.height)
        shown = shown[stamps(tape.rows)[shown] >= start]
        places = [one.at(tape.known[shown]) for one in known]
        complete = np.all(
            [place >= 0 for one, place in zip(known, places, strict=True) if one is not _NOTHING], axis=0
        )
        shown = shown[complete]
        row: list[Column] = [np.full(len(shown), series, dtype=object)]
        row += [_column(column)[shown] for column in _bar_columns(tape)]
        for reader, one, place in zip(readers, known, places, strict=True):
            row += [
                np.full(len(shown), None) if one is _NOTHING else one.values[name][place[complete]]
                for name in reader.nodes
            ]
        columns.append(row)
        times.append(tape.known[shown])
    every = np.concatenate(times)
    # One series alone is in order.
    order = slice(None) if len(times) == 1 else np.argsort(every, kind="stable")
    merged = [np.concatenate(parts)[order].tolist() for parts in zip(*columns, strict=True)]
    # What `Bar._make` does, without a call of Python for each bar.
    bars = map(partial(tuple.__new__, Bar), zip(*merged[: len(Bar._fields)], strict=True))
    found = merged[len(Bar._fields) :]
    return Events(every[order].tolist(), bars, zip(*found, strict=True) if found else repeat(()))


def _bar_columns(tape: Tape) -> list[pl.Series]:
    """In the order of the fields of a `Bar`, but for its series."""
    return [tape.rows["ts"].cast(pl.Int64), pl.Series(tape.closed), *(tape.rows[name] for name in VALUES)]


def _column(values: pl.Series) -> Column:
    """As an array that knows its type, where nothing is missing: it becomes a list in half the time."""
    return _objects(values.to_list()) if values.null_count() else values.to_numpy()


def _objects(values: Iterable[Any]) -> Objects:
    return np.fromiter(values, dtype=object)
