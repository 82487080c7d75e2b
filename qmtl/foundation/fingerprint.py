"""The content of a frame as one hash: the same values give the same text, however they lie in memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from blake3 import blake3

# Part of what is hashed: a change of the rules below is a new version, never another hash for the same name.
_FORMAT = "qmtl frame 1"

# Starting threads costs more than it saves below this many bytes.
_LARGE = 1 << 20


def fingerprint(frame: pl.DataFrame) -> str:
    """`blake3:` and 64 hex digits of a frame's content.

    Bound to the number of rows, and to the name, type, order and values of the columns. Not bound to
    chunks, to how nulls are kept, to the payload of a NaN or to the sign of zero. Columns may hold numbers,
    booleans, dates, times, texts and categories (as texts); raises `TypeError` for others.
    """
    hasher = blake3(max_threads=blake3.AUTO if frame.estimated_size() > _LARGE else 1)
    columns = [(name, _type_name(dtype)) for name, dtype in frame.schema.items()]
    # JSON keeps names apart whatever they hold.
    hasher.update(json.dumps([_FORMAT, frame.height, columns], ensure_ascii=True).encode())
    for column in frame.iter_columns():
        _add_column(hasher, column)
    return f"blake3:{hasher.hexdigest()}"


def _type_name(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f"Datetime[{dtype.time_unit},{dtype.time_zone}]"
    if isinstance(dtype, pl.Duration):
        return f"Duration[{dtype.time_unit}]"
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return "String"
    if (dtype.is_numeric() and not dtype.is_decimal()) or isinstance(dtype, _PLAIN):
        return type(dtype).__name__
    raise TypeError(f"a fingerprint of columns of type {dtype} is not defined")


_PLAIN = (pl.Boolean, pl.Date, pl.Time, pl.String)


def _add_column(hasher: blake3, column: pl.Series) -> None:
    nulls = column.null_count()
    hasher.update(nulls.to_bytes(8, "little"))
    if nulls:
        hasher.update(_bytes(np.packbits(column.is_null().to_numpy())))
    if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        texts = column.cast(pl.String).fill_null("")
        hasher.update(_bytes(texts.str.len_bytes().to_numpy()))
        hasher.update(str(texts.str.join("").item()).encode() if len(texts) else b"")
        return
    # `to_physical` is a whole query, and changes nothing of numbers.
    physical = column if column.dtype.is_numeric() else column.to_physical()
    if physical.dtype == pl.Boolean:
        physical = physical.cast(pl.UInt8)
    if nulls:
        physical = physical.fill_null(0)
    for chunk in physical.get_chunks():
        hasher.update(_bytes(_canonical(chunk.to_numpy())))


def _canonical(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values, with one NaN and one zero."""
    # One pass says of most columns that they have neither: the least of some values is NaN if any of them is.
    if values.dtype.kind == "f" and not (values.size and values.min() > 0):
        zero = values == 0
        if np.signbit(values[zero]).any():
            values = np.where(zero, values.dtype.type(0), values)
        nan = np.isnan(values)
        if nan.any():
            values = np.where(nan, values.dtype.type("nan"), values)
    return values


def _bytes(values: npt.NDArray[Any]) -> memoryview:
    """Little-endian, without a copy where that is what they are."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).view(np.uint8).data
