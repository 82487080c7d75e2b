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
from qmtl.runtime.replay.equity import newest_at
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
        columns = {name: _column(after) for name, after in found.items()}
        if before is not None and len(before.since):
            # The newest values of before: they hold until the first bar of this stretch is known.
            since = np.append(before.since[-1:], since)
            columns = {name: np.append(before.values[name][-1:], after) for name, after in columns.items()}
        self.known[tape.series] = Known(since, columns)

    def read_again(self, tape: Tape, at: int) -> None:
        """Work out the nodes of the newest window once more: rows have changed at a time (int ns UTC)."""
        rows = tape.rows.tail(self.window)
        if rows.height < self.window:
            self.known[tape.series] = Known(tape.known[:0], {name: _objects(()) for name in self.nodes})
            return
        found = values(self.nodes, rows, width=self.window, first=self.window - 1)
        since = np.array([at], dtype=np.int64)
        self.known[tape.series] = Known(since, {name: _column(after) for name, after in found.items()})


class Known(NamedTuple):
    """Values of nodes by name, and since when each is known (int ns UTC)."""

    since: Int64Array
    values: Mapping[str, Column]

    def at(self, times: Int64Array) -> Int64Array:
        """The place of the value that is known at each time; -1 where there is none yet."""
        return newest_at(self.since, times)

    @property
    def newest(self) -> dict[str, Any]:
        """The values that are known last; none, if no window is whole."""
        return {name: of[-1:].tolist()[0] for name, of in self.values.items()} if len(self.since) else {}


_NOTHING = Known(np.zeros(0, dtype=np.int64), {})


class Shown(NamedTuple):
    """The bars of one series that are delivered, and what all nodes are worth at them.

    places: their rows on the tape. known: from when on each is known (int ns UTC). nodes: None stands for the
    value of a node that does not belong to the series.
    """

    tape: Tape
    places: Int64Array
    known: Int64Array
    nodes: Mapping[str, Column]

    @property
    def last(self) -> dict[str, Any]:
        """What nodes are worth at the last of them."""
        return {name: of[-1:].tolist()[0] for name, of in self.nodes.items()}


class Events(NamedTuple):
    """Bars in order, each with the time at which it is known, and what all nodes are worth then."""

    known: list[int]
    bars: Iterator[Bar]
    nodes: Iterator[tuple[Any, ...]]


def shown(
    tapes: Mapping[SeriesId, Tape],
    readers: Sequence[Reader],
    counterpart: Counterpart,
    *,
    start: int,
) -> list[Shown]:
    """Of each series, the bars of the newest stretch that open at or after `start`.

    Those before which some node has no value are left out.
    """
    found = []
    for series, tape in tapes.items():
        owners = [counterpart(reader, series) for reader in readers]
        known = [
            _NOTHING if owner is None else reader.known[owner]
            for reader, owner in zip(readers, owners, strict=True)
        ]
        rows = np.arange(tape.fresh, tape.rows.height)
        rows = rows[stamps(tape.rows)[rows] >= start]
        places = [one.at(tape.known[rows]) for one in known]
        complete = np.all(
            [place >= 0 for one, place in zip(known, places, strict=True) if one is not _NOTHING], axis=0
        )
        rows = rows[complete]
        nodes: dict[str, Column] = {}
        for reader, one, place in zip(readers, known, places, strict=True):
            for name in reader.nodes:
                nodes[name] = (
                    np.full(len(rows), None) if one is _NOTHING else one.values[name][place[complete]]
                )
        found.append(Shown(tape, rows, tape.known[rows], nodes))
    return found


def in_order(parts: Sequence[Shown]) -> Int64Array | slice:
    """The order of all their bars, which stand one series behind the other."""
    if len(parts) == 1:  # one series alone is in order
        return slice(None)
    return np.argsort(np.concatenate([part.known for part in parts]), kind="stable")


def events(parts: Sequence[Shown]) -> Events:
    """All bars, in the order in which they are delivered."""
    columns: list[list[Column]] = [
        [
            np.full(len(part.places), part.tape.series, dtype=object),
            *(_column(column)[part.places] for column in _bar_columns(part.tape)),
            *part.nodes.values(),
        ]
        for part in parts
    ]
    order = in_order(parts)
    merged = [np.concatenate(of)[order].tolist() for of in zip(*columns, strict=True)]
    # What `Bar._make` does, without a call of Python for each bar.
    bars = map(partial(tuple.__new__, Bar), zip(*merged[: len(Bar._fields)], strict=True))
    found = merged[len(Bar._fields) :]
    known = np.concatenate([part.known for part in parts])[order].tolist()
    return Events(known, bars, zip(*found, strict=True) if found else repeat(()))


def _bar_columns(tape: Tape) -> list[pl.Series]:
    """In the order of the fields of a `Bar`, but for its series."""
    return [tape.rows["ts"].cast(pl.Int64), pl.Series(tape.closed), *(tape.rows[name] for name in VALUES)]


def _column(values: pl.Series | Iterable[Any]) -> Column:
    """As an array that knows its type, where nothing is missing: it becomes a list in half the time."""
    if isinstance(values, pl.Series) and values.dtype in _TYPED and not values.null_count():
        return values.to_numpy()
    return _objects(values)


# Whose numbers an array gives back as they were.
_TYPED = (pl.Float64, pl.Int64, pl.Boolean)


def _objects(values: Iterable[Any]) -> Objects:
    return np.fromiter(values, dtype=object)
