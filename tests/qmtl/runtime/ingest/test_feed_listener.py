"""A live feed in virtual time: order, a full queue, broken and silent connections, and the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE, SECOND, to_ns
from qmtl.runtime.ingest.feed_listener import (
    ClosedBars,
    FeedEnded,
    FeedGap,
    FeedListener,
    Heard,
    ListeningPolicy,
)
from qmtl.runtime.io.vendors.base import LiveFeed, Update
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Deliver, ScriptedFeed

T = TypeVar("T")

SERIES = SeriesId.parse("ohlcv:test:BTC/USDT:1m")
START = to_ns("2024-02-01")
BARS = synthetic_bars(SERIES, Span(START - 60 * MINUTE, START))
CUT = ConnectionResetError("cut")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@dataclass
class Connections:
    """A feed that plays one script per connection, and is silent when it has played the last."""

    scripts: list[list[Deliver | BaseException]]
    opened_at: list[float] = field(default_factory=list)
    closed: int = 0

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        self.opened_at.append(asyncio.get_running_loop().time())
        script = self.scripts.pop(0) if self.scripts else []
        try:
            async for update in ScriptedFeed(script).bars(series):
                yield update
        finally:
            self.closed += 1


def bar(number: int, *, after: float = 1.0, closed: bool = True) -> Deliver:
    return Deliver(after, BARS.slice(number, 1), closed)


def seconds(first: float, last: float) -> Span:
    return Span(START + int(first * SECOND), START + int(last * SECOND))


def run(clock: FakeClock, work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(work)


def listener(clock: FakeClock, feed: LiveFeed, **policy: Any) -> FeedListener:
    return FeedListener(
        feed, SERIES, source="feed", clock=clock, jitter=lambda: 1.0, policy=ListeningPolicy(**policy)
    )


def heard(clock: FakeClock, feed: LiveFeed, count: int, *, first: float = 0.0, **policy: Any) -> list[Heard]:
    """The first `count` things heard, from `first` seconds on."""

    async def story() -> list[Heard]:
        listening = listener(clock, feed, **policy)
        await asyncio.sleep(first)
        found = [await listening.next() for _ in range(count)]
        await listening.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left running"
        return found

    return run(clock, story())


def numbers(found: list[Heard]) -> list[int | str]:
    """The bars heard by their number; other things by their kind."""
    first = int(BARS["ts"].to_physical()[0])
    return [
        (int(one.frame["ts"].to_physical()[0]) - first) // MINUTE
        if isinstance(one, ClosedBars)
        else type(one).__name__
        for one in found
    ]


def test_closed_bars_come_in_order_and_forming_ones_do_not(clock: FakeClock) -> None:
    feed = Connections([[bar(0), bar(1, closed=False), bar(1), bar(2)]])
    found = heard(clock, feed, 3)
    assert numbers(found) == [0, 1, 2]
    assert isinstance(found[0], ClosedBars)
    assert_frame_equal(found[0].frame, BARS.head(1))


# -- a full queue -----------------------------------------------------------------------------------------


def test_a_full_queue_refuses_what_is_newer_and_marks_the_gap(clock: FakeClock) -> None:
    feed = Connections([[*(bar(number) for number in range(6)), bar(6, after=10.0)]])
    found = heard(clock, feed, 4, first=8.0, queue=2)
    assert numbers(found) == [0, 1, "FeedGap", 6]
    assert found[2] == FeedGap(seconds(3, 6), "2 updates are waiting to be taken")


def test_the_queue_is_bounded_however_long_nobody_takes_anything(clock: FakeClock) -> None:
    async def story() -> int:
        listening = listener(clock, Connections([[bar(n % 60, after=0.1) for n in range(5_000)]]), queue=10)
        await asyncio.sleep(600)
        await listening.close()
        found = []
        while not isinstance(found[-1] if found else None, FeedEnded):
            found.append(await listening.next())
        return len(found)

    assert run(clock, story()) == 10 + 1 + 1, "ten updates, one gap, the end"


# -- connections ------------------------------------------------------------------------------------------


def test_a_broken_connection_is_opened_again_and_the_gap_is_marked(clock: FakeClock) -> None:
    feed = Connections([[bar(0), CUT], [bar(1)]])
    found = heard(clock, feed, 3)
    assert numbers(found) == [0, "FeedGap", 1]
    assert found[1] == FeedGap(seconds(1, 1.5), "the connection broke: ConnectionResetError: cut")
    assert feed.opened_at == [0.0, 1.5]
    assert feed.closed == 2


def test_pauses_grow_with_jitter_up_to_a_bound_and_start_again_after_an_update(clock: FakeClock) -> None:
    scripts: list[list[Deliver | BaseException]] = [
        [CUT],
        [CUT],
        [CUT],
        [CUT],
        [bar(0, after=0.0), CUT],
        [bar(1)],
    ]
    feed = Connections(scripts)
    draws = iter([1.0, 0.0, 0.5, 1.0, 1.0])

    async def story() -> list[Heard]:
        listening = FeedListener(
            feed,
            SERIES,
            source="feed",
            clock=clock,
            jitter=lambda: next(draws),
            policy=ListeningPolicy(tries=5, first_pause=1.0, longest_pause=4.0),
        )
        found = [await listening.next() for _ in range(7)]
        await listening.close()
        return found

    assert numbers(run(clock, story())) == [*["FeedGap"] * 4, 0, "FeedGap", 1]
    # 1.0, then half of 2.0, three quarters of 4.0, all of 4.0, and 1.0 again.
    assert feed.opened_at == pytest.approx([0.0, 1.0, 2.0, 5.0, 9.0, 10.0])


def test_a_connection_that_stays_broken_ends_the_listening_with_its_cause(clock: FakeClock) -> None:
    feed = Connections([[CUT] for _ in range(9)])
    *gaps, end = heard(clock, feed, 4)
    assert [gap.span for gap in gaps if isinstance(gap, FeedGap)] == [
        seconds(0, 0.5),
        seconds(0.5, 1.5),
        seconds(1.5, 3.5),
    ]
    assert isinstance(end, FeedEnded)
    assert isinstance(end.error, SourceUnavailableError)
    assert (end.error.what, end.error.why) == ("the live feed feed broke off", "ConnectionResetError: cut")
    assert end.error.__cause__ is CUT
    assert len(feed.opened_at) == 4


def test_a_silent_connection_counts_as_broken(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    feed = Connections([[bar(0), bar(1, after=9.0, closed=False)], [bar(1)]])
    with caplog.at_level(logging.WARNING, logger="seamless.backfill"):
        found = heard(clock, feed, 3, silence=10.0)
    assert numbers(found) == [0, "FeedGap", 1]
    assert found[1] == FeedGap(seconds(10, 20.5), "the connection broke: _Silent: no update for 10 s")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["feed.reconnecting"]


def test_without_a_bound_silence_is_waited_for(clock: FakeClock) -> None:
    assert numbers(heard(clock, Connections([[bar(0, after=100_000.0)]]), 1)) == [0]


# -- ends -------------------------------------------------------------------------------------------------


def test_a_feed_that_ends_is_not_opened_again(clock: FakeClock) -> None:
    feed = ScriptedFeed([bar(0)], ends=True)
    assert heard(clock, feed, 3)[1:] == [FeedEnded(None)] * 2
    assert len(feed.calls) == 1


@pytest.mark.parametrize(
    ("cause", "why"),
    [(ValueError("a bug"), "ValueError: a bug"), (SystemExit(1), "SystemExit: 1")],
    ids=["defect", "exit"],
)
def test_what_a_feed_raises_is_its_failure(clock: FakeClock, cause: BaseException, why: str) -> None:
    feed = ScriptedFeed([cause])
    (end,) = heard(clock, feed, 1)
    assert isinstance(end, FeedEnded)
    assert isinstance(end.error, SourceUnavailableError)
    assert (end.error.what, end.error.why) == ("the live feed feed failed", why)
    assert len(feed.calls) == 1


@pytest.mark.parametrize(
    "error", [InvalidRequestError("not served"), SourceUnavailableError("down", source="feed")], ids=str
)
def test_an_error_of_this_package_is_passed_on_as_it_is(clock: FakeClock, error: Any) -> None:
    assert heard(clock, ScriptedFeed([error]), 1) == [FeedEnded(error)]


def test_whoever_waits_hears_of_the_close(clock: FakeClock) -> None:
    async def story() -> Heard:
        listening = listener(clock, ScriptedFeed([]))
        waiting = asyncio.ensure_future(listening.next())
        await asyncio.sleep(1)
        await listening.close()
        return await waiting

    assert run(clock, story()) == FeedEnded(None)


class Deaf:
    """Ignores its cancellation for a while."""

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
        yield Update(BARS.head(1), closed=True)


def test_a_feed_that_does_not_close_is_left_behind_and_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> float:
        listening = listener(clock, Deaf())
        await asyncio.sleep(1)
        await listening.close()
        return asyncio.get_running_loop().time()

    with caplog.at_level(logging.WARNING, logger="seamless.backfill"):
        assert run(clock, story()) == pytest.approx(1.25)
    assert "feed.left_behind" in caplog.text


def test_a_connection_is_closed_when_the_listening_ends(clock: FakeClock) -> None:
    feed = Connections([[bar(0)]])
    heard(clock, feed, 1)
    assert feed.closed == 1


@dataclass
class Breathless:
    """A feed that always has its next update at hand: it never waits."""

    closed: bool
    sent: int = 0
    most: int = 10_000

    async def bars(self, series: SeriesId) -> AsyncIterator[Update]:
        while self.sent < self.most:
            self.sent += 1
            yield Update(BARS.slice(0, 1), self.closed)


@pytest.mark.parametrize("closed", [True, False])
def test_a_feed_that_never_waits_leaves_the_loop_to_others(clock: FakeClock, closed: bool) -> None:
    feed = Breathless(closed)

    async def story() -> int:
        listening = listener(clock, feed)
        for _ in range(10):
            await asyncio.sleep(0)
        sent = feed.sent
        await listening.close()
        return sent

    assert run(clock, story()) < 100
