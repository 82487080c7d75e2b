"""What makes one bar impossible by itself: named expressions, evaluated over a whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES
from qmtl.runtime.conformance.context_window import Floats

_INFINITY = float("inf")


@lru_cache(maxsize=16)
def row_rules(*, allow_nonpositive: bool, has_volume: bool) -> Mapping[str, pl.Expr]:
    """Rule id to a boolean expression over BAR_SCHEMA columns: true where a row breaks it (or null).

    Polars orders NaN above infinity and equal to itself, so `x >= infinity` finds both.
    """
    open_, high, low, close, volume = map(pl.col, ("open", "high", "low", "close", "volume"))
    not_finite = volume >= _INFINITY
    rules = {
        "schema.missing_price": open_.is_null() | high.is_null() | low.is_null() | close.is_null(),
        "schema.missing_volume": volume.is_null() | not_finite if has_volume else not_finite,
        "quality.non_finite_price": (open_ >= _INFINITY)
        | (high >= _INFINITY)
        | (low >= _INFINITY)
        | (close >= _INFINITY)
        | (low == -_INFINITY),
        "quality.nonpositive_price": low <= 0,
        "quality.high_below_low": high < low,
        "quality.high_not_highest": (high < open_) | (high < close),
        "quality.low_not_lowest": (low > open_) | (low > close),
        "quality.negative_volume": volume < 0,
    }
    if allow_nonpositive:
        del rules["quality.nonpositive_price"]
    return rules


# A row without any price and without volume: it says that nothing was traded, and is not an impossible bar.
IS_EMPTY_ROW = pl.all_horizontal(
    *((pl.col(name).is_null() | pl.col(name).is_nan()) for name in ("open", "high", "low", "close")),
    pl.col("volume").is_null() | pl.col("volume").is_nan() | (pl.col("volume") == 0),
)


def rules_for(facts: SeriesFacts) -> Mapping[str, pl.Expr]:
    """The row rules that apply to a series with these facts."""
    return row_rules(
        allow_nonpositive=facts.allow_nonpositive is True, has_volume=facts.has_volume is not False
    )


def all_clear(rows: pl.DataFrame, facts: SeriesFacts, columns: Mapping[str, Floats] | None = None) -> bool:
    """Whether no row breaks any of these rules. Nearly all rows are fine, and one pass shows it.

    columns: the five values of the rows as arrays, null as NaN, if they are at hand. A comparison with NaN is
    false, so that neither passes.
    """
    if columns is None:
        columns = {name: rows.get_column(name).to_numpy() for name in VALUES}
    open_, high, low, close, volume = columns.values()
    if facts.has_volume is False and rows.get_column("volume").null_count() == rows.height:
        volume = volume[:0]
    # A least or largest value is NaN if any is.
    least, largest = np.minimum.reduce, np.maximum.reduce
    if not least(low, initial=_INFINITY) > (-_INFINITY if facts.allow_nonpositive else 0.0):
        return False
    if not (largest(high, initial=-_INFINITY) < _INFINITY and largest(volume, initial=0.0) < _INFINITY):
        return False
    if not least(volume, initial=0.0) >= 0:
        return False
    valid = low <= open_
    valid &= open_ <= high
    valid &= low <= close
    valid &= close <= high
    return bool(valid.all())
