"""A record is read as it was written, stays small, and is forgotten in time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.leases import Lease, LeaseKey, LeaseState, ShardProgress, Violation
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.coordination.lease_records import (
    COMPLETED_S,
    FAILED_S,
    MOST_SPANS,
    VIOLATED_S,
    ShardRecord,
    record_json,
    record_of,
    remembered,
)

KEY = LeaseKey("store", "ohlcv:test:BTC/USDT:1m", -3)
texts = st.none() | st.text(max_size=5)
leases = st.builds(
    Lease,
    st.just(KEY),
    st.lists(st.tuples(st.integers(0, 50), st.integers(51, 99))).map(Coverage),
    st.sampled_from(LeaseState),
    st.integers(0, 9),
    texts,
    texts,
    st.none(),
    st.none() | st.builds(ShardProgress, st.integers(0, 9), st.integers(0, 9)),
    texts,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.builds(Violation, st.just(str(KEY)), st.integers(1, 9), st.text(max_size=5)),
)


@given(st.builds(ShardRecord, leases, st.text(max_size=5), st.floats(0, 1e10)))
def test_it_is_read_as_it_was_written(record: ShardRecord) -> None:
    assert record_of(KEY, json.loads(json.dumps(record_json(record)))) == record


def test_scattered_cells_are_remembered_in_part_and_never_more_than_there_were() -> None:
    scattered = Coverage((2 * n, 2 * n + 1) for n in range(5_000))
    kept = remembered(scattered)
    assert len(kept) == MOST_SPANS
    assert not kept - scattered
    assert remembered(EMPTY) is EMPTY
    assert len(json.dumps(record_json(ShardRecord(Lease(KEY, kept), "s", 0.0)))) < 4_000


@pytest.mark.parametrize(
    ("state", "violation", "lifetime"),
    [
        (LeaseState.HELD, None, None),
        (LeaseState.HELD, Violation(str(KEY), 5, "down"), None),
        (LeaseState.COMPLETED, None, COMPLETED_S),
        (LeaseState.REQUEUED, None, FAILED_S),
        (LeaseState.REQUEUED, Violation(str(KEY), 5, "down"), VIOLATED_S),
        (LeaseState.ABANDONED, Violation(str(KEY), 5, "down"), VIOLATED_S),
    ],
)
def test_what_is_held_is_not_forgotten(
    state: LeaseState, violation: Violation | None, lifetime: int | None
) -> None:
    assert ShardRecord(Lease(KEY, state=state, violation=violation), "s", 0.0).lifetime_s == lifetime
