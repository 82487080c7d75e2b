"""Arrays as the server itself writes them.

psycopg would look for the smallest kind of number that has room for each of an array, and for what is to be
escaped in each piece of bytes; and a server that gets them as text has to read each number.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from operator import index

import numpy as np
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

# How many dimensions, whether any value is null, the type of the values, how many, the number of the first.
_HEAD = struct.Struct("!iiIii")
_SIZE = struct.Struct("!i")
_NULL, _EIGHT = _SIZE.pack(-1), _SIZE.pack(8)
_SIZED = np.dtype([("size", ">i4"), ("value", ">i8")])


class BigintArray(bytes):
    """Of `bigint[]`."""


class ByteaArray(bytes):
    """Of `bytea[]`."""


def bigints(values: Sequence[int | None]) -> BigintArray:
    """Raises `TypeError` for other numbers, `OverflowError` for those that are too large."""
    given = [one for one in values if one is not None]
    if len(given) < len(values):
        parts = [_NULL if one is None else _EIGHT + index(one).to_bytes(8, signed=True) for one in values]
        return BigintArray(_head(20, values, has_null=True) + b"".join(parts))
    sized = np.empty(len(values), _SIZED)
    sized["size"], sized["value"] = 8, array("q", given)
    return BigintArray(_head(20, values) + sized.tobytes())


def byteas(values: Sequence[bytes | None]) -> ByteaArray:
    has_null = None in values
    parts = [_NULL if one is None else _SIZE.pack(len(one)) + one for one in values]
    return ByteaArray(_head(17, values, has_null=has_null) + b"".join(parts))


def _head(kind: int, values: Sequence[object], *, has_null: bool = False) -> bytes:
    return _HEAD.pack(1, has_null, kind, len(values), 1)


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _BigintArrayDumper(_AsItIs):
    oid = 1016


class _ByteaArrayDumper(_AsItIs):
    oid = 1001


def send_as_they_are(adapters: AdaptersMap) -> None:
    """Let a connection send these arrays."""
    adapters.register_dumper(BigintArray, _BigintArrayDumper)
    adapters.register_dumper(ByteaArray, _ByteaArrayDumper)
