"""SQLite connections: each used by one thread at a time, and none alive across a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Generic, TypeVar

from qmtl.foundation.errors import StoreLockedError

AnyConnection = TypeVar("AnyConnection", bound=sqlite3.Connection)


class Connections(Generic[AnyConnection]):
    """A pool that opens as many connections as are used at once.

    SQLite keeps the locks of a file per process: a child that was forked while its parent had the file open
    believes to hold locks that it does not. So all connections are closed before a fork and opened anew
    after it. Closing may write (it empties the log), so it happens while `closing` is held.
    """

    def __init__(
        self,
        open_one: Callable[[], AnyConnection],
        closing: Callable[[], AbstractContextManager[None]],
        *,
        limit: int = 1_000,
    ) -> None:
        """`limit` users at once; more have to wait."""
        self._limit = limit
        self._open_one = open_one
        self._closing = closing
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._users: list[int] = []  # threads that hold a connection
        self._draining = False
        self._free: list[AnyConnection] = []
        self.generation = 0
        _pools.add(self)

    @contextmanager
    def use(self) -> Iterator[AnyConnection]:
        """A connection for this thread alone; an open transaction is rolled back at the end."""
        me = threading.get_ident()
        with self._lock:
            # A thread that already holds a connection must get its second one, or it would wait for itself.
            while (self._draining or len(self._users) >= self._limit) and me not in self._users:
                self._turn.wait()
            self._users.append(me)
            connection = self._free.pop() if self._free else None
        try:
            connection = connection or self._open_one()
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    # The error that broke the transaction may come again; it was raised already.
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                if connection.in_transaction:
                    _abandoned.append(connection)
                else:
                    self._free.append(connection)
        finally:
            with self._lock:
                self._users.remove(me)
                if self._draining or len(self._users) + 1 >= self._limit:
                    self._turn.notify_all()

    def glance(self, sql: str) -> Any:
        """The first row of a question that opens no transaction and takes a microsecond.

        It is asked while the pool stands still, which is quicker than to lend a connection and take it back.
        """
        with self._lock:
            if self._free and not self._draining:
                return self._free[-1].execute(sql).fetchone()
        with self.use() as connection:
            return connection.execute(sql).fetchone()

    def close(self) -> None:
        """Close all connections, once those in use by other threads are back."""
        self._drain()
        self._resume()

    def _drain(self) -> None:
        me = threading.get_ident()
        with self._lock:
            while self._draining:
                self._turn.wait()
            self._draining = True
            while any(user != me for user in self._users):
                self._turn.wait()
        free, self._free = self._free, []
        self.generation += 1
        if not free:
            return
        try:
            with self._closing():
                for connection in free:
                    connection.close()
        except StoreLockedError:
            # Left open for ever: a close without the lock could reset the log under a writer.
            _abandoned.extend(free)

    def _resume(self) -> None:
        with self._lock:
            self._draining = False
            self._turn.notify_all()

    def _resume_in_child(self) -> None:
        # Threads that were waiting exist in the parent only.
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._users.clear()
        self._draining = False
        # In use by the forking thread itself: never to be touched again on this side.
        _abandoned.extend(self._free)
        self._free = []
        self.generation += 1


_pools: weakref.WeakSet[Connections[Any]] = weakref.WeakSet()
_abandoned: list[sqlite3.Connection] = []
_forking: list[Connections[Any]] = []


def _before_fork() -> None:
    _forking[:] = list(_pools)
    for pool in _forking:
        pool._drain()


def _after_fork(in_child: bool) -> None:
    for pool in _forking:
        if in_child:
            pool._resume_in_child()
        else:
            pool._resume()
    _forking.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(False),
    after_in_child=lambda: _after_fork(True),
)
