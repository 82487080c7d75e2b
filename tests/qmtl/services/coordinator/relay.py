"""Stands between a worker and a coordinator, and loses what it is told to lose."""

from __future__ import annotations

import asyncio
import threading
from enum import Enum

import aiohttp
from aiohttp import web


class Lose(Enum):
    NOTHING = "nothing"
    ANSWER = "the answer: what was asked has been done"
    REQUEST = "the request: nothing has been done"


class Relay:
    """`losing` holds for requests to come; one that is lost has its connection closed. seen: their paths."""

    def __init__(self, url: str) -> None:
        self._to = url
        self.lose = Lose.NOTHING
        self.times = 0  # how many more are lost
        self.seen: list[str] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._relay)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as self._session:
            self._ready.set()
            await self._end.wait()
        await runner.cleanup()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        lose = Lose.NOTHING
        if self.times:
            self.times -= 1
            lose = self.lose
        body = await request.read()
        if lose is not Lose.REQUEST:
            headers = {"content-type": "application/json"}
            async with self._session.request(
                request.method, self._to + request.path, data=body, headers=headers
            ) as answer:
                response = web.Response(status=answer.status, body=await answer.read())
        if lose is Lose.NOTHING:
            return response
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    def losing(self, lose: Lose, times: int) -> None:
        self.lose, self.times = lose, times

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        self._loop.close()
