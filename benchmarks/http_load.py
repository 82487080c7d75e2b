"""A load on a server: some connections, each of which sends its next request when it has the last answer.

python -m benchmarks.http_load URL PATH SECONDS CONNECTIONS
python -m benchmarks.http_load --serve BYTES

Prints, as JSON, how many answers came in a second, and the seconds that each took. With --serve it is the
minimal server: it answers every request with so many bytes, and prints its address first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit


class _ClientConnection(asyncio.Protocol):
    """One connection. An answer has a content-length, as those of a registry have."""

    def __init__(self, request: bytes, ends: float, seconds: list[float]) -> None:
        self._request = request
        self._ends = ends
        self._seconds = seconds
        self._output = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._output += data
        head, border, body = self._output.partition(b"\r\n\r\n")
        if not border:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        if not head.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(self._output.decode(errors="replace")))
            return
        self._seconds.append(now - self._began)
        self._output = b""
        if now < self._ends:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(url: str, path: str, seconds: float, connections: int) -> dict[str, object]:
    where = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nhost: {where.netloc}\r\naccept: application/json\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    began = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: _ClientConnection(request, began + seconds, taken), where.hostname, where.port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(asking.done for _, asking in made))
    return {"rate": len(taken) / (time.perf_counter() - began), "seconds": taken}


class _ServerConnection(asyncio.Protocol):
    """Whatever comes up to an empty line is a request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer * data.count(b"\r\n\r\n"))


async def serve(size: int) -> None:
    answer = f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode() + b" " * size
    server = await asyncio.get_running_loop().create_server(lambda: _ServerConnection(answer), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    if arguments[0] == "--serve":
        asyncio.run(serve(int(arguments[1])))
    else:
        url, path, seconds, connections = arguments
        print(json.dumps(asyncio.run(load(url, path, float(seconds), int(connections)))))


if __name__ == "__main__":
    main(sys.argv[1:])
