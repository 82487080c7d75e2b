"""Tasks of an engine, a bounded number at a time; what is lost with a worker is done again."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Generic, NamedTuple, TypeVar

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, QmtlError
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.parallel import share_processors

Task = TypeVar("Task")
Result = TypeVar("Result")

# A task that is lost is done once more, among others. If it is lost again, it may be what ends its workers:
# so its parts are done one at a time, each with nothing beside it, and this often.
_AMONG_OTHERS = 2
_ALONE = 2
# For an engine that does not say how many workers it has.
_AT_ONCE = 32
# See `loop_thread`: a wait without an end would never notice Ctrl-C.
_INTERRUPTIBLE_S = 0.1
# After so long without an end of a task, see whether the engine takes tasks at all: Dask's futures wait for
# ever for a scheduler that is gone.
_ASK_AFTER_S = 20.0
# What goes wrong before a task has begun, on the way to its worker, and would with each of them.
_UNSENDABLE = (pickle.PickleError, TypeError, AttributeError, ImportError)


class Lost(NamedTuple):
    """Why a task has no result. kind: the class of the last error. attempts: how often it was tried."""

    kind: str
    why: str
    attempts: int = 0


@dataclass
class _Sent(Generic[Task]):
    task: Task
    attempts: int
    alone: bool
    engine: Executor


class EngineRun(Generic[Task, Result]):
    """One run of `work` over tasks on an executor that belongs to the caller.

    work: picklable, and safe to do again. split: a task as tasks of one part each. unsendable: what to raise
    where a task does not reach a worker, if it is known.
    """

    def __init__(
        self,
        executor: Executor,
        work: Callable[[Task], Result],
        *,
        split: Callable[[Task], Iterable[Task]],
        unsendable: Callable[[], InvalidRequestError | None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(executor, Executor):
            raise InvalidRequestError(
                f"executor= is {type(executor).__name__}, not a concurrent.futures.Executor",
                next_step="give a ThreadPoolExecutor, ProcessPoolExecutor, or Client.get_executor() of Dask",
            )
        self._engine = executor
        self._own: ProcessPoolExecutor | None = None
        self._clock = clock or SystemClock()
        self._work = work
        self._split = split
        self._unsendable = unsendable
        self._at_once = tasks_at_once(executor)
        self._under_way: dict[Future[Result], _Sent[Task]] = {}
        self._again: deque[tuple[Task, int]] = deque()
        self._suspects: deque[tuple[Task, int]] = deque()

    def results(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result | Lost]]:
        """Each task with its result, as they come; of what was split, each part. Tasks are read as needed.

        Raises `InvalidRequestError` where no task can be done. What is under way when the caller leaves is
        cancelled, as far as it has not begun.
        """
        rest = iter(tasks)
        ended_at = self._clock.monotonic()
        try:
            while True:
                gone = self._submit(rest)
                if gone is None and self._clock.monotonic() > ended_at + _ASK_AFTER_S:
                    ended_at, gone = self._clock.monotonic(), self._asked()
                if gone is not None:
                    yield from self._all_lost(rest, gone)
                    return
                if not self._under_way:
                    return
                done, _ = wait(self._under_way, timeout=_INTERRUPTIBLE_S, return_when=FIRST_COMPLETED)
                if done:
                    ended_at = self._clock.monotonic()
                for future in done:
                    yield from self._ended(self._under_way.pop(future), future)
        finally:
            for future in self._under_way:
                future.cancel()
            if self._own is not None:
                self._own.shutdown(wait=not self._under_way, cancel_futures=True)

    def _submit(self, rest: Iterator[Task]) -> Lost | None:
        """Keep the engine busy; why it takes no more, if it does not."""
        while len(self._under_way) < self._at_once:
            if self._again:
                task, attempts = self._again.popleft()
                alone = False
            elif (fresh := next(rest, None)) is not None:
                task, attempts, alone = fresh, 0, False
            elif self._suspects and not self._under_way:
                (task, attempts), alone = self._suspects.popleft(), True
            else:
                return None
            if (gone := self._send(_Sent(task, attempts, alone=alone, engine=self._engine))) is not None:
                self._again.appendleft((task, attempts))
                return gone
            if alone:
                return None
        return None

    def _send(self, sent: _Sent[Task]) -> Lost | None:
        sent.engine = self._engine
        try:
            future = self._engine.submit(self._work, sent.task)
        except BrokenExecutor as broken:
            if not self._replace(self._engine):
                return Lost(type(broken).__name__, str(broken))
            return self._send(sent)
        except _UNSENDABLE as error:
            raise self._refusal(error) from error
        except Exception as error:
            if not self._under_way and sent.attempts == 0:
                raise InvalidRequestError(
                    "the executor takes no work",
                    why=f"{type(error).__name__}: {error}",
                    next_step="give one that has not been shut down, and whose workers can be reached",
                ) from error
            return Lost(type(error).__name__, str(error))
        self._under_way[future] = sent
        return None

    def _asked(self) -> Lost | None:
        """Why the engine takes no tasks, if it takes none."""
        try:
            self._engine.submit(abs, 0).cancel()
        except BrokenExecutor:
            return None  # the futures of what is under way say so, too
        except Exception as error:  # noqa: BLE001 - each engine has errors of its own for being gone
            return Lost(type(error).__name__, str(error))
        return None

    def _ended(self, sent: _Sent[Task], future: Future[Result]) -> Iterator[tuple[Task, Result | Lost]]:
        try:
            result = future.result()
        except (InvalidRequestError, MissingDependencyError):
            raise
        except _UNSENDABLE as error:
            raise self._refusal(error) from error
        except (Exception, CancelledError) as error:  # noqa: BLE001 - each engine has its own for a lost worker
            if isinstance(error, BrokenExecutor):
                self._replace(sent.engine)
            yield from self._lost(sent, error)
        else:
            yield sent.task, result

    def _lost(self, sent: _Sent[Task], error: BaseException) -> Iterator[tuple[Task, Lost]]:
        attempts = sent.attempts + 1
        backfill_log.warning("engine.lost", attempts=attempts, alone=sent.alone, error=_text(error))
        if sent.alone:
            if attempts < _AMONG_OTHERS + _ALONE:
                self._suspects.append((sent.task, attempts))
                return
        elif attempts < _AMONG_OTHERS:
            self._again.append((sent.task, attempts))
            return
        elif not isinstance(error, QmtlError):  # which says what is wrong, and ends no worker
            self._suspects.extend((part, attempts) for part in self._split(sent.task))
            return
        what = error.what if isinstance(error, QmtlError) else str(error)
        yield sent.task, Lost(type(error).__name__, what, attempts)

    def _all_lost(self, rest: Iterator[Task], gone: Lost) -> Iterator[tuple[Task, Lost]]:
        """The engine takes no more work: what is under way, what waits, and what was never asked for."""
        under_way, self._under_way = self._under_way, {}  # there is nobody left who could cancel it
        for sent in under_way.values():
            yield sent.task, gone
        for task, _ in (*self._again, *self._suspects):
            yield task, gone
        for task in rest:
            yield task, gone

    def _replace(self, broken: Executor) -> bool:
        """Whether there is an engine in the place of one that is broken.

        A pool of processes is broken once one of them dies; then one of our own goes on.
        """
        if broken is not self._engine:
            return True
        if not isinstance(broken, ProcessPoolExecutor):
            return False
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)
        backfill_log.warning("engine.replaced", processes=self._at_once // 2)
        self._engine = self._own = process_pool(self._at_once // 2)
        return True

    def _refusal(self, error: BaseException) -> InvalidRequestError:
        return self._unsendable() or InvalidRequestError(
            "the work cannot be sent to the workers of the executor",
            why=_text(error),
            next_step="let workers have the same packages as this process, and what they load be importable",
        )


def tasks_at_once(executor: Executor) -> int:
    """Two for each worker, so that none waits for the next task."""
    workers = getattr(executor, "_max_workers", None)  # of the pools of Python; others do not say
    return 2 * workers if isinstance(workers, int) and workers > 0 else _AT_ONCE


def process_pool(processes: int) -> ProcessPoolExecutor:
    """Processes that begin anew, share the processors, leave Ctrl-C to their parent, and end with it."""
    return ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(processes,)
    )


def _begin(processes: int) -> None:
    share_processors(processes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="qmtl-parent", daemon=True).start()


def _end_with_parent() -> None:
    """Siblings hold the ends of each other's pipes, so that none would notice that the parent is gone."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error.what if isinstance(error, QmtlError) else error}"
