"""Rows come back bit by bit, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.store import codec
from qmtl.runtime.io.store.codec import DamagedError, Stored, pack, pack_single, unpack, unpack_single
from qmtl.runtime.io.store.rows import Rows, allocate, overlay

floats = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    ts = sorted(draw(st.sets(st.integers(-(2**62), 2**62), min_size=1, max_size=50)))
    columns = [draw(st.lists(floats, min_size=len(ts), max_size=len(ts))) for _ in range(5)]
    columns[4] = [float("nan") if draw(st.integers(0, 9)) == 0 else volume for volume in columns[4]]
    return Rows(np.array(ts, np.int64), *(np.array(column) for column in columns))


def same_bits(a: Rows, b: Rows) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@given(some_rows())
def test_chunks_come_back(rows: Rows) -> None:
    packed = pack(rows)
    assert packed[:3] == (rows.ts[0], rows.ts[-1], rows.size)
    target = allocate(rows.size)
    assert unpack(packed, target) == bool(np.isnan(rows.volume).any())
    assert same_bits(target, rows)


@given(some_rows())
def test_what_the_first_codec_garbles_the_second_keeps(rows: Rows) -> None:
    def backward(column: np.ndarray, config: object) -> bytes:
        return _compress(column[::-1].copy(), config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec.standalone, "simple_compress", backward)
        packed = pack(rows)
    target = allocate(rows.size)
    unpack(packed, target)
    assert same_bits(target, rows)
    palindrome = all(np.array_equal(c.view(np.int64), c[::-1].view(np.int64)) for c in rows)
    assert packed.codec == (codec.PCODEC if palindrome else codec.ZSTD)


_compress = codec.standalone.simple_compress


@given(some_rows(), st.data())
def test_no_flipped_bit_goes_unnoticed(rows: Rows, data: st.DataObject) -> None:
    packed = pack(rows)
    at = data.draw(st.integers(0, len(packed.blob) * 8 - 1))
    blob = bytearray(packed.blob)
    blob[at // 8] ^= 1 << at % 8
    with pytest.raises(DamagedError):
        unpack(packed._replace(blob=bytes(blob)), allocate(rows.size))


@given(some_rows(), st.data())
def test_single_rows_come_back_or_are_named(rows: Rows, data: st.DataObject) -> None:
    blobs = pack_single(rows, 3, 7)
    assert blobs == [pack_single(rows.cut(at, at + 1), 3, 7)[0] for at in range(rows.size)]
    stored = [Stored(ts, 7, blob) for ts, blob in zip(rows.ts.tolist(), blobs, strict=True)]
    back, damaged = unpack_single(3, stored)
    assert same_bits(back, rows)
    assert damaged == []
    victim = data.draw(st.integers(0, rows.size - 1))
    at = data.draw(st.integers(0, len(blobs[victim]) * 8 - 1))
    broken = bytearray(blobs[victim])
    broken[at // 8] ^= 1 << at % 8
    intact = stored[victim]
    for wrong in (
        intact._replace(data=bytes(broken)),
        intact._replace(data=intact.data[:-1]),
        intact._replace(data=None),
        intact._replace(ts=intact.ts + 1),
        intact._replace(tx_from=6),
    ):
        stored[victim] = wrong
        back, damaged = unpack_single(3, stored)
        assert damaged == [victim]
        assert same_bits(back, rows.pick(np.arange(rows.size) != victim))
    stored[victim] = intact
    assert unpack_single(4, stored)[1] == list(range(rows.size)), "they are rows of another series"


@given(some_rows())
def test_single_rows_of_format_2_come_back(rows: Rows) -> None:
    records = np.empty(rows.size, codec.HOT_OF_FORMAT_2)
    for name, column in zip(Rows._fields, rows, strict=True):
        records[name] = column
    records["check"] = codec._check(records)
    stored = [Stored(ts, 1, record.tobytes()) for ts, record in zip(rows.ts.tolist(), records, strict=True)]
    newer = Stored(2**62 + 1, 9, pack_single(Rows(np.array([2**62 + 1]), *np.ones((5, 1))), 3, 9)[0])
    assert same_bits(unpack_single(3, stored)[0], rows)
    assert unpack_single(3, [*stored, newer])[0].size == rows.size + 1
    assert unpack_single(3, [*stored, newer])[1] == []


@given(some_rows(), some_rows())
def test_the_newer_rows_lie_over_the_older(older: Rows, newer: Rows) -> None:
    def table(rows: Rows) -> dict[int, bytes]:
        return {int(ts): np.array([c[i] for c in rows[1:]]).tobytes() for i, ts in enumerate(rows.ts)}

    both = overlay(older, newer)
    assert (np.diff(both.ts) > 0).all()
    assert table(both) == table(older) | table(newer)
