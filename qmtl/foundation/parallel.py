"""Work for all processors at once, for calls that leave Python's lock alone: packing, decoding, arrays."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import chain, islice
from typing import TypeVar

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
    with ThreadPoolExecutor(threads, thread_name_prefix="qmtl-parallel") as pool:
        under_way: deque[Future[Result]] = deque()
        for item in chain(first, coming):
            under_way.append(_begun(pool, work, item))
            if len(under_way) > 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


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


def _begun(pool: ThreadPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    try:
        return pool.submit(work, item)
    except RuntimeError:
        # The program is ending, and no pool takes work; its exit hooks still commit what has come.
        done: Future[Result] = Future()
        done.set_result(work(item))
        return done
