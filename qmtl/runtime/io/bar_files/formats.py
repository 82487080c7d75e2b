"""Declared ways to write a stamp: formats of `strptime`, read field by field, none out of range."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import DAY, HOUR, MINUTE, SECOND

FIRST_YEAR, LAST_YEAR = 1678, 2261  # those that fit whole into int64 nanoseconds

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

# What a directive stands for, as a regular expression; numbers of two digits are completed below.
_FIELDS: Mapping[str, str] = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "f": r"\d{1,9}",
    "p": r"(?i:[ap]\.?m\.?)",
    "b": rf"(?i:{'|'.join(name[:3] for name in _MONTHS)})",
    "B": rf"(?i:{'|'.join(_MONTHS)})",
    "a": rf"(?i:{'|'.join(name[:3] for name in _DAYS)})",
    "A": rf"(?i:{'|'.join(_DAYS)})",
    "z": r"Z|[+-]\d{2}(?::?\d{2})?",
}
_TWO_DIGITS = frozenset("mdHIMS")
_SHORTHANDS = {"T": "%H:%M:%S", "F": "%Y-%m-%d", "R": "%H:%M", "D": "%m/%d/%y"}
_HELP = (
    "write for example `ts_format='%d.%m.%Y %H:%M'`; directives: %Y %y %m %b %B %d %H %I %p %M %S %f %z %a %A"
)


class Written(NamedTuple):
    """The parts of a stamp.

    wall: naive nanoseconds on the clock that it names or leaves open, null where it is no time.
    offset: nanoseconds that this clock is ahead of UTC, None if the stamp does not give it.
    """

    wall: pl.Expr
    offset: pl.Expr | None


class _Pattern(NamedTuple):
    text: str
    regex: str
    fields: frozenset[str]


@dataclass(frozen=True)
class StampFormat:
    """One or several ways to write a stamp; `text` is what a person wrote."""

    text: str
    patterns: tuple[_Pattern, ...]

    @property
    def zoned(self) -> bool:
        return "z" in self.patterns[0].fields

    def read(self, text: pl.Expr) -> Written:
        """The expression is null wherever the text fits no format whole, or a field is out of range.

        24:00 is the midnight at the end of its day. No second has the number 60. Null is also a text that two
        formats read as different times: the order of the formats does not decide which is meant.
        """
        readings = [_read(text, pattern) for pattern in self.patterns]
        if len(readings) == 1:
            return readings[0]
        offsets = [reading.offset for reading in readings if reading.offset is not None]
        return Written(
            _agreed([reading.wall for reading in readings]),
            # Of a format that does not fit, an offset is none.
            _agreed([pl.when(r.wall.is_not_null()).then(r.offset) for r in readings]) if offsets else None,
        )

    def swapped(self, text: str) -> str | None:
        """This format with day and month exchanged, if a text fits that."""
        parts = [pattern.text for pattern in self.patterns if {"d", "m"} <= pattern.fields]
        for part in parts:
            other = re.sub("%[dm]", lambda match: "%m" if match[0] == "%d" else "%d", part)
            if parse_format(other).meanings(text):
                return self.text.replace(part, other)
        return None

    def meanings(self, text: str) -> tuple[tuple[str, int], ...]:
        """Each format that fits a text, with the time on its own clock that it reads (ns since 1970)."""
        column = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
        read = column.select(
            _read(pl.col("text"), pattern).wall.cast(pl.Int64).alias(str(place))
            for place, pattern in enumerate(self.patterns)
        ).row(0)
        return tuple(
            (pattern.text, wall)
            for pattern, wall in zip(self.patterns, read, strict=True)
            if wall is not None
        )


def parse_format(text: str) -> StampFormat:
    """Raises `InvalidRequestError` for a format that cannot be used."""
    patterns = tuple(_compile(part.strip(), text) for part in text.split("|"))
    if len({"z" in pattern.fields for pattern in patterns}) > 1:
        raise _unusable(text, "some of its formats have a zone (%z), and others have none")
    return StampFormat(text, patterns)


def _agreed(values: list[pl.Expr]) -> pl.Expr:
    """The one value of several expressions where all that are not null agree; else null."""
    least, most = pl.min_horizontal(values), pl.max_horizontal(values)
    return pl.when(least == most).then(least)


def _compile(text: str, text_given: str) -> _Pattern:
    form = re.sub(r"%([TFRD])", lambda match: _SHORTHANDS[match[1]], text)
    regex, fields, rest = "", set[str](), form
    was_number = False
    while rest:
        if rest[0].isspace():
            regex, rest, was_number = regex + r"\s+", rest.lstrip(), False
            continue
        if rest[0] != "%":
            regex, rest, was_number = regex + _literal(rest[0]), rest[1:], False
            continue
        letter, rest = rest[1:2], rest[2:]
        if letter == "%":
            regex, was_number = regex + "%", False
            continue
        if letter in fields:
            raise _unusable(text_given, f"%{letter} is there twice")
        if letter in _TWO_DIGITS:
            # Next to another number only the count of digits shows where one ends.
            joined = was_number or re.match(r"%[YymdHIMSf]", rest) is not None
            digits = r"\d{2}" if joined else r"\d{1,2}"
        elif letter in _FIELDS:
            digits = _FIELDS[letter]
        else:
            raise _unusable(text_given, f"%{letter} is not known")
        regex += f"(?P<{letter}>{digits})"
        fields.add(letter)
        was_number = letter in _TWO_DIGITS or letter in "Yyf"
    _check(fields, text_given)
    return _Pattern(text, f"^(?:{regex})$", frozenset(fields))


def _literal(character: str) -> str:
    return "\\" + character if character in r".^$*+?{}[]\()" else character


def _check(fields: set[str], text_given: str) -> None:
    if not fields & set("Yy") or not fields & set("mbB") or "d" not in fields:
        raise _unusable(text_given, "it names no year, month and day")
    if ("I" in fields) != ("p" in fields):
        raise _unusable(text_given, "%I and %p, the hours before and after noon, belong together")
    if len(fields & set("HI")) > 1 or len(fields & set("Yy")) > 1 or len(fields & set("mbB")) > 1:
        raise _unusable(text_given, "one part of the time is there twice")


def _unusable(text: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"`ts_format={text}` cannot be used", why=why, next_step=_HELP)


def _read(text: pl.Expr, pattern: _Pattern) -> Written:
    found = text.str.extract_groups(pattern.regex)
    fields = pattern.fields

    def number(letter: str) -> pl.Expr:
        return found.struct.field(letter).cast(pl.Int64)

    def part(letter: str) -> pl.Expr:
        return number(letter) if letter in fields else pl.lit(0, dtype=pl.Int64)

    if "Y" in fields:
        year = number("Y")
    else:  # as POSIX has it
        year = number("y") + pl.when(number("y") < 69).then(2000).otherwise(1900)
    month = number("m") if "m" in fields else _named(found, "b" if "b" in fields else "B", _MONTHS)
    day, minute, second = number("d"), part("M"), part("S")
    hour = part("H")
    if "I" in fields:
        after_noon = found.struct.field("p").str.to_lowercase().str.starts_with("p")
        twelve = number("I")
        hour = twelve % 12 + pl.when(after_noon).then(12).otherwise(0)
        in_range = twelve.is_between(1, 12)
    else:
        in_range = hour < 24
    nanos = pl.lit(0, dtype=pl.Int64)
    if "f" in fields:
        nanos = found.struct.field("f").str.pad_end(9, "0").cast(pl.Int64)
    if "H" in fields:
        in_range |= (hour == 24) & (minute == 0) & (second == 0) & (nanos == 0)
    # Counted from the first of the month: a day that the month lacks lands in the next one.
    safe_month, safe_year = month.clip(1, 12), year.clip(FIRST_YEAR, LAST_YEAR)
    date = pl.date(safe_year, safe_month, 1).cast(pl.Int32).cast(pl.Int64) + day - 1
    its_month = date.cast(pl.Int32).cast(pl.Date).dt.month()
    in_range &= (
        month.is_between(1, 12)
        & year.is_between(FIRST_YEAR, LAST_YEAR)
        & day.is_between(1, 31)
        & (its_month == month)
        & (minute < 60)
        & (second < 60)
    )
    for letter in fields & set("aA"):
        weekday = _named(found, letter, _DAYS)
        in_range &= date.cast(pl.Int32).cast(pl.Date).dt.weekday() == weekday
    count = date * DAY + hour * HOUR + minute * MINUTE + second * SECOND + nanos
    wall = pl.when(in_range).then(count).cast(pl.Datetime("ns"))
    return Written(wall, _offset(found.struct.field("z")) if "z" in fields else None)


def _named(found: pl.Expr, letter: str, names: list[str]) -> pl.Expr:
    """The number of a month or weekday, from 1."""
    short = [name[:3] for name in names]
    text = found.struct.field(letter).str.to_lowercase().str.slice(0, 3)
    return text.replace_strict(short, list(range(1, len(names) + 1)), default=None, return_dtype=pl.Int64)


def _offset(text: pl.Expr) -> pl.Expr:
    digits = text.str.replace(":", "", literal=True)
    minutes = digits.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)  # +00, as PostgreSQL writes it
    size = digits.str.slice(1, 2).cast(pl.Int64) * HOUR + minutes * MINUTE
    signed = pl.when(digits.str.starts_with("-")).then(-size).otherwise(size)
    return pl.when(text == "Z").then(pl.lit(0, dtype=pl.Int64)).otherwise(signed)
