"""Many chunks at once: in order, few ahead of the reader, and nothing lost when one fails."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from qmtl.foundation.parallel import in_parallel, share_processors


@pytest.mark.parametrize("count", [0, 1, 3, 4, 200])
def test_results_come_in_order(count: int) -> None:
    assert list(in_parallel(lambda n: n * n, range(count))) == [n * n for n in range(count)]


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000):
            taken.append(number)
            yield number

    results = in_parallel(lambda n: n, items())
    assert next(results) == 0
    assert len(taken) < 50
    results.close()


def test_a_failure_reaches_the_reader_and_the_threads_end() -> None:
    def work(number: int) -> int:
        if number == 30:
            raise ValueError("the thirtieth")
        return number

    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="the thirtieth"):
        list(in_parallel(work, range(100)))
    assert set(threading.enumerate()) <= before, "those of others may end meanwhile"


@pytest.mark.parametrize(("processes", "threads"), [(1, 4), (2, 2), (4, 1), (9, 1)])
def test_processes_that_work_at_once_share_the_processors(
    monkeypatch: pytest.MonkeyPatch, processes: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    share_processors(processes)
    every, seen = threading.Barrier(threads, timeout=60), threading.local()

    def work(_: int) -> threading.Thread:
        if not hasattr(seen, "all"):  # the first item of each thread waits for the other threads
            every.wait()
            seen.all = True
        return threading.current_thread()

    try:
        busy = set(in_parallel(work, range(100)))
    finally:
        share_processors(1)
    assert len(busy) == threads
    assert threading.current_thread() in busy, "who waits for results works as well"


def test_what_the_reader_itself_fails_at_comes_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    reader, reader_failed = threading.current_thread(), threading.Event()

    def work(number: int) -> int:
        if threading.current_thread() is reader:
            reader_failed.set()
            raise ValueError(f"the reader met {number}")
        assert reader_failed.wait(60)
        return number

    results = in_parallel(work, range(100))
    came: list[int] = []
    with pytest.raises(ValueError, match="the reader met") as met:
        came.extend(results)  # those before it stay
    assert met.value.args == (f"the reader met {len(came)}",)


def test_an_exit_hook_may_use_it() -> None:
    """Pools take no work then."""
    program = (
        "import atexit\n"
        "from qmtl.foundation.parallel import in_parallel\n"
        "atexit.register(lambda: print(sum(in_parallel(abs, range(100)))))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("4950\n", "")


FAULTS = """
import os
import resource
import sys
import numpy as np
from qmtl.foundation.parallel import in_parallel

def work(number):
    return sum(float(part[0]) for part in [np.ones(1 << 16) * number for _ in range(4)])

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    list(in_parallel(work, range(64)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
faults()
print(sum(faults() for _ in range(20)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
@pytest.mark.parametrize("processors", [1, 8])
def test_memory_is_used_again(processors: int) -> None:
    """The system is asked for fewer than 1,000 pages; without, for 70,000 and more."""
    command = [sys.executable, "-c", FAULTS, str(processors)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 20_000
