"""Every state of the past can be read back from what each commit changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Span
from qmtl.runtime.io.store.memory_series import NO_STAMPS, AtCommit, MemorySeries, State
from qmtl.runtime.io.store.rows import NO_ROWS, Rows
from qmtl.runtime.io.store.values import CommitInfo, CoverageRecord

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")

# One commit: what becomes of some stamps; None takes a row away.
Change = dict[int, float | None]
changes = st.lists(
    st.tuples(st.integers(1, 3), st.dictionaries(st.integers(0, 8), st.none() | st.sampled_from([1.0, 2.0]))),
    max_size=8,
)


def rows_of(table: dict[int, float]) -> Rows:
    ts = np.array(sorted(table), dtype=np.int64)
    values = np.array([table[t] for t in sorted(table)])
    return Rows(ts, values, values, values, values, values)


def table_of(rows: Rows) -> dict[int, float]:
    return dict(zip(rows.ts.tolist(), rows.close.tolist(), strict=True))


def info(tx: int) -> CommitInfo:
    return CommitInfo(tx * 10, "write", Span(0, 10), "here", None)


@given(changes)
def test_each_commit_reads_as_it_was(steps: list[tuple[int, Change]]) -> None:
    """Oracle: a copy of the whole table after each commit. Commits of other series lie between."""
    known, table, tx = MemorySeries(SERIES), dict[int, float](), 0
    history: dict[int, dict[int, float]] = {0: {}}
    for skipped, change in steps:
        before = dict(table)
        for ts, value in change.items():
            if value is None:
                table.pop(ts, None)
            else:
                table[ts] = value
        for between in range(tx, tx + skipped):
            history[between] = before
        tx += skipped
        history[tx] = dict(table)
        added = np.array(sorted(table.keys() - before.keys()), dtype=np.int64)
        gone = {ts: value for ts, value in before.items() if table.get(ts) != value}
        state = State(rows_of(table), facts=SeriesFacts(calendar=str(tx)))
        known.enter(tx, info(tx), state, added=added, gone=rows_of(gone))
    for at, expected in history.items():
        assert table_of(known.at(at).rows) == expected
    assert table_of(known.now.rows) == table


def test_all_else_that_is_known_goes_back_with_the_rows() -> None:
    known = MemorySeries(SERIES)
    record = CoverageRecord(0, 10, "answered", "a", 1, None)
    first = State(rows_of({1: 1.0}), (record,), SeriesFacts(calendar="XNYS"), {1: 5})
    known.enter(3, info(3), first, added=np.array([1]), gone=NO_ROWS)
    known.enter(5, info(5), State(), added=NO_STAMPS, gone=rows_of({1: 1.0}))
    for tx in (3, 4):
        then = known.at(tx)
        assert table_of(then.rows) == {1: 1.0}
        assert then[1:] == first[1:]
    assert table_of(known.at(2).rows) == {}
    assert known.at(2)[1:] == State()[1:]
    assert known.at(5)[1:] == State()[1:]


def test_a_series_at_a_commit_gives_the_records_that_meet_a_span_and_loses_nothing() -> None:
    records = tuple(CoverageRecord(at, at + 10, "answered", "a", 1, None) for at in (0, 10, 20))
    at = AtCommit(SERIES, State(records=records))
    assert at.answers(Span(10, 20)) == [records[1]]
    assert at.answers(Span(9, 21)) == list(records)
    assert at.answers(Span(30, 40)) == []
    assert at.gone() == EMPTY
