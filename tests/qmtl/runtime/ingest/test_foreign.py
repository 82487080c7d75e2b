"""Errors of foreign code are reported as its own, and closing it hides none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Self

import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, HOUR
from qmtl.runtime.ingest.foreign import (
    close,
    closed_or_logged,
    closing,
    error_text,
    is_cancelled,
    log_facts,
)


class Mute(Exception):
    """An error whose own message fails."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no message")


class Source:
    """A foreign iterator that can be closed, and may fail at that."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.closed = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad page"), "ValueError: bad page"),
        (ValueError(), "ValueError: "),
        (Mute(), "Mute, whose message cannot be read (ZeroDivisionError)"),
        (
            ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])]),
            "ExceptionGroup of ValueError: a; ExceptionGroup of KeyError: 'b'",
        ),
    ],
)
def test_the_text_of_an_error_names_its_class(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_every_event_names_its_series_and_range() -> None:
    assert log_facts(SeriesId.parse("ohlcv:test:A/B:1h"), Span(0, DAY + HOUR)) == {
        "node_id": "ohlcv:test:A/B:1h",
        "interval": "1h",
        "start": "1970-01-01",
        "end": "1970-01-02T01:00:00Z",
    }


def test_an_own_cancellation_is_distinguished_from_that_of_foreign_code() -> None:
    async def story() -> tuple[bool, bool]:
        seen = []

        async def work(is_ours: bool) -> None:
            try:
                if not is_ours:
                    raise asyncio.CancelledError
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append(is_cancelled())

        await work(is_ours=False)
        task = asyncio.create_task(work(is_ours=True))
        await asyncio.sleep(0)
        task.cancel()
        await task
        return seen[0], seen[1]

    assert asyncio.run(story()) == (False, True)


def test_a_source_is_closed_whether_its_closing_is_asynchronous_or_not() -> None:
    calls = []

    class Plain:
        def aclose(self) -> None:
            calls.append("plain")

    source = Source()
    asyncio.run(close(source))
    asyncio.run(close(Plain()))
    asyncio.run(close(iter([])))  # cannot be closed, and need not
    assert (source.closed, calls) == (1, ["plain"])


def test_a_failure_of_closing_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="seamless.backfill"):
        assert asyncio.run(closed_or_logged(Source(ValueError("late")), source="vendor")) is None
    (record,) = caplog.records
    assert record.getMessage() == "backfill.close_failed source=vendor error='ValueError: late'"


@pytest.mark.parametrize("leaving", [SystemExit(3), KeyboardInterrupt()])
def test_who_wants_to_leave_while_closing_is_handed_to_the_caller(leaving: BaseException) -> None:
    async def story() -> BaseException | None:
        # A task would end the loop on these, so they are caught where they are returned.
        return await closed_or_logged(Source(leaving))

    assert asyncio.run(story()) is leaving


def test_a_cancellation_of_ours_while_closing_goes_through() -> None:
    class Slow(Source):
        async def aclose(self) -> None:
            await asyncio.sleep(3600)

    async def story() -> bool:
        task = asyncio.create_task(closed_or_logged(Slow()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    assert asyncio.run(story())


def test_a_cancellation_that_the_source_invents_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(closed_or_logged(Source(asyncio.CancelledError()))) is None
    assert "backfill.close_failed" in caplog.text


def test_the_first_error_wins_over_that_of_closing(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(ValueError("second"))

    async def story() -> None:
        async with closing(source, source="vendor"):
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        asyncio.run(story())
    assert source.closed == 1
    assert "ValueError: second" in caplog.text


def test_a_source_that_wants_to_leave_while_it_is_closed_does() -> None:
    async def story() -> BaseException | None:
        try:
            async with closing(Source(SystemExit(4))):
                pass
        except SystemExit as leave:
            return leave
        return None

    leave = asyncio.run(story())
    assert isinstance(leave, SystemExit)
    assert leave.code == 4


def test_a_generator_is_closed_at_the_end() -> None:
    ended = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    async def story() -> int:
        async with closing(numbers()) as source:
            return await anext(source)

    assert asyncio.run(story()) == 1
    assert ended == [True]
