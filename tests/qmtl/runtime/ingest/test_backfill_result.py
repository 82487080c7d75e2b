"""What a backfill has done so far, also for those who leave before its end."""

from __future__ import annotations

import asyncio
from typing import Any

from qmtl.runtime.ingest.backfill_result import NEVER_READ, BackfillResult


class Work:
    """Work that can be stopped, and says what it was asked."""

    def __init__(self, *, is_saving: bool = False) -> None:
        self.is_saving = is_saving
        self.stops = 0
        self.end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def stop(self) -> asyncio.Future[Any]:
        self.stops += 1
        return self.end


def test_with_nothing_under_way_there_is_nothing_to_wait_for() -> None:
    result = BackfillResult("vendor")
    assert not result.is_saving
    assert result.stop() is None
    assert result.stopped


def test_stopping_is_handed_to_the_work_that_is_under_way() -> None:
    async def story() -> None:
        result = BackfillResult("vendor")
        work = result.under_way = Work(is_saving=True)
        assert result.is_saving
        assert result.stop() is work.end
        assert result.stop() is work.end
        assert work.stops == 2
        assert result.stopped

    asyncio.run(story())


def test_two_results_share_no_list() -> None:
    one, two = BackfillResult("a"), BackfillResult("b")
    for mine, theirs in ((one.asked, two.asked), (one.replaced, two.replaced), (one.findings, two.findings)):
        assert mine is not theirs


def test_never_read_lies_before_every_commit() -> None:
    """Commits count from 1, and an empty store is at 0: none of them may pass for the one that was read."""
    assert NEVER_READ.tx < 0
    assert NEVER_READ.as_of == 0
