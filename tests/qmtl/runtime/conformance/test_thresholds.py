"""The thresholds agree with one another, as their reasons say."""

from __future__ import annotations

import dataclasses
import re

import pytest

from qmtl.runtime.conformance.context_window import NEIGHBOURS
from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS, Thresholds


@pytest.mark.parametrize("field", dataclasses.fields(Thresholds), ids=lambda field: field.name)
def test_every_threshold_has_its_reason(field: dataclasses.Field[object]) -> None:
    assert re.search(rf"\b{field.name}\b[^:\n]*:", Thresholds.__doc__ or "")


def test_far_begins_beyond_small_and_ends_before_always() -> None:
    limits = DEFAULT_THRESHOLDS
    assert 0 < limits.spike_least < limits.far_least < limits.far_always
    assert limits.shift_least < limits.jump_least < limits.far_always
    assert limits.far_times_usual < limits.spike_times_usual
    assert limits.far_times_large < limits.spike_times_large


def test_no_rule_asks_for_more_neighbours_than_are_read() -> None:
    limits = DEFAULT_THRESHOLDS
    assert max(limits.spike_rows, limits.silence_rows, limits.other_timeframe_steps) <= NEIGHBOURS
    assert limits.padded_rows <= 2 * NEIGHBOURS + 1
    assert limits.run_rows < limits.run_always


def test_shares_and_chances_are_such() -> None:
    limits = DEFAULT_THRESHOLDS
    for share in (limits.shift_kept, limits.padded_share, limits.silence_chance):
        assert 0 < share < 1


def test_nobody_changes_thresholds_under_a_running_judge() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_THRESHOLDS.run_rows = 3  # type: ignore[misc]
