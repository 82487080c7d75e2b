"""Several series at once, for a store that has nothing better than one after the other."""

from __future__ import annotations

import pytest

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.read_each import read_each
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing import FakeClock
from qmtl.runtime.testing.bars import synthetic_bars

A, B = SeriesId.parse("ohlcv:test:A:1m"), SeriesId.parse("ohlcv:test:B:1m")
SPAN = Span(0, 10 * MINUTE)


def write(series: SeriesId, span: Span = SPAN) -> Write:
    return Write("test", 1, frame=synthetic_bars(series, span), answered=Coverage.of(span))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=FakeClock())


def test_a_series_that_is_asked_for_twice_is_read_once_and_the_order_stays(store: MemoryStore) -> None:
    store.commit_many({A: write(A), B: write(B)})
    found = read_each(store, [B, A, B], Span(2 * MINUTE, 4 * MINUTE), as_of=None, context=1, cancelled=None)
    assert list(found) == [B, A]
    assert stamps(found[A].frame).tolist() == [2 * MINUTE, 3 * MINUTE]
    assert stamps(found[A].rows).tolist() == [minute * MINUTE for minute in (1, 2, 3, 4)]


def test_all_are_read_at_the_commit_of_the_first_though_somebody_writes_between(store: MemoryStore) -> None:
    store.commit_many({A: write(A), B: write(B, Span(0, MINUTE))})
    plain, reads = store.read, []

    def read(series: SeriesId, *args: object, **options: object) -> object:
        if reads:
            store.commit(B, write(B))
        reads.append(options["as_of"])
        return plain(series, *args, **options)  # type: ignore[arg-type]

    store.read = read  # type: ignore[assignment,method-assign]  # to write between two reads
    found = read_each(store, [A, B], SPAN, as_of=None, context=0, cancelled=None)
    assert found[B].frame.height == 1
    assert reads == [None, found[A].as_of]


def test_a_read_that_is_given_up_ends(store: MemoryStore) -> None:
    with pytest.raises(ReadAbandonedError):
        read_each(store, [A], SPAN, as_of=None, context=0, cancelled=lambda: True)
