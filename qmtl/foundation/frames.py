"""What a frame of bars looks like: columns, types, and how arrays become one without a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

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
