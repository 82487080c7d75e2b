"""What makes one bar impossible, by itself: named expressions, asked of a whole frame at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import polars as pl

from qmtl.foundation.facts import SeriesFacts

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


def rules_for(facts: SeriesFacts) -> Mapping[str, pl.Expr]:
    """The row rules that hold for a series of these facts."""
    return row_rules(
        allow_nonpositive=facts.allow_nonpositive is True, has_volume=facts.has_volume is not False
    )


@lru_cache(maxsize=16)
def _whether_any(allow_nonpositive: bool, has_volume: bool) -> tuple[pl.Expr, ...]:
    rules = row_rules(allow_nonpositive=allow_nonpositive, has_volume=has_volume)
    return tuple(broken.any().alias(rule) for rule, broken in rules.items())


def whether_any(facts: SeriesFacts) -> tuple[pl.Expr, ...]:
    """One boolean per rule, named by it: whether any row breaks it. Built once, for one pass over a frame."""
    return _whether_any(facts.allow_nonpositive is True, facts.has_volume is not False)
