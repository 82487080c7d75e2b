"""A strategy whose decisions are an expression of its nodes: the weight that each bar asks for.

By definition a bar calls `portfolio.target(bar.series, weight)`, with the weight that the expression gives
for the values of this bar alone. The same weight again orders nothing: where nobody listens to single bars,
only those count at which it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.spelling import near
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.replay.columns import Column, objects
from qmtl.runtime.replay.events import Shown, in_order
from qmtl.runtime.replay.functions import runs_python
from qmtl.runtime.replay.rowwise import is_named, is_rowwise, written

_WEIGHT = "weight of a bar"


class Weights:
    """The expression of one strategy. Raises `InvalidRequestError` where it uses what is no node.

    names: of the nodes that it uses. is_rowwise: whether it is known to give each bar what the values of that
    bar alone give, all at once. runs_python: whether it calls a function of Python.
    """

    def __init__(self, expression: pl.Expr, names: Iterable[str]) -> None:
        known = list(names)
        self.names = list(dict.fromkeys(expression.meta.root_names()))
        for name in self.names:
            if name not in known:
                meant = near(name, known)
                raise InvalidRequestError(
                    f"the target uses {name!r}, which is no node of the strategy",
                    next_step=f"did you mean {meant[0]}?" if meant else "declare it: qmtl.node(input, ...)",
                )
        if expression.meta.has_multiple_outputs():
            raise InvalidRequestError(
                "the target gives several values for a bar",
                next_step="give one weight: pl.when(...).then(...)",
            )
        self._expression = expression.alias(_WEIGHT)
        form = written(expression)
        self.is_rowwise = form is not None and is_rowwise(form, is_named)
        self.runs_python = runs_python(expression)

    def of(self, nodes: Mapping[str, Column], count: int) -> pl.Series:
        """The weight of each of `count` bars, as Float64."""
        if not count:
            return pl.Series(dtype=pl.Float64)
        try:
            used = {name: _series(nodes[name]) for name in self.names}
            frame = pl.DataFrame({"": np.zeros(count)} | used)
            parts = [frame] if self.is_rowwise else frame.iter_slices(1)
            found = pl.concat([part.with_columns(self._expression) for part in parts])[_WEIGHT]
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError) as error:
            raise InvalidRequestError(
                "the target cannot be evaluated for the values of nodes",
                why=str(error).splitlines()[0],
                next_step="try it on a frame with a column for each node: frame.with_columns(target)",
            ) from error
        if not found.dtype.is_numeric() and found.dtype != pl.Null:
            raise InvalidRequestError(
                f"the target gives {found.dtype}, which is no weight",
                next_step="make numbers of it: pl.when(...).then(1.0).otherwise(0.0)",
            )
        return found.cast(pl.Float64)

    def of_bar(self, nodes: Mapping[str, Any]) -> float | None:
        """The weight of one bar, whose nodes have these values."""
        weight: float | None = self.of({name: objects((nodes[name],)) for name in self.names}, 1).item()
        return weight


def in_turn(weights: Weights, parts: Sequence[Shown], nodes: Mapping[str, Any]) -> Iterator[Any]:
    """The weight of each bar, in the order in which bars are delivered.

    nodes: what they are worth at each bar, once it is delivered. Where code of Python has a part in a weight,
    it waits until then.
    """
    if weights.runs_python or any(name in part.calls for part in parts for name in weights.names):
        return (weights.of_bar(nodes) for _ in repeat(None))
    found = [weights.of(part.nodes, len(part.places)).to_list() for part in parts]
    every = objects(one for of in found for one in of)
    return iter(every[in_order(parts)].tolist())


class Changes(NamedTuple):
    """When weights change (int ns UTC), in order, of which series, and to what."""

    known: Int64Array
    series: list[SeriesId]
    weights: list[float | None]

    def behind(self, count: int) -> Changes:
        return Changes(self.known[count:], self.series[count:], self.weights[count:])

    def in_turn(self) -> Iterator[tuple[int, SeriesId, Any]]:
        return zip(self.known.tolist(), self.series, self.weights, strict=True)


def weight_changes(weights: Weights, parts: Sequence[Shown]) -> Changes:
    """When each weight of a series differs from the one before; of each series also the first."""
    few, found = [], []
    for part in parts:
        weight = weights.of(part.nodes, len(part.places))
        numbers = weight.fill_null(float("nan")).to_numpy()
        places = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])) if len(numbers) else _NONE
        few.append(part._replace(places=part.places[places], known=part.known[places]))
        found.append(weight.gather(places).to_list())
    order = in_order(few)
    known = np.concatenate([part.known for part in few])[order]
    series = np.concatenate([np.full(len(part.places), part.tape.series, dtype=object) for part in few])
    every = objects(one for of in found for one in of)
    return Changes(known, series[order].tolist(), every[order].tolist())


_NONE = np.zeros(0, dtype=np.int64)


def _series(values: Column) -> pl.Series:
    if values.dtype != object:
        return pl.Series(values)
    found = pl.Series(values.tolist(), strict=False)
    return found.cast(pl.Float64) if found.dtype == pl.Null else found
