"""`fetch_async` leaves its caller's loop free: no disk, no calendar and no registry is asked on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, to_ns
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:X:1h"
SPAN = Span(to_ns("2024-01-02"), to_ns("2024-01-05"))

# Only what is wrong waits so long.
PATIENCE_S = 60.0
POLICIES = [None, qmtl.SLAPolicy(min_coverage=0.5, max_lag="60d", sync_gap=1000)]


class Blocks:
    """A calendar that does not answer before the caller's loop has gone on; on that loop it never would."""

    def __init__(self) -> None:
        self.asked, self.went_on = threading.Event(), threading.Event()
        self.late = 0

    def sessions(self, span: Span) -> Coverage:
        self.asked.set()
        if not self.went_on.wait(PATIENCE_S):
            self.late += 1
        return Coverage.of(span)


@pytest.mark.parametrize("policy", POLICIES, ids=["no bounds", "bounds"])
@pytest.mark.parametrize("anchor", ["clock", "session"])
def test_a_calendar_that_takes_its_time_blocks_nobody_else(make: Make, anchor: Any, policy: Any) -> None:
    calendar = Blocks()
    provider = make(
        ScriptedVendor(), calendars={"*": calendar}, declared=[("*", qmtl.SeriesFacts(anchor=anchor))]
    )

    async def program() -> qmtl.FetchResult:
        fetching = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN, sla=policy))
        while not calendar.asked.is_set():
            await asyncio.sleep(0)
        calendar.went_on.set()
        return await fetching

    result = asyncio.run(program())
    assert result.frame.height == 72
    assert calendar.late == 0


class Watched:
    """Says what was done on the thread of the test."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.seen: list[str] = []

    def tell(self, what: str) -> None:
        if threading.get_ident() == self.thread:
            self.seen.append(what)


class OnLoop(Watched):
    def sessions(self, span: Span) -> Coverage:
        self.tell("calendar")
        return Coverage.of(span)


@pytest.fixture
def store_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the store on the thread of the test."""
    watched = Watched()
    for name in ("facts", "changed_since", "read", "commit", "newest"):
        plain = getattr(KeptStore, name)

        def asked(self: KeptStore, *args: Any, _plain: Any = plain, _name: str = name, **options: Any) -> Any:
            watched.tell(_name)
            return _plain(self, *args, **options)

        monkeypatch.setattr(KeptStore, name, asked)
    return watched.seen


def commit(make: Make, series: str, span: Span) -> None:
    """As another process would: the provider is not told."""
    with make() as another:
        other = another.store
        frame = ScriptedVendor(seed=7).bars(series, span)
        other.commit(SeriesId.parse(series), Write("other", span.end, frame, answered=Coverage.of(span)))


@pytest.mark.parametrize("policy", POLICIES, ids=["no bounds", "bounds"])
@pytest.mark.parametrize("anchor", ["clock", "session"])
def test_nothing_is_asked_on_the_callers_loop(
    make: Make, anchor: Any, policy: Any, store_asked: list[str]
) -> None:
    calendar = OnLoop()
    provider = make(
        ScriptedVendor(), calendars={"*": calendar}, declared=[("*", qmtl.SeriesFacts(anchor=anchor))]
    )
    store_asked.clear()

    async def program() -> None:
        for span in (SPAN, SPAN, Span(SPAN.start + HOUR, SPAN.end), Span(SPAN.start, SPAN.end + DAY)):
            await provider.fetch_async(SERIES, *span, sla=policy)
        then = (await provider.fetch_async(SERIES, *SPAN)).receipt.as_of
        await provider.fetch_async(SERIES, *SPAN, as_of=then)
        await asyncio.to_thread(commit, make, SERIES, Span(SPAN.start, SPAN.start + HOUR))
        await provider.fetch_async(SERIES, *SPAN, partial_ok=True)

    asyncio.run(program())
    assert (calendar.seen, store_asked) == ([], [])


def test_a_hit_is_answered_without_a_thread(make: Make, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "server":
        pytest.skip("a server has to be asked whether anybody has committed, and a thread waits for it")
    provider = make(ScriptedVendor())
    for _ in range(2):  # the second time it notices its own commit
        provider.fetch(SERIES, *SPAN)

    async def no_thread(*_: Any, **__: Any) -> Any:
        raise AssertionError("a thread takes longer than the answer")

    monkeypatch.setattr(asyncio, "to_thread", no_thread)
    result = asyncio.run(provider.fetch_async(SERIES, *SPAN))
    assert {served.tier.value for served in result.receipt.served} == {"cache"}


def test_commits_of_others_are_seen_at_once(make: Make) -> None:
    provider = make(ScriptedVendor())

    async def program() -> None:
        before = (await provider.fetch_async(SERIES, *SPAN)).frame
        commit(make, SERIES, SPAN)
        after = (await provider.fetch_async(SERIES, *SPAN)).frame
        assert_frame_equal(after, ScriptedVendor(seed=7).bars(SERIES, SPAN))
        assert not after.equals(before)

    asyncio.run(program())


def test_a_fetch_of_the_store_leaves_the_loop_free(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging waits until the loop has gone on: on the loop itself it would wait in vain."""
    provider = make(ScriptedVendor(), cache_bytes=0)
    provider.fetch(SERIES, *SPAN)
    judging, went_on, late = threading.Event(), threading.Event(), []
    plain = ConformancePipeline.flag

    def flag(self: ConformancePipeline, *args: Any, **options: Any) -> Any:
        judging.set()
        late.append(not went_on.wait(PATIENCE_S))
        return plain(self, *args, **options)

    monkeypatch.setattr(ConformancePipeline, "flag", flag)

    async def program() -> None:
        fetching = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN))
        while not judging.is_set():
            await asyncio.sleep(0)
        went_on.set()
        assert (await fetching).frame.height == 72

    asyncio.run(program())
    assert late
    assert not any(late)


def test_a_store_that_others_write_to_blocks_nobody_else(make: Make) -> None:
    """Another process holds the lock of writers: the loop goes on meanwhile."""
    provider = make(ScriptedVendor())

    async def program() -> None:
        with make() as another, another.store._database.writing():
            fetching = asyncio.ensure_future(provider.fetch_async(SERIES, *SPAN))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not fetching.done()
        assert (await fetching).frame.height == 72

    asyncio.run(program())


def test_a_closed_provider_says_so(make: Make) -> None:
    provider = make(ScriptedVendor())
    provider.close()
    for call in (provider.fetch, provider.coverage, provider.backfill, provider.accept):
        with pytest.raises(qmtl.InvalidRequestError, match="closed"):
            call(SERIES, *SPAN)
    with pytest.raises(qmtl.InvalidRequestError, match="closed"):
        asyncio.run(provider.fetch_async(SERIES, *SPAN))
