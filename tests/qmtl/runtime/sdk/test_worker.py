"""A worker beside a coordinator of the test: what it says of each shard, and how it leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from qmtl.foundation.errors import CoordinatorUnavailableError, LeaseError, SourceUnavailableError
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.coordination.coordinator_answers import LostError
from qmtl.runtime.coordination.coordinator_client import CoordinatorClient, TakenShard
from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.coordination.job_blocks import Outcome
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.worker import Worker, lacking
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Hang, Raise, ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1h"
FIRST = to_ns("2024-01-01")


class Queue(CoordinatorClient):
    """Gives the shards it was made with, and notes how they ended."""

    def __init__(
        self,
        *spans: tuple[int, int],
        faults: tuple[Exception, ...] = (),
        end_faults: tuple[Exception, ...] = (),
    ) -> None:
        self.end_faults = list(end_faults)
        self.left = [
            TakenShard("job", number, "", f"store/{SERIES}/{number}", SERIES, start, end, 0)
            for number, (start, end) in enumerate(spans)
        ]
        self.faults = list(faults)
        self.asked: list[str] = []
        self.resting: list[list[str]] = []
        self.ended: list[tuple[int, Outcome, str]] = []
        self.stopping = asyncio.Event()

    async def take(self, worker: str, take_id: str, **asked: Any) -> tuple[TakenShard | None, float]:
        self.asked.append(take_id)
        self.resting.append(asked["resting"])
        if self.faults:
            raise self.faults.pop(0)
        return (self.left.pop(0)._replace(take_id=take_id), 0.0) if self.left else (None, 0.01)

    async def end(self, taken: TakenShard, outcome: Outcome, why: str) -> None:
        if self.end_faults:
            raise self.end_faults.pop(0)
        self.ended.append((taken.number, outcome, why))
        if not self.left:
            self.stopping.set()
        if outcome is Outcome.RELEASED:
            raise LostError("it was too late", frozenset())


class Broken(ScriptedVendor):
    """Of somebody's own, with a defect that the first day meets."""

    def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        if span.start == FIRST:
            raise ZeroDivisionError("of somebody's own")
        return super().pages(series, span)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, Outcome, str]]]:
    monkeypatch.setattr("qmtl.runtime.sdk.worker._ASK_AGAIN_S", 0.01)

    def run(
        vendor: Any, queue: Queue, *, stop_when: Callable[[], bool] = lambda: False, ttl_s: float = 15.0
    ) -> Any:
        registry = CollectorRegistry()

        async def story() -> None:
            with SeamlessDataProvider(
                tmp_path / "bars",
                vendor,
                clock=FakeClock("2024-02-01T00:00:30Z"),
                metrics_registry=registry,
                progress=False,
            ) as provider:
                leases = DistributedBackfillCoordinator("http://127.0.0.1:1")
                worker = Worker(provider, leases, queue, Metrics(registry), drain_s=0.2)
                worker._ttl_s = ttl_s  # type: ignore[assignment]  # faster than a coordinator allows
                running = asyncio.create_task(worker.run(queue.stopping))
                async with asyncio.timeout(60):
                    while not running.done():
                        if stop_when():
                            queue.stopping.set()
                        await asyncio.sleep(0.01)
                await running

        asyncio.run(story())
        counted = {
            sample.labels["outcome"]: sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "worker_shards_total"
        }
        assert sum(counted.values()) == len(queue.ended)
        return queue.ended

    return run


def test_what_is_filled_is_done(work: Callable[..., Any]) -> None:
    queue = Queue((FIRST, FIRST + DAY), (FIRST + DAY, FIRST + 2 * DAY))
    vendor = ScriptedVendor()
    assert work(vendor, queue) == [(0, Outcome.DONE, ""), (1, Outcome.DONE, "")]
    assert len(set(queue.asked)) == len(queue.asked), "each take has an id of its own"
    assert sum(call.span.end - call.span.start for call in vendor.calls) == 2 * DAY


def test_what_a_vendor_does_not_answer_for_has_failed_and_says_so(work: Callable[..., Any]) -> None:
    queue = Queue((FIRST, FIRST + DAY))
    ((_, outcome, why),) = work({}, queue)
    assert outcome is Outcome.FAILED
    assert why


def test_a_vendor_that_is_away_is_told_from_one_that_fails(work: Callable[..., Any]) -> None:
    queue = Queue(*[(FIRST, FIRST + DAY)] * 3)
    away, fails = (
        SourceUnavailableError("it is down", source="x", is_away=is_away) for is_away in (True, False)
    )
    ended = work(ScriptedVendor(faults={0: Raise(away), 1: Raise(fails)}), queue)
    assert [outcome for _, outcome, _ in ended] == [Outcome.AWAY, Outcome.FAILED, Outcome.DONE]
    assert "it is down" in ended[0][2]
    assert SERIES in queue.resting[1], "it rests like any that fails"


def test_a_vendor_that_breaks_is_a_failure_and_the_next_shard_is_taken(work: Callable[..., Any]) -> None:
    queue = Queue((FIRST, FIRST + DAY), (FIRST + DAY, FIRST + 2 * DAY))
    first, second = work(Broken(), queue)
    assert first[1] is Outcome.FAILED
    assert "of somebody's own" in first[2]
    assert second == (1, Outcome.DONE, "")
    assert queue.resting[0] == []


def test_a_series_that_fails_rests_and_no_other_waits_for_it(work: Callable[..., Any]) -> None:
    queue = Queue(*[(FIRST, FIRST + DAY)] * 6, (FIRST + DAY, FIRST + 2 * DAY))
    queue.left[-1] = queue.left[-1]._replace(series="ohlcv:test:ETH/USDT:1h")
    began = time.monotonic()
    ended = work(Broken(), queue)
    assert [outcome for _, outcome, _ in ended] == [Outcome.FAILED] * 6 + [Outcome.DONE]
    assert queue.resting[-1] == [SERIES]
    assert time.monotonic() - began < 25, "six failures in a row made it pause for half a minute"


def test_an_answer_that_did_not_come_is_asked_for_under_the_same_id(work: Callable[..., Any]) -> None:
    away = CoordinatorUnavailableError("it does not answer", url="http://127.0.0.1:1")
    queue = Queue((FIRST, FIRST + DAY), faults=(away, away))
    assert work(ScriptedVendor(), queue) == [(0, Outcome.DONE, "")]
    assert len(queue.asked) >= 3
    assert len(set(queue.asked[:3])) == 1


def test_one_bad_answer_is_borne_and_two_in_a_row_are_not(work: Callable[..., Any]) -> None:
    bad = LeaseError("it is no coordinator", lease_key="")
    queue = Queue((FIRST, FIRST + DAY), faults=(bad,), end_faults=(bad,))
    assert work(ScriptedVendor(), queue) == [(0, Outcome.DONE, "")]
    assert len(set(queue.asked[:2])) == 1
    for twice in (Queue(faults=(bad, bad)), Queue((FIRST + DAY, FIRST + 2 * DAY), end_faults=(bad, bad))):
        with pytest.raises(LeaseError, match="no coordinator"):
            work(ScriptedVendor(), twice)


def test_what_is_not_done_in_time_when_a_worker_leaves_is_given_back(work: Callable[..., Any]) -> None:
    queue = Queue((FIRST, FIRST + DAY), (FIRST + DAY, FIRST + 2 * DAY))
    vendor = ScriptedVendor(faults={0: Hang()})
    ((number, outcome, why),) = work(vendor, queue, stop_when=lambda: bool(vendor.open_calls))
    assert (number, outcome) == (0, Outcome.RELEASED)
    assert why
    assert vendor.open_calls == 0
    assert len(queue.left) == 1, "it took nothing more"


def test_a_session_that_has_ended_is_said_once_and_of_what_is_at_work(
    work: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    class Lost(Queue):
        async def live(self, worker: str) -> None:
            asked.append(worker)
            raise LostError("the session of this worker has ended", frozenset())

    vendor = ScriptedVendor(faults={0: Hang()})
    queue = Lost((FIRST, FIRST + DAY))
    work(vendor, queue, stop_when=lambda: len(asked) > 20, ttl_s=0.03)
    assert len(asked) > 20
    assert caplog.text.count("worker.lost") == 1


def test_what_is_lacking(tmp_path: Path) -> None:
    now = FIRST + 3 * HOUR + MINUTE
    with SeamlessDataProvider(tmp_path / "bars", {}, clock=FakeClock(now), progress=False) as provider:
        states = provider.coverage(SERIES, FIRST, FIRST + DAY)
        assert lacking(states, now).startswith("3 bars unknown after the vendor was asked, from 2024-01-01")
        assert lacking(states, FIRST + MINUTE) == "", "nothing has closed"
