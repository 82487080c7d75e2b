"""How rows differ from others, against dictionaries of rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.frames import TS, VALUES
from qmtl.runtime.io.store.difference import Comparison, all_new, changes_between, replaced_frame
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, to_frame

# Five values by stamp; a missing volume is None here.
Table = dict[int, tuple[float | None, ...]]

values = st.tuples(st.sampled_from([1.0, 2.0]), *[st.just(1.0)] * 3, st.sampled_from([None, 3.0, 4.0]))
tables = st.dictionaries(st.integers(-6, 12), values, max_size=12)


def rows_of(table: Table) -> Rows:
    ordered = sorted(table.items())
    columns = [
        np.array([math.nan if row[place] is None else row[place] for _, row in ordered], dtype=np.float64)
        for place in range(len(VALUES))
    ]
    return Rows(np.array([ts for ts, _ in ordered], dtype=np.int64), *columns)


def table_of(rows: Rows) -> Table:
    return {
        ts: tuple(None if math.isnan(value) else value for value in row)
        for ts, *row in zip(*(column.tolist() for column in rows), strict=True)
    }


@given(tables, tables, st.randoms())
def test_a_comparison_against_dictionaries(new: Table, stored: Table, random: Any) -> None:
    """Stored rows come in any number of parts, each of them in order, the parts in any order."""
    parts: list[Table] = [{}, {}, {}]
    for ts, row in stored.items():
        parts[random.randrange(3)][ts] = row
    comparison = Comparison(rows_of(new))
    for part in parts:
        comparison.meet(rows_of(part))
    found = comparison.difference()
    changed = {ts for ts in new.keys() & stored.keys() if new[ts] != stored[ts]}
    same = {ts for ts in new.keys() & stored.keys() if new[ts] == stored[ts]}
    assert found.added == len(new.keys() - stored.keys())
    assert found.unchanged == len(same)
    assert table_of(found.old) == {ts: stored[ts] for ts in changed}
    assert table_of(found.new) == {ts: new[ts] for ts in changed}
    assert found.old.ts.tolist() == found.new.ts.tolist() == sorted(changed)
    assert table_of(found.fresh) == {ts: row for ts, row in new.items() if ts not in same}
    assert found.same.tolist() == [ts in same for ts in sorted(new)]


@given(tables, tables)
def test_changes_between_two_commits_against_dictionaries(before: Table, after: Table) -> None:
    expected = []
    nothing = (None,) * len(VALUES)
    for ts in sorted(before.keys() | after.keys()):
        old, new = before.get(ts), after.get(ts)
        if old == new:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        expected.append((ts, change, *(old or nothing), *(new or nothing)))
    found = changes_between(rows_of(before), rows_of(after))
    assert found.columns == ["ts", "change", *(f"{side}_{n}" for side in ("old", "new") for n in VALUES)]
    assert found.schema["ts"] == TS
    assert found.with_columns(pl.col("ts").to_physical()).rows() == expected


@given(tables)
def test_rows_that_meet_nothing_are_all_new(table: Table) -> None:
    rows = rows_of(table)
    plain, compared = all_new(rows), Comparison(rows).difference()
    assert table_of(plain.fresh) == table_of(compared.fresh) == table
    assert (plain.added, plain.unchanged) == (compared.added, compared.unchanged) == (len(table), 0)
    assert plain.same.tolist() == compared.same.tolist() == [False] * len(table)
    assert plain.old.size == plain.new.size == 0


def test_replaced_rows_as_a_frame() -> None:
    old = rows_of({60: (1.0, 2.0, 0.5, 1.5, None), 120: (1.0, 2.0, 0.5, 1.5, 8.0)})
    new = rows_of({60: (1.0, 2.0, 0.5, 1.5, 7.0), 120: (1.0, 3.0, 0.5, 1.5, None)})
    frame = replaced_frame(old, new)
    assert frame.with_columns(pl.col("ts").to_physical()).rows() == [
        (60, 1.0, 2.0, 0.5, 1.5, None, 1.0, 2.0, 0.5, 1.5, 7.0),
        (120, 1.0, 2.0, 0.5, 1.5, 8.0, 1.0, 3.0, 0.5, 1.5, None),
    ]
    assert replaced_frame(NO_ROWS, NO_ROWS).schema == frame.schema


def test_an_empty_frame_of_replaced_rows_is_the_callers_own() -> None:
    mine = replaced_frame(NO_ROWS, NO_ROWS)
    mine.insert_column(0, pl.Series("mark", [], dtype=pl.Int64))
    assert "mark" not in replaced_frame(NO_ROWS, NO_ROWS).columns


def test_no_row_is_changed_by_the_way_back_to_a_frame() -> None:
    table: Table = {60: (1.0, 2.0, 0.5, 1.5, None), 120: (1.0, 2.0, 0.5, 1.5, 8.0)}
    assert to_frame(rows_of(table)).select(VALUES).rows() == list(table.values())
