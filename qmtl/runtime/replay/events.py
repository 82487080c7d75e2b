"""In which order a strategy meets bars, and what its nodes are worth then.

A bar exists from the end of its cell, or from when it was known, never earlier. All bars that are known from
one moment on are known at that moment: nodes have the values of all of them, whichever is delivered first.
They are delivered in the order in which inputs are declared and name their series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.columns import Column, column_of, objects
from qmtl.runtime.replay.readers import Reader
from qmtl.runtime.replay.tape import Tape

Counterpart = Callable[[Reader, SeriesId], SeriesId | None]


class Shown(NamedTuple):
    """The bars of one series that are delivered, and what all nodes are worth at them.

    places: their rows on the tape. known: from when on each is known (int ns UTC). nodes, calls: values of
    expressions, and of functions, which are called as they are taken; None stands for the value of a node
    that does not belong to the series.
    """

    tape: Tape
    places: Int64Array
    known: Int64Array
    nodes: Mapping[str, Column]
    calls: Mapping[str, Iterator[Any]]


class Events(NamedTuple):
    """Bars in order, each with the time at which it is known, and what all nodes are worth then.

    nodes: of all expressions. calls: of each function, by name, called as its values are taken.
    """

    known: list[int]
    bars: Iterator[Bar]
    nodes: Iterator[tuple[Any, ...]]
    calls: list[tuple[str, Iterator[Any]]]


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
        rows = np.arange(tape.fresh, tape.rows.height)
        rows = rows[stamps(tape.rows)[rows] >= start]
        owners = [counterpart(reader, series) for reader in readers]
        known = [
            None if owner is None else reader.known[owner]
            for reader, owner in zip(readers, owners, strict=True)
        ]
        places = [None if one is None else one.at(tape.known[rows]) for one in known]
        complete = np.all([place >= 0 for place in places if place is not None], axis=0)
        rows = rows[complete]
        nodes: dict[str, Column] = {}
        calls: dict[str, Iterator[Any]] = {}
        for reader, owner, one, place in zip(readers, owners, known, places, strict=True):
            if owner is None or one is None or place is None:
                nodes |= {name: np.full(len(rows), None) for name in reader.expressions}
                calls |= {name: repeat(None) for name in reader.functions}
                continue
            at = place[complete]
            nodes |= {name: one.values[name][at] for name in reader.expressions}
            calls |= {name: reader.calls(name, tapes[owner], at.tolist()) for name in reader.functions}
        found.append(Shown(tape, rows, tape.known[rows], nodes, calls))
    return found


def worked_out(parts: Sequence[Shown]) -> Sequence[Shown]:
    """With the values of all functions among `nodes`: they are called in the order of the bars."""
    if not any(part.calls for part in parts):
        return parts
    found = [{name: list[Any]() for name in part.calls} for part in parts]
    for number in _in_turn(parts):
        for name, calls in parts[number].calls.items():
            found[number][name].append(next(calls))
    return [
        part._replace(nodes={**part.nodes, **{name: objects(of) for name, of in columns.items()}}, calls={})
        for part, columns in zip(parts, found, strict=True)
    ]


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
            *(column_of(column)[part.places] for column in _bar_columns(part.tape)),
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
    nodes = zip(*found, strict=True) if found else repeat(())
    return Events(known, bars, nodes, [(name, _merged(name, parts)) for name in parts[0].calls])


def _merged(name: str, parts: Sequence[Shown]) -> Iterator[Any]:
    calls = [part.calls[name] for part in parts]
    return calls[0] if len(parts) == 1 else (next(calls[number]) for number in _in_turn(parts))


def _in_turn(parts: Sequence[Shown]) -> list[int]:
    """Whose bar is delivered, by its place among the parts."""
    numbers = np.repeat(np.arange(len(parts)), [len(part.places) for part in parts])
    return cast(list[int], numbers[in_order(parts)].tolist())


def _bar_columns(tape: Tape) -> list[pl.Series]:
    """In the order of the fields of a `Bar`, but for its series."""
    return [tape.rows["ts"].cast(pl.Int64), pl.Series(tape.closed), *(tape.rows[name] for name in VALUES)]
