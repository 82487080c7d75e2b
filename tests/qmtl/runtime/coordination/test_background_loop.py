"""Work goes on in its thread while loops come and go, and ends with `close`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from qmtl.runtime.coordination.background_loop import BackgroundLoop


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop("test-loop")
    yield loop
    loop.close()


async def thread_name() -> str:
    return threading.current_thread().name


def test_it_serves_any_loop_and_any_thread(loop: BackgroundLoop) -> None:
    assert not loop.is_started
    assert asyncio.run(loop.run(thread_name())) == "test-loop"
    assert asyncio.run(loop.run(thread_name())) == "test-loop"
    assert loop.submit(thread_name()).result(60) == "test-loop"


def test_an_error_reaches_its_caller(loop: BackgroundLoop) -> None:
    async def fails() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        asyncio.run(loop.run(fails()))


def test_who_is_cancelled_cancels_the_work(loop: BackgroundLoop) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def story() -> None:
        waiting = asyncio.create_task(loop.run(work()))
        await asyncio.to_thread(begun.wait, 60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(story())
    assert cancelled.wait(60)


def test_closing_cancels_what_is_under_way_and_it_may_start_again(loop: BackgroundLoop) -> None:
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    under_way = loop.submit(work())
    loop.submit(thread_name()).result(60)
    loop.close()
    assert cancelled.is_set()
    assert under_way.cancelled()
    loop.close()
    assert asyncio.run(loop.run(thread_name())) == "test-loop"
