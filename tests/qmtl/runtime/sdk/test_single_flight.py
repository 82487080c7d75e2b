"""Work that several callers wait for: begun once, ended by the last who leaves, never mistaken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qmtl.runtime.ingest.backfill import BackfillResult
from qmtl.runtime.sdk.single_flight import SingleFlight
from qmtl.runtime.testing.clock import FakeClock


def run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=FakeClock().new_event_loop) as runner:
        return runner.run(work)


def test_a_flight_that_ends_late_does_not_take_its_successor_away() -> None:
    flights, begun = SingleFlight(), list[BackfillResult]()

    async def deaf(filling: BackfillResult) -> None:
        begun.append(filling)
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            await asyncio.sleep(5.0)

    async def long(filling: BackfillResult) -> None:
        begun.append(filling)
        await asyncio.sleep(20.0)

    async def story() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await flights.share("key", BackfillResult("deaf"), deaf)
        assert begun[0].abandoned
        first = asyncio.ensure_future(flights.share("key", BackfillResult("first"), long))
        await asyncio.sleep(10.0)  # the deaf one has ended meanwhile
        second = asyncio.ensure_future(flights.share("key", BackfillResult("second"), long))
        assert (await first) is (await second)

    run(story())
    assert [filling.source for filling in begun] == ["deaf", "first"]


def test_all_who_wait_hear_of_a_failure_and_the_next_begins_anew() -> None:
    flights, begun = SingleFlight(), list[BackfillResult]()

    async def fails(filling: BackfillResult) -> None:
        begun.append(filling)
        await asyncio.sleep(1.0)
        raise ConnectionResetError("cut")

    async def story() -> None:
        errors = await asyncio.gather(
            *(flights.share("key", BackfillResult(str(n)), fails) for n in range(3)), return_exceptions=True
        )
        assert [type(error) for error in errors] == [ConnectionResetError] * 3
        with pytest.raises(ConnectionResetError):
            await flights.share("key", BackfillResult("again"), fails)

    run(story())
    assert len(begun) == 2
