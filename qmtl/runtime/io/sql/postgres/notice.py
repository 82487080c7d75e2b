"""Hears of commits on a connection of its own, so that a request need not ask whether there was one."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg
from psycopg import pq

from qmtl.foundation.errors import StoreError
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.heard import Heard, is_vouched

# So often within `max_staleness` the server is asked for its version; but not more often than that.
_QUESTIONS, _AT_MOST_EVERY_S = 3, 0.01
# Without an answer for so long a connection is given up. Requests have long been asking for themselves.
_ANSWER_S = 5.0
# Between the loss of a connection and the next one.
_PAUSE_S = 1.0
# How long `close` waits for the thread to end the session.
_CLOSE_S = 1.0

# Why the thread is woken.
_COMMITTED, _CLOSING = b"+", b"."
# So that operators find it among the sessions of a process.
_NAMED = "SELECT set_config('application_name', current_setting('application_name') || ' notice', false)"

_log = logging.getLogger("seamless.store")


def seconds() -> float:
    """A clock that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class CommitNotice:
    """What one store of one process hears of the commits of all others. Used from any thread.

    What a listening connection does not hear proves nothing: the network may be down, and a server tells of a
    commit only after it is visible. So the connection is asked for the version of the store, a few times
    within `max_staleness`, and at once when the server tells of a commit; and what it answered serves for as
    long as its question was sent no longer ago than that.

    open_one: opens a connection. question: of the version. max_staleness: in seconds, above 0.

    The thread begins with the first question; in a forked child there is none, and nothing is vouched for.
    """

    def __init__(
        self,
        open_one: Callable[[], PostgresConnection],
        *,
        channel: str,
        question: str,
        max_staleness: float,
    ) -> None:
        self._open_one = open_one
        self._channel, self._question = channel, question.encode()
        self.max_staleness = max_staleness
        self._every_s = max(max_staleness / _QUESTIONS, _AT_MOST_EVERY_S)
        self._heard: Heard | None = None
        self._committed_at = 0.0
        self._is_lost = False
        # The garbage collector may close what nobody uses in any thread, also in one that holds this.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._wakes: socket.socket | None = None
        self._closing = threading.Event()
        self._process = os.getpid()

    def vouches_for(self, version: int) -> bool:
        """Whether nothing that was visible `max_staleness` ago was committed since `version`."""
        if self._thread is None:
            self._start()
        return is_vouched(
            self._heard,
            version,
            now=seconds(),
            max_staleness=self.max_staleness,
            committed_at=self._committed_at,
        )

    def committed(self) -> None:
        """This process has made a commit: what was asked before that no longer serves."""
        with self._lock:
            self._committed_at = seconds()
            self._wake(_COMMITTED)

    def close(self) -> None:
        """End the session; a second call does nothing."""
        self._closing.set()
        self._heard = None
        with self._lock:
            self._wake(_CLOSING)
        is_ours = os.getpid() == self._process
        if is_ours and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closing.is_set() and os.getpid() == self._process:
                self._wakes, woken = socket.socketpair()
                self._wakes.setblocking(False)
                self._thread = threading.Thread(
                    target=self._live, args=(self._wakes, woken), name="qmtl-notice", daemon=True
                )
                self._thread.start()

    def _wake(self, why: bytes) -> None:
        if self._wakes is not None and os.getpid() == self._process:
            with suppress(BlockingIOError):  # it has been woken often enough
                self._wakes.send(why)

    # In the thread

    def _live(self, wakes: socket.socket, woken: socket.socket) -> None:
        with wakes, woken:
            try:
                self._listen_again_and_again(woken)
            finally:
                with self._lock:
                    self._wakes, self._heard = None, None

    def _listen_again_and_again(self, woken: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                self._listen(woken)
            except (psycopg.Error, StoreError) as failure:
                self._heard = None
                # Said once: a server that is down for an hour would fill the log.
                if not self._is_lost and not self._closing.is_set():
                    why = " ".join(str(failure).split())
                    _log.warning("commits are not heard of, so each request asks for them: %s", why)
                self._is_lost = True
            self._closing.wait(_PAUSE_S)

    def _listen(self, woken: socket.socket) -> None:
        """Follow the commits until the connection is lost, or this is closed."""
        with closing(self._open_one()) as connection:
            line = _Line(connection.raw.pgconn, woken)
            line.answer(f"{_NAMED}; LISTEN {self._channel}".encode(), _ANSWER_S)
            while not self._closing.is_set():
                asked_at = seconds()
                self._heard = Heard(int(line.answer(self._question, _ANSWER_S)), asked_at)
                self._is_lost = False
                line.wait_for_news(asked_at + self._every_s)


class _Line:
    """A connection on which one waits no longer than one wants to: libpq's asynchronous calls.

    woken: tells why somebody wants the server to be asked at once, or no more.
    """

    def __init__(self, pgconn: pq.abc.PGconn, woken: socket.socket) -> None:
        self._pgconn, self._woken = pgconn, woken
        self._is_woken = False
        self._poll = select.poll()
        self._poll.register(woken, select.POLLIN)

    def answer(self, statements: bytes, within_s: float) -> bytes:
        """The first value of the last answer. Raises `psycopg.OperationalError`, also where it is late."""
        deadline = seconds() + within_s
        self._is_woken = False
        self._pgconn.send_query(statements)
        while self._pgconn.flush():
            self._await(select.POLLIN | select.POLLOUT, deadline)
        answer = b""
        while True:
            while self._pgconn.is_busy():
                self._await(select.POLLIN, deadline)
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None:
                return answer
            if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
            answer = result.get_value(0, 0) or b"" if result.ntuples else b""

    def wait_for_news(self, deadline: float) -> None:
        """Return when the server tells of something, when woken, and at that time."""
        while not self._is_told() and not self._is_woken and self._is_ready(select.POLLIN, deadline):
            self._pgconn.consume_input()

    def _is_told(self) -> bool:
        is_told = False
        while self._pgconn.notifies() is not None:  # one question serves for all of them
            is_told = True
        return is_told

    def _await(self, events: int, deadline: float) -> None:
        if not self._is_ready(events, deadline):
            raise psycopg.OperationalError("the server does not answer")

    def _is_ready(self, events: int, deadline: float) -> bool:
        """Wait; whether something came of it before the deadline."""
        self._poll.register(self._pgconn.socket, events)
        ready = self._poll.poll(max(0.0, deadline - seconds()) * 1000)
        if any(descriptor == self._woken.fileno() for descriptor, _ in ready):
            self._is_woken = True
            if _CLOSING in self._woken.recv(4096):
                raise psycopg.OperationalError("the store is closed")
        return bool(ready)
