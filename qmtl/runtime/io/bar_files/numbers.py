"""Numbers as people and programs write them, by the marks that were declared."""

from __future__ import annotations

import re

import polars as pl

from qmtl.runtime.io.bar_files.options import Reading

# Signs of money before or behind a number, which say nothing of its value.
_MONEY = "$€£¥"
_POWERS = {"K": "e3", "M": "e6", "B": "e9", "T": "e12"}
_BLANKS = " \u00a0\u202f"


def number_of(column: pl.Expr, reading: Reading, *, lenient: bool) -> pl.Expr:
    """Float64 of a text column, null where it is no number.

    lenient: whether signs of money and endings such as 1.2K, 3.4M, 5B are read too, which takes longer. A
    declared mark is used either way, and no other is accepted.
    """
    text = column.str.strip_chars()
    if reading.decimal == "." and reading.thousands is None and not lenient:
        return text.cast(pl.Float64, strict=False)
    parts = text.str.extract_groups(_pattern(reading))
    whole = parts.struct.field("whole")
    if reading.thousands is not None:
        for mark in _BLANKS if reading.thousands == " " else reading.thousands:
            whole = whole.str.replace_all(mark, "", literal=True)
    fraction = parts.struct.field("fraction").fill_null("")
    power = parts.struct.field("power").fill_null("").str.to_uppercase()
    for letter, exponent in _POWERS.items():
        power = power.str.replace(f"^{letter}$", exponent)
    written = pl.concat_str(
        parts.struct.field("sign").fill_null(""), whole, pl.lit("."), fraction, pl.lit("0"), power
    )
    # A dash, a sign of money or an exponent alone is no zero.
    digits = pl.when((whole != "") | (fraction != "")).then(written)
    # Through one text, so that 60.32M is rounded once. NaN and inf are left to the rules.
    return pl.coalesce(
        digits.cast(pl.Float64, strict=False),
        pl.when(text.str.to_lowercase().is_in(["nan", "inf", "-inf", "+inf", "infinity", "-infinity"]))
        .then(text)
        .cast(pl.Float64, strict=False),
    )


def _pattern(reading: Reading) -> str:
    money = f"[{_MONEY}]? ?"
    whole = r"\d*"
    if reading.thousands is not None:
        mark = f"[{_BLANKS}]" if reading.thousands == " " else re.escape(reading.thousands)
        whole = rf"\d{{1,3}}(?:{mark}\d{{3}})+|\d*"
    decimal = re.escape(reading.decimal)
    return (
        rf"^{money}(?P<sign>[+-]?){money}(?P<whole>{whole})(?:{decimal}(?P<fraction>\d*))?"
        rf"(?P<power>[eE][+-]?\d+| ?[KkMmBbTt])?{money}$"
    )


def is_null(column: pl.Expr, dtype: pl.DataType, words: tuple[str, ...]) -> pl.Expr | None:
    """Where a column holds one of the words that stand for no value; None if it never does."""
    if not words:
        return None
    if isinstance(dtype, pl.String):
        return column.str.strip_chars().is_in(list(words))
    if dtype.is_numeric():
        numbers = [float(word) if "." in word else int(word) for word in words if _is_plain(word)]
        if dtype.is_integer():
            return column.cast(pl.Int128).is_in([n for n in numbers if isinstance(n, int)])
        return column.is_in([float(number) for number in numbers]) if numbers else None
    return None


def _is_plain(word: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(?:\.\d+)?", word) is not None
