"""Single rows come back bit by bit, or are named as damaged."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.sql import single_rows
from qmtl.runtime.io.sql.single_rows import Stored, pack_single, unpack_single
from qmtl.runtime.io.store.rows import Rows
from tests.qmtl.runtime.io.sql.test_codec import same_bits, some_rows


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
    records = np.empty(rows.size, single_rows.HOT_OF_FORMAT_2)
    for name, column in zip(Rows._fields, rows, strict=True):
        records[name] = column
    records["check"] = single_rows._check(records)
    stored = [Stored(ts, 1, record.tobytes()) for ts, record in zip(rows.ts.tolist(), records, strict=True)]
    newer = Stored(2**62 + 1, 9, pack_single(Rows(np.array([2**62 + 1]), *np.ones((5, 1))), 3, 9)[0])
    assert same_bits(unpack_single(3, stored)[0], rows)
    assert unpack_single(3, [*stored, newer])[0].size == rows.size + 1
    assert unpack_single(3, [*stored, newer])[1] == []
