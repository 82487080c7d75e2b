"""A server on this machine alone, in a thread of its own: what the simulated sources stand on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError

if TYPE_CHECKING:
    from aiohttp import web

    Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LocalServer:
    """Answers every GET by `handle`, on the loop of its thread, which has this name.

    port: 0 takes a free one. Needs `qmtl[testing]`.
    """

    def __init__(self, handle: Handler, *, name: str, port: int = 0) -> None:
        self._handle = handle
        self._name = name
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, once started."""
        if self._thread is None:
            raise InvalidRequestError(
                f"the {self._name} is not running", next_step="use it in a `with` block, or call start()"
            )
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin to serve; returns when it does. OSError if the port is taken."""
        try:
            import aiohttp.web  # noqa: F401 - is it there? The thread would only say so too late.
        except ImportError:
            raise MissingDependencyError("aiohttp", extra="testing") from None
        started = threading.Event()
        failed: list[OSError] = []
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started, failed)), name=self._name, daemon=True
        )
        self._thread.start()
        started.wait()
        if failed:
            self._thread.join()
            self._thread = None
            raise failed[0]

    def close(self) -> None:
        """Stop serving; open connections are dropped. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._closing is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            thread.join()

    async def closing(self) -> None:
        """Wait, on the loop of the server, until it is closed."""
        assert self._closing is not None  # serving has begun
        await self._closing.wait()

    async def _serve(self, started: threading.Event, failed: list[OSError]) -> None:
        from aiohttp import web

        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("GET", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port)
            try:
                await site.start()
            except OSError as error:
                failed.append(error)
                return
            self._port = runner.addresses[0][1]
            started.set()
            await self._closing.wait()
        finally:
            started.set()
            await runner.cleanup()


async def half(request: web.Request, body: bytes, share: float) -> web.StreamResponse:
    """Promise the whole body, send a part, and hang up."""
    from aiohttp import web

    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Length": str(len(body))}
    )
    await response.prepare(request)
    await response.write(body[: int(len(body) * share)])
    if request.transport is not None:
        request.transport.close()
    return response
