"""What the stamps of a file mean, told by their shape and by what a person says, never by their size."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import TS
from qmtl.foundation.series import Timeframe
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.bar_files.options import Reading

_NAIVE = pl.Datetime("ns")
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "d": 86_400_000_000_000}
_INTEGER = re.compile(r"[+-]?\d+")

# Year first, so that day and month cannot change places: ISO 8601, its common variants, and 20130822 09:00.
_DATE = r"(?P<date>\d{4}(?P<dash>[-/.])\d{1,2}(?P=dash)\d{1,2}|\d{8}(?=[T ]))"
_TIME = r"(?:(?P<gap>[T ])(?:(?P<time>\d{1,2}:\d{2})(?P<seconds>:\d{2}(?:\.\d{1,9})?)?|(?P<compact>\d{6})))?"
_ZONE = r"(?P<zone>Z| ?UTC|[+-]\d{2}(?::?\d{2})?)?"
_TEXT = re.compile(_DATE + _TIME + _ZONE)

# Years that fit whole into int64 nanoseconds; parsers wrap around silently beyond them.
_FIRST_YEAR, _LAST_YEAR = "1678", "2261"

_TEXT_HELP = "write ISO 8601, such as 2013-08-22T09:00:00Z; with integers, say `unit=` s, ms, us or ns"


@dataclass(frozen=True)
class Shape:
    """How a text stamp is written: its polars format, and whether it names its zone."""

    format: str
    zoned: bool


@dataclass(frozen=True)
class Stamps:
    """`expression` gives the `ts` of a bar (nanoseconds UTC), null where the stored stamp has no meaning."""

    expression: pl.Expr
    shape: Shape | None = None
    notes: tuple[str, ...] = ()


def shape_of(text: str) -> Shape | None:
    """The shape of a stamp; None if it has none that is unambiguous."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        return None
    dash = match["dash"]
    form = f"%Y{dash}%m{dash}%d" if dash else "%Y%m%d"
    if match["compact"]:
        form += match["gap"] + "%H%M%S"
    elif match["time"]:
        form += match["gap"] + "%H:%M" + ("" if match["seconds"] is None else ":%S%.f")
    elif match["zone"]:
        return None  # 2013-08-22Z, and 2013-08-22-05, are not read
    zone = match["zone"]
    if zone is not None:
        form += "%#z" if zone == "Z" or zone[0] in "+-" else zone
    return Shape(form, zone is not None)


def stamps_of(
    dtype: pl.DataType, sample: str | None, reading: Reading, timeframe: Timeframe, name: str
) -> Stamps:
    """The meaning of the `ts` column; `sample` is its first text, where it is text.

    Naive stamps lie in the zone of `reading.tz`, and in UTC without one. Of bars of a day or a week a naive
    stamp is a date: the session's, at 00:00 UTC. Raises `InvalidRequestError` if the meaning cannot be told.
    """
    column = pl.col("ts")
    shape = None
    instant: pl.Expr
    if isinstance(dtype, pl.String):
        text = column.str.strip_chars()
        if sample is not None and _INTEGER.fullmatch(sample.strip()):
            return _counted(text.cast(pl.Int64, strict=False), reading, name, sample)
        shape = shape_of(sample) if sample is not None else None
        if shape is None:
            why = f"the first is {sample!r}"
            if sample is not None and re.fullmatch(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{4}.*", sample.strip()):
                why += "; day and month could change places"
            raise InvalidRequestError(
                f"{name}: the stamps cannot be read as times", why=why, next_step=_TEXT_HELP
            )
        year = text.str.slice(0, 4)
        parsed = text.str.strptime(TS if shape.format.endswith("%#z") else _NAIVE, shape.format, strict=False)
        instant = pl.when(year.is_between(pl.lit(_FIRST_YEAR), pl.lit(_LAST_YEAR))).then(parsed)
        zoned = shape.zoned
        if zoned and not shape.format.endswith("%#z"):
            instant = instant.dt.replace_time_zone("UTC")
    elif dtype.is_integer():
        return _counted(column.cast(pl.Int64, strict=False), reading, name, None)
    elif isinstance(dtype, pl.Datetime):
        zoned = dtype.time_zone is not None
        instant = _in_bounds(column.to_physical(), _UNITS[dtype.time_unit]).cast(_NAIVE)
        instant = instant.dt.replace_time_zone("UTC") if zoned else instant
    elif isinstance(dtype, pl.Date):
        zoned = False
        instant = _in_bounds(column.to_physical().cast(pl.Int64), _UNITS["d"]).cast(_NAIVE)
    else:
        raise InvalidRequestError(
            f"{name}: the stamps are no times", why=f"they are stored as {dtype}", next_step=_TEXT_HELP
        )
    notes = _unused("unit", reading.unit, "the stamps are not integers")
    if zoned:
        return Stamps(instant, shape, notes + _unused("tz", reading.tz, "the stamps name their own zone"))
    if not timeframe.is_intraday:
        notes += _unused("tz", reading.tz, f"the stamps of {timeframe} bars are dates")
        return Stamps(instant.dt.replace_time_zone("UTC"), shape, notes)
    if reading.tz is None:
        notes += ("the stamps name no zone and were read as UTC",)
        return Stamps(instant.dt.replace_time_zone("UTC"), shape, notes)
    local = instant.dt.replace_time_zone(reading.tz, ambiguous="null", non_existent="null")
    return Stamps(local.dt.convert_time_zone("UTC"), shape, notes)


def why_not(value: object, shape: Shape | None, reading: Reading) -> tuple[str, str | None]:
    """Why a stored stamp has no meaning beside others of `shape`: what it is, and why that is refused."""
    if value is None or value == "":
        return "there is no stamp", None
    own = shape_of(value) if isinstance(value, str) else None
    if shape is not None and own is not None and own.zoned != shape.zoned:
        return (
            f"{value!r} {'has a zone' if own.zoned else 'has no zone'}",
            "stamps with and without a zone are mixed",
        )
    if shape is not None and own is not None and own != shape:
        return f"{value!r} is written unlike the first stamp", "one file has one way to write a time"
    if shape is not None and own is None:
        return f"{value!r} is not a time", None
    if reading.tz is not None and _fits(value, own):
        return (
            f"{value!r} does not exist in {reading.tz}, or is there twice",
            "clocks were changed at that hour",
        )
    return f"{value!r} is not a time between 1678 and 2261", None


def _fits(value: object, shape: Shape | None) -> bool:
    """Whether the stamp is a time at all, wherever it may be."""
    if shape is None:
        return True  # a typed column is refused for nothing else, once it is within the bounds
    text = pl.Series([str(value).strip()])
    in_bounds = _FIRST_YEAR <= text[0][:4] <= _LAST_YEAR
    return in_bounds and text.str.strptime(_NAIVE, shape.format, strict=False).null_count() == 0


def _counted(column: pl.Expr, reading: Reading, name: str, sample: str | None) -> Stamps:
    if reading.unit is None:
        raise InvalidRequestError(
            f"{name}: the stamps are integers" + ("" if sample is None else f", such as {sample.strip()}"),
            why="what an integer counts cannot be told by its size",
            next_step="say `unit=` s, ms, us or ns; write dates as 2013-08-22, not as 20130822",
        )
    if reading.tz is not None:
        raise InvalidRequestError(
            f"{name}: the stamps are integers",
            why="they count from 1970-01-01 UTC, and no other zone can apply",
            next_step="leave out `tz=`",
        )
    return Stamps(_in_bounds(column, _UNITS[reading.unit]).cast(TS))


def _in_bounds(count: pl.Expr, unit: int) -> pl.Expr:
    return pl.when(count.is_between(-(-EARLIEST // unit), LATEST // unit)).then(count * unit)


def _unused(option: str, value: object, why: str) -> tuple[str, ...]:
    return () if value is None else (f"`{option}={value!r}` is not used: {why}",)
