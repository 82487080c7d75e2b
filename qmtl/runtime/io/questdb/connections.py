"""Connections over HTTP that stay open: to open one takes as long as a short answer."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException


class Connections:
    """To one server. Any thread may ask; a process that was forked opens connections of its own."""

    def __init__(self, host: str, port: int, patience_s: float) -> None:
        self._place, self._patience_s = (host, port), patience_s
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._process = os.getpid()
        # For those who do not close, and stores that could not be opened.
        weakref.finalize(self, _close, self._idle)

    def asked(self, target: str, headers: Mapping[str, str], *, keep: bool) -> tuple[int, bytes]:
        """Status and body of a GET. Raises what `http.client` does.

        keep: whether it changes nothing, so that it may go out on a connection that was kept, and once more
        where that has ended meanwhile. What may not be repeated gets a connection that is closed after it.
        """
        kept = self._kept() if keep else None
        if kept is not None:
            try:
                return self._answer(kept, target, headers, keep=True)
            except TimeoutError:
                raise  # a server that takes its time does not take less of it later
            except (OSError, HTTPException):
                self.close()  # the others have ended as well, or will tell by themselves
        return self._answer(
            HTTPConnection(*self._place, timeout=self._patience_s), target, headers, keep=keep
        )

    def _answer(
        self, connection: HTTPConnection, target: str, headers: Mapping[str, str], *, keep: bool
    ) -> tuple[int, bytes]:
        try:
            connection.request("GET", target, headers=dict(headers))
            answer = connection.getresponse()
            found = answer.status, answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close or not keep:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return found

    def _kept(self) -> HTTPConnection | None:
        with self._lock:
            if self._process != os.getpid():  # those of the parent stay the parent's
                self._process = os.getpid()
                _close(self._idle)
            return self._idle.pop() if self._idle else None

    def close(self) -> None:
        """Close those that nobody uses now."""
        with self._lock:
            _close(self._idle)


def _close(idle: list[HTTPConnection]) -> None:
    """Close connections; in a process that was forked, only its copies of them."""
    while idle:
        idle.pop().close()
