"""Asking once more happens as often and as late as it should, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from qmtl.runtime.io.retries import Again, GaveUpError, retried
from qmtl.runtime.testing import FakeClock

T = TypeVar("T")


class Flaky:
    """Fails with each error in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def play(scene: Coroutine[Any, Any, T], clock: FakeClock) -> T:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(scene)


def judge(error: Exception) -> Again | None:
    return Again(getattr(error, "after", None)) if isinstance(error, ConnectionError) else None


def after(seconds: float) -> ConnectionError:
    error = ConnectionError("not so fast")
    error.after = seconds  # type: ignore[attr-defined]  # the judge of this test reads it
    return error


def test_errors_that_may_pass_are_outwaited() -> None:
    clock, flaky, heard = (
        FakeClock(),
        Flaky(ConnectionError("a"), ConnectionError("b")),
        list[tuple[str, float]](),
    )
    reported = retried(flaky, judge, lambda error, pause: heard.append((str(error), pause)))
    assert play(reported, clock) == "answer"
    assert flaky.asked == 3
    assert [text for text, _ in heard] == ["a", "b"]
    first, second = (pause for _, pause in heard)
    assert 0.25 <= first <= 0.5 <= second <= 1.0
    assert clock.monotonic() == pytest.approx(first + second)


def test_the_last_error_is_the_cause() -> None:
    flaky = Flaky(*[ConnectionError(str(n)) for n in range(9)])
    with pytest.raises(GaveUpError) as gave_up:
        play(retried(flaky, judge, lambda *_: None, attempts=4), FakeClock())
    assert gave_up.value.attempts == flaky.asked == 4
    assert str(gave_up.value.__cause__) == "3"


def test_other_errors_pass_through_at_once() -> None:
    clock, flaky = FakeClock(), Flaky(KeyError("no"))
    with pytest.raises(KeyError):
        play(retried(flaky, judge, lambda *_: None), clock)
    assert (flaky.asked, clock.monotonic()) == (1, 0.0)


def test_what_the_source_asks_for_is_the_least_wait() -> None:
    clock = FakeClock()
    play(retried(Flaky(after(120.0)), judge, lambda *_: None), clock)
    assert 120.0 <= clock.monotonic() <= 120.5


def test_a_cancelled_wait_asks_no_more() -> None:
    flaky = Flaky(after(3600.0))

    async def scene() -> None:
        async with asyncio.timeout(60.0):
            await retried(flaky, judge, lambda *_: None)

    with pytest.raises(TimeoutError):
        play(scene(), FakeClock())
    assert flaky.asked == 1
