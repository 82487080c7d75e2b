"""A connection is used again, and given up once it has ended; what may not be repeated never is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, NamedTuple

import pytest

from qmtl.runtime.io.questdb.connections import Connections

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Serving(NamedTuple):
    """What a server did: the connections that it took, and the request lines of each."""

    port: int
    taken: list[list[bytes]]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """A server that answers twice on a connection, and then ends it as soon as it is asked once more."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        taken: list[list[bytes]] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                lines: list[bytes] = []
                taken.append(lines)
                with client, client.makefile("rb") as coming:
                    while request := _request(coming):
                        lines.append(request)
                        if len(lines) > 2:
                            break
                        client.sendall(ANSWER)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Serving(listener.getsockname()[1], taken)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _request(coming: BinaryIO) -> bytes:
    """The path of the next request; nothing at the end."""
    head = []
    while (line := coming.readline()) not in (b"", b"\r\n"):
        head.append(line)
    return head[0].split()[1] if head else b""


def test_a_connection_is_used_again_until_the_server_ends_it(serving: Serving) -> None:
    connections = Connections("127.0.0.1", serving.port, 10)
    for number in range(3):
        assert connections.asked(f"/{number}", {}, keep=True) == (200, b"ok")
    connections.close()
    assert serving.taken == [[b"/0", b"/1", b"/2"], [b"/2"]]


def test_what_may_not_be_repeated_gets_a_connection_of_its_own(serving: Serving) -> None:
    connections = Connections("127.0.0.1", serving.port, 10)
    for path in ("/makes", "/exports"):
        connections.asked(path, {}, keep=False)
    connections.asked("/reads", {}, keep=True)
    connections.close()
    assert serving.taken == [[b"/makes"], [b"/exports"], [b"/reads"]]


def test_a_server_that_is_away_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        Connections("127.0.0.1", port, 10).asked("/", {}, keep=True)
