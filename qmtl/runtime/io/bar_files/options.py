"""What a person says about a file: which column is which, and how stamps and prices are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, TypedDict, get_args
from zoneinfo import ZoneInfo

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, VALUES

Unit = Literal["s", "ms", "us", "ns"]
Label = Literal["open", "close"]

NAMES = tuple(BAR_SCHEMA)

_COLUMNS_HELP = "write `columns='ts=date,open=o,...'` or, in the order of the file, `columns='ts,open,...'`"
_SCALE_HELP = "write for example `scale='open,high,low,close=0.0001'`"


class ReadingOptions(TypedDict, total=False):
    """How a file is to be read; all are optional.

    columns: which column of the file is which: a mapping (`ts=date,open=o`), or the names in the order of
        the file (`ts,open,...`; an empty name skips a column), as text, mapping or sequence. `volume=` with
        nothing behind it declares that the source has no volume.
    tz: the zone of stamps that name none, such as `America/New_York`; without it they are UTC.
    unit: what integer stamps count since 1970-01-01 UTC: `s`, `ms`, `us` or `ns`.
    label: whether a stamp is the `open` or the `close` of its bar.
    scale: what stored values are multiplied by: `open,high,low,close=0.0001`, or a mapping of column to
        factor.
    """

    columns: str | Mapping[str, str | None] | Sequence[str] | None
    tz: str | None
    unit: Unit | None
    label: Label
    scale: str | Mapping[str, str | float] | None


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
class Reading:
    """`ReadingOptions`, understood and checked."""

    columns: Columns = Columns()
    tz: str | None = None
    unit: Unit | None = None
    label: Label = "open"
    scale: Mapping[str, Fraction] = field(default_factory=dict)

    @classmethod
    def of(cls, options: ReadingOptions) -> Reading:
        """Raises `InvalidRequestError` for an option that cannot be used."""
        unknown = set(options) - set(ReadingOptions.__annotations__)
        if unknown:
            raise InvalidRequestError(
                f"{', '.join(sorted(unknown))} does not say how a file is read",
                next_step=f"use {', '.join(ReadingOptions.__annotations__)}",
            )
        return cls(
            columns=parse_columns(options.get("columns")),
            tz=_zone(options.get("tz")),
            unit=_one_of("unit", options.get("unit"), get_args(Unit)),
            label=_one_of("label", options.get("label", "open"), get_args(Label)),
            scale=parse_scale(options.get("scale")),
        )


def parse_columns(columns: str | Mapping[str, str | None] | Sequence[str] | None) -> Columns:
    """The columns of a text, a mapping or a sequence; see `ReadingOptions`. Raises `InvalidRequestError`."""
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
            raise _unusable("columns", f"{name!r} is not one of {', '.join(NAMES)}", _COLUMNS_HELP)
        if name and (name in named or name in order):
            raise _unusable("columns", f"{name!r} is named twice", _COLUMNS_HELP)
        if equals:
            named[name] = column
        else:
            order.append(name)
    has_volume = named.get("volume") != ""
    if not has_volume:
        del named["volume"]
    empty = [name for name, column in named.items() if not column]
    if empty:
        raise _unusable("columns", f"{empty[0]}= names no column; only volume may be empty", _COLUMNS_HELP)
    if named and order:
        raise _unusable("columns", "names and positions are mixed", _COLUMNS_HELP)
    result = Columns(named, tuple(order), has_volume)
    missing = [name for name in result.wanted if order and name not in order]
    if missing:
        why = f"the order leaves out {', '.join(missing)}"
        if missing == ["volume"]:
            why += "; if the source has no volume, add volume="
        raise _unusable("columns", why, _COLUMNS_HELP)
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
            raise _unusable("scale", f"{', '.join(waiting)} has no factor", _SCALE_HELP)
    else:
        pairs = list(scale.items())
    return {_scaled(name): _factor(factor) for name, factor in pairs}


def _scaled(name: str) -> str:
    if name not in VALUES:
        raise _unusable("scale", f"{name!r} is not one of {', '.join(VALUES)}", _SCALE_HELP)
    return name


def _factor(text: Any) -> Fraction:
    try:
        # Through the text, so that 0.0001 means a ten-thousandth and not the nearest binary fraction.
        factor = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        raise _unusable("scale", f"{text!r} is not a number", _SCALE_HELP) from None
    if factor <= 0:
        raise _unusable("scale", f"{text!r} is not above zero", _SCALE_HELP)
    return factor


def _zone(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):  # ZoneInfo raises each of them, depending on the name
        raise _unusable(
            "tz", f"the time zone {name!r} is not known", "write for example `tz='America/New_York'`"
        ) from None


def _one_of(option: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value is not None and value not in allowed:
        raise _unusable(
            option, f"{value!r} is not one of {', '.join(allowed)}", f"choose `{option}=` from them"
        )
    return value


def _unusable(option: str, why: str, next_step: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{option}=` cannot be used", why=why, next_step=next_step)
