"""The life of a lease: what the table allows, what guards it, and that every shard comes to an end."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError, LeaseError
from qmtl.foundation.leases import (
    FINAL,
    TRANSITIONS,
    Abandoned,
    Completed,
    Expired,
    Failed,
    Granted,
    Lease,
    LeaseEvent,
    LeaseKey,
    LeaseState,
    Renewed,
    Requeued,
    ShardProgress,
    Violation,
    advance,
    due,
)

KEY = LeaseKey("store", "ohlcv:test:BTC/USDT:1m", -3)
EVENTS = get_args(LeaseEvent)


def event_of(kind: type[LeaseEvent], claim_id: str = "a", now: float = 10.0) -> LeaseEvent:
    events: dict[type[LeaseEvent], LeaseEvent] = {
        Granted: Granted(claim_id, "host:1", now),
        Renewed: Renewed(claim_id, now + 5, ShardProgress(1, 2)),
        Completed: Completed(claim_id, 77),
        Failed: Failed(claim_id, "the vendor is down"),
        Expired: Expired(now),
        Requeued: Requeued(),
        Abandoned: Abandoned(),
    }
    return events[kind]


# -- keys -------------------------------------------------------------------------------------------------


def test_a_key_is_one_text_everywhere() -> None:
    assert str(KEY) == "store/ohlcv:test:BTC/USDT:1m/-3"
    assert LeaseKey.parse(str(KEY)) == KEY


@given(st.text("abc-9", min_size=1), st.text("ohlcv:/-X", min_size=1), st.integers())
def test_a_key_is_read_as_it_was_written(store_id: str, series: str, shard: int) -> None:
    key = LeaseKey(store_id, series, shard)
    assert LeaseKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "text", ["", "store", "store/7", "/series/7", "store/series/", "store/series/07", "a/b/c"]
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="not the key of a lease"):
        LeaseKey.parse(text)


# -- the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", LeaseState)
@pytest.mark.parametrize("kind", EVENTS)
def test_what_is_not_in_the_table_is_refused(state: LeaseState, kind: type[LeaseEvent]) -> None:
    lease = Lease(KEY, state=state, attempts=1, claim_id="a", holder="host:1", expires_at=10.0)
    if (state, kind) in TRANSITIONS:
        assert advance(lease, event_of(kind)).state is TRANSITIONS[state, kind]
        return
    with pytest.raises(LeaseError, match=f"the lease is {state.value}") as refused:
        advance(lease, event_of(kind))
    assert refused.value.lease_key == str(KEY)


def test_every_state_can_be_reached_and_only_final_ones_have_no_way_out() -> None:
    leaving = {state for state, _ in TRANSITIONS}
    assert set(LeaseState) - leaving == FINAL
    assert set(TRANSITIONS.values()) | {LeaseState.REQUESTED} == set(LeaseState)


@pytest.mark.parametrize("kind", [Renewed, Completed, Failed])
def test_who_held_the_lease_before_cannot_change_it(kind: type[LeaseEvent]) -> None:
    stored = advance(Lease(KEY), event_of(Granted, "new"))
    with pytest.raises(LeaseError, match="under another claim"):
        advance(stored, event_of(kind, "old"))


@pytest.mark.parametrize(("expires_at", "now"), [(None, 1e9), (10.0, 9.999)])
def test_nothing_expires_before_its_time(expires_at: float | None, now: float) -> None:
    stored = advance(Lease(KEY), Granted("a", "host:1", expires_at))
    assert due(stored, now=now, most_attempts=3) is None
    with pytest.raises(LeaseError, match="not over"):
        advance(stored, Expired(now))


def test_a_shard_that_nobody_completes_ends_in_a_violation_with_its_reason() -> None:
    lease = advance(Lease(KEY), Granted("a", "host:1", 10.0))
    lease = advance(lease, Renewed("a", 15.0, ShardProgress(40, 100)))
    assert (lease.expires_at, lease.progress) == (15.0, ShardProgress(40, 100))
    assert due(lease, now=15.0, most_attempts=2) == Expired(15.0)
    lease = advance(lease, Expired(15.0))
    assert due(lease, now=15.0, most_attempts=2) == Requeued()
    lease = advance(advance(lease, Requeued()), Granted("b", "host:2", 30.0))
    assert lease.progress is None, "the progress was that of another claim"
    lease = advance(lease, Failed("b", "the vendor is down"))
    assert due(lease, now=20.0, most_attempts=2) == Abandoned()
    lease = advance(lease, Abandoned())
    assert lease.violation == Violation(str(KEY), 2, "the vendor is down")
    assert due(lease, now=1e9, most_attempts=2) is None


# -- any history ------------------------------------------------------------------------------------------

steps = st.tuples(st.sampled_from(EVENTS), st.sampled_from("ab"), st.integers(0, 30))


@given(st.lists(steps, max_size=40), st.integers(1, 3))
def test_any_history_keeps_the_laws_and_comes_to_an_end(
    history: list[tuple[type[LeaseEvent], str, int]], most_attempts: int
) -> None:
    """Oracle: who may act, and how often it was granted, counted by hand."""
    lease, grants, owner = Lease(KEY), 0, None
    for kind, claim_id, now in history:
        event = event_of(kind, claim_id, float(now))
        before = lease
        try:
            lease = advance(lease, event)
        except LeaseError:
            assert lease == before
            continue
        assert before.state not in FINAL
        match event:
            case Granted():
                assert before.state in (LeaseState.REQUESTED, LeaseState.REQUEUED), "one holder at a time"
                grants, owner = grants + 1, claim_id
            case Renewed() | Completed() | Failed():
                assert claim_id == owner
            case Expired():
                assert before.expires_at is not None
                assert now >= before.expires_at
        assert lease.attempts == grants
        assert (lease.state is LeaseState.ABANDONED) == (lease.violation is not None)
        assert (lease.state is LeaseState.COMPLETED) == (lease.as_of is not None)
    # From wherever it is, time alone and holders that die lead to an end.
    for _ in range(4 * (most_attempts + grants) + 4):
        if lease.state in (LeaseState.REQUESTED, LeaseState.REQUEUED):
            lease = advance(lease, Granted("last", "host:9", 100.0))
        if lease.state is LeaseState.HELD and lease.expires_at is None:
            lease = replace(lease, expires_at=100.0)
        event_due = due(lease, now=1e6, most_attempts=most_attempts)
        if event_due is None:
            break
        lease = advance(lease, event_due)
    assert lease.state in FINAL
