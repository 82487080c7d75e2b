"""A budget is kept by one process and by many, and by none when it is paused."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.times import SECOND
from qmtl.runtime.io.fleet_rates import Spent
from qmtl.runtime.io.rates import Meter, RateBudget, RateBudgetWarning, admit
from qmtl.runtime.testing import FakeClock

T = TypeVar("T")


def play(scene: Coroutine[Any, Any, T], clock: FakeClock) -> T:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(scene)


@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.1, 4.0)), max_size=40),
    st.floats(0.5, 20.0),
    st.floats(4.0, 10.0),
)
def test_no_stretch_of_time_sees_more_than_burst_and_rate(
    asks: list[tuple[float, float]], per_second: float, burst: float
) -> None:
    meter, now, spent = Meter(), 0, list[tuple[int, float]]()
    for later, cost in asks:
        now += round(later * SECOND)
        meter, wait = admit(meter, now, cost=cost, per_second=per_second, burst=burst)
        if wait:
            now += wait  # as long as told is long enough
            meter, wait = admit(meter, now, cost=cost, per_second=per_second, burst=burst)
            assert wait == 0
        spent.append((now, cost))
    for i, (begin, _) in enumerate(spent):
        total = 0.0
        for end, cost in spent[i:]:
            total += cost
            assert total <= burst + per_second * (end - begin) / SECOND + 1e-6


def test_a_clock_that_was_set_back_blocks_nobody_for_long() -> None:
    written_tomorrow = Meter(full_at=24 * 3600 * SECOND, paused_until=90 * 24 * 3600 * SECOND)
    _, wait = admit(written_tomorrow._replace(paused_until=0), 0, cost=1.0, per_second=2.0, burst=4.0)
    assert wait == pytest.approx(SECOND // 2, abs=1)
    _, wait = admit(written_tomorrow, 0, cost=1.0, per_second=2.0, burst=4.0)
    assert wait == 3 * 24 * 3600 * SECOND


def test_a_burst_is_free_and_then_the_rate_holds(tmp_path: Path) -> None:
    clock = FakeClock()
    budget = RateBudget("sim", per_second=10.0, burst=5.0, path=tmp_path / "rates.sqlite", clock=clock)
    times = list[float]()

    async def scene() -> None:
        for _ in range(25):
            await budget.take()
            times.append(clock.monotonic())

    play(scene(), clock)
    assert times[4] == 0.0
    assert all(later - earlier == pytest.approx(0.1, abs=1e-6) for earlier, later in pairwise(times[4:]))


def test_venues_have_budgets_of_their_own_and_names_share_one(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "rates.sqlite"

    async def scene(*venues: str) -> float:
        before = clock.monotonic()
        for venue in venues:
            await RateBudget(venue, per_second=1.0, burst=1.0, path=path, clock=clock).take()
        return clock.monotonic() - before

    assert play(scene("a", "b", "c"), clock) == 0.0
    assert play(scene("a"), clock) == pytest.approx(1.0)
    assert play(scene("d", "d", "d"), clock) == pytest.approx(2.0)


def test_waiters_at_once_get_the_rate_and_a_cancelled_one_spends_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    budget = RateBudget("sim", per_second=1.0, burst=1.0, path=tmp_path / "rates.sqlite", clock=clock)

    async def scene() -> float:
        waiters = [asyncio.ensure_future(budget.take()) for _ in range(10)]
        await asyncio.sleep(0.5)
        left = [waiter for waiter in waiters if not waiter.done()]
        for waiter in left[:4]:
            waiter.cancel()
        await asyncio.gather(*left[4:])
        return clock.monotonic()

    assert play(scene(), clock) == pytest.approx(5.0, abs=1e-3)


def test_a_pause_holds_for_everybody_and_the_longer_one_wins(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "rates.sqlite"
    one = RateBudget("sim", per_second=100.0, path=path, clock=clock)
    other = RateBudget("sim", per_second=100.0, path=path, clock=clock)

    async def scene() -> float:
        await one.pause(60.0)
        await one.pause(5.0)
        await other.take()
        return clock.monotonic()

    assert play(scene(), clock) == pytest.approx(60.0)


def test_a_ban_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    clock = FakeClock("2024-01-01T00:00:00Z")
    budget = RateBudget("sim", per_second=100.0, path=tmp_path / "rates.sqlite", clock=clock)

    async def scene() -> None:
        await budget.pause(7200.0)
        await budget.take()

    with pytest.raises(SourceUnavailableError, match="2024-01-01T02:00:00Z") as banned:
        play(scene(), clock)
    assert banned.value.next_step
    assert clock.monotonic() == 0.0


TAKER = """
import asyncio, json, sys, time
from qmtl.runtime.io.rates import RateBudget

async def main():
    budget = RateBudget("sim", per_second=200.0, burst=10.0, path=sys.argv[1])
    times = []
    for _ in range(40):
        await budget.take()
        times.append(time.time())
    print(json.dumps(times))

asyncio.run(main())
"""


@pytest.mark.process
def test_processes_share_one_budget(tmp_path: Path) -> None:
    path = tmp_path / "rates.sqlite"
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    times = sorted(moment for taker in takers for moment in json.loads(taker.communicate(timeout=60)[0]))
    assert len(times) == 120
    # A taker may be late to look at its watch, so a few may seem to come together.
    assert times[-1] - times[0] >= (120 - 10) / 200.0 * 0.9


@pytest.mark.process
def test_a_killed_process_leaves_a_usable_file(tmp_path: Path) -> None:
    path = tmp_path / "rates.sqlite"
    script = TAKER.replace("range(40)", "range(10**9)").replace("per_second=200.0", "per_second=1e6")
    script = script.replace("times.append(time.time())", "print(1, flush=True)")
    for _ in range(5):
        taker = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        assert taker.stdout is not None
        for _ in range(20):
            taker.stdout.readline()
        taker.kill()
        taker.communicate()
        with sqlite3.connect(path) as table:
            assert table.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        table.close()
    asyncio.run(RateBudget("sim", per_second=1e6, path=path).take())


@pytest.mark.parametrize("kind", ["file in the way", "garbage", "newer table"])
def test_a_file_that_cannot_be_used_is_reported_once_and_the_process_goes_on(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "state" / "rates.sqlite"
    if kind == "file in the way":
        path.parent.write_text("not a folder")
    elif kind == "garbage":
        path.parent.mkdir()
        path.write_bytes(b"not a database, " * 300)
    else:
        path.parent.mkdir()
        with sqlite3.connect(path) as table:
            table.execute("CREATE TABLE meter (other INTEGER)")
        table.close()
    clock = FakeClock()
    budget = RateBudget("sim", per_second=1.0, burst=1.0, path=path, clock=clock)
    with pytest.warns(RateBudgetWarning, match="for this process alone") as warned:
        play(budget.take(), clock)
    play(budget.take(), clock)
    assert len(warned) == 1
    assert clock.monotonic() == pytest.approx(1.0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.warns(RateBudgetWarning):
        asyncio.run(RateBudget("sim", per_second=1.0, path=tmp_path / "deep" / "rates.sqlite").take())


@pytest.mark.slow
def test_a_file_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "rates.sqlite"
    clock = FakeClock()
    asyncio.run(RateBudget("sim", per_second=1.0, path=path, clock=clock).take())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    budget = RateBudget("sim", per_second=1.0, path=path, clock=clock)
    began = time.monotonic()
    with pytest.warns(RateBudgetWarning, match="locked"):
        play(budget.take(), clock)
    assert time.monotonic() - began < 20.0
    holder.close()


@pytest.mark.parametrize(("per_second", "burst"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_a_budget_of_nothing_is_refused(per_second: float, burst: float) -> None:
    with pytest.raises(InvalidRequestError):
        RateBudget("sim", per_second=per_second, burst=burst)


class Fleet:
    """Answers that follow a script; then nobody answers, and a quarter is left to this machine."""

    def __init__(self, *answers: Spent) -> None:
        self.answers = list(answers)
        self.pauses: list[float] = []
        self.is_away = False

    def share(self, venue: str) -> float:
        return 0.25 if self.is_away else 1.0

    async def take(self, venue: str, **limits: float) -> Spent | None:
        assert limits == {"cost": 1.0, "per_second": 10.0, "burst": 1.0}
        self.is_away = not self.answers
        return self.answers.pop(0) if self.answers else None

    async def pause(self, venue: str, seconds: float) -> None:
        self.pauses.append(seconds)


def test_a_fleet_is_waited_for_and_without_it_a_part_is_spent(tmp_path: Path) -> None:
    clock = FakeClock()
    times = [clock.monotonic()]
    budget = RateBudget("sim", per_second=10.0, burst=1.0, path=tmp_path / "rates.sqlite", clock=clock)
    budget.fleet = fleet = Fleet(Spent(3.0, 0.0), Spent(0.0, 0.0))

    async def scene() -> None:
        for _ in range(4):
            await budget.take()
            times.append(clock.monotonic())
        await budget.pause(5.0)

    play(scene(), clock)
    waits = [later - earlier for earlier, later in pairwise(times)]
    # The first three seconds are the fleet's; what was spent whole is regained at once, and then a quarter.
    assert waits == pytest.approx([3.0, 0.0, 0.1, 0.4], abs=0.01)
    assert fleet.pauses == [5.0]


def test_a_long_pause_that_the_fleet_was_told_is_an_error(tmp_path: Path) -> None:
    clock = FakeClock()
    budget = RateBudget("sim", per_second=10.0, burst=1.0, path=tmp_path / "rates.sqlite", clock=clock)
    budget.fleet = Fleet(Spent(3_600.0, 3_600.0))
    with pytest.raises(SourceUnavailableError, match="not to be asked before"):
        play(budget.take(), clock)
