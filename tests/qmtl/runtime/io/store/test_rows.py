"""Rows over rows, and stamps among stamps, against a dictionary and a list."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.store.rows import Rows, find, from_frame, overlay

SERIES = SeriesId.parse("ohlcv:rows:BTC:1m")

stamps = st.lists(st.integers(0, 24), unique=True).map(sorted)


def _rows(ts: list[int], value: float) -> Rows:
    return Rows(np.array(ts, dtype=np.int64), *[np.full(len(ts), value) for _ in range(5)])


@given(older=stamps, newer=stamps)
def test_the_newer_row_wins(older: list[int], newer: list[int]) -> None:
    expected = dict.fromkeys(older, 1.0) | dict.fromkeys(newer, 2.0)
    both = overlay(_rows(older, 1.0), _rows(newer, 2.0))
    assert both.ts.tolist() == sorted(expected)
    for column in both[1:]:
        assert column.tolist() == [expected[ts] for ts in sorted(expected)]


@given(where=stamps, wanted=st.lists(st.integers(0, 24)))
def test_find_tells_places(where: list[int], wanted: list[int]) -> None:
    places = find(np.array(where, dtype=np.int64), np.array(wanted, dtype=np.int64))
    assert places.tolist() == [where.index(ts) if ts in where else -1 for ts in wanted]


@given(where=stamps.filter(bool), data=st.data())
def test_find_tells_places_of_a_run(where: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(where) - 1))
    last = data.draw(st.integers(first, len(where)))
    run = np.array(where[first:last], dtype=np.int64)
    assert find(np.array(where, dtype=np.int64), run).tolist() == list(range(first, last))


@given(ts=stamps, data=st.data())
def test_a_cut_is_what_a_list_gives(ts: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(ts)))
    last = data.draw(st.integers(first, len(ts) + 2))
    cut = _rows(ts, 1.0).cut(first, last)
    assert cut.ts.tolist() == ts[first:last]
    assert {len(column) for column in cut} == {len(ts[first:last])}


instants = st.integers(-(2**63), 2**63 - 2)
odd = st.one_of(st.floats(), st.floats(0, 9), st.none())


@given(stamp=st.one_of(st.none(), instants), values=st.lists(odd, min_size=5, max_size=5))
def test_a_row_by_itself_is_read_and_refused_as_the_first_of_two(
    stamp: int | None, values: list[float | None]
) -> None:
    one = _frame([stamp], [[value] for value in values])
    first = _frame([stamp, 2**63 - 1], [[value, 1.0] for value in values])
    mine, theirs = _read_or_refused(one), _read_or_refused(first)
    if not (isinstance(mine, str) or isinstance(theirs, str)):
        assert mine.size == 1
        mine, theirs = _bytes(mine), _bytes(theirs.cut(0, 1))
    assert mine == theirs


def _read_or_refused(frame: pl.DataFrame) -> Rows | str:
    try:
        return from_frame(frame, SERIES)
    except InvalidRequestError as refusal:
        return refusal.why


def _bytes(rows: Rows) -> list[bytes]:
    return [column.tobytes() for column in rows]


def _frame(ts: list[int | None], values: list[list[float | None]]) -> pl.DataFrame:
    columns = [pl.Series("ts", ts, dtype=pl.Int64).cast(TS)]
    return pl.DataFrame(
        columns + [pl.Series(name, v, dtype=pl.Float64) for name, v in zip(VALUES, values, strict=True)],
        schema=BAR_SCHEMA,
    )
