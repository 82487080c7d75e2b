"""Work for all processors at once, for calls that leave Python's lock alone: packing, decoding, arrays."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# More threads than this only wait for memory.
_MOST = 8


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], *, worth_it: int = 4
) -> Generator[Result, None, None]:
    """`map`, on several threads if there are many items: in order, and few items ahead of the reader.

    worth_it: for fewer items than this, to start threads would take longer.
    The threads end with the iterator: a pool that stayed would not survive a fork.
    """
    coming = iter(items)
    first = list(islice(coming, worth_it))
    threads = min(_MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _MOST)
    if len(first) < worth_it or threads < 2:
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


def _begun(pool: ThreadPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    try:
        return pool.submit(work, item)
    except RuntimeError:
        # The program is ending, and no pool takes work; its exit hooks still commit what has come.
        done: Future[Result] = Future()
        done.set_result(work(item))
        return done
