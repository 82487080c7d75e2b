"""Inputs of a strategy, as a run reads them, and what their nodes are worth.

Expressions are worked out a stretch ahead, over columns. Whatever runs code of Python is called only when
somebody is given its value: what it writes down elsewhere says no more than its caller may know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.errors import QmtlError, StrategyError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Int64Array
from qmtl.foundation.times import iso
from qmtl.runtime.replay.budget import OWN_FAILURES
from qmtl.runtime.replay.columns import Column, column_of, objects
from qmtl.runtime.replay.equity import newest_at
from qmtl.runtime.replay.functions import Function, function_of, runs_python
from qmtl.runtime.replay.left_undone import refuse_undone
from qmtl.runtime.replay.tape import Tape
from qmtl.runtime.replay.windows import check, values


class Known(NamedTuple):
    """Values of expressions by name, and since when each is known (int ns UTC).

    called: of each function, the place and the value of the window that it was called with last.
    """

    since: Int64Array
    values: Mapping[str, Column]
    called: dict[str, tuple[int, Any]]

    def at(self, times: Int64Array) -> Int64Array:
        """The place of the value that is known at each time; -1 where there is none yet."""
        return newest_at(self.since, times)


@dataclass(eq=False)
class Reader:
    """One input of a strategy: its series, how many bars its windows have, and the nodes that use them."""

    name: str
    series: tuple[SeriesId, ...]
    window: int
    nodes: Mapping[str, pl.Expr | Function]
    known: dict[SeriesId, Known] = field(default_factory=dict)
    expressions: dict[str, pl.Expr] = field(init=False)
    functions: dict[str, Function] = field(init=False)

    def __post_init__(self) -> None:
        self.functions = {name: function_of(name, of) for name, of in self.nodes.items() if runs_python(of)}
        self.expressions = {
            name: of
            for name, of in self.nodes.items()
            if name not in self.functions and isinstance(of, pl.Expr)
        }

    def read(self, tape: Tape) -> None:
        """Work out the expressions over the newest rows of one of its series."""
        for name in self.functions:
            node = self.nodes[name]
            if isinstance(node, pl.Expr):
                check(name, node, tape.rows.schema)
        first = min(max(tape.fresh, self.window - 1), tape.rows.height)
        before = self.known.get(tape.series)
        if first < self.window - 1:  # the first rows of all: no window is whole yet
            self.known[tape.series] = self._nothing(tape)
            return
        found = values(self.expressions, tape.rows, width=self.window, first=first)
        since = tape.known[first:]
        columns = {name: column_of(after) for name, after in found.items()}
        called = {}
        if before is not None and len(before.since):
            # The newest values of before: they hold until the first bar of this stretch is known.
            newest = len(before.since) - 1
            since = np.append(before.since[-1:], since)
            columns = {name: np.append(before.values[name][-1:], after) for name, after in columns.items()}
            called = {name: (0, value) for name, (place, value) in before.called.items() if place == newest}
        self.known[tape.series] = Known(since, columns, called)

    def read_again(self, tape: Tape, at: int) -> None:
        """Work out the newest window once more: rows have changed at a time (int ns UTC)."""
        rows = tape.rows.tail(self.window)
        if rows.height < self.window:
            self.known[tape.series] = self._nothing(tape)
            return
        found = values(self.expressions, rows, width=self.window, first=self.window - 1)
        since = np.array([at], dtype=np.int64)
        self.known[tape.series] = Known(since, {name: column_of(of) for name, of in found.items()}, {})

    def value(self, name: str, tape: Tape, place: int) -> Any:
        """What a node is worth at one place of what is known of a series."""
        if name in self.functions:
            return next(self.calls(name, tape, (place,)))
        return self.known[tape.series].values[name][place : place + 1].tolist()[0]

    def newest(self, tape: Tape) -> dict[str, Any]:
        """What all nodes are worth by the newest window of a series; nothing, if none is whole."""
        last = len(self.known[tape.series].since) - 1
        return {name: self.value(name, tape, last) for name in self.nodes} if last >= 0 else {}

    def calls(self, name: str, tape: Tape, places: Iterable[int]) -> Iterator[Any]:
        """What a function gives at each place, called when that is asked for, and once for a window."""
        function, width, rows = self.functions[name], self.window, tape.rows
        called, named = self.known[tape.series].called, f"the function of node {name!r}"
        # Each place is that of a row, up to the last one.
        first = rows.height - len(self.known[tape.series].since) - width + 1
        for place in places:
            one = called.get(name)
            if one is None or one[0] != place:
                try:
                    value = function(rows.slice(first + place, width))
                    refuse_undone(value, named)
                    one = called[name] = place, value
                except QmtlError:
                    raise  # it says what to do
                except OWN_FAILURES as cause:  # whatever a user's function raises is named
                    raise _failed(name, tape, first + place + width - 1, cause) from cause
            yield one[1]

    def _nothing(self, tape: Tape) -> Known:
        return Known(tape.known[:0], {name: objects(()) for name in self.expressions}, {})


def _failed(name: str, tape: Tape, row: int, cause: BaseException) -> StrategyError:
    ts = int(stamps(tape.rows)[row])
    return StrategyError(
        f"node {name!r} raised {type(cause).__name__}: {cause}",
        series=tape.series,
        why=f"its window ends with the bar that opened at {iso(ts)}",
        bar_ts=ts,
    )
