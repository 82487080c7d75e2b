"""An SLA is checked when it is made, whichever way it is written."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.sla import SLAPolicy


def test_nothing_is_limited_by_default() -> None:
    policy = SLAPolicy()
    assert policy == SLAPolicy.from_mapping({})
    assert {policy.storage_wait, policy.total, policy.sync_gap, policy.min_coverage, policy.max_lag} == {None}
    assert policy.on_breach == "raise"


def test_durations_may_be_written_in_three_ways() -> None:
    policy = SLAPolicy(storage_wait=2, backfill_wait="1.5m", live_wait=timedelta(seconds=3), total="250ms")
    assert (policy.storage_wait, policy.backfill_wait, policy.live_wait, policy.total) == (
        2.0,
        90.0,
        3.0,
        0.25,
    )


def test_from_the_keys_of_a_file() -> None:
    policy = SLAPolicy.from_mapping(
        {
            "backfill_wait": "60s",
            "total": "90s",
            "sync_gap": 10_000,
            "min_coverage": 1,
            "on_breach": "partial",
        }
    )
    assert policy == SLAPolicy(
        backfill_wait=60, total=90, sync_gap=10_000, min_coverage=1.0, on_breach="partial"
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"storage_wait": "2 parsecs"}, "storage_wait '2 parsecs' is not a duration"),
        ({"total": -1}, "total -1 is not a duration"),
        ({"max_lag": True}, "max_lag True is not a duration"),
        ({"sync_gap": 1.5}, "sync_gap 1.5 is not a number of bars"),
        ({"sync_gap": -1}, "sync_gap -1 is not a number of bars"),
        ({"sync_gap": True}, "sync_gap True is not a number of bars"),
        ({"min_coverage": 1.01}, "min_coverage 1.01 is not a fraction"),
        ({"min_coverage": float("nan")}, "min_coverage nan is not a fraction"),
        ({"on_breach": "shrug"}, "on_breach 'shrug' is not known"),
        ({"backfil_wait": 1}, "did you mean 'backfill_wait'"),
        ({7: 1}, "use one of storage_wait"),
    ],
)
def test_what_cannot_be_used_is_named(values: dict[Any, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SLAPolicy.from_mapping(values)
    assert says in str(caught.value)


def test_is_a_value() -> None:
    policy = SLAPolicy(total="2s")
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(policy) == hash(SLAPolicy(total=2))
    with pytest.raises(FrozenInstanceError):
        policy.total = 3.0  # type: ignore[misc]
