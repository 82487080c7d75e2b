"""The rows of a file as frames that a schema can be asked of, and the rows that no frame can hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.conformance.registered_schema import NO_BOUNDS, Column, RegisteredSchema

_TYPED: dict[str, Callable[[Path], pl.DataFrame]] = {".parquet": pl.read_parquet, ".arrow": pl.read_ipc}
# What a value may be where its schema names no type.
_UNTYPED = (pl.Int64(), pl.Float64(), pl.Boolean(), pl.String())
_MOST_CHARACTERS = 80
_FLAGS = {"true": True, "True": True, "false": False, "False": False}

_NUMBER = "number of the row"  # a name that no column bears

# Values as a column that a schema can be asked of, and where they cannot stand in it.
_Converted = tuple[pl.Series, npt.NDArray[np.bool_]]


@dataclass
class Rows:
    """A file, read for one schema.

    count: its rows; they are numbered from 1. refused: those that no frame of the schema can hold, and why.
    parts: frames of all others, each with the numbers of its rows, ascending; rows that have other columns
        are in another part.
    """

    count: int = 0
    parts: list[tuple[pl.DataFrame, Int64Array]] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def rows_of(file: Path, schema: RegisteredSchema) -> Rows:
    """Read a file. Typed columns stay as they are; numbers in a text become what the schema wants.

    So an int is a time, in the unit that the schema says. Raises `InvalidRequestError` for a file that cannot
    be read.
    """
    rows = Rows()
    try:
        if file.suffix == ".jsonl":
            _add_lines(rows, file, schema)
        elif file.suffix == ".csv":
            # As text: what a few lines look like says nothing of the others.
            frame = pl.read_csv(file, infer_schema=False)
            _add(rows, dict(frame.to_dict()), _numbers(frame), schema, _of_text)
        elif file.suffix in _TYPED:
            frame = _TYPED[file.suffix](file)
            _add(rows, dict(frame.to_dict()), _numbers(frame), schema, _of_typed)
        else:
            known = ", ".join([*_TYPED, ".csv", ".jsonl"])
            raise InvalidRequestError(f"{file} is no file of rows", next_step=f"give one of {known}")
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as failure:
        raise InvalidRequestError(f"{file} cannot be read", why=str(failure)) from failure
    return rows


def value_text(values: Any, place: int) -> str:
    """One of some values, for people; cut where it is long."""
    if isinstance(values, pl.Series) and values.dtype.is_temporal():
        # Python has no such dates, or no nanoseconds.
        text = str(values[place : place + 1].cast(pl.String).item())
    else:
        text = repr(values[place])
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _numbers(frame: pl.DataFrame) -> Int64Array:
    return np.arange(1, frame.height + 1, dtype=np.int64)


def _add(
    rows: Rows,
    columns: Mapping[str, Any],
    numbers: Int64Array,
    schema: RegisteredSchema,
    hold: Callable[[Any, Column], _Converted],
) -> None:
    """One more part, without the rows that cannot be stored."""
    known = {column.name: column for column in schema.columns}
    converted = []
    fits = np.ones(len(numbers), dtype=bool)
    for name, values in columns.items():
        series, cannot = hold(values, known.get(name, Column(name)))
        for place in np.flatnonzero(cannot).tolist():
            why = f"{name}: {value_text(values, place)} cannot stand in a column of {series.dtype}"
            rows.refused.setdefault(int(numbers[place]), why)
        converted.append(series.alias(name))
        fits &= ~cannot
    rows.count += len(numbers)
    # A row without any column is still a row: the numbers hold the place.
    frame = pl.DataFrame([pl.Series(_NUMBER, numbers), *converted]).filter(pl.Series(fits))
    rows.parts.append((frame.drop(_NUMBER), numbers[fits]))


# -- typed columns ---------------------------------------------------------------------------------------


def _of_typed(values: pl.Series, column: Column) -> _Converted:
    """As it is; but a time in another unit, and a column of nulls alone, which has no type of its own yet."""
    everywhere = np.zeros(len(values), dtype=bool)
    if not column.dtypes or any(values.dtype == dtype for dtype in column.dtypes):
        return values, everywhere
    if values.dtype == pl.Null:
        return values.cast(column.dtypes[0]), everywhere
    times = [dtype for dtype in column.dtypes if isinstance(dtype, pl.Datetime)]
    if times and isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone == "UTC":
        cast = values.cast(times[0], strict=False)
        same = cast.cast(values.dtype, strict=False).eq_missing(values)
        return cast, ~same.to_numpy()
    return values, everywhere


# -- text ------------------------------------------------------------------------------------------------


def _of_text(values: pl.Series, column: Column) -> _Converted:
    def parsed(dtype: Any) -> pl.Series:
        if dtype == pl.Boolean:
            return values.replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
        if dtype.is_temporal():
            return values.cast(pl.Int64, strict=False).cast(dtype)
        return values.cast(dtype, strict=False)

    return _best(parsed, values.is_null().to_numpy(), column)


# -- JSON ------------------------------------------------------------------------------------------------


def _add_lines(rows: Rows, file: Path, schema: RegisteredSchema) -> None:
    """Rows that have the same keys are one part: a key that is missing is no null."""
    alike: dict[frozenset[str], dict[int, dict[str, Any]]] = {}
    for number, value in _json_lines(file):
        if isinstance(value, dict):
            alike.setdefault(frozenset(value), {})[number] = value
        else:
            rows.refused[number] = "it is no object"
            rows.count += 1
    for names, same in alike.items():
        columns = {name: [row[name] for row in same.values()] for name in sorted(names)}
        _add(rows, columns, np.array(list(same)), schema, _of_json)


def _json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate((line for line in lines if line.strip()), 1):
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as failure:
                raise InvalidRequestError(
                    f"{file} cannot be read", why=f"row {number} is not JSON: {failure}"
                ) from failure


def _of_json(values: list[Any], column: Column) -> _Converted:
    def made(dtype: Any) -> pl.Series:
        return pl.Series([_plain(value, dtype) for value in values], dtype=dtype, strict=False)

    return _best(made, np.array([value is None for value in values], dtype=bool), column)


def _plain(value: Any, dtype: Any) -> Any:
    """A JSON value as one that polars takes for the type without a guess; None if it is of another kind."""
    if isinstance(value, bool):
        return value if dtype == pl.Boolean else None
    if isinstance(value, str):
        return value if dtype in (pl.String, pl.Categorical, pl.Enum) else None
    if not isinstance(value, (int, float)):
        return None
    if dtype.is_float():
        try:
            return float(value)
        except OverflowError:
            return None
    if not (dtype.is_integer() or dtype.is_temporal()) or value != value // 1:
        return None
    return int(value) if -(2**63) <= value < 2**64 else None


def _best(convert: Callable[[Any], pl.Series], is_null: npt.NDArray[np.bool_], column: Column) -> _Converted:
    """The first type that the schema allows and all values have, or the one that most of them have."""
    if not column.dtypes and column.allowed is None and column.bounds is NO_BOUNDS:
        # Nothing is asked but whether it is there.
        there = pl.Series(~is_null)
        return there.replace({False: None}), np.zeros(len(is_null), dtype=bool)
    tried = []
    for dtype in column.dtypes or _UNTYPED:
        series = convert(dtype() if isinstance(dtype, type) else dtype)
        cannot = series.is_null().to_numpy() & ~is_null
        tried.append((series, cannot))
        if not cannot.any():
            return tried[-1]
    return min(tried, key=lambda one: int(one[1].sum()))
