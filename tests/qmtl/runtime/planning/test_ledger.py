"""Budgets: which one ends a step, how much of it is left, and what is reported when nothing is."""

from __future__ import annotations

import pytest

from qmtl.foundation.sla import SLAPolicy
from qmtl.runtime.planning.ledger import NOTHING_SPENT, Breach, Budget, Ledger, budget_for
from qmtl.runtime.planning.request import Tier


def test_without_a_policy_or_a_budget_of_the_phase_nothing_ends_it() -> None:
    assert budget_for(None, Tier.BACKFILL, NOTHING_SPENT, 99.0) is None
    assert budget_for(SLAPolicy(live_wait=1.0), Tier.BACKFILL, NOTHING_SPENT, 99.0) is None


def test_the_cache_and_the_store_share_one_budget() -> None:
    policy, ledger = SLAPolicy(storage_wait=2.0), Ledger(storage_wait=0.5)
    assert budget_for(policy, Tier.CACHE, ledger, 9.0) == Budget("storage_wait", 2.0, 1.5)
    assert budget_for(policy, Tier.STORAGE, ledger, 9.0) == Budget("storage_wait", 2.0, 1.5)


@pytest.mark.parametrize(("elapsed", "phase"), [(5.0, "backfill_wait"), (7.5, "total")])
def test_the_budget_that_runs_out_first_ends_the_step(elapsed: float, phase: str) -> None:
    policy, ledger = SLAPolicy(backfill_wait=4.0, total=10.0), Ledger(backfill_wait=1.0)
    budget = budget_for(policy, Tier.BACKFILL, ledger, elapsed)
    assert budget is not None
    assert (budget.phase, budget.left_s) == (phase, min(3.0, 10.0 - elapsed))


def test_a_breach_of_a_phase_counts_what_earlier_steps_of_it_took() -> None:
    breach = Budget("storage_wait", 2.0, 0.5).breach(seconds=0.75, elapsed=40.0)
    assert breach == Breach("storage_wait", budget_s=2.0, elapsed_s=2.25)


def test_a_breach_of_the_total_counts_from_the_request() -> None:
    breach = Budget("total", 2.0, 0.5).breach(seconds=0.75, elapsed=2.5)
    assert breach == Breach("total", budget_s=2.0, elapsed_s=2.5)


def test_the_phases_and_the_rest_sum_to_the_total() -> None:
    ledger = NOTHING_SPENT.spend("storage_wait", 0.25).spend("live_wait", 0.5).spend("storage_wait", 1.0)
    phases = ledger.as_dict(2.0)
    assert phases == {
        "storage_wait": 1.25,
        "backfill_wait": 0.0,
        "live_wait": 0.5,
        "other": 0.25,
        "total": 2.0,
    }
    # A clock that stood still meanwhile gives no negative rest.
    assert ledger.as_dict(1.0)["other"] == 0.0
    assert ledger.as_dict(1.0)["total"] == 1.75
