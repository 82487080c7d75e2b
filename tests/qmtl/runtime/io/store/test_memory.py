"""The store in memory keeps every promise of a store."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from qmtl.foundation.errors import StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import ChangeToken
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.store_model import StoreMachine
from qmtl.runtime.testing.store_proxy import StoreProxy
from qmtl.runtime.testing.store_suite import StoreSuite
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars, write
from qmtl.runtime.testing.store_suites.changes import ChangeLogSuite
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.stories.walks import CountingStore


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> Iterator[MemoryStore]:
        store = MemoryStore()
        yield store
        store.close()


class SlowToKnow(StoreProxy):
    """As a store that would have to ask a server."""

    def has_changed(self, token: ChangeToken) -> bool:
        return True


class TestAStoreThatIsInDoubt(ChangeLogSuite):
    knows_at_once = False

    @pytest.fixture
    def store(self) -> SlowToKnow:
        return SlowToKnow(MemoryStore())


def test_the_cache_answers_although_the_store_is_in_doubt(make: Callable[..., SeamlessDataProvider]) -> None:
    vendor, inner = ScriptedVendor(), MemoryStore()
    store, asked = CountingStore(SlowToKnow(inner)), ("ohlcv:test:A/B:1m", "2024-01-01", "2024-01-02")
    provider = make(vendor, store=store)
    for _ in range(2):  # the first one commits, so that the second reads facts and report again
        provider.fetch(*asked)
    store.reads.clear()
    provider.fetch(*asked)
    asyncio.run(provider.fetch_async(*asked))
    assert store.reads == []
    calls = len(vendor.calls)
    inner.retract(SeriesId.parse(asked[0]), Span(*map(to_ns, asked[1:])), reason="a test")
    provider.fetch(*asked)
    assert len(vendor.calls) > calls, "what others commit is noticed all the same"


class MemoryMachine(StoreMachine):
    def open(self) -> MemoryStore:
        return MemoryStore()


MemoryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestMemoryMachine = pytest.mark.slow(MemoryMachine.TestCase)


def test_a_closed_store_says_so() -> None:
    store = MemoryStore()
    token = store.changed_since(None).token
    store.close()
    for attempt in (lambda: store.has_changed(token), store.newest, lambda: store.reports()):
        with pytest.raises(StoreError, match="is closed"):
            attempt()


def test_two_stores_have_two_names() -> None:
    assert MemoryStore().store_id != MemoryStore().store_id


def test_a_commit_says_that_it_ends_with_the_process() -> None:
    assert "memory of this process" in (MemoryStore().commit(SERIES, write(some_bars(0, 2))).at_risk or "")
