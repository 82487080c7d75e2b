"""A call has one attempt, and who makes it learns whether it can have been done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qmtl.services.coordinator.grpc.connections import Connections, NotConnectedError
from qmtl.services.coordinator.grpc.http2 import Answer
from tests.qmtl.ports import free_port
from tests.qmtl.services.coordinator.grpc_server import HEADERS, Call, Serve, framed, grpc_server

Story = Callable[[Connections, str, list[Call]], Awaitable[None]]


def told(serve: Serve, story: Story) -> None:
    async def run() -> None:
        connections = Connections(connect_s=1.0)
        try:
            async with asyncio.timeout(60), grpc_server(serve) as (url, calls):
                await story(connections, url, calls)
        finally:
            connections.close()

    asyncio.run(run())


async def echo(call: Call) -> None:
    call.answer(call.body[5:])


def numbers(calls: list[Call]) -> list[int]:
    return [call.number for call in calls]


def test_a_connection_stays_open_for_the_next_call() -> None:
    async def story(connections: Connections, url: str, calls: list[Call]) -> None:
        for number in range(3):
            message = b"%d" % number
            assert await connections.call(url, "/a.B/C", message) == Answer(0, "", message)
        assert numbers(calls) == [1, 1, 1]
        assert calls[1].headers[":path"] == "/a.B/C"
        assert calls[1].headers[":authority"] == url.removeprefix("http://")
        await asyncio.gather(*(connections.call(url, "/at/once", b"") for _ in range(4)))
        assert sorted(numbers(calls[3:])) == [1, 2, 3, 4]

    told(echo, story)


def test_an_answer_in_pieces() -> None:
    async def serve(call: Call) -> None:
        call.side.answer(call.stream, b"abcde", 5, "no")
        for byte in call.side.h2.data_to_send():
            call.writer.write(bytes((byte,)))
            await call.writer.drain()
            await asyncio.sleep(0)

    async def story(connections: Connections, url: str, calls: list[Call]) -> None:
        for _ in range(2):
            assert await connections.call(url, "/a.B/C", b"") == Answer(5, "no", b"abcde")
        assert numbers(calls) == [1, 1]

    told(serve, story)


async def closes(call: Call) -> None:
    call.writer.close()


async def closes_within(call: Call) -> None:
    call.side.h2.send_headers(call.stream, HEADERS)
    call.side.h2.send_data(call.stream, framed(b"all of it"))
    call.writer.write(call.side.h2.data_to_send())
    call.writer.close()


async def gives_up(call: Call) -> None:
    call.side.h2.reset_stream(call.stream, 2)


async def talks_nonsense(call: Call) -> None:
    call.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (closes, "closed"),
        (closes_within, "closed"),
        (gives_up, "gave the request up"),
        (talks_nonsense, "is it etcd?"),
    ],
)
def test_an_answer_that_does_not_come_whole_may_have_been_done(serve: Serve, why: str) -> None:
    async def story(connections: Connections, url: str, calls: list[Call]) -> None:
        with pytest.raises(ConnectionError, match=why):
            await connections.call(url, "/a.B/C", b"")
        with pytest.raises(ConnectionError):
            await connections.call(url, "/a.B/C", b"")
        assert numbers(calls) == [1, 2]  # each was sent once, the second on a new connection

    told(serve, story)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_connection_that_the_server_ends_is_not_used_again(says_so: bool) -> None:
    async def serve(call: Call) -> None:
        call.answer(b"")
        if says_so:
            call.side.h2.close_connection(last_stream_id=call.stream)
        else:
            call.writer.close()

    async def story(connections: Connections, url: str, calls: list[Call]) -> None:
        for number in range(1, 4):
            assert (await connections.call(url, "/a.B/C", b"")).status == 0
            while connections.open_idle:  # until the end has come here
                await asyncio.sleep(0)
            assert numbers(calls)[-1] == number

    told(serve, story)


def test_who_stops_waiting_gets_no_answer_of_another() -> None:
    gate = asyncio.Event()

    async def serve(call: Call) -> None:
        if not gate.is_set():
            await gate.wait()
            call.answer(b"no")
        else:
            call.answer(b"yes")

    async def story(connections: Connections, url: str, calls: list[Call]) -> None:
        waiting = asyncio.ensure_future(connections.call(url, "/a.B/C", b""))
        while not calls:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert await connections.call(url, "/a.B/C", b"") == Answer(0, "", b"yes")
        assert numbers(calls) == [1, 2]

    told(serve, story)


def test_nobody_there() -> None:
    async def run() -> None:
        connections = Connections(connect_s=1.0)
        for url in (f"http://127.0.0.1:{free_port()}", "http://no-such-host.invalid:2379"):
            with pytest.raises(NotConnectedError):
                await connections.call(url, "/a.B/C", b"")

    asyncio.run(run())
