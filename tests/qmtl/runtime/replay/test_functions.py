"""Code of Python in a node is found wherever it stands, and gives what it gives for the window alone."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay.functions import function_of, runs_python

CLOSE, OPEN = pl.col("close"), pl.col("open")
LAST = CLOSE.last()

PYTHON = {
    "map_elements": CLOSE.map_elements(abs, return_dtype=pl.Float64).mean(),
    "map_batches": LAST.map_batches(lambda s: s, is_elementwise=True, return_dtype=pl.Float64),
    "of several": pl.map_batches([CLOSE, OPEN], lambda of: of[0], return_dtype=pl.Float64).last(),
    "map_groups": pl.map_groups(["close"], lambda of: of[0].max(), pl.Float64, returns_scalar=True),
    "rolling_map": CLOSE.rolling_map(max, 2).last(),
    "fold": pl.fold(pl.lit(0.0), lambda a, b: a + b, [CLOSE, OPEN]).last(),
    "reduce": pl.reduce(lambda a, b: a * b, [LAST, OPEN.last()]),
    "cum_fold": pl.cum_fold(pl.lit(0.0), lambda a, b: a + b, [CLOSE, OPEN]).last(),
    "cum_reduce": pl.cum_reduce(lambda a, b: a + b, [CLOSE, OPEN]).last(),
    "function of numpy": np.log(CLOSE).last(),
    "within lists": CLOSE.implode().list.eval(pl.element().map_elements(abs, return_dtype=pl.Float64)),
    "in a condition": pl.when(LAST.map_elements(bool, return_dtype=pl.Boolean)).then(1).otherwise(0),
    "of names": LAST.name.map(str.upper),
    "object": pl.lit(object(), allow_object=True),
}
OTHERS = {
    "mean": CLOSE.mean(),
    "piped": CLOSE.pipe(lambda of: of.mean()),
    "rolling": CLOSE.rolling_mean(3).last(),
    "set of values": CLOSE.is_in([float(one) for one in range(100)]).last(),
    "values of a map": CLOSE.replace_strict({float(one): 1.0 for one in range(100)}, default=0.0).last(),
    "series": (pl.lit(pl.Series(range(100), dtype=pl.UInt8)).sum() + LAST),
    "text": pl.lit("b" * 100),
    "places": pl.nth(2).last(),
}


@pytest.mark.parametrize("name", list(PYTHON))
def test_a_function_of_python_is_found(name: str) -> None:
    assert runs_python(PYTHON[name])


@pytest.mark.parametrize("name", list(OTHERS))
def test_what_polars_does_by_itself_is_none(name: str) -> None:
    assert not runs_python(OTHERS[name])


def test_an_expression_as_a_function_gives_what_it_gives_for_the_window() -> None:
    window = pl.DataFrame({"close": [1.0, 3.0, 2.0], "open": [2.0, 2.0, 2.0]})
    for name, expression in PYTHON.items():
        if name not in ("object", "within lists"):
            assert function_of(name, expression)(window) == window.select(expression).item(), name


def test_an_expression_with_a_value_for_each_row_is_refused() -> None:
    window = pl.DataFrame({"close": [1.0, 3.0, 2.0]})
    with pytest.raises(InvalidRequestError, match="node 'each' gives a value for each row"):
        function_of("each", CLOSE.map_elements(abs, return_dtype=pl.Float64))(window)
