"""How a row on its own becomes bytes that prove themselves, and how damage to them is seen."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from qmtl.runtime.io.store.rows import NO_ROWS, Rows, join

# A row on its own: its eight-byte words, whose it is and since when, and a last word that proves all of them.
# Format 2 had the stamp and the values alone.
_STAMP_AND_VALUES = [(name, "<i8" if name == "ts" else "<f8") for name in Rows._fields]
_OWNER = [("series", "<i8"), ("tx_from", "<i8")]
HOT = np.dtype([*_STAMP_AND_VALUES, *_OWNER, ("check", "<u8")])
HOT_OF_FORMAT_2 = np.dtype([*_STAMP_AND_VALUES, ("check", "<u8")])
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ROW, _WORDS = struct.Struct("<q5d2q"), struct.Struct("<8Q")


class Stored(NamedTuple):
    """A single row as it lies in its table: the stamp and the commit of its key, and its bytes."""

    ts: int
    tx_from: int
    data: Any  # bytes, unless they are damaged


def pack_single(rows: Rows, series: int, tx_from: int) -> list[bytes]:
    """Each row as bytes of its own; they name the number of the series and of the commit."""
    if rows.size == 1:  # a live bar, for which arrays are a long way round
        return [_pack_one((*(column.item() for column in rows), series, tx_from))]
    records = np.empty(rows.size, HOT)
    for name, column in zip(Rows._fields, rows, strict=True):
        records[name] = column
    records["series"], records["tx_from"] = series, tx_from
    return _packed(records)


def pack_each(parts: Iterable[tuple[Rows, int, int]]) -> list[bytes]:
    """The same for rows of several series, each with the numbers of its series and its commit."""
    each = [part for part in parts if part[0].size]
    if len(each) < 2:
        return pack_single(*each[0]) if each else []
    sizes = [rows.size for rows, _, _ in each]
    records = np.empty(sum(sizes), HOT)
    for name, columns in zip(Rows._fields, zip(*(rows for rows, _, _ in each), strict=True), strict=True):
        records[name] = np.concatenate(columns)
    records["series"] = np.repeat([series for _, series, _ in each], sizes)
    records["tx_from"] = np.repeat([tx for _, _, tx in each], sizes)
    return _packed(records)


def _packed(records: np.ndarray[tuple[int], np.dtype[np.void]]) -> list[bytes]:
    records["check"] = _check(records)
    data, size = records.tobytes(), HOT.itemsize
    return [data[at : at + size] for at in range(0, len(data), size)]


def unpack_single(series: int, stored: list[Stored]) -> tuple[Rows, list[int]]:
    """The rows that are as written and lie where they belong, and the positions of the others."""
    sizes = {len(row.data) if isinstance(row.data, bytes) else 0 for row in stored}
    if sizes == {HOT.itemsize}:
        return _unpack(HOT, series, stored)
    if sizes == {HOT_OF_FORMAT_2.itemsize}:
        return _unpack(HOT_OF_FORMAT_2, series, stored)
    # Of both formats, or damaged: one by one.
    whole, damaged = [], []
    for position, row in enumerate(stored):
        size = len(row.data) if isinstance(row.data, bytes) else 0
        kind = next((kind for kind in (HOT, HOT_OF_FORMAT_2) if kind.itemsize == size), None)
        rows, bad = (NO_ROWS, [0]) if kind is None else _unpack(kind, series, [row])
        whole.append(rows)
        damaged += [position] if bad else []
    return join(whole), damaged


def _unpack(kind: np.dtype[np.void], series: int, stored: list[Stored]) -> tuple[Rows, list[int]]:
    records = np.frombuffer(b"".join(row.data for row in stored), kind)
    good = records["check"] == _check(records)
    good &= records["ts"] == [row.ts for row in stored]
    if kind is HOT:
        good &= records["series"] == series
        good &= records["tx_from"] == [row.tx_from for row in stored]
    kept = records if good.all() else records[good]
    rows = Rows(*(np.ascontiguousarray(kept[name]) for name in Rows._fields))
    return rows, np.flatnonzero(~good).tolist()


def place_of(series: int, data: Any) -> tuple[int, int] | None:
    """The stamp and the first commit of a single row, by its bytes; None if they are damaged."""
    if not isinstance(data, bytes) or len(data) != HOT.itemsize:
        return None
    record = np.frombuffer(data, HOT)
    if record["check"] != _check(record) or record["series"] != series:
        return None
    return int(record["ts"][0]), int(record["tx_from"][0])


def _pack_one(values: tuple[float, ...]) -> bytes:
    """The bytes that arrays would give, by the arithmetic of `_check` on plain ints."""
    row = _ROW.pack(*values)
    odd, shift = int(_ODD), int(_SHIFT)
    mixed = odd
    for word in _WORDS.unpack(row):
        mixed = (mixed ^ word) * odd % (1 << 64)
        mixed ^= mixed >> shift
    return row + mixed.to_bytes(8, "little")


def _check(records: np.ndarray[tuple[int], np.dtype[np.void]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    words = np.frombuffer(records.tobytes(), "<u8").reshape(len(records), -1)
    mixed = np.full(len(records), _ODD)
    for column in range(words.shape[1] - 1):
        mixed = (mixed ^ words[:, column]) * _ODD
        mixed ^= mixed >> _SHIFT
    return mixed
