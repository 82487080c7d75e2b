"""Tasks are in flight in bounded numbers, lost ones are done again, and what ends its workers is found."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import qmtl
from qmtl.foundation.parallel import in_parallel
from qmtl.runtime.coordination.engine_runs import EngineRun, Lost, process_pool, tasks_at_once
from qmtl.runtime.testing.clock import FakeClock

Task = tuple[int, ...]


class Played(Executor):
    """Does tasks at once, or what a script says of them instead; counts what is in flight."""

    def __init__(self, script: Callable[[Task, int], BaseException | None] = lambda *_: None) -> None:
        self._script = script
        self.submitted: Counter[Task] = Counter()
        self.in_flight: list[Future[Any]] = []
        self.most = 0

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
        (task,) = args
        self.submitted[task] += 1
        future: Future[Any] = Future()
        self.in_flight = [one for one in self.in_flight if not one.done()]
        error = self._script(task, self.submitted[task])
        if error is None:
            future.set_result(fn(task))
        else:
            future.set_exception(error)
        return future


class Waiting(Played):
    """Finishes a task only when it is handed as many as it takes at once."""

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.in_flight = [one for one in self.in_flight if not one.done()] + [future]
        self.most = max(self.most, len(self.in_flight))
        if len(self.in_flight) == 32:
            for one in self.in_flight:
                one.set_result(0)
        return future


def parts(task: Task) -> Iterator[Task]:
    return ((one,) for one in task)


def run(executor: Executor, tasks: Any, work: Any = sum) -> list[tuple[Task, Any]]:
    return list(EngineRun(executor, work, split=parts).results(tasks))


def test_each_task_has_its_result() -> None:
    tasks = [(n, n + 1) for n in range(100)]
    with ThreadPoolExecutor(3) as pool:
        found = run(pool, iter(tasks))
    assert sorted(found) == [(task, sum(task)) for task in tasks]


def test_tasks_are_read_only_as_there_is_room_for_them() -> None:
    read = itertools.count()
    engine = Waiting()
    tasks = ((next(read),) for _ in range(32 * 300))
    results = EngineRun(engine, sum, split=parts).results(tasks)
    for number, _ in enumerate(results):
        assert number + 1 + 32 >= next(read) - number, "no more is read than is in flight"
    assert engine.most == 32


def test_a_task_that_is_lost_is_done_again() -> None:
    engine = Played(lambda task, nth: CancelledError() if task[0] % 3 == 0 and nth == 1 else None)
    tasks = [(n, n) for n in range(30)]
    assert sorted(run(engine, tasks)) == [(task, sum(task)) for task in tasks]
    assert engine.submitted[0, 0] == 2
    assert engine.submitted[1, 1] == 1


def test_what_is_lost_again_and_again_is_found_among_its_neighbours() -> None:
    engine = Played(lambda task, _: RuntimeError("the worker died") if 13 in task else None)
    found = dict(run(engine, [(10, 11, 12, 13), (20, 21)]))
    assert found.pop((13,)) == Lost("RuntimeError", "the worker died", 4)
    assert found == {(10,): 10, (11,): 11, (12,): 12, (20, 21): 41}
    assert engine.submitted == {(10, 11, 12, 13): 2, (20, 21): 1, (10,): 1, (11,): 1, (12,): 1, (13,): 2}


def test_an_error_that_says_what_is_wrong_is_not_looked_for_in_parts() -> None:
    engine = Played(lambda *_: qmtl.StoreError("the server is starting", path="x"))
    assert run(engine, [(1, 2, 3)]) == [((1, 2, 3), Lost("StoreError", "the server is starting", 2))]


def test_a_request_that_no_worker_can_serve_ends_the_run_and_cancels_the_rest() -> None:
    engine = Played(lambda task, _: qmtl.InvalidRequestError("no such store") if task == (5,) else None)
    with pytest.raises(qmtl.InvalidRequestError, match="no such store"):
        run(engine, [(n,) for n in range(1_000)])
    assert sum(engine.submitted.values()) <= 64


@pytest.mark.parametrize("error", [TypeError("cannot pickle"), ModuleNotFoundError("no module desk")])
def test_work_that_cannot_be_sent_says_what_of_it(error: Exception) -> None:
    engine = Played(lambda *_: error)
    with pytest.raises(qmtl.InvalidRequestError, match=r"cannot be sent[\s\S]*importable"):
        run(engine, [(1,)])
    known = qmtl.InvalidRequestError("`vendors=` cannot be sent")
    with pytest.raises(qmtl.InvalidRequestError, match="vendors="):
        list(EngineRun(engine, sum, split=parts, unsendable=lambda: known).results([(1,)]))


def test_an_executor_that_takes_nothing_is_refused() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(qmtl.InvalidRequestError, match="takes no work"):
        run(pool, [(1,)])
    with pytest.raises(qmtl.InvalidRequestError, match=r"not a concurrent\.futures\.Executor"):
        run("dask://here", [(1,)])  # type: ignore[arg-type]


def test_an_engine_that_goes_away_leaves_no_task_without_an_end() -> None:
    class Going(Played):
        def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
            if sum(self.submitted.values()) >= 40:
                raise OSError("the scheduler is gone")
            return super().submit(fn, *args)

    tasks = [(n,) for n in range(100)]
    found = dict(run(Going(), tasks))
    assert set(found) == set(tasks)
    lost = [one for one in found.values() if isinstance(one, Lost)]
    assert {one.why for one in lost} == {"the scheduler is gone"}
    assert len(found) - len(lost) >= 8


def test_an_engine_that_is_silent_is_asked_whether_it_is_there() -> None:
    """Futures of Dask wait for ever once their client has lost its scheduler."""

    class Silent(Played):
        def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
            if fn is abs:
                asked.append(clock.monotonic())
                if len(asked) == 2:
                    raise OSError("the client is closed")
            return Future()

    class Quick(FakeClock):
        def monotonic(self) -> float:
            self.advance(15)
            return super().monotonic()

    clock, asked = Quick(), []
    run = EngineRun(Silent(), sum, split=parts, clock=clock)
    found = dict(run.results([(1,), (2,)]))
    lost = Lost("OSError", "the client is closed")
    assert found == {(1,): lost, (2,): lost}
    assert len(asked) == 2


def test_a_caller_who_leaves_cancels_what_has_not_begun() -> None:
    with ThreadPoolExecutor(1) as pool:
        results = EngineRun(pool, lambda task: time.sleep(0.01), split=parts).results(
            (n,) for n in itertools.count()
        )
        next(results)
        results.close()  # type: ignore[attr-defined]
    # The pool has ended, although there would have been tasks for ever.


# -- processes that die


def add_or_die(folder: str, deadly: int, task: Task) -> int:
    """Ends its process: each time for the deadly number, and once for number 3."""
    once = Path(folder, "died")
    if deadly in task or (3 in task and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(task)


@pytest.mark.process
def test_a_pool_whose_process_is_killed_is_replaced_and_nothing_is_missing(tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial

    tasks = [(n, n + 1) for n in range(0, 20, 2)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = run(pool, tasks, partial(add_or_die, str(tmp_path), 15))
        with pytest.raises(BrokenExecutor):
            pool.submit(sum, (1,))
    results = dict(found)
    lost = results.pop((15,))
    assert isinstance(lost, Lost)
    assert lost.kind == BrokenProcessPool.__name__
    assert results.pop((14,)) == 14
    assert sum(results.values()) == sum(map(sum, tasks)) - 14 - 15


@pytest.mark.process
def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as middle:
        workers = middle.submit(_pids_of_pool).result()
        parent = middle.submit(os.getpid).result()
        os.kill(parent, signal.SIGKILL)
    until = time.monotonic() + 30
    while any(map(_lives, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_lives, workers))


_KEPT: list[Executor] = []


def _pids_of_pool() -> list[int]:
    pool = process_pool(2)
    _KEPT.append(pool)
    return [future.result() for future in [pool.submit(_slow_pid) for _ in range(2)]]


def _slow_pid() -> int:
    time.sleep(0.5)
    return os.getpid()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_two_tasks_for_each_worker() -> None:
    with ThreadPoolExecutor(3) as pool:
        assert tasks_at_once(pool) == 6
    assert tasks_at_once(Played()) == 32
    assert pickle.loads(pickle.dumps(Lost("a", "b", 3))) == Lost("a", "b", 3)


def test_processes_of_a_pool_share_the_processors() -> None:
    with process_pool(len(os.sched_getaffinity(0))) as pool:
        assert pool.submit(_work_alone).result()


def _work_alone() -> bool:
    """Whether many items are left to the thread that asks: threads of a pool are never that one."""
    return set(in_parallel(lambda _: threading.get_ident(), range(64))) == {threading.get_ident()}
