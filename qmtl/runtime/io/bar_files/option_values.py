"""What is written behind each option of reading a file, understood and checked one by one."""

from __future__ import annotations

import codecs
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, VALUES
from qmtl.foundation.times import HOUR, MINUTE

# Of factors: those whose inverse is a float64, too.
_SMALLEST, _LARGEST = sys.float_info.min, 1 / sys.float_info.min

NAMES = tuple(BAR_SCHEMA)

# As the value of a condition: whatever the column holds.
ANYTHING = "*"

_COLUMNS_HELP = "write `columns='ts=date,open=o,...'` or, in the order of the file, `columns='ts,open,...'`"
_SCALE_HELP = "write for example `scale='open,high,low,close=0.0001'`"
_WHERE_HELP = (
    "write for example `where='ticker=AAPL'`; what holds a comma stands in double quotes: "
    "`where='name=\"Acme, Inc.\"'`"
)
# One condition of several that commas separate: a name and a value, each bare, or quoted as CSV does.
_CONDITION = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<name>[^,=]*))\s*(?P<equals>=?)'
    r'\s*(?:"(?P<quoted_value>(?:[^"]|"")*)"|(?P<value>[^,]*?))\s*(?:,|$)'
)

# A server clock: the wall clock of a zone, put forward or back by a constant.
_AHEAD = re.compile(r"(?P<zone>.+?)(?P<sign>[+-])(?P<hours>\d{1,2})h(?:(?P<minutes>\d{1,2})m)?")


@dataclass(frozen=True)
class Columns:
    """Where bar columns are found: `named` maps them to names in the file; `order` lists them by position."""

    named: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    has_volume: bool = True

    @property
    def wanted(self) -> tuple[str, ...]:
        """The bar columns that the file must have."""
        return NAMES if self.has_volume else NAMES[:-1]


@dataclass(frozen=True)
class Zone:
    """A zone of the zone database, and by how many nanoseconds the clock that is meant is ahead of it."""

    name: str
    ahead: int = 0

    def __str__(self) -> str:
        if not self.ahead:
            return self.name
        sign, minutes = "-" if self.ahead < 0 else "+", abs(self.ahead) // MINUTE
        return f"{self.name}{sign}{minutes // 60}h" + (f"{minutes % 60}m" if minutes % 60 else "")


def unusable(option: str, why: str, next_step: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{option}=` cannot be used", why=why, next_step=next_step)


def parse_columns(
    columns: str | Mapping[str, str | None] | Sequence[str] | None, *, separate_stamps: bool = False
) -> Columns:
    """The columns of a text, a mapping or a sequence; see `ReadingOptions`. Raises `InvalidRequestError`.

    separate_stamps: whether `date=` and `time=` say where the stamps are, so that an order leaves `ts` out.
    """
    if not columns:
        return Columns()
    if isinstance(columns, str):
        items = [item.strip() for item in columns.split(",")]
    elif isinstance(columns, Mapping):
        items = [f"{name}={'' if column is None else column}" for name, column in columns.items()]
    else:
        items = list(columns)
    named, order = {}, []
    for item in items:
        name, equals, column = (part.strip() for part in item.partition("="))
        if (name or equals) and name not in NAMES:
            raise unusable("columns", f"{name!r} is not one of {', '.join(NAMES)}", _COLUMNS_HELP)
        if name and (name in named or name in order):
            raise unusable("columns", f"{name!r} is named twice", _COLUMNS_HELP)
        if equals:
            named[name] = column
        else:
            order.append(name)
    has_volume = named.get("volume") != ""
    if not has_volume:
        del named["volume"]
    empty = [name for name, column in named.items() if not column]
    if empty:
        raise unusable("columns", f"{empty[0]}= names no column; only volume may be empty", _COLUMNS_HELP)
    if named and order:
        raise unusable("columns", "names and positions are mixed", _COLUMNS_HELP)
    if separate_stamps and ("ts" in named or "ts" in order):
        raise unusable("columns", "`date=` and `time=` say already where the stamps are", "leave out ts")
    result = Columns(named, tuple(order), has_volume)
    wanted = [name for name in result.wanted if not (separate_stamps and name == "ts")]
    missing = [name for name in wanted if order and name not in order]
    if missing:
        why = f"the order leaves out {', '.join(missing)}"
        if missing == ["volume"]:
            why += "; if the source has no volume, add volume="
        raise unusable("columns", why, _COLUMNS_HELP)
    return result


def parse_scale(scale: str | Mapping[str, str | float] | None) -> dict[str, Fraction]:
    """Exact factors of columns. Raises `InvalidRequestError`."""
    if not scale:
        return {}
    pairs: list[tuple[str, Any]] = []
    if isinstance(scale, str):
        waiting: list[str] = []
        for item in scale.split(","):
            name, equals, factor = (part.strip() for part in item.partition("="))
            waiting.append(name)
            if equals:
                pairs += [(name, factor) for name in waiting]
                waiting = []
        if waiting:
            raise unusable("scale", f"{', '.join(waiting)} has no factor", _SCALE_HELP)
    else:
        pairs = list(scale.items())
    return {_scaled(name): _factor(factor) for name, factor in pairs}


def _scaled(name: str) -> str:
    if name not in VALUES:
        raise unusable("scale", f"{name!r} is not one of {', '.join(VALUES)}", _SCALE_HELP)
    return name


def _factor(text: Any) -> Fraction:
    try:
        # Through the text, so that 0.0001 means a ten-thousandth and not the nearest binary fraction.
        size = _size(str(text))
        factor = Fraction(str(text)) if _SMALLEST <= size <= _LARGEST else None
    except (ValueError, ZeroDivisionError):
        raise unusable("scale", f"{text!r} is not a number", _SCALE_HELP) from None
    if factor is None:
        why = "is not above zero" if size < 0 else f"is not between {_SMALLEST:.0e} and {_LARGEST:.0e}"
        raise unusable("scale", f"{text!r} {why}", _SCALE_HELP)
    return factor


def _size(text: str) -> float:
    """About how large it is: a fraction of 1e999999999 would take all memory before it could be compared."""
    if "/" not in text:
        return float(text)
    try:
        return float(Fraction(text))
    except OverflowError:
        return math.inf


def parse_where(where: str | Mapping[str, object] | Sequence[str] | None) -> dict[str, str]:
    """Column to the value that its rows must have, by name. Raises `InvalidRequestError`."""
    if not where:
        return {}
    if isinstance(where, Mapping):
        pairs = [(str(column).strip(), "=", str(value).strip()) for column, value in where.items()]
    else:
        items = _conditions(where) if isinstance(where, str) else (item.partition("=") for item in where)
        pairs = [(column.strip(), equals, value.strip()) for column, equals, value in items]
    conditions: dict[str, str] = {}
    for column, equals, value in pairs:
        if not column or not equals:
            raise unusable("where", f"{column!r} is not COLUMN=VALUE", _WHERE_HELP)
        if conditions.setdefault(column, value) != value:
            why = f"{column} is to be {conditions[column]!r} and {value!r} at once"
            raise unusable("where", why, "import each value into a series of its own")
    return conditions


def _conditions(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, equals sign and value of each condition in a text."""
    place = 0
    while place < len(text) and (found := _CONDITION.match(text, place)) is not None:
        place = found.end()
        yield _unquoted(found, "quoted", "name"), found["equals"], _unquoted(found, "quoted_value", "value")


def _unquoted(found: re.Match[str], quoted: str, bare: str) -> str:
    return str(found[bare]) if found[quoted] is None else str(found[quoted]).replace('""', '"')


def condition_text(column: str, value: str) -> str:
    """A condition as `where=` reads it in a text, quoted where it has to be."""
    return _quoted(column, among=(",", "=", '"')) + "=" + _quoted(value, among=(",", '"'))


def _quoted(text: str, *, among: tuple[str, ...]) -> str:
    if not any(mark in text for mark in among):
        return text
    return '"' + text.replace('"', '""') + '"'


def parse_null(null: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words that stand for no value."""
    if not null:
        return ()
    items = null.split(",") if isinstance(null, str) else null
    return tuple(dict.fromkeys(str(item).strip() for item in items if str(item).strip()))


def parse_zone(name: str | None) -> Zone | None:
    """A zone that the zone database knows, old links too, or a server clock such as `America/New_York+7h`."""
    if name is None:
        return None
    if _is_zone(name):
        return Zone(name)
    match = _AHEAD.fullmatch(name)
    if match is not None and _is_zone(match["zone"]):
        ahead = int(match["hours"]) * HOUR + int(match["minutes"] or 0) * MINUTE
        return Zone(match["zone"], -ahead if match["sign"] == "-" else ahead)
    raise unusable(
        "tz",
        f"the time zone {name!r} is not known",
        "write for example `tz='America/New_York'`, or for a server clock `tz='America/New_York+7h'`",
    )


def _is_zone(name: str) -> bool:
    if not name:
        return False
    try:
        # By the library that places the stamps, which carries the zone database with it.
        pl.Series([0]).cast(pl.Datetime("ns")).dt.replace_time_zone(name)
    except pl.exceptions.ComputeError:
        return False
    return True


def parse_encoding(name: str | None) -> str | None:
    """The name of a text encoding as Python knows it."""
    if name is None:
        return None
    try:
        "".encode(name)  # codecs that turn bytes into bytes are refused here
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise unusable(
            "encoding", f"{name!r} is not known", "write for example `encoding=cp1252` or `encoding=utf-16`"
        ) from None


def parse_mark(option: str, mark: str | None, *, among: str) -> str | None:
    """One character out of `among`."""
    if mark is None:
        return None
    mark = {"\\t": "\t", "tab": "\t"}.get(mark, mark)
    if len(mark) != 1 or mark not in among:
        shown = " ".join(repr(each) for each in among)
        raise unusable(option, f"{mark!r} is none of {shown}", f"choose `{option}=` from them")
    return mark


def parse_count(option: str, value: Any) -> int:
    """Zero or more lines."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise unusable(option, f"{value!r} is not a number of lines", f"write for example `{option}=1`")
    return value


def one_of(option: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value is not None and value not in allowed:
        raise unusable(
            option, f"{value!r} is not one of {', '.join(allowed)}", f"choose `{option}=` from them"
        )
    return value
