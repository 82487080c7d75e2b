"""A worker believes to hold a lease for a part of its lifetime, in the session that it was granted in."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import LeaseError
from qmtl.foundation.leases import LeaseKey
from qmtl.runtime.coordination.shard_leases import Granted
from qmtl.runtime.coordination.worker_leases import TRUSTED, WorkerLeases

ONE, TWO = (Granted(LeaseKey("store", "ohlcv:test:A:1m", shard), "claim") for shard in (1, 2))


@pytest.fixture
def leases() -> WorkerLeases:
    found = WorkerLeases()
    found.grant([ONE], "session", sent=100.0, expires_in_s=10.0)
    return found


def holds(leases: WorkerLeases, grant: Granted, now: float) -> bool:
    try:
        leases.require([grant], now)
    except LeaseError:
        return False
    return True


def test_it_stops_before_anybody_else_may_begin(leases: WorkerLeases) -> None:
    assert TRUSTED < 0.9, "clocks may run apart by a tenth"
    assert holds(leases, ONE, 100 + 10 * TRUSTED - 0.01)
    assert not holds(leases, ONE, 100 + 10 * TRUSTED)
    with pytest.raises(LeaseError) as refused:
        leases.require([ONE], 108.0)
    assert refused.value.lease_key == str(ONE.key)


def test_a_renewal_counts_from_when_it_was_sent_and_never_shortens(leases: WorkerLeases) -> None:
    leases.renew("session", sent=105.0, expires_in_s=10.0)
    assert holds(leases, ONE, 112.9)
    leases.renew("session", sent=103.0, expires_in_s=10.0)  # the answer to an earlier one
    assert holds(leases, ONE, 112.9)
    assert not holds(leases, ONE, 113.0)


def test_a_later_grant_renews_the_earlier_ones(leases: WorkerLeases) -> None:
    leases.grant([TWO], "session", sent=106.0, expires_in_s=10.0)
    assert holds(leases, ONE, 113.9)
    assert len(leases) == 2


def test_in_another_session_all_is_lost(leases: WorkerLeases) -> None:
    leases.grant([TWO], "another", sent=101.0, expires_in_s=10.0)
    assert not holds(leases, ONE, 101.0)
    assert holds(leases, TWO, 101.0)


def test_what_is_lost_or_ended_is_not_held(leases: WorkerLeases) -> None:
    leases.grant([TWO], "session", sent=100.0, expires_in_s=10.0)
    leases.lose([str(ONE.key), "of nobody"])
    assert not holds(leases, ONE, 100.0)
    assert holds(leases, TWO, 100.0)
    leases.end([TWO, TWO])
    assert not holds(leases, TWO, 100.0)
    leases.grant([ONE, TWO], "session", sent=100.0, expires_in_s=10.0)
    leases.lose_all()
    assert len(leases) == 0


def test_another_claim_of_the_same_worker_does_not_hold_it(leases: WorkerLeases) -> None:
    assert not holds(leases, Granted(ONE.key, "another claim"), 100.0)
