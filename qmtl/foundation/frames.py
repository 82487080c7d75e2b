"""What a frame of bars looks like: columns, types, and how arrays become one without a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.series import series as _of_polars

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
TS = pl.Datetime("ns", "UTC")

# `ts` is the open of the bar; rows are sorted by it and unique.
BAR_SCHEMA = pl.Schema([("ts", TS), *((name, pl.Float64()) for name in VALUES)])


def empty_bars() -> pl.DataFrame:
    """A frame of no bars, with the schema."""
    return pl.DataFrame(schema=BAR_SCHEMA)


def bars(ts: npt.NDArray[np.int64], values: Mapping[str, Any]) -> pl.DataFrame:
    """A frame of bars from int64 nanoseconds and five float64 arrays (or Series, where nulls are meant)."""
    columns = [
        pl.Series("ts", ts).cast(TS),
        *(pl.Series(name, values[name], dtype=pl.Float64) for name in VALUES),
    ]
    return pl.DataFrame(columns)


def stamps(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """The `ts` column as int64 nanoseconds, without a copy where the column is one chunk."""
    # Not `to_physical`: that is a whole query, which takes longer than some answers may.
    return frame["ts"].to_numpy().view(np.int64)


def column_of(name: str, values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> pl.Series:
    """A column of int64 or float64, in the memory of the array; NaN stays NaN.

    `pl.Series` finds out whether an array is masked, aligned, of how many dimensions and of which type, which
    for 1,000 numbers takes six times as long as to take them over. What it calls in the end is called here at
    once, as far as this version of polars has it by that name.
    """
    make = _MAKERS.get(values.dtype)
    if make is None or values.ndim != 1 or not values.flags.c_contiguous or not values.flags.aligned:
        return pl.Series(name, values)
    series: pl.Series = _WRAPPED(make(name, values, False))
    return series


def _makers() -> dict[np.dtype[Any], Any]:
    """What polars makes a column with, by type; nothing where it does not do so by these names."""
    # The other column is made of a list: one that is made of an array loads `numpy.ma`, which takes
    # as long as twenty modules of ours, and which nothing else on the way to stored bars needs.
    made_by, given = getattr(_of_polars, "PySeries", None), [1, 2]
    makers: dict[np.dtype[Any], Any] = {
        np.dtype(np.int64): getattr(made_by, "new_i64", None),
        np.dtype(np.float64): getattr(made_by, "new_f64", None),
    }
    try:
        for kind, make in makers.items():
            if not _WRAPPED(make("probe", np.array(given, kind), False)).equals(pl.Series(given)):
                return {}
    except (AttributeError, TypeError, ValueError):  # what is called is polars' own, and may change
        return {}
    return makers


_WRAPPED: Any = getattr(pl.Series, "_from_pyseries", None)
_MAKERS = _makers()
