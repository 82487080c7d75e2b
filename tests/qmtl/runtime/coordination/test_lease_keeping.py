"""Single decisions of a keeper of leases; that they hold together, a model shows in services/coordinator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qmtl.foundation.leases import Abandoned, Expired, LeaseKey, LeaseState, Requeued, ShardProgress
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import SECOND
from qmtl.runtime.coordination.lease_keeping import (
    MOST_ATTEMPTS,
    Claimant,
    Decision,
    Kept,
    decide_claim,
    decide_completion,
    decide_failure,
    decide_renewal,
    decide_sweep,
)
from qmtl.runtime.coordination.lease_records import ShardRecord, record_json, record_of
from qmtl.runtime.coordination.shard_leases import Done, Ended, Granted, Held, ShardRequest

KEY, OTHER = (LeaseKey("store", "ohlcv:test:A:1m", shard) for shard in (7, 8))
CELLS = Coverage.of(Span(0, 10))
LIVING = {"w1": "s1", "w2": "s2"}
ONE, TWO = Claimant("w1", "s1", "c1"), Claimant("w2", "s2", "c2")

Records = Mapping[LeaseKey, ShardRecord]


def claim(records: Records, who: Claimant, *keys: LeaseKey, read_as_of: int = 0) -> Decision:
    requests = [ShardRequest(key, CELLS, read_as_of) for key in keys]
    return decide_claim(Kept(records, LIVING), who, requests, now=1.0)


def held(*keys: LeaseKey, who: Claimant = ONE) -> Records:
    return claim({}, who, *keys).changed


def events_of(decision: Decision) -> Sequence[str]:
    return [type(transition.event).__name__ for transition in decision.transitions]


def failed(records: Records, times: int) -> Records:
    for number in range(times):
        who = Claimant("w1", "s1", f"c{number}")
        records = claim(records, who, KEY).changed
        why = f"down {number}"
        records = decide_failure(Kept(records, LIVING), "w1", who.claim_id, [KEY], why=why, now=1.0).changed
    return records


def test_each_key_has_its_own_answer() -> None:
    records = held(KEY)
    decision = claim(records, TWO, KEY, OTHER)
    assert decision.answers == [Held(KEY, "w1", None, 0.2), Granted(OTHER, "c2")]
    assert list(decision.changed) == [OTHER]
    again = claim({**records, **decision.changed}, TWO, OTHER)
    assert (again.answers, again.changed, again.transitions) == ([Granted(OTHER, "c2")], {}, [])


def test_done_speaks_for_the_cells_that_were_completed_and_for_then() -> None:
    records = decide_completion(Kept(held(KEY), LIVING), "w1", "c1", [KEY], as_of=50, now=1.0).changed
    assert claim(records, TWO, KEY, read_as_of=49).answers == [Done(KEY, 50)]
    assert claim(records, TWO, KEY, read_as_of=50).answers == [Granted(KEY, "c2")]
    more = ShardRequest(KEY, Coverage.of(Span(0, 11)), 0)
    assert decide_claim(Kept(records, LIVING), TWO, [more], now=1.0).answers == [Granted(KEY, "c2")]


def test_a_shard_that_failed_too_often_is_a_violation_until_somebody_completes_it() -> None:
    (record,) = failed({}, MOST_ATTEMPTS - 1).values()
    assert (record.lease.state, record.lease.attempts) == (LeaseState.REQUEUED, MOST_ATTEMPTS - 1)
    records = failed({}, MOST_ATTEMPTS)
    violation = records[KEY].lease.violation
    assert records[KEY].lease.state is LeaseState.ABANDONED
    assert violation is not None
    assert (violation.attempts, violation.why) == (MOST_ATTEMPTS, f"down {MOST_ATTEMPTS - 1}")
    again = claim(records, TWO, KEY)
    ended = Ended("w1", f"down {MOST_ATTEMPTS - 1}", SECOND)
    assert again.answers == [Granted(KEY, "c2", ended=ended)], "who asks for it by name may try"
    assert again.changed[KEY].lease.violation == violation
    done = decide_completion(Kept(again.changed, LIVING), "w2", "c2", [KEY], as_of=50, now=1.0)
    assert done.changed[KEY].lease.violation is None


def test_an_expiry_is_an_attempt_and_is_told() -> None:
    gone = {"w2": "s2"}
    swept = decide_sweep(Kept(held(KEY, OTHER), gone), now=2.0)
    assert events_of(swept) == ["Expired", "Requeued"] * 2
    assert swept.changed[KEY].lease.why == "w1 was not heard of in time"
    taken = decide_claim(Kept(held(KEY), gone), TWO, [ShardRequest(KEY, CELLS, 0)], now=2.0)
    assert [type(transition.event) for transition in taken.transitions][:2] == [Expired, Requeued]
    assert taken.changed[KEY].lease.attempts == 2
    last = claim(failed({}, MOST_ATTEMPTS - 1), ONE, KEY).changed
    assert isinstance(decide_sweep(Kept(last, gone), now=2.0).transitions[1].event, Abandoned)
    assert events_of(decide_sweep(Kept(held(KEY), LIVING), now=2.0)) == []
    assert Requeued() == swept.transitions[1].event


def test_who_waits_is_told_how_the_attempt_before_ended() -> None:
    ended = Ended("w1", "w1 was not heard of in time", 2 * SECOND)
    gone = {"w2": "s2", "w3": "s3"}
    swept = decide_sweep(Kept(held(KEY), gone), now=2.0).changed
    for records in (held(KEY), swept):
        taken = decide_claim(Kept(records, gone), TWO, [ShardRequest(KEY, CELLS, 0)], now=2.0)
        assert taken.answers == [Granted(KEY, "c2", ended=ended)]
        now_held = Kept(taken.changed, gone)
        three = Claimant("w3", "s3", "c3")
        asked = decide_claim(now_held, three, [ShardRequest(KEY, CELLS, 0)], now=3.0)
        assert asked.answers == [Held(KEY, "w2", None, 0.2, ended)]
        renewed = decide_renewal(now_held, "w2", {KEY: "c2"}, ShardProgress(1, 2), now=3.0).changed
        stored = record_of(KEY, record_json(renewed[KEY]))
        assert (stored, stored.ended) == (renewed[KEY], ended)
        done = decide_completion(now_held, "w2", "c2", [KEY], as_of=50, now=3.0).changed
        assert done[KEY].ended is None


def test_all_are_renewed_or_none() -> None:
    records = held(KEY, OTHER)
    progress = ShardProgress(3, 9)
    renewed = decide_renewal(Kept(records, LIVING), "w1", {KEY: "c1", OTHER: "c1"}, progress, now=1.0)
    assert {record.lease.progress for record in renewed.changed.values()} == {progress}
    refused = decide_renewal(Kept(records, LIVING), "w1", {KEY: "c1", OTHER: "cx"}, progress, now=1.0)
    assert (refused.lost, refused.changed) == ([OTHER], {})
    of_another = decide_renewal(Kept(records, LIVING), "w2", {KEY: "c1"}, progress, now=1.0)
    assert of_another.lost == [KEY]
    ended = decide_renewal(Kept(records, {}), "w1", {KEY: "c1"}, None, now=1.0)
    assert (ended.lost, ended.session_is_gone) == ([KEY], True)
    alive = decide_renewal(Kept(records, LIVING), "w1", {KEY: "c1"}, None, now=1.0)
    assert (alive.lost, alive.changed) == ((), {})


def test_nothing_is_completed_twice_late_or_by_another() -> None:
    records = held(KEY, OTHER)

    def completed(kept: Kept, worker: str, claim_id: str) -> Decision:
        return decide_completion(kept, worker, claim_id, [KEY, OTHER], as_of=50, now=1.0)

    done = completed(Kept(records, LIVING), "w1", "c1")
    assert {record.lease.state for record in done.changed.values()} == {LeaseState.COMPLETED}
    again = completed(Kept(done.changed, LIVING), "w1", "c1")
    assert (again.lost, again.changed) == ((), {}), "to say it twice is no error"
    for kept, worker, claim_id in (
        (Kept(records, LIVING), "w2", "c1"),
        (Kept(records, LIVING), "w1", "c2"),
        (Kept(records, {}), "w1", "c1"),
        (Kept(records, {"w1": "a later session"}), "w1", "c1"),
        (Kept({}, LIVING), "w1", "c1"),
    ):
        refused = completed(kept, worker, claim_id)
        assert (refused.lost, refused.changed) == ([KEY, OTHER], {})


def test_a_source_that_is_away_is_no_attempt() -> None:
    records: Records = failed({}, 4)
    for number in range(20):
        who = Claimant("w1", "s1", f"away{number}")
        kept = Kept(claim(records, who, KEY).changed, LIVING)
        records = decide_failure(kept, "w1", who.claim_id, [KEY], why="down", now=1.0, is_away=True).changed
        lease = records[KEY].lease
        assert (lease.state, lease.attempts, lease.why) == (LeaseState.REQUEUED, 4, "down")
        ended = records[KEY].ended
        assert ended is not None
        assert ended.why == "down"


def test_what_is_not_held_by_the_claim_does_not_fail() -> None:
    records = {**held(KEY), **held(OTHER, who=TWO)}
    decision = decide_failure(Kept(records, LIVING), "w1", "c1", [KEY, OTHER], why="down", now=1.0)
    assert list(decision.changed) == [KEY]
    assert decision.changed[KEY].lease.why == "down"


def test_a_claim_that_has_ended_or_has_no_session_gets_nothing() -> None:
    request = ShardRequest(KEY, CELLS, 0)
    ended = decide_claim(Kept({}, LIVING, frozenset({"c1"})), ONE, [request], now=1.0)
    assert (ended.has_ended, ended.answers, ended.changed) == (True, (), {})
    gone = decide_claim(Kept({}, {"w1": "another"}), ONE, [request], now=1.0)
    assert (gone.session_is_gone, gone.answers, gone.changed) == (True, (), {})
