"""Writes that are ready together become durable together: one transaction for many series."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakKeyDictionary

from qmtl.foundation.errors import StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.ingest.threads import submitted
from qmtl.runtime.io.store.contract import BarWriter
from qmtl.runtime.io.store.values import Commit, Write

# Rows of one transaction: all of them are in memory, and other writers wait for it.
MOST_ROWS = 131_072


class Waiting(NamedTuple):
    """A write that is to be committed, and the future of its commit."""

    series: SeriesId
    write: Write
    done: asyncio.Future[Commit]


class Committer:
    """Commits to one store for one event loop, one transaction at a time.

    It takes along what was handed over in the same turn of the loop, or while a transaction was under way:
    one write of each series, up to `MOST_ROWS` rows. What was handed over is committed, whoever stops
    waiting for it.
    """

    def __init__(self, store: BarWriter) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: deque[Waiting] = deque()
        self._is_at_work = False

    def submit(self, series: SeriesId, write: Write) -> asyncio.Future[Commit]:
        """Begin to commit a write. Call it on the loop."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Commit] = loop.create_future()
        with self._lock:
            self._waiting.append(Waiting(series, write, done))
            begins, self._is_at_work = not self._is_at_work, True
        if begins:
            loop.call_soon(submitted, self._work)
        return done

    def _work(self) -> None:
        """Commit until nothing waits, in a thread: also what comes before a loop that stops waits for it."""
        while batch := self._next():
            outcomes = commit_together(self._store, batch)
            loop = batch[0].done.get_loop()
            with suppress(RuntimeError):  # the loop was closed meanwhile, so that nobody waits any more
                loop.call_soon_threadsafe(_hand_over, batch, outcomes)

    def _next(self) -> list[Waiting]:
        batch: dict[SeriesId, Waiting] = {}
        rows = 0
        with self._lock:
            while self._waiting:
                first = self._waiting[0]
                rows += first.write.frame.height
                if first.series in batch or (batch and rows > MOST_ROWS):
                    break
                batch[first.series] = self._waiting.popleft()
            self._is_at_work = bool(batch)
        return list(batch.values())


def commit_together(store: BarWriter, batch: list[Waiting]) -> list[Commit | BaseException]:
    """The outcome of each write of a batch. An error is of one series, and not of those beside it."""
    if len(batch) > 1:
        try:
            made = store.commit_many({one.series: one.write for one in batch})
            return [made[one.series] for one in batch]
        except StoreLockedError as error:
            # Each by itself would wait as long once more.
            return [_error_of(error, one.series) for one in batch]
        except BaseException:  # noqa: BLE001 - whatever it is, the one whose it is meets it again
            pass
    return [_outcome(store.commit, one) for one in batch]


def _outcome(commit: Callable[[SeriesId, Write], Commit], one: Waiting) -> Commit | BaseException:
    try:
        return commit(one.series, one.write)
    except BaseException as error:  # noqa: BLE001 - the waiter of the future gets it
        return error


def _error_of(error: StoreLockedError, series: SeriesId) -> StoreLockedError:
    own = StoreLockedError(
        error.what, series=series, path=error.path, why=error.why, next_step=error.next_step
    )
    own.__cause__ = error
    return own


def _hand_over(batch: list[Waiting], outcomes: list[Commit | BaseException]) -> None:
    for one, outcome in zip(batch, outcomes, strict=True):
        if one.done.done():  # its waiter was cancelled
            continue
        if isinstance(outcome, BaseException):
            one.done.set_exception(outcome)
        else:
            one.done.set_result(outcome)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Committer]] = WeakKeyDictionary()


def committed(store: BarWriter, series: SeriesId, write: Write) -> asyncio.Future[Commit]:
    """Begin to commit a write, together with others of the running loop; see `Committer`."""
    loop = asyncio.get_running_loop()
    of_stores = _of_loops.setdefault(loop, {})
    committer = of_stores.get(id(store))  # which it keeps alive, so that nothing else has this id
    if committer is None:
        committer = of_stores[id(store)] = Committer(store)
    return committer.submit(series, write)
