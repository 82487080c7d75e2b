"""The bytes of a chunk in pages, so that some of its rows are decoded without the others.

A head, a table of the pages, and each column as a standalone file of pcodec; numbers are little-endian. The
table has the first stamp of each page, the close before it (from which its first open is counted), and where
the page begins in each column.

A standalone file is a header, pages that can be read each by itself (pcodec calls them chunks), and a zero
byte: https://github.com/mwlon/pcodec/blob/main/docs/format.md. So its header, some pages that follow one
another and a zero byte are a file again, which one call decodes. pcodec's wrapped format would take a call
for each page and column; threads would spend their time on handing Python's lock to each other.

Bytes that are no such chunk are answered with whatever error struct, pcodec or a check here meets first.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, standalone

from qmtl.foundation.timeline import Int64Array
from qmtl.runtime.io.sql.whole_numbers import (
    MOST_PLACES,
    add_neighbours,
    places_of,
    subtract_neighbours,
    to_values,
    to_whole,
)
from qmtl.runtime.io.store.rows import Float64Array, Rows

PAGE_ROWS = 2048

# Codec, flags, rows, first and last stamp (as of any chunk); decimal places of prices and of volumes, bytes
# of a header of pcodec, which values have a rest (as bits), rows of a page.
_HEAD = struct.Struct("<BBIqqbbBBI")
_COLUMNS = len(Rows._fields)
# The four prices and the volume, among the values of a bar.
_GROUPS = (slice(0, 4), slice(4, 5))
_AS_FLOATS = -1
_END = b"\0"
# The least that the table takes for a page, and all the rests that there can be.
_PAGE_BYTES = 8 + 8 + 4 * _COLUMNS
_VALUES = 0b111110
# The byte with which pcodec begins a page, by the type of its numbers.
_TYPES = {np.dtype(np.int64): 4, np.dtype(np.float64): 6}

# Level 4 packs within 2 % of level 8 at twice its speed. To say which columns follow the row before, and that
# stamps are best taken as they are, saves pcodec the time in which it tries all of it.
_LEVEL = 4
_FOLLOWS = DeltaSpec.try_consecutive(1)
_STANDS_ALONE = DeltaSpec.no_op()


class Layout(NamedTuple):
    """What the head and the table of a chunk say; the table is no larger than the bytes."""

    rows: int
    page_rows: int
    places: list[int]  # of each value of a bar; `_AS_FLOATS` for floats as they are
    header: int
    rests: int
    firsts: tuple[int, ...]
    closes: tuple[int, ...]
    starts: tuple[int, ...]  # of the pages of the first file, and the end of the last one; then of the next

    def pages(self, low: int, high: int) -> tuple[int, int]:
        """The pages `[first, last)` that can have rows with `low <= ts <= high`; at least one."""
        first = max(0, bisect_right(self.firsts, low) - 1)
        return first, max(first + 1, bisect_right(self.firsts, high))


def encode(pieces: Sequence[Rows], codec: int, flags: Sequence[int]) -> list[bytes]:
    """Each piece (of at least one row) as pages: the same bytes as if it came alone.

    A column of pieces alike is packed by one call: threads that let go of Python's lock every few
    microseconds wait for it more than they work.
    """
    blobs: list[bytes] = []
    for first, end in _runs([piece.size for piece in pieces]):
        rows = pieces[first].size
        even = -(-rows // -(-rows // PAGE_ROWS))  # a last page of a few rows would only cost
        blobs += _encode_equal(pieces[first:end], codec, flags[first:end], even)
    return blobs


def _runs(kinds: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """The ranges `[first, end)` of equal neighbours."""
    end = 0
    for _, run in groupby(kinds):
        first, end = end, end + sum(1 for _ in run)
        yield first, end


def _encode_equal(
    pieces: Sequence[Rows], codec: int, flags: Sequence[int], page_rows: int
) -> Iterator[bytes]:
    """As `encode`, of pieces of equally many rows."""
    size = pieces[0].size
    ts, *columns = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    values = np.stack(columns)
    # Prices share their decimal places, volumes have their own.
    places = list(zip(*(places_of(values[part], len(pieces)) for part in _GROUPS), strict=True))
    for first, end in _runs(places):
        rows = slice(first * size, end * size)
        numbers = _numbers(ts[rows], values[:, rows], places[first], size, page_rows)
        made = _encode_numbers(numbers, codec, flags[first:end])
        if made is not None:
            yield from made
            continue
        for piece, flag in zip(pieces[first:end], flags[first:end], strict=True):
            # Where pages cannot be told from other bytes: each piece by itself, and then as one page.
            yield from _encode_equal([piece], codec, [flag], page_rows if end - first > 1 else size)


class _Numbers(NamedTuple):
    """Pieces alike as numbers that pack well; of each array, a row is a piece."""

    columns: list[np.ndarray]
    rests: dict[int, np.ndarray]  # by the number of the column
    firsts: Int64Array  # of the pages, as are the closes
    closes: Int64Array
    places: list[int]
    counts: list[int]  # rows of each page of a piece


def _numbers(
    ts: Int64Array, values: Float64Array, places: Sequence[int | None], size: int, page_rows: int
) -> _Numbers:
    columns: list[np.ndarray] = [ts, *values]
    rests: dict[int, np.ndarray] = {}
    for found, part in zip(places, _GROUPS, strict=True):
        if found is not None:
            columns[1 + part.start : 1 + part.stop], left = to_whole(values[part], found)
            rests.update(
                (number, rest.reshape(-1, size))
                for number, rest in enumerate(left, 1 + part.start)
                if rest is not None
            )
    columns = [column.reshape(-1, size) for column in columns]
    firsts = columns[0][:, ::page_rows]
    closes = np.zeros(firsts.shape, np.int64)
    if places[0] is not None:
        closes[:, 0], closes[:, 1:] = columns[1][:, 0], columns[4][:, page_rows - 1 : -1 : page_rows]
        subtract_neighbours(columns[1:5])
    counts = [min(page_rows, size - row) for row in range(0, size, page_rows)]
    return _Numbers(
        columns, rests, firsts, closes, [_AS_FLOATS if one is None else one for one in places], counts
    )


def _encode_numbers(numbers: _Numbers, codec: int, flags: Sequence[int]) -> list[bytes] | None:
    """Nothing if pages cannot be told from other bytes."""
    pieces, size = numbers.columns[0].shape
    pages = len(numbers.counts)
    configs = _configs(tuple(numbers.counts), pieces, numbers.places[0] != _AS_FLOATS)
    todo = dict(enumerate(zip(numbers.columns, configs, strict=True)))
    todo |= {_COLUMNS + number: (rest, configs[-1]) for number, rest in numbers.rests.items()}
    files: dict[int, tuple[bytes, list[int]]] = {}
    for number, (column, config) in todo.items():
        file = standalone.simple_compress(column.reshape(-1), config)
        starts = _page_starts(file, numbers.counts * pieces, _TYPES[column.dtype])
        if not starts:
            return None
        files[number] = file, [*starts, len(file) - len(_END)]
    header = _header(size)
    blobs = []
    for piece, flag in enumerate(flags):
        mine = [number for number in numbers.rests if numbers.rests[number][piece].any()]
        table = _table(pages, _COLUMNS + len(mine))
        at = _HEAD.size + table.size
        inside: list[int] = []
        parts = []
        for number in (*range(_COLUMNS), *(_COLUMNS + one for one in mine)):
            file, starts = files[number]
            starts = starts[piece * pages : (piece + 1) * pages + 1]
            parts += [header, file[starts[0] : starts[-1]], _END]
            at += len(header)
            inside += [at + start - starts[0] for start in starts]
            at = inside[-1] + len(_END)
        ts = numbers.columns[0][piece]
        head = _HEAD.pack(
            codec,
            flag,
            size,
            int(ts[0]),
            int(ts[-1]),
            *numbers.places,
            len(header),
            sum(1 << one for one in mine),
            numbers.counts[0],
        )
        pages_of_piece = (*numbers.firsts[piece].tolist(), *numbers.closes[piece].tolist())
        blobs.append(b"".join([head, table.pack(*pages_of_piece, *inside), *parts]))
    return blobs


@lru_cache(maxsize=64)
def _header(rows: int) -> bytes:
    """What a file of so many numbers begins with. Its first page begins with a mark."""
    file: bytes = standalone.simple_compress(np.zeros(rows, np.int64), ChunkConfig())
    return file[: file.index(_mark(_TYPES[np.dtype(np.int64)], rows))]


def _page_starts(file: bytes, counts: Sequence[int], kind: int) -> list[int]:
    """Where pages begin; nothing if other bytes look the same. A single page begins at the first of them."""
    if len(counts) == 1:
        return [file.index(_mark(kind, counts[0]))]
    found = sorted((start, count) for count in set(counts) for start in _places(_mark(kind, count), file))
    return [start for start, _ in found] if [count for _, count in found] == list(counts) else []


def _places(mark: bytes, file: bytes) -> Iterator[int]:
    at = file.find(mark)
    while at >= 0:
        yield at
        at = file.find(mark, at + 1)


def _mark(kind: int, count: int) -> bytes:
    """The first four bytes of a page."""
    return struct.pack("<I", kind | count - 1 << 8)


def layout_of(blob: bytes) -> Layout:
    """What the head and the table say."""
    _, _, rows, _, _, price_places, volume_places, header, rests, page_rows = _HEAD.unpack_from(blob)
    pages, files = -(-rows // page_rows), _COLUMNS + rests.bit_count()
    if not pages or _HEAD.size + pages * _PAGE_BYTES > len(blob):
        raise ValueError(f"{pages} pages of {page_rows} rows are not what its {len(blob)} bytes can hold")
    numbers = _table(pages, files).unpack_from(blob, _HEAD.size)
    if numbers[-1] + len(_END) != len(blob):
        raise ValueError(f"it has {len(blob)} bytes, and its last page ends at {numbers[-1]}")
    places = [*[price_places] * 4, volume_places]
    if min(places) < _AS_FLOATS or max(places) > MOST_PLACES or rests & ~_VALUES:
        raise ValueError(f"its values have {places} decimal places and rests {rests:b}")
    firsts, closes, starts = numbers[:pages], numbers[pages : 2 * pages], numbers[2 * pages :]
    return Layout(rows, page_rows, places, header, rests, firsts, closes, starts)


class Pages(NamedTuple):
    """Pages `[first, last)` of a chunk."""

    blob: bytes
    layout: Layout
    first: int
    last: int

    @property
    def rows(self) -> int:
        page_rows = self.layout.page_rows
        return min(self.last * page_rows, self.layout.rows) - self.first * page_rows

    @property
    def style(self) -> Any:
        """What chunks whose pages are decoded by one call have in common."""
        layout = self.layout
        return layout.places, layout.rests, self.blob[layout.starts[0] - layout.header : layout.starts[0]]


def pages_of(blob: bytes, first_row: int, rows: int) -> Pages:
    """The pages that hold the rows `[first_row, first_row + rows)` and no others."""
    layout = layout_of(blob)
    first, odd = divmod(first_row, layout.page_rows)
    pages = Pages(blob, layout, first, -(-(first_row + rows) // layout.page_rows))
    if odd or pages.rows != rows or not 0 <= first < pages.last <= len(layout.firsts):
        raise ValueError(f"{rows} rows from {first_row} on are not whole pages of {layout.page_rows}")
    return pages


def decode(parts: Sequence[Pages], target: Rows) -> None:
    """Parts of chunks of one style, one after the other, into `target`; one call of pcodec for a column."""
    layout = parts[0].layout
    numbers = iter(range(_COLUMNS + layout.rests.bit_count()))
    bits = [target.ts, *(column.view(np.int64) for column in target[1:])]
    _read(parts, next(numbers), bits[0])
    for column, as_bits, places in zip(target[1:], bits[1:], layout.places, strict=True):
        _read(parts, next(numbers), column if places == _AS_FLOATS else as_bits)
    if layout.places[0] != _AS_FLOATS:
        befores = []
        row = 0
        for part in parts:
            befores.append((row, part.layout.closes[part.first]))
            row += part.rows
        add_neighbours(bits[1:5], befores)
    for number, (column, places) in enumerate(zip(target[1:], layout.places, strict=True), start=1):
        if places == _AS_FLOATS:
            continue
        rest = None
        if layout.rests >> number & 1:
            rest = np.empty(target.size, np.int64)
            _read(parts, next(numbers), rest)
        to_values(column, places, rest)


def _read(parts: Sequence[Pages], number: int, target: np.ndarray) -> None:
    """The column or rest of that number: pages of any chunks, behind a header, are a file of pcodec."""
    start = parts[0].layout.starts[0]
    pieces = [parts[0].blob[start - parts[0].layout.header : start]]
    for blob, layout, first, last in parts:
        at = number * (len(layout.firsts) + 1)
        pieces.append(blob[layout.starts[at + first] : layout.starts[at + last]])
    progress = standalone.simple_decompress_into(b"".join([*pieces, _END]), target)
    if progress.n_processed != len(target) or not progress.finished:
        raise ValueError(f"its pages hold other than {len(target)} rows")


@lru_cache(maxsize=64)
def _table(pages: int, files: int) -> struct.Struct:
    return struct.Struct(f"<{2 * pages}q{files * (pages + 1)}I")


@lru_cache(maxsize=64)
def _configs(counts: tuple[int, ...], pieces: int, is_whole: bool) -> list[ChunkConfig]:
    """How the columns are packed. Of whole prices only the close still follows the row before."""
    paging = PagingSpec.exact_page_sizes(list(counts) * pieces)
    auto, classic = ModeSpec.auto(), ModeSpec.classic()
    price = (auto, _STANDS_ALONE if is_whole else _FOLLOWS)
    ways = [(classic, _FOLLOWS), price, price, price, (auto, _FOLLOWS), (auto, _STANDS_ALONE)]
    return [
        ChunkConfig(compression_level=_LEVEL, mode_spec=mode, delta_spec=delta, paging_spec=paging)
        for mode, delta in ways
    ]
