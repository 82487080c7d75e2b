"""A request to a gateway has one attempt, and who makes it learns whether it can have been done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qmtl.services.coordinator.gateway_connections import Answer, GatewayConnections, NotConnectedError
from tests.qmtl.ports import free_port

ONE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
# What a server does with a request, once it has read it as a whole.
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def told(serve: Serve, story: Callable[[GatewayConnections, str, list[bytes]], Awaitable[None]]) -> None:
    """requests: what the server has read, one by one, each with the number of its connection before it."""
    requests: list[bytes] = []
    connected = 0

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        number = connected
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                requests.append(b"%d " % number + head + await reader.readexactly(length))
                await serve(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", free_port())
        port = server.sockets[0].getsockname()[1]
        connections = GatewayConnections(connect_s=1.0)
        try:
            async with asyncio.timeout(30):
                await story(connections, f"http://127.0.0.1:{port}", requests)
        finally:
            connections.close()
            server.close()

    asyncio.run(run())


def numbers(requests: list[bytes]) -> list[int]:
    return [int(request.split()[0]) for request in requests]


def test_a_connection_stays_open_for_the_next_request() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ONE)

    async def story(connections: GatewayConnections, url: str, requests: list[bytes]) -> None:
        for number in range(3):
            assert await connections.post(url, "/v3/kv/txn", b"%d" % number) == Answer(200, b"{}")
        assert numbers(requests) == [1, 1, 1]
        assert requests[1].startswith(b"1 POST /v3/kv/txn HTTP/1.1\r\nhost: 127.0.0.1:")
        assert requests[1].endswith(b"\r\n\r\n1")
        await asyncio.gather(*(connections.post(url, "/at/once", b"") for _ in range(4)))
        assert sorted(numbers(requests[3:])) == [1, 2, 3, 4]

    told(serve, story)


def test_an_answer_in_pieces() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        for place in range(len(text)):
            writer.write(text[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)

    async def story(connections: GatewayConnections, url: str, requests: list[bytes]) -> None:
        for _ in range(2):
            assert await connections.post(url, "/", b"") == Answer(503, b"abcde")
        assert numbers(requests) == [1, 1]

    told(serve, story)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"", "closed"), (ONE[:-1], "closed"), (b"\x00\x00\x12\x04\x00", "something else than HTTP")],
    ids=["nothing", "half", "another protocol"],
)
def test_an_answer_that_does_not_come_whole_may_have_been_done(answer: bytes, why: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async def story(connections: GatewayConnections, url: str, requests: list[bytes]) -> None:
        with pytest.raises(ConnectionError, match=why):
            await connections.post(url, "/", b"")
        with pytest.raises(ConnectionError):
            await connections.post(url, "/", b"")
        assert numbers(requests) == [1, 2]  # each was sent once, the second on a new connection

    told(serve, story)


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ONE)
        writer.close()

    async def story(connections: GatewayConnections, url: str, requests: list[bytes]) -> None:
        for number in range(1, 4):
            assert (await connections.post(url, "/", b"")).status == 200
            while connections.open_idle:  # until the end has come here
                await asyncio.sleep(0)
            assert numbers(requests)[-1] == number

    told(serve, story)


def test_who_stops_waiting_gets_no_answer_of_another() -> None:
    gate = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not gate.is_set():
            await gate.wait()
            writer.write(ONE.replace(b"{}", b"no"))
        else:
            writer.write(ONE)

    async def story(connections: GatewayConnections, url: str, requests: list[bytes]) -> None:
        waiting = asyncio.ensure_future(connections.post(url, "/", b""))
        while not requests:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert await connections.post(url, "/", b"") == Answer(200, b"{}")
        assert numbers(requests) == [1, 2]

    told(serve, story)


def test_nobody_there() -> None:
    async def run() -> None:
        connections = GatewayConnections(connect_s=1.0)
        for url in (f"http://127.0.0.1:{free_port()}", "http://no-such-host.invalid:2379"):
            with pytest.raises(NotConnectedError):
                await connections.post(url, "/", b"")

    asyncio.run(run())
