"""Each step that a case is said to consist of is met, and takes no longer than there is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import steps
from benchmarks.real_data import is_there
from benchmarks.sizes import TINY
from benchmarks.steps import CASES, STEPS, Spent, Taken, measured, table

pytest.importorskip("duckdb", reason="the benchmarks compare with DuckDB: pip install 'qmtl[bench]'")

# What few rows without a flaw give no cause for.
_RULES = "qmtl.runtime.conformance"
NOT_MET = {f"{_RULES}.outliers:spikes", f"{_RULES}.outliers:jumps", f"{_RULES}.runs:padded_bars"}


@pytest.mark.parametrize("case", CASES)
def test_each_step_is_met(case: str, tmp_path: Path) -> None:
    if case == "conformance_illiquid" and not is_there():
        pytest.skip("no real market data; set QMTL_TEST_DATA")
    whole, spent = measured(case, TINY, tmp_path)
    assert whole > 0
    assert list(spent) == [name for name, _, _ in STEPS[case]]
    assert [name for name, one in spent.items() if not one.calls and name not in NOT_MET] == []
    assert table(case, whole, spent).count("\n") == 3 + len(spent)


def work() -> int:
    return sum(range(200_000))


def idle() -> None:
    time.sleep(0)


def test_a_step_is_timed_only_within(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    plain = work
    taken = Taken(((f"{here}:work", "work", 0), (f"{here}:idle", "nothing", 0)))
    work()
    with taken.timing():
        assert work is not plain
        work()
        work()
        idle()
    assert work is plain
    work()
    busy, rested = taken.spent[f"{here}:work"], taken.spent[f"{here}:idle"]
    assert (busy.calls, rested.calls) == (2, 1)
    assert busy.ms > rested.ms >= 0
    taken.clear()
    assert taken.spent[f"{here}:work"] == Spent(0.0, 0)
    lacking = Taken(((f"{here}:work", "", 0), (f"{here}:gone", "", 0)))
    with pytest.raises(AttributeError), lacking.timing():
        pass
    assert work is plain


def test_every_case_has_its_steps() -> None:
    assert STEPS.keys() == CASES.keys()
    assert steps.main.__doc__
