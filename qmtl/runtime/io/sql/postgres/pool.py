"""Connections that are kept for the next use; none of them is shared with a process that was forked."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager

from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.failures import NoConnectionLeftError
from qmtl.runtime.io.store.waiting import current

# How soon somebody who waits for a connection notices that nobody waits for him any more.
_LOOK_EVERY_S = 0.05


class Pool:
    """As many connections as are used at once, up to a limit.

    They are opened by the thread that needs one, so that it gets the error of the server itself. A thread
    that has one already gets its second whatever the limit says, for it would wait for itself.
    """

    def __init__(self, open_one: Callable[[], PostgresConnection], *, limit: int) -> None:
        self._open_one, self._limit = open_one, limit
        self._is_closed = False
        self._begin_anew()
        _pools.add(self)

    def _begin_anew(self) -> None:
        self._turn = threading.Condition()
        self._free: list[PostgresConnection] = []
        self._users: list[int] = []

    @contextmanager
    def use(self) -> Iterator[PostgresConnection]:
        """A connection for this thread alone; an open transaction is undone at the end."""
        me = threading.get_ident()
        connection = self._taken(me)
        try:
            try:
                yield connection
            finally:
                if connection.finish():
                    self._free.append(connection)
        finally:
            self._give_up(me)

    def _taken(self, me: int) -> PostgresConnection:
        while True:
            with self._turn:
                while len(self._users) >= self._limit and me not in self._users:
                    _next(self._turn.wait)
                self._users.append(me)
                connection = self._free.pop() if self._free else None
            try:
                return connection or self._opened()
            except NoConnectionLeftError:
                self._give_up(me)
                with self._turn:
                    # The server lets us have no more than there are: one may have come back meanwhile,
                    # and others of this process end soon.
                    if not self._free and (not self._users or me in self._users):
                        raise
                    self._limit = len(self._users) + len(self._free)
            except BaseException:
                self._give_up(me)
                raise

    def _opened(self) -> PostgresConnection:
        """A new one. It is opened beside the caller if he waits for a while only, and kept if he is gone."""
        if current() is None:
            return self._open_one()
        opening: Future[PostgresConnection] = Future()

        def open_one() -> None:
            try:
                opening.set_result(self._open_one())
            except BaseException as failure:  # noqa: BLE001 - whoever waits for it gets it
                opening.set_exception(failure)

        threading.Thread(target=open_one, name="qmtl-connect", daemon=True).start()
        try:
            while not opening.done():
                _next(lambda seconds: wait([opening], seconds))
        except BaseException:
            opening.add_done_callback(self._keep)
            raise
        return opening.result()

    def _keep(self, opening: Future[PostgresConnection]) -> None:
        """A connection that nobody waits for any more is there for the next one."""
        if opening.exception() is None:
            opening.result().is_kept = True
            self._free.append(opening.result())
            if self._is_closed:
                self.close()

    def _give_up(self, me: int) -> None:
        with self._turn:
            self._users.remove(me)
            self._turn.notify()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._is_closed = True
        free, self._free = self._free, []
        for connection in free:
            connection.close()

    def _after_fork(self) -> None:
        # They are the parent's: to close one would end its session.
        _of_parents.extend(self._free)
        self._begin_anew()


def _next(waits: Callable[[float | None], object]) -> None:
    """Wait for a while. Raises `ReadAbandonedError` once nobody waits for it any more."""
    caller = current()
    if caller is None:
        waits(None)
        return
    caller.refuse_over()
    left = caller.left_s
    waits(_LOOK_EVERY_S if left is None else min(left, _LOOK_EVERY_S))


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_of_parents: list[PostgresConnection] = []


def _in_child() -> None:
    for pool in list(_pools):
        pool._after_fork()


os.register_at_fork(after_in_child=_in_child)
