"""Work for all processors at once, for calls that leave Python's lock alone: packing, decoding, arrays."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")

# More threads than this only wait for memory.
_MOST = 8

# Bytes. The arrays of one item of work are smaller; twice as much may stay with a thread that has freed it.
_REUSED = 1 << 21


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], *, worth_it: int = 4
) -> Generator[Result, None, None]:
    """`map`, on several threads if there are many items: in order, and few items ahead of the reader.

    The reader is one of the threads: it works while it would wait for others.

    worth_it: for fewer items than this, to start threads would take longer.
    The threads end with the iterator: a pool that stayed would not survive a fork.
    """
    coming = iter(items)
    first = list(islice(coming, worth_it))
    threads = 1
    if len(first) >= worth_it:
        threads = _threads()
        _reuse_memory()
    if threads < 2:
        yield from map(work, chain(first, coming))
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="qmtl-parallel") as pool:
        under_way: deque[_Task[Item, Result]] = deque()
        for item in chain(first, coming):
            under_way.append(_begun(pool, _Task(work, item)))
            if len(under_way) > 2 * threads:
                yield _oldest(under_way)
        while under_way:
            yield _oldest(under_way)


class _Task(Generic[Item, Result]):
    """Work on one item, done by whichever thread comes first."""

    def __init__(self, work: Callable[[Item], Result], item: Item) -> None:
        self._work, self._item = work, item
        self._taken = Lock()
        self.done: Future[Result] = Future()

    def run(self) -> bool:
        """Do it, unless another thread does; whether this one did."""
        if not self._taken.acquire(blocking=False):
            return False
        try:
            self.done.set_result(self._work(self._item))
        except BaseException as failure:  # of the reader, in its turn
            self.done.set_exception(failure)
            if not isinstance(failure, Exception):
                raise
        return True


def _oldest(under_way: deque[_Task[Item, Result]]) -> Result:
    """The result of the oldest item. Until it is there the reader works on the newest, far from others."""
    while not under_way[0].done.done() and any(task.run() for task in reversed(under_way)):
        pass
    return under_way.popleft().done.result()


def share_processors(processes: int) -> None:
    """From now on this process is one of so many that work at once, and takes its share of the processors.

    Threads of each for all of them would wait for one another, which took longer than to have none.
    """
    global _sharers
    _sharers = processes


_sharers = 1


def _threads() -> int:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _MOST
    return min(_MOST, processors // _sharers)


@cache
def _reuse_memory() -> None:
    """Let this process keep some memory that it has freed, for the arrays of the next item.

    glibc gives the free end of a thread's memory back to the system once it is more than twice the largest
    block that the system has given by itself and that was freed (mallopt(3), M_MMAP_THRESHOLD). That is less
    than the arrays of an item: each waited for cleared pages, which took half as long as its work. Where one
    processor is all there is, the main thread works alone, and waited for them longer still. What is made and
    freed here is never touched.
    """
    np.empty(_REUSED, dtype=np.uint8)


def _begun(pool: ThreadPoolExecutor, task: _Task[Item, Result]) -> _Task[Item, Result]:
    # Where the program is ending no pool takes work, and its exit hooks still commit what has come: the
    # reader does it all.
    with suppress(RuntimeError):
        pool.submit(task.run)
    return task
