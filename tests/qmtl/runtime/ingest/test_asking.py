"""A question is asked again for its rest alone, while its connection breaks, and only so often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from qmtl.foundation.errors import SourceUnavailableError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.ingest.asking import TRIES, VendorQuestions
from qmtl.runtime.ingest.backfill_result import BackfillResult
from qmtl.runtime.ingest.chunk import ChunkTarget, Known
from qmtl.runtime.ingest.settlement import SettlementPolicy
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import Raise, ScriptedVendor

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
DAWN = to_ns("2024-01-01")


def hours(first: int, end: int) -> Span:
    return Span(DAWN + first * HOUR, DAWN + end * HOUR)


class Scene:
    """A vendor's questions over a store in memory. `committed`: what was answered, commit by commit."""

    def __init__(self, **script: Any) -> None:
        self.clock = FakeClock("2024-02-01")
        self.store = MemoryStore(clock=self.clock)
        self.vendor = ScriptedVendor(page_rows=60, **script)
        self.result = BackfillResult("vendor")
        self.registry = CollectorRegistry()
        self.committed: list[Coverage] = []
        target = ChunkTarget(
            store=self.store,
            clock=self.clock,
            series=SERIES,
            grid=Grid(SERIES.timeframe),
            facts=SeriesFacts(),
            source="vendor",
            settlement=SettlementPolicy(),
            known=Known(),
            fenced=lambda write: write,
            on_saved=lambda answered, screened, commit: self.committed.append(answered),
        )
        self.reported = 0
        self.questions = VendorQuestions(
            self.vendor, target, self.result, Metrics(self.registry), self._on_committed
        )

    async def _on_committed(self) -> None:
        self.reported += 1

    def ask(self, *spans: Span) -> None:
        with asyncio.Runner(loop_factory=self.clock.new_event_loop) as runner:
            runner.run(self.questions.ask(Coverage.of(*spans)))

    def retries(self) -> float | None:
        return self.registry.get_sample_value("seamless_vendor_retries_total", {"source": "vendor"})


def test_one_question_is_one_commit_and_every_commit_is_reported() -> None:
    scene = Scene()
    scene.ask(hours(0, 3))
    assert scene.result.asked == [hours(0, 3)]
    assert scene.committed == [Coverage.of(hours(0, 3))]
    assert scene.reported == 1
    assert scene.retries() is None


def test_after_a_break_the_rest_alone_is_asked_for_and_what_came_is_stored() -> None:
    scene = Scene(faults={2: Raise(ConnectionResetError("cut"))})
    scene.ask(hours(0, 4))
    assert scene.result.asked == [hours(0, 4), hours(2, 4)]
    assert scene.committed == [Coverage.of(hours(0, 2)), Coverage.of(hours(2, 4))]
    assert scene.store.read(SERIES, hours(0, 4)).frame.height == 240
    assert scene.retries() == 1.0


def test_a_connection_that_stays_broken_is_given_up_with_the_rest_as_its_range() -> None:
    scene = Scene(faults={n: Raise(TimeoutError("slow")) for n in range(1, 2 * TRIES)})
    with pytest.raises(SourceUnavailableError, match=f"broke off {TRIES} times") as caught:
        scene.ask(hours(0, 3))
    assert caught.value.span == hours(1, 3)
    assert caught.value.is_away
    assert scene.result.asked == [hours(0, 3), *[hours(1, 3)] * (TRIES - 1)]
    assert scene.retries() == TRIES - 1


def test_what_a_vendor_cannot_do_is_not_asked_again() -> None:
    scene = Scene(faults={1: Raise(SourceUnavailableError("down", source="vendor"))})
    with pytest.raises(SourceUnavailableError, match="down"):
        scene.ask(hours(0, 3))
    assert scene.result.asked == [hours(0, 3)]
    assert scene.committed == [Coverage.of(hours(0, 1))]


def test_an_answer_after_the_end_of_the_call_is_dropped() -> None:
    scene = Scene()
    scene.result.stopped = True
    with pytest.raises(asyncio.CancelledError):
        scene.ask(hours(0, 3))
    assert scene.committed == []
    assert scene.store.read(SERIES, hours(0, 3)).answered == EMPTY
