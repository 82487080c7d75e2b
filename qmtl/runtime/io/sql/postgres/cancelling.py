"""The word to a server that nobody waits for a statement any more, sent on a connection of its own."""

from __future__ import annotations

import select
import time

import psycopg
from psycopg import pq

# Behind a network that stands still the word is given up; the server has a time-out of its own.
_SEND_S = 10.0

_EVENTS = {pq.PollingStatus.READING: select.POLLIN, pq.PollingStatus.WRITING: select.POLLOUT}


def order_to_cancel(pgconn: pq.abc.PGconn) -> pq.abc.PGcancelConn | None:
    """What `send` needs, also once that connection is gone; None where libpq is older than version 17.

    What older ones have would stop all threads of the process until the server has answered.
    """
    try:
        return pgconn.cancel_conn()
    except psycopg.NotSupportedError:
        return None


def send(order: pq.abc.PGcancelConn, within_s: float = _SEND_S) -> bool:
    """Whether the server was told. Blocks this thread alone: libpq's own blocking call would hold the GIL."""
    deadline = time.monotonic() + within_s
    try:
        order.start()
        while (status := pq.PollingStatus(order.poll())) in _EVENTS:
            poll = select.poll()
            poll.register(order.socket, _EVENTS[status])
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
    except psycopg.OperationalError:
        return False  # it has ended, or cannot be reached
    finally:
        order.finish()
    return status == pq.PollingStatus.OK
