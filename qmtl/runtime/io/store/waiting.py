"""How long somebody waits for what he asks of a store, and what ends that work when he no longer does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from qmtl.runtime.io.store.contract import ReadAbandonedError

_FOR_EVER = float("inf")


class Wait:
    """The wait of one caller: until a time of `time.monotonic`, or until it is given up, from any thread.

    outer: a wait that this one is a part of.
    """

    def __init__(self, until: float = _FOR_EVER, outer: Wait | None = None) -> None:
        self.until: float = until if outer is None else min(until, outer.until)
        self._outer = outer
        self._is_given_up = False

    @property
    def is_over(self) -> bool:
        if self._is_given_up or time.monotonic() >= self.until:
            return True
        return self._outer is not None and self._outer.is_over

    @property
    def left_s(self) -> float | None:
        """Seconds until it is over by itself; None if it never is."""
        return None if self.until == _FOR_EVER else max(0.0, self.until - time.monotonic())

    def give_up(self) -> None:
        """Nobody waits any more: what is watched ends at once."""
        self._is_given_up = True
        _watcher.look()

    def refuse_over(self) -> None:
        """Raise `ReadAbandonedError` if it is over."""
        if self.is_over:
            raise ReadAbandonedError("a read was abandoned", why="nobody waits for it any more")


_current: ContextVar[Wait | None] = ContextVar("wait", default=None)


def current() -> Wait | None:
    """The wait that the work of this thread is done for, if it has any bound."""
    return _current.get()


@contextmanager
def waiting(seconds: float = _FOR_EVER) -> Iterator[Wait]:
    """Whatever the block asks of a store is waited for no longer than so many seconds, or until given up.

    A store that can ends its reading then, and raises `ReadAbandonedError`. A write that has begun is never
    ended.
    """
    wait = Wait(time.monotonic() + seconds, _current.get())
    token = _current.set(wait)
    try:
        yield wait
    finally:
        _current.reset(token)


@contextmanager
def watched(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop`, from another thread, if the wait is over before the block is. It must not block.

    Raises `ReadAbandonedError` if it is over already.
    """
    wait = _current.get()
    if wait is None:
        yield
        return
    wait.refuse_over()
    number = _watcher.add(wait, stop)
    try:
        yield
    finally:
        _watcher.remove(number)


class _Watcher:
    """A thread that sleeps until the first wait is over, and stops what was done for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[int, tuple[Wait, Callable[[], None]]] = {}
        self._numbers = count()
        self._wakes_at = _FOR_EVER
        self._thread: threading.Thread | None = None

    def add(self, wait: Wait, stop: Callable[[], None]) -> int:
        with self._changed:
            number = next(self._numbers)
            self._watched[number] = wait, stop
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="qmtl-watcher", daemon=True)
                self._thread.start()
            elif wait.until < self._wakes_at:
                self._changed.notify()
        return number

    def remove(self, number: int) -> None:
        """Once this returns, what was added is not stopped any more."""
        with self._changed:
            self._watched.pop(number, None)

    def look(self) -> None:
        with self._changed:
            self._changed.notify()

    def _live(self) -> None:
        with self._changed:
            while True:
                for number, (wait, stop) in list(self._watched.items()):
                    if wait.is_over:
                        del self._watched[number]
                        stop()
                self._wakes_at = min((wait.until for wait, _ in self._watched.values()), default=_FOR_EVER)
                left = self._wakes_at - time.monotonic()
                self._changed.wait(None if left == _FOR_EVER else max(0.0, left))


_watcher = _Watcher()


def _begin_anew() -> None:
    global _watcher
    _watcher = _Watcher()


os.register_at_fork(after_in_child=_begin_anew)
