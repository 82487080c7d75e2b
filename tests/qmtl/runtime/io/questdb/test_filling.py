"""Rows fall into place whatever stands between them, and one wrong bit is seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.questdb.filling import COLUMNS, missing_volumes, put
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import pack_plain
from qmtl.runtime.io.store.rows import Rows, allocate, join

SERIES = [SeriesId.parse(f"ohlcv:x:{name}:1m") for name in ("B", "A", "C")]
# What a store may hold; of the volume, also that there is none.
VALUE = st.sampled_from([0.0, -0.0, 5e-324, -1.5, 1e308, 0.1])


@st.composite
def stored(draw: st.DrawFn) -> dict[SeriesId, Rows]:
    """Of some series, rows at the same few stamps."""
    found = {}
    for series in draw(st.lists(st.sampled_from(SERIES), min_size=1, unique=True)):
        ts = np.array(sorted(draw(st.sets(st.integers(0, 30), min_size=2, max_size=20))), dtype=np.int64)
        columns = [draw(st.lists(VALUE, min_size=len(ts), max_size=len(ts))) for _ in range(4)]
        volume = draw(st.lists(VALUE | st.just(float("nan")), min_size=len(ts), max_size=len(ts)))
        found[series] = Rows(ts, *(np.array(column) for column in [*columns, volume]))
    return found


def answer(rows: dict[SeriesId, Rows]) -> pa.Table:
    """As the server gives rows: in order of time, whatever their series; a volume that is missing is null."""
    whole = join(list(rows.values()))
    numbers = np.repeat(np.arange(len(rows)), [part.size for part in rows.values()])
    order = np.argsort(whole.ts, kind="stable")
    columns: dict[str, pa.Array] = {"tx": pa.array(numbers[order])} if len(rows) > 1 else {}
    columns["ts"] = pa.array(whole.ts[order]).cast(COLUMNS["ts"])
    for name in VALUES:
        columns[name] = pa.array(getattr(whole, name)[order], from_pandas=True)
    return pa.table(columns)


def chunks_of(rows: dict[SeriesId, Rows], cut: int) -> tuple[list[tuple[SeriesId, Chunk]], list[Rows]]:
    """Two chunks of each series, cut at one place."""
    chunks, parts = [], []
    for number, (series, whole) in enumerate(rows.items()):
        at = 1 + cut % (whole.size - 1)
        for part in (whole.cut(0, at), whole.cut(at, whole.size)):
            packed = pack_plain(part)
            chunks.append((series, Chunk(number, *packed[:5])))
            parts.append(part)
    return chunks, parts


def bits(rows: Sequence[Rows]) -> bytes:
    return b"".join(column.tobytes() for part in rows for column in part)


@given(stored(), st.integers(0, 50), st.booleans(), st.data())
def test_rows_fall_into_place_bit_by_bit(
    rows: dict[SeriesId, Rows], cut: int, only_some: bool, data: st.DataObject
) -> None:
    chunks, parts = chunks_of(rows, cut)
    if only_some and len(rows) > 1:  # rows of other chunks stand between those that are wanted
        kept = sorted(data.draw(st.sets(st.sampled_from(range(len(chunks))), min_size=1)))
        chunks, parts = [chunks[at] for at in kept], [parts[at] for at in kept]
    target = allocate(sum(part.size for part in parts))
    found = answer(rows)
    assert put(found, chunks, target)
    assert bits([target]) == bits([join(parts)])
    expected = [bool(np.isnan(part.volume).any()) for part in parts]
    assert missing_volumes([chunk for _, chunk in chunks], target) == expected


@given(stored(), st.integers(0, 50), st.data())
def test_one_wrong_value_is_seen(rows: dict[SeriesId, Rows], cut: int, data: st.DataObject) -> None:
    chunks, parts = chunks_of(rows, cut)
    wrong = data.draw(st.sampled_from(sorted(rows, key=str)))
    name = data.draw(st.sampled_from(["ts", *VALUES]))
    at = data.draw(st.integers(0, rows[wrong].size - 1))
    column = getattr(rows[wrong], name).copy()
    column[at] = -7 if name == "ts" else 3.25
    changed = rows | {wrong: rows[wrong]._replace(**{name: column})}
    assert not put(answer(changed), chunks, allocate(sum(part.size for part in parts)))


@pytest.mark.parametrize("lacking", ["a row", "a series", "all"])
def test_what_is_lacking_is_seen(lacking: str) -> None:
    rows = {
        series: Rows(np.arange(6, dtype=np.int64), *(np.full(6, 1.0 + number) for number in range(5)))
        for series in SERIES
    }
    chunks, parts = chunks_of(rows, 2)
    found = answer(rows)
    keep = {
        "a row": np.arange(found.num_rows) != 4,
        "a series": found["tx"].to_numpy() != 0,
        "all": np.zeros(found.num_rows, dtype=bool),
    }[lacking]
    assert not put(found.filter(pa.array(keep)), chunks, allocate(sum(part.size for part in parts)))


def test_a_column_of_another_type_is_seen() -> None:
    rows = {SERIES[0]: Rows(np.arange(6, dtype=np.int64), *(np.full(6, 1.0) for _ in range(5)))}
    chunks, _ = chunks_of(rows, 2)
    found = answer(rows)
    at = found.schema.get_field_index("close")
    found = found.set_column(at, "close", found["close"].cast(pa.float32()))
    assert not put(found, chunks, allocate(6))
