"""The thread of a provider keeps what was begun on it until it has ended."""

from __future__ import annotations

import asyncio
import gc

from qmtl.foundation.clock import SystemClock
from qmtl.runtime.sdk.loop_thread import LoopThread


def test_a_task_that_nobody_else_knows_is_held_until_it_ends() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("waits")

    async def begins() -> None:
        asyncio.ensure_future(waits())  # noqa: RUF006 - that nobody holds it is what is tried
        await asyncio.sleep(0)

    async def nothing() -> None: ...

    thread = LoopThread(SystemClock())
    thread.run(begins())
    gc.collect()
    thread.run(nothing())
    assert ended == []
    thread.close(nothing)
    assert ended == ["waits"]
