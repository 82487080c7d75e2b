"""A server of gRPC, made of `h2`, which is strict with its client; what it answers, a test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from tests.qmtl.ports import free_port

HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def framed(message: bytes) -> bytes:
    """A message as it stands in the body of a call or of its answer: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class ServerSide:
    """One connection, without a socket: bytes in, calls out; what it has to say is taken from `h2`."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self._begun: dict[int, tuple[dict[str, str], bytearray]] = {}

    def receive(self, data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
        """The stream, the headers and the body of each call that is whole now."""
        whole = []
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                fields = {name.decode(): value.decode() for name, value in event.headers}
                self._begun[event.stream_id] = fields, bytearray()
            elif isinstance(event, DataReceived):
                self._begun[event.stream_id][1].extend(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                headers, body = self._begun.pop(event.stream_id)
                whole.append((event.stream_id, headers, bytes(body)))
        return whole

    def answer(self, stream: int, message: bytes, status: int = 0, why: str = "") -> None:
        """Headers, the message in frames of the greatest size, and trailers."""
        self.h2.send_headers(stream, HEADERS)
        body = framed(message)
        for place in range(0, len(body), 2**14):
            self.h2.send_data(stream, body[place : place + 2**14])
        trailers = [("grpc-status", str(status)), ("grpc-message", why)]
        self.h2.send_headers(stream, trailers, end_stream=True)


class Call(NamedTuple):
    """number: of the connection, from 1. body: the message, framed."""

    number: int
    stream: int
    headers: dict[str, str]
    body: bytes
    side: ServerSide
    writer: asyncio.StreamWriter

    def answer(self, message: bytes, status: int = 0, why: str = "") -> None:
        self.side.answer(self.stream, message, status, why)
        self.writer.write(self.side.h2.data_to_send())


Serve = Callable[[Call], Awaitable[None]]


@asynccontextmanager
async def grpc_server(serve: Serve) -> AsyncIterator[tuple[str, list[Call]]]:
    """Its URL, and the calls as they come, each whole; `serve` has each in turn."""
    calls: list[Call] = []
    connected = 0

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        number, side = connected, ServerSide()
        try:
            writer.write(side.h2.data_to_send())
            while data := await reader.read(2**16):
                for stream, headers, body in side.receive(data):
                    calls.append(Call(number, stream, headers, body, side, writer))
                    await serve(calls[-1])
                writer.write(side.h2.data_to_send())
                await writer.drain()
        except (ConnectionError, ProtocolError):
            pass  # who has sent it sees the connection end
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", free_port())
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", calls
    finally:
        server.close()


@contextmanager
def grpc_server_in_thread(serve: Serve) -> Iterator[str]:
    """The URL of one that answers while the block runs."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        async with grpc_server(serve) as (url, _):
            ends = asyncio.Event()
            started.set_result((url, asyncio.get_running_loop(), ends))
            await ends.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    url, loop, ends = started.result(60)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join()
