"""The list of the parts of a chunk gives each of its rows once, and a list that was altered gives nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.runtime.io.sql import chunk_parts
from qmtl.runtime.io.sql.chunk_parts import list_of, parts_in
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import are_proven, pack_plain
from qmtl.runtime.io.store.rows import Rows, join


def rows_of(count: int) -> Rows:
    ts = np.arange(count, dtype=np.int64) * 60
    return Rows(ts, *(np.linspace(number, 9.0, count) for number in range(5)))


@given(st.integers(1, 40), st.integers(1, 12))
def test_parts_are_all_rows_once_and_each_is_proven(count: int, part_rows: int) -> None:
    rows = rows_of(count)
    packed = pack_plain(rows)
    chunk = Chunk(77, *packed[:5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_parts, "PART_ROWS", part_rows)
        found = parts_in(list_of(rows, packed.checksum), chunk)
    parts = [part for _, part in found]
    pieces = [rows.between(part.first_ts, part.last_ts) for part in parts]
    assert [rows.ts[row] for row, _ in found] == [part.first_ts for part in parts]
    assert {part.id for part in parts} == {77}
    assert join(pieces).ts.tolist() == rows.ts.tolist()
    assert [piece.size for piece in pieces[:-1]] == [part_rows] * (len(parts) - 1)
    assert are_proven((part[1:] for part in parts), rows)
    assert not any(are_proven([part[1:]], pieces[0]) for part in parts[1:])
    assert not are_proven((part[1:] for part in parts[:-1]), rows), "a row is of no chunk"
    assert not are_proven((part[1:] for part in [*parts, parts[-1]]), rows), "rows are lacking"


@given(st.integers(-100, 1_300), st.integers(-100, 1_300))
def test_only_parts_that_are_wanted_are_found(low: int, high: int) -> None:
    rows = rows_of(20)
    packed = pack_plain(rows)
    chunk = Chunk(1, *packed[:5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_parts, "PART_ROWS", 3)
        data = list_of(rows, packed.checksum)
    wanted = [one for one in parts_in(data, chunk) if one[1].last_ts >= low and one[1].first_ts <= high]
    assert parts_in(data, chunk, low, high) == wanted


@given(st.data())
def test_an_altered_list_gives_nothing(data: st.DataObject) -> None:
    rows = rows_of(20)
    packed = pack_plain(rows)
    whole = list_of(rows, packed.checksum)
    chunk = Chunk(1, *packed[:5])
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    altered = whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
    assert parts_in(whole, chunk)
    assert parts_in(altered, chunk) == []
    assert parts_in(whole[: data.draw(st.integers(0, len(whole) - 1))], chunk) == []
    assert parts_in(whole, chunk._replace(checksum=bytes(32))) == [], "it is that of another chunk"
