"""How rows become the bytes of a chunk, and how damage to those bytes is seen.

Chunks are written as pages (see `paged`). Those of older stores hold each column as one piece, by pcodec; and
a chunk that pcodec does not return bit by bit is kept by zstd. Rows that lie elsewhere come back plain.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard
from blake3 import blake3
from pcodec import standalone

from qmtl.foundation.words import counted
from qmtl.runtime.io.sql import paged
from qmtl.runtime.io.store.rows import Rows, allocate

PCODEC = 1
ZSTD = 2
PAGED = 3
PLAIN = 4
_CODECS = (PCODEC, ZSTD, PAGED, PLAIN)

_HEADER = struct.Struct("<BBIqq")
_SIZES = struct.Struct("<6I")
_VOLUME_NULLS = 1


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


class Part(NamedTuple):
    """The rows `[first, first + rows)` of a chunk: at least one page of it, and whole ones."""

    first: int
    rows: int
    pages: paged.Pages | None = None  # where they are, if that is known


def pack(rows: Rows) -> Packed:
    """`pack_many` of one."""
    (packed,) = pack_many([rows])
    return packed


def pack_many(pieces: Sequence[Rows]) -> list[Packed]:
    """Encode pieces (of at least one row), a chunk each, and prove that they come back bit by bit.

    Rows that pcodec does not return exactly are kept by zstd.
    """
    flags = [_VOLUME_NULLS if np.isnan(piece.volume).any() else 0 for piece in pieces]
    paged_blobs = paged.encode(pieces, PAGED, flags)
    result = []
    for piece, flag, blob, is_same in zip(
        pieces, flags, paged_blobs, _come_back(paged_blobs, pieces), strict=True
    ):
        codec, kept = (PAGED, blob) if is_same else (ZSTD, _encode_by_zstd(piece, ZSTD, flag))
        if not is_same and not all(_come_back([kept], [piece])):
            raise DamagedError(
                "encoded rows do not decode to what they were; the memory of this machine may be faulty"
            )
        bounds = int(piece.ts[0]), int(piece.ts[-1])
        result.append(Packed(*bounds, piece.size, codec, blake3(kept).digest(), kept))
    return result


def pack_plain(rows: Rows) -> Packed:
    """Rows (at least one) as a chunk of `plain_bytes`."""
    blob = plain_bytes(rows)
    return Packed(int(rows.ts[0]), int(rows.ts[-1]), rows.size, PLAIN, checksum_of(blob), blob)


def plain_bytes(rows: Rows) -> bytes:
    """Column after column, as they are: the same rows (at least one) always give the same bytes."""
    return b"".join(_plain_parts(rows))


def are_proven(chunks: Iterable[Sequence[Any]], rows: Rows) -> bool:
    """Whether rows are those of chunks, one after the other, whose `plain_bytes` have their checksums.

    chunks: of each the first fields of `Packed`. The columns of one are put together and digested at once:
    one by one, those of 512 rows took more than twice as long.
    """
    if not rows.size:
        return not list(chunks)
    rows, missing = _all_missing_alike(rows)
    columns = [np.ascontiguousarray(column).view(np.uint8).data for column in rows]
    end = 0
    for first_ts, last_ts, count, codec, checksum in chunks:
        start, end = end, end + count
        if codec != PLAIN or not start < end <= rows.size:
            return False
        if (rows.ts[start], rows.ts[end - 1]) != (first_ts, last_ts):
            return False
        flags = _VOLUME_NULLS if missing is not None and missing[start:end].any() else 0
        head = _HEADER.pack(PLAIN, flags, count, first_ts, last_ts), _SIZES.pack(*[8 * count] * len(columns))
        if checksum_of(b"".join([*head, *(column[8 * start : 8 * end] for column in columns)])) != checksum:
            return False
    return end == rows.size


def _plain_parts(rows: Rows) -> list[Any]:
    """The head and the columns."""
    rows, missing = _all_missing_alike(rows)
    columns = [np.ascontiguousarray(column).view(np.uint8) for column in rows]
    flags = 0 if missing is None else _VOLUME_NULLS
    head = _HEADER.pack(PLAIN, flags, rows.size, int(rows.ts[0]), int(rows.ts[-1]))
    return [head, _SIZES.pack(*map(len, columns)), *columns]


def _all_missing_alike(rows: Rows) -> tuple[Rows, npt.NDArray[np.bool_] | None]:
    """Rows whose missing volumes are one and the same NaN, and which are missing, if any is."""
    missing = np.isnan(rows.volume)
    if not missing.any():
        return rows, None
    return rows._replace(volume=np.where(missing, np.nan, rows.volume)), missing


def _come_back(blobs: Sequence[bytes], pieces: Sequence[Rows]) -> list[bool]:
    """Of each piece, whether its bytes decode to what it is."""
    target = allocate(sum(piece.size for piece in pieces))
    opened = [
        _opened(partial(_open, blob, Part(0, piece.size))) for blob, piece in zip(blobs, pieces, strict=True)
    ]
    same = []
    end = 0
    for piece, outcome in zip(
        pieces, decode_parts(opened, [piece.size for piece in pieces], target), strict=True
    ):
        first, end = end, end + piece.size
        same.append(
            not isinstance(outcome, DamagedError)
            and all(
                np.array_equal(mine.view(np.int64), theirs.view(np.int64))
                for mine, theirs in zip(piece, target.cut(first, end), strict=True)
            )
        )
    return same


def _encode_by_zstd(rows: Rows, codec: int, flags: int) -> bytes:
    payload = [zstandard.compress(np.ascontiguousarray(column).tobytes(), 3) for column in rows]
    header = _HEADER.pack(codec, flags, rows.size, int(rows.ts[0]), int(rows.ts[-1]))
    return b"".join([header, _SIZES.pack(*map(len, payload)), *payload])


def unpack(packed: Packed, target: Rows) -> bool:
    """Decode a chunk into `target` (of its row count); whether it has missing volumes.

    Raises `DamagedError` where the bytes do not match their checksum, or the chunk is not the one described.
    """
    return unpack_part(packed, Part(0, packed.rows), target)


def unpack_part(packed: Packed, part: Part, target: Rows) -> bool:
    """Decode some rows of a chunk into `target` (of as many); whether the chunk has missing volumes.

    `part` is of `part_between`. All bytes are proven, not only those that are decoded: raises `DamagedError`
    where they do not match their checksum, or the chunk is not the one described.
    """
    (outcome,) = unpack_parts([(packed, part)], target)
    if isinstance(outcome, DamagedError):
        raise outcome
    return outcome


def unpack_parts(parts: Sequence[tuple[Packed, Part]], target: Rows) -> list[bool | DamagedError]:
    """Decode parts of chunks, one after the other, into `target`, which has room for just all of them.

    Of each, whether its chunk has missing volumes, or what is damaged; what stands in the target for a
    damaged one means nothing. A column of parts alike is decoded by one call, without Python's lock: so
    threads keep several processors busy if each has several chunks at a time.
    """
    return decode_parts([open_part(*each) for each in parts], [part.rows for _, part in parts], target)


def open_part(packed: Packed, part: Part) -> Opened | DamagedError:
    """The first half of `unpack_parts`, of one: its bytes are proven, its head is read.

    Short calls, each of which lets go of Python's lock: threads that make them wait for one another.
    """
    return _opened(partial(_proven, packed, part))


def decode_parts(
    opened: Sequence[Opened | DamagedError], sizes: Sequence[int], target: Rows
) -> list[bool | DamagedError]:
    """The other half, of parts with so many rows each: long calls without Python's lock."""
    if not opened or sum(sizes) != target.size:
        raise ValueError(f"parts of {list(sizes)} rows do not fill {target.size} rows")
    ends = list(accumulate(sizes))
    outcomes: list[bool | DamagedError] = []
    for _, run in groupby(range(len(opened)), key=lambda at: _style(opened[at]) or at):
        first, *others = run
        last = others[-1] if others else first
        outcomes += _decode_run(opened[first : last + 1], target.cut(ends[first] - sizes[first], ends[last]))
    return outcomes


def _opened(opening: Callable[[], Opened]) -> Opened | DamagedError:
    try:
        return opening()
    except DamagedError as failure:
        return failure


def _proven(packed: Packed, part: Part) -> Opened:
    if blake3(packed.blob).digest() != packed.checksum:
        raise DamagedError("its bytes do not match their checksum")
    _refuse_another(packed)
    return _open(packed.blob, part)


def _decode_run(run: Sequence[Opened | DamagedError], room: Rows) -> list[bool | DamagedError]:
    """Parts of one style, by one call for all; should that fail, one by one, to say of which."""
    sound = [each for each in run if isinstance(each, Opened)]
    if len(sound) < len(run):
        return [each for each in run if isinstance(each, DamagedError)]
    try:
        _fill(sound, room)
    except DamagedError as failure:
        if len(run) == 1:
            return [failure]
        ends = accumulate(each.rows for each in sound)
        rooms = [room.cut(end - each.rows, end) for each, end in zip(sound, ends, strict=True)]
        return [
            outcome for each, one in zip(sound, rooms, strict=True) for outcome in _decode_run([each], one)
        ]
    return [each.has_nulls for each in sound]


def part_between(packed: Packed, low: int, high: int) -> Part:
    """Whole pages with all rows that have `low <= ts <= high`; at least one page.

    Asks no checksum, so that it takes only microseconds: damage may go unseen here, and make the part a wrong
    one, but never a larger one than the chunk. `unpack_part` sees it. Raises `DamagedError` where the head of
    the bytes makes no sense.
    """
    layout = _layout(packed)
    if layout is None:
        return Part(0, packed.rows)
    pages = paged.Pages(packed.blob, layout, *layout.pages(low, high))
    return Part(pages.first * layout.page_rows, pages.rows, pages)


def _layout(packed: Packed) -> paged.Layout | None:
    _refuse_another(packed)
    if packed.codec != PAGED:
        return None
    try:
        return paged.layout_of(packed.blob)
    except _ERRORS as failure:
        raise DamagedError(f"its head is damaged: {failure}") from failure


def _refuse_another(packed: Packed) -> None:
    if len(packed.blob) < _HEADER.size:
        raise DamagedError("its bytes are too few")
    codec, _, rows, first, last = _HEADER.unpack_from(packed.blob)
    if (first, last, rows, codec) != packed[:4]:
        raise DamagedError("it holds other rows than its index says", (first, last))


def checksum_of(blob: bytes) -> bytes:
    """The BLAKE3 digest."""
    return blake3(blob).digest()


def header_of(blob: bytes) -> tuple[int, int] | None:
    """The first and the last stamp that bytes claim; None where they cannot be those of a chunk."""
    if len(blob) < _HEADER.size:
        return None
    codec, _, rows, first, last = _HEADER.unpack_from(blob)
    return (first, last) if codec in _CODECS and rows and first <= last else None


def decode(blob: bytes, target: Rows) -> bool:
    """Decode unchecked bytes into arrays of the right length; whether there are missing volumes."""
    opened = _open(blob, Part(0, target.size))
    _fill([opened], target)
    return opened.has_nulls


# What struct, numpy, pcodec and zstd say of bytes that are none of theirs.
_ERRORS = (ArithmeticError, RuntimeError, TypeError, ValueError, struct.error, zstandard.ZstdError)


class Opened(NamedTuple):
    """A part of a chunk, its head read. `pages` is None for a chunk of one piece."""

    blob: bytes
    rows: int
    has_nulls: bool
    pages: paged.Pages | None


def _open(blob: bytes, part: Part) -> Opened:
    try:
        codec, flags, rows, _, _ = _HEADER.unpack_from(blob)
        if codec not in _CODECS:
            raise ValueError(f"codec {codec} is not known")
        pages = part.pages
        if codec != PAGED and part[:2] != (0, rows):
            raise ValueError(f"its {counted(rows, 'row')} cannot be cut to {part.rows} from {part.first} on")
        if codec == PAGED and (pages is None or pages.blob is not blob):
            pages = paged.pages_of(blob, part.first, part.rows)
        return Opened(blob, part.rows, bool(flags & _VOLUME_NULLS), pages)
    except _ERRORS as failure:
        raise DamagedError(f"its head cannot be read: {failure}") from failure


def _style(opened: Opened | DamagedError) -> Any:
    """What parts that are decoded by one call have in common; nothing if there is no such call."""
    return opened.pages.style if isinstance(opened, Opened) and opened.pages is not None else None


def _fill(run: Sequence[Opened], target: Rows) -> None:
    try:
        pages = [each.pages for each in run if each.pages is not None]
        if pages:
            paged.decode(pages, target)
        else:
            _decode_columns(run[0].blob, target)
    except _ERRORS as failure:
        raise DamagedError(f"its bytes cannot be decoded: {failure}") from failure


def _decode_columns(blob: bytes, target: Rows) -> None:
    """Columns of one piece each."""
    codec = blob[0]
    at = _HEADER.size + _SIZES.size
    for size, column in zip(_SIZES.unpack_from(blob, _HEADER.size), target, strict=True):
        piece = blob[at : at + size]
        at += size
        if codec == PCODEC:
            progress = standalone.simple_decompress_into(piece, column)
            if progress.n_processed != len(column) or not progress.finished:
                raise ValueError(f"a column holds other than {counted(len(column), 'row')}")
        elif codec == PLAIN:
            column[:] = np.frombuffer(piece, dtype=column.dtype)
        else:
            if zstandard.frame_content_size(piece) != column.nbytes:  # before it is believed and allocated
                raise ValueError(f"a column holds other than {column.nbytes} bytes")
            column[:] = np.frombuffer(zstandard.decompress(piece), dtype=column.dtype)
