"""How rows become the bytes of a chunk, and how damage to those bytes is seen."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import zstandard
from blake3 import blake3
from pcodec import ChunkConfig, DeltaSpec, standalone

from qmtl.runtime.io.store.rows import Rows, allocate

PCODEC = 1
ZSTD = 2

_HEADER = struct.Struct("<BBIqq6I")
_VOLUME_NULLS = 1
# Level 4 packs within 2 % of level 8 at twice its speed, on prices with two decimals. Times and prices follow
# the row before, volumes do not: to say so saves pcodec the sixth of its time in which it tries both.
_FOLLOWS = ChunkConfig(compression_level=4, delta_spec=DeltaSpec.try_consecutive(1))
_STANDS_ALONE = ChunkConfig(compression_level=4, delta_spec=DeltaSpec.no_op())
_CONFIGS = [*[_FOLLOWS] * 5, _STANDS_ALONE]


class DamagedError(ValueError):
    """Bytes that are not what was written. `bounds` are the stamps that whole bytes claim, if they do."""

    def __init__(self, why: str, bounds: tuple[int, int] | None = None) -> None:
        super().__init__(why)
        self.bounds = bounds


class Packed(NamedTuple):
    """One chunk, ready to be stored. `checksum` is the BLAKE3 digest of `blob`."""

    first_ts: int
    last_ts: int
    rows: int
    codec: int
    checksum: bytes
    blob: bytes


def pack(rows: Rows) -> Packed:
    """Encode rows (at least one), and prove that they come back bit by bit.

    Columns that pcodec does not return exactly are kept by zstd.
    """
    for codec in (PCODEC, ZSTD):
        blob = _encode(rows, codec)
        target = allocate(rows.size)
        decode(blob, target)
        if all(np.array_equal(a.view(np.int64), b.view(np.int64)) for a, b in zip(rows, target, strict=True)):
            first, last = int(rows.ts[0]), int(rows.ts[-1])
            return Packed(first, last, rows.size, codec, blake3(blob).digest(), blob)
    raise DamagedError(
        "encoded rows do not decode to what they were; the memory of this machine may be faulty"
    )


def _encode(rows: Rows, codec: int) -> bytes:
    columns = [np.ascontiguousarray(column) for column in rows]
    if codec == PCODEC:
        payload = [standalone.simple_compress(*each) for each in zip(columns, _CONFIGS, strict=True)]
    else:
        payload = [zstandard.compress(column.tobytes(), 3) for column in columns]
    flags = _VOLUME_NULLS if np.isnan(rows.volume).any() else 0
    sizes = [len(part) for part in payload]
    header = _HEADER.pack(codec, flags, rows.size, int(rows.ts[0]), int(rows.ts[-1]), *sizes)
    return b"".join([header, *payload])


def unpack(packed: Packed, target: Rows) -> bool:
    """Decode a chunk into `target` (of its row count); whether it has missing volumes.

    Raises `DamagedError` where the bytes do not match their checksum, or the chunk is not the one described.
    """
    if blake3(packed.blob).digest() != packed.checksum:
        raise DamagedError("its bytes do not match their checksum")
    codec, _, rows, first, last, *_ = _HEADER.unpack_from(packed.blob)
    if (first, last, rows, codec) != packed[:4]:
        raise DamagedError("it holds other rows than its index says", (first, last))
    return decode(packed.blob, target)


def decode(blob: bytes, target: Rows) -> bool:
    """Decode unchecked bytes into arrays of the right length; whether there are missing volumes."""
    codec, flags, rows, _, _, *sizes = _HEADER.unpack_from(blob)
    if rows != target.size:
        raise DamagedError(f"it holds {rows} rows, not {target.size}")
    at = _HEADER.size
    for size, column in zip(sizes, target, strict=True):
        part = blob[at : at + size]
        if codec == PCODEC:
            standalone.simple_decompress_into(part, column)
        elif codec == ZSTD:
            column[:] = np.frombuffer(zstandard.decompress(part), dtype=column.dtype)
        else:
            raise DamagedError(f"codec {codec} is not known")
        at += size
    return bool(flags & _VOLUME_NULLS)


# A row on its own: its eight-byte words, and a ninth that proves them.
HOT = np.dtype([(name, "<i8" if name == "ts" else "<f8") for name in Rows._fields] + [("check", "<u8")])
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ROW, _WORDS = struct.Struct("<q5d"), struct.Struct("<6Q")


def pack_single(rows: Rows) -> list[bytes]:
    """Each row as bytes of its own."""
    if rows.size == 1:  # a live bar, for which arrays are a long way round
        return [_pack_one(tuple(column.item() for column in rows))]
    records = np.empty(rows.size, HOT)
    for name, column in zip(Rows._fields, rows, strict=True):
        records[name] = column
    records["check"] = _check(records)
    return [record.tobytes() for record in records]


def unpack_single(blobs: list[bytes]) -> tuple[Rows, list[int]]:
    """The rows that are as written, and the positions of those that are not."""
    whole = [blob if len(blob) == HOT.itemsize else bytes(HOT.itemsize) for blob in blobs]
    records = np.frombuffer(b"".join(whole), HOT)
    good = records["check"] == _check(records)
    kept = records if good.all() else records[good]
    rows = Rows(*(np.ascontiguousarray(kept[name]) for name in Rows._fields))
    return rows, np.flatnonzero(~good).tolist()


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
