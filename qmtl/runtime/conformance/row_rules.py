"""What makes one bar impossible, by itself: named expressions, asked of a whole frame at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import polars as pl

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES

_INFINITY = float("inf")


@lru_cache(maxsize=16)
def row_rules(*, allow_nonpositive: bool, has_volume: bool) -> Mapping[str, pl.Expr]:
    """Rule id to a boolean expression over BAR_SCHEMA columns: true where a row breaks it (or null).

    Polars orders NaN above infinity and equal to itself, so `x >= infinity` finds both.
    """
    open_, high, low, close, volume = map(pl.col, ("open", "high", "low", "close", "volume"))
    no_number = volume >= _INFINITY
    rules = {
        "schema.missing_price": open_.is_null() | high.is_null() | low.is_null() | close.is_null(),
        "schema.missing_volume": volume.is_null() | no_number if has_volume else no_number,
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


# A row without any price, and without a volume: an answer that nothing was traded, and no impossible bar.
WITHOUT_ANYTHING = pl.all_horizontal(
    *((pl.col(name).is_null() | pl.col(name).is_nan()) for name in ("open", "high", "low", "close")),
    pl.col("volume").is_null() | pl.col("volume").is_nan() | (pl.col("volume") == 0),
)


def rules_for(facts: SeriesFacts) -> Mapping[str, pl.Expr]:
    """The row rules that hold for a series of these facts."""
    return row_rules(
        allow_nonpositive=facts.allow_nonpositive is True, has_volume=facts.has_volume is not False
    )


def all_clear(rows: pl.DataFrame, facts: SeriesFacts) -> bool:
    """Whether no row breaks any of these rules. Nearly all rows are fine, and one look tells so.

    A comparison with NaN is false, and null reads as NaN, so that neither passes.
    """
    open_, high, low, close, volume = (rows.get_column(name) for name in VALUES)
    if facts.has_volume is False and volume.null_count() == rows.height:
        volume = open_.clear()
    tops, bottoms, loud = high.to_numpy(), low.to_numpy(), volume.to_numpy()
    fine = bottoms > (-_INFINITY if facts.allow_nonpositive else 0.0)
    fine &= tops < _INFINITY
    for inner in (open_.to_numpy(), close.to_numpy()):
        fine &= bottoms <= inner
        fine &= inner <= tops
    return bool(fine.all() and ((loud >= 0) & (loud < _INFINITY)).all())
