"""Rows for nodes to look at, and when two values that a node gives are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from qmtl.foundation.frames import BAR_SCHEMA
from qmtl.foundation.times import MINUTE
from qmtl.runtime.replay.equity import Float64Array


def rows_of(close: Float64Array, volume: Sequence[float | None], *, step: int = MINUTE) -> pl.DataFrame:
    """Bars from 1970 on, a step (ns) apart."""
    ts = pl.Series(np.arange(len(close)) * step).cast(BAR_SCHEMA["ts"])
    return pl.DataFrame(
        {"ts": ts, "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": volume},
        schema=BAR_SCHEMA,
    )


def same(a: object, b: object) -> bool:
    """Of one type, and equal, the signs of zeros included, or both no number."""
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b and type(a) is type(b)
