"""Rows come back bit by bit, or not at all."""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pcodec import ChunkConfig, standalone

from qmtl.runtime.io.sql import codec, paged
from qmtl.runtime.io.sql.codec import (
    DamagedError,
    Packed,
    Part,
    decode,
    header_of,
    pack,
    pack_many,
    part_between,
    unpack,
    unpack_part,
    unpack_parts,
)
from qmtl.runtime.io.store.rows import Rows, allocate, overlay

PAGE_ROWS = 7
STAMPS = st.integers(-(2**62), 2**62)


def near(units: int, places: int, units_in_last_place: int) -> float:
    """A number with some decimals, or one right beside it."""
    bits = np.float64(units / 10**places).view(np.int64) + np.int64(units_in_last_place)
    return float(bits.view(np.float64))


floats = st.floats(allow_nan=False, allow_infinity=False)
quoted = st.builds(near, st.integers(1, 10**7), st.integers(0, 3), st.sampled_from([0] * 9 + [1, -1]))


@pytest.fixture(autouse=True, scope="module")
def _small_pages() -> Iterator[None]:
    """So that a few dozen rows are several pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged, "PAGE_ROWS", PAGE_ROWS)
        yield


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    ts = sorted(draw(st.sets(STAMPS, min_size=1, max_size=50)))
    values = draw(st.sampled_from([floats, quoted, st.just(1.25), quoted | floats]))
    columns = [draw(st.lists(values, min_size=len(ts), max_size=len(ts))) for _ in range(5)]
    columns[4] = [float("nan") if draw(st.integers(0, 9)) == 0 else volume for volume in columns[4]]
    return Rows(np.array(ts, np.int64), *(np.array(column) for column in columns))


def same_bits(a: Rows, b: Rows) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def has_nulls(rows: Rows) -> bool:
    return bool(np.isnan(rows.volume).any())


def of_one_piece(rows: Rows, number: int, columns: list[bytes]) -> Packed:
    """A chunk of columns of one piece each, as older stores have them."""
    first, last = int(rows.ts[0]), int(rows.ts[-1])
    header = struct.pack("<BBIqq6I", number, has_nulls(rows), rows.size, first, last, *map(len, columns))
    blob = b"".join([header, *columns])
    return Packed(first, last, rows.size, number, blake3(blob).digest(), blob)


def as_pcodec(rows: Rows) -> Packed:
    return of_one_piece(rows, codec.PCODEC, [standalone.simple_compress(c, ChunkConfig()) for c in rows])


def as_zstd(rows: Rows) -> Packed:
    return of_one_piece(rows, codec.ZSTD, [zstandard.compress(column.tobytes()) for column in rows])


CODECS = {pack: codec.PAGED, as_pcodec: codec.PCODEC, as_zstd: codec.ZSTD, codec.pack_plain: codec.PLAIN}
packers: st.SearchStrategy[Callable[[Rows], Packed]] = st.sampled_from(list(CODECS))


@given(some_rows(), packers)
def test_chunks_come_back(rows: Rows, packer: Callable[[Rows], Packed]) -> None:
    packed = packer(rows)
    assert packed[:4] == (rows.ts[0], rows.ts[-1], rows.size, CODECS[packer])
    assert header_of(packed.blob) == (rows.ts[0], rows.ts[-1])
    target = allocate(rows.size)
    assert unpack(packed, target) == has_nulls(rows)
    assert same_bits(target, rows)


# Three bars, as they were written before there were pages.
OLD = {
    codec.PCODEC: (
        "010103000000005847f80d00000000b864d9450000002d0000002e0000002e0000002e0000002e0000002f0000007063"
        "6f210300c10401040200001001010000ac23fc060000c012005847f80d000080000000000000d6117e030070636f2103"
        "00c1040106020000101102000000000000000680000000000000000a8000000000000000f8bf01000070636f210300c1"
        "0401060200001011020000000000000000800000000000000008800000000000000004c002000070636f210300c10401"
        "06020000101102000000000000000680000000000000000c8000000000000000f4bf01000070636f210300c104010602"
        "00001011020000000000000002800000000000000006800000000000000002c002000070636f210300c1040106020000"
        "00320008000000000000f81700000000000000093000000000000000fc7f00060000"
    ),
    codec.ZSTD: (
        "020103000000005847f80d00000000b864d94500000021000000210000001a0000001e0000001b0000002100000028b5"
        "2ffd2018c10000005847f80d00000000b08ef01b00000000b864d94500000028b52ffd2018c10000000000000000f83f"
        "0000000000000240000000000000084028b52ffd20188d00003800000440000c4003002b04c00d0b600128b52ffd2018"
        "ad0000700000f43f004000000000000006400200604600b028b52ffd2018950000400000024000040a4003002b29408f"
        "15600128b52ffd2018c100000000000000002440000000000000f87f000000000000c03f"
    ),
}


@pytest.mark.parametrize("number", OLD)
def test_old_chunks_are_readable(number: int) -> None:
    blob = bytes.fromhex(OLD[number])
    minute = 60_000_000_000
    target = allocate(3)
    packed = Packed(minute, 5 * minute, 3, number, blake3(blob).digest(), blob)
    assert part_between(packed, 2 * minute, 2 * minute) == Part(0, 3)
    assert unpack(packed, target) is True
    assert target.ts.tolist() == [minute, 2 * minute, 5 * minute]
    values = [[1.5, 2.25, 3.0], [2.5, 2.5, 3.5], [1.25, 2.0, 2.75], [2.25, 2.5, 3.25]]
    assert [column.tolist() for column in target[1:5]] == values
    assert np.array_equal(target.volume, [10.0, float("nan"), 0.125], equal_nan=True)


@given(some_rows(), packers, st.data())
def test_a_part_holds_all_rows_of_its_range(
    rows: Rows, packer: Callable[[Rows], Packed], data: st.DataObject
) -> None:
    packed = packer(rows)
    beside = st.builds(lambda ts, off: ts + off, st.sampled_from(rows.ts.tolist()), st.integers(-2, 2))
    low, high = sorted(data.draw(st.tuples(beside | STAMPS, beside | STAMPS)))
    wanted = np.flatnonzero((rows.ts >= low) & (rows.ts <= high)).tolist()
    part = part_between(packed, low, high)
    assert part.rows >= 1
    assert set(wanted) <= set(range(part.first, part.first + part.rows))
    if first_page(packed).rows <= PAGE_ROWS:
        assert part.rows < len(wanted) + 2 * PAGE_ROWS
    target = allocate(part.rows)
    assert unpack_part(packed, part, target) == has_nulls(rows)
    assert same_bits(target, rows.cut(part.first, part.first + part.rows))


def first_page(packed: Packed) -> Part:
    return part_between(packed, packed.first_ts, packed.first_ts)


@given(st.lists(st.tuples(some_rows(), packers, st.booleans()), min_size=1, max_size=5), st.data())
def test_parts_of_several_chunks_fill_one_target(
    chunks: list[tuple[Rows, Callable[[Rows], Packed], bool]], data: st.DataObject
) -> None:
    parts = []
    for rows, packer, _ in chunks:
        packed = packer(rows)
        low, high = sorted(data.draw(st.tuples(STAMPS, STAMPS)))
        parts.append((packed, part_between(packed, low, high)))
    damaged = [
        (packed._replace(blob=packed.blob[:-1] + b"\7") if is_damaged else packed, part)
        for (packed, part), (*_, is_damaged) in zip(parts, chunks, strict=True)
    ]
    target = allocate(sum(part.rows for _, part in parts))
    outcomes = unpack_parts(damaged, target)
    at = 0
    for (rows, _, is_damaged), (_, part), outcome in zip(chunks, parts, outcomes, strict=True):
        if is_damaged:
            assert isinstance(outcome, DamagedError)
        else:
            assert outcome is has_nulls(rows)
            wanted = rows.cut(part.first, part.first + part.rows)
            assert same_bits(target.cut(at, at + part.rows), wanted)
        at += part.rows
    assert at == target.size


def test_one_bad_part_does_not_take_others_along() -> None:
    """Even if its bytes match their checksum: others of its style, decoded by the same call, come back."""
    price = np.arange(20.0)
    rows = Rows(np.arange(20), price, price + 2, price - 2, price + 1, price)
    good = pack(rows)
    at = good.blob.rindex(b"pco!") + 20
    blob = good.blob[:at] + b"\xff" * 40 + good.blob[at + 40 :]
    bad = good._replace(blob=blob, checksum=blake3(blob).digest())
    parts = [(each, part_between(each, 0, 19)) for each in (good, good, bad, good)]
    target = allocate(80)
    *outcomes, last = unpack_parts(parts, target)
    assert (outcomes[:2], last) == ([False, False], False)
    assert isinstance(outcomes[2], DamagedError)
    assert all(same_bits(target.cut(at, at + 20), rows) for at in (0, 20, 60))


def test_the_target_is_filled() -> None:
    packed = pack(Rows(np.arange(3), *np.ones((5, 3))))
    for count in (2, 4):
        with pytest.raises(ValueError, match="do not fill"):
            unpack_parts([(packed, Part(0, 3))], allocate(count))


@given(some_rows(), st.integers(-8, 50), st.integers(0, 60))
def test_only_whole_pages_are_a_part(rows: Rows, first: int, count: int) -> None:
    packed = pack(rows)
    last = first + count
    page_rows = first_page(packed).rows
    is_part = 0 <= first < last <= rows.size and first % page_rows == 0
    target = allocate(count)
    if is_part and (last % page_rows == 0 or last == rows.size):
        unpack_part(packed, Part(first, count), target)
        assert same_bits(target, rows.cut(first, last))
    else:
        with pytest.raises(DamagedError):
            unpack_part(packed, Part(first, count), target)


@given(some_rows(), st.data())
def test_what_one_codec_garbles_the_other_keeps(rows: Rows, data: st.DataObject) -> None:
    column = data.draw(st.integers(0, 5))
    at = data.draw(st.integers(0, rows.size - 1))
    garbled = Rows(*(each.copy() for each in rows))
    garbled[column].view(np.int64)[at] ^= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged, "encode", lambda pieces, *head: _encode([pieces[0], garbled], *head))
        before, packed = pack_many([rows, rows])
    target = allocate(rows.size)
    assert (before.codec, packed.codec) == (codec.PAGED, codec.ZSTD)
    unpack(packed, target)
    assert same_bits(target, rows)


_encode = paged.encode


@given(st.lists(st.tuples(some_rows(), st.integers(1, 3)), min_size=1, max_size=5))
def test_pieces_are_packed_together_as_they_are_alone(many: list[tuple[Rows, int]]) -> None:
    """Whatever stands beside a piece: others of its size, of its decimal places or of none."""
    pieces = [piece for rows, times in many for piece in (rows, *[_moved(rows)] * (times - 1))]
    assert pack_many(pieces) == [pack(piece) for piece in pieces]


def _moved(rows: Rows) -> Rows:
    """As many rows of other values, partly of no decimal places."""
    return Rows(rows.ts, *(np.where(np.arange(rows.size) % 3, column, 0.1 + 0.2) for column in rows[1:]))


@given(some_rows(), packers, st.data())
def test_no_flipped_bit_goes_unnoticed(
    rows: Rows, packer: Callable[[Rows], Packed], data: st.DataObject
) -> None:
    packed = packer(rows)
    at = data.draw(st.integers(0, len(packed.blob) * 8 - 1))
    blob = bytearray(packed.blob)
    blob[at // 8] ^= 1 << at % 8
    damaged = packed._replace(blob=bytes(blob))
    with pytest.raises(DamagedError):
        unpack(damaged, allocate(rows.size))
    with pytest.raises(DamagedError):
        read_some(damaged, *sorted(data.draw(st.tuples(STAMPS, STAMPS))))


def read_some(packed: Packed, low: int, high: int) -> None:
    part = part_between(packed, low, high)
    assert 0 <= part.first < part.first + part.rows <= packed.rows
    unpack_part(packed, part, allocate(part.rows))


@st.composite
def damage(draw: st.DrawFn, blob: bytes) -> bytes:
    """Bytes that are somehow like a blob."""
    head = draw(st.booleans())  # where most of what can be believed stands
    at = draw(st.integers(0, min(len(blob), 120) if head else len(blob)))
    length = draw(st.sampled_from([1, 2, 4, 8]))
    return blob[:at] + draw(
        st.one_of(
            st.binary(min_size=length, max_size=length).map(lambda other: other + blob[at + length :]),
            st.just(b"\xff" * length + blob[at + length :]),
            st.just(b""),
            st.just(blob[at + length :]),
            st.binary(min_size=1, max_size=9).map(lambda other: other + blob[at:]),
        )
    )


@given(some_rows(), packers, st.data())
def test_unproven_bytes_are_decoded_or_refused(
    rows: Rows, packer: Callable[[Rows], Packed], data: st.DataObject
) -> None:
    packed = packer(rows)
    blob = data.draw(damage(packed.blob))
    header_of(blob)
    # A checksum that fits, as if damage had met both alike.
    claimed = packed._replace(blob=blob, checksum=blake3(blob).digest())
    for attempt in (
        lambda: decode(blob, allocate(rows.size)),
        lambda: unpack(claimed, allocate(rows.size)),
        lambda: read_some(claimed, 0, 2**40),
    ):
        with suppress(DamagedError):
            attempt()


@given(some_rows(), some_rows())
def test_the_newer_rows_lie_over_the_older(older: Rows, newer: Rows) -> None:
    def table(rows: Rows) -> dict[int, bytes]:
        return {int(ts): np.array([c[i] for c in rows[1:]]).tobytes() for i, ts in enumerate(rows.ts)}

    both = overlay(older, newer)
    assert (np.diff(both.ts) > 0).all()
    assert table(both) == table(older) | table(newer)
