"""How often a program is started again that ends at once, and that what runs long begins anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmtl.services.coordinator.member.restarts import MOST_SHORT_RUNS, SHORT_RUN_S, Restarts


def test_short_runs_in_a_row_are_followed_by_longer_pauses_and_then_by_none() -> None:
    restarts = Restarts()
    pauses = [restarts.pause_after(0.1) for _ in range(MOST_SHORT_RUNS)]
    assert pauses == [0.5, 1, 2, 4, None]


def test_a_long_run_makes_short_ones_forgotten() -> None:
    restarts = Restarts()
    for _ in range(3):
        for _ in range(MOST_SHORT_RUNS - 1):
            assert restarts.pause_after(1.0) is not None
        assert restarts.pause_after(SHORT_RUN_S) == 0.5


@given(st.lists(st.sampled_from([0.0, SHORT_RUN_S]), max_size=30))
def test_it_is_given_up_exactly_after_so_many_short_runs_in_a_row(runs: list[float]) -> None:
    restarts = Restarts()
    for number, run_s in enumerate(runs):
        pause = restarts.pause_after(run_s)
        last_long = max((i for i in range(number + 1) if runs[i] >= SHORT_RUN_S), default=-1)
        assert (pause is None) == (number - last_long >= MOST_SHORT_RUNS)
        if pause is None:
            return
