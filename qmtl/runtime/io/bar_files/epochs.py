"""Stamps that count from an epoch, to the nanosecond, whatever form the number has."""

from __future__ import annotations

import re

import polars as pl

from qmtl.foundation.times import DAY, EARLIEST, LATEST

# Nanoseconds in one unit, and how many decimal places that is.
UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "d": DAY}
_PLACES = {"ns": 0, "us": 3, "ms": 6, "s": 9}

NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
INTEGER = re.compile(r"[+-]?\d+")

# Spreadsheets of the 1900 date system count days since this one; their resolution is milliseconds.
_EXCEL_EPOCH = -25_569 * DAY
_EXCEL_TICK = 1_000_000


def integers(count: pl.Expr, unit: str) -> pl.Expr:
    """Int64 nanoseconds of whole counts, null beyond the range of nanoseconds."""
    size = UNITS[unit]
    return pl.when(count.is_between(-(-EARLIEST // size), LATEST // size)).then(count * size)


def decimals(text: pl.Expr, unit: str) -> pl.Expr:
    """Int64 nanoseconds of decimal text such as 1325412060.0 and 1.3e9: digits are moved, nothing is rounded.

    Null where a number is finer than nanoseconds, or beyond them.
    """
    parts = text.str.extract_groups(
        r"^(?P<sign>[+-]?)(?P<whole>\d+)(?:\.(?P<rest>\d*))?(?:[eE](?P<power>[+-]?\d+))?$"
    )
    rest = parts.struct.field("rest").fill_null("")
    power = parts.struct.field("power").cast(pl.Int64, strict=False).fill_null(0)
    digits = pl.concat_str(parts.struct.field("whole"), rest)
    size = digits.str.len_bytes().cast(pl.Int64)
    # Where the last whole nanosecond ends among the digits.
    end = parts.struct.field("whole").str.len_bytes().cast(pl.Int64) + power + _PLACES[unit]
    possible = end.is_between(0, 40)
    end = end.clip(0, 40)
    integral = digits.str.slice(0, end)
    beyond = digits.str.slice(end).str.strip_chars("0")
    zeros = pl.lit("0").repeat_by((end - size).clip(0, 40)).list.join("")
    value = pl.concat_str(pl.lit("0"), integral, zeros).cast(pl.Int64, strict=False)
    signed = pl.when(parts.struct.field("sign") == "-").then(-value).otherwise(value)
    fits = possible & (beyond == "") & signed.is_between(EARLIEST, LATEST)
    nothing = (digits != "") & (digits.str.strip_chars("0") == "")
    return pl.when(nothing).then(pl.lit(0, dtype=pl.Int64)).otherwise(pl.when(fits).then(signed))


def floats(count: pl.Expr, unit: str) -> pl.Expr:
    """Int64 nanoseconds of floating-point counts: the whole part exactly, the rest as near as a float is."""
    size = UNITS[unit]
    whole = count.floor()
    inside = count.is_finite() & whole.is_between(-(-EARLIEST // size), LATEST // size)
    rest = ((count - whole) * size).round().cast(pl.Int64, strict=False)
    return pl.when(inside).then(whole.cast(pl.Int64, strict=False) * size + rest)


def spreadsheet_days(days: pl.Expr) -> pl.Expr:
    """Naive Int64 nanoseconds of a spreadsheet's day count, rounded to the milliseconds that it knows.

    Null before 1900-03-01: spreadsheets count a 29th of February 1900 that never was.
    """
    ticks = (days * (DAY // _EXCEL_TICK)).round().cast(pl.Int64, strict=False)
    return pl.when(days.is_between(61, 2_958_466)).then(ticks * _EXCEL_TICK + _EXCEL_EPOCH)
