"""A store whose rows lie in QuestDB keeps every promise of a store."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl import SeamlessDataProvider
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, HOUR, to_ns
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk import recipe as recipes
from qmtl.runtime.sdk import stores
from qmtl.runtime.sdk.recipe import Recipe
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suite import StoreSuite
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.questdb import QuestDBServer


class TestQuestDBStore(StoreSuite):
    has_times_before_1970 = False

    @pytest.fixture
    def store(self, used_url: str) -> Iterator[QuestDBStore]:
        with questdb_store(used_url) as store:
            yield store


def test_a_provider_fills_it_and_is_answered_from_it(used_url: str, clock: FakeClock) -> None:
    asked = ("ohlcv:mine:BTC/USDT:1m", "2024-01-01", "2024-01-02")
    with SeamlessDataProvider(used_url, vendors=ScriptedVendor(), clock=clock) as provider:
        fetched = provider.fetch(*asked)
        assert fetched.frame.height == 1_440
    with SeamlessDataProvider(used_url, clock=clock) as provider:
        again = provider.fetch(*asked)
        assert again.frame.equals(fetched.frame)
        assert again.receipt.fingerprint == fetched.receipt.fingerprint
        assert provider.store.location.startswith("questdb://")


def test_small_ranges_are_read_without_the_stretch_around_them(
    used_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it would come as it is, in many times what a small range takes."""
    judged: list[int] = []
    flag = ConformancePipeline.flag

    def counted(self: ConformancePipeline, frame: pl.DataFrame, **options: Any) -> Any:
        judged.append(frame.height)
        return flag(self, frame, **options)

    monkeypatch.setattr(ConformancePipeline, "flag", counted)
    series = SeriesId.parse("ohlcv:mine:BTC/USDT:1m")
    start = to_ns("2024-01-01")
    with SeamlessDataProvider(used_url, vendors={}, clock=clock, cache_bytes=0) as provider:
        bars = synthetic_bars(series, Span(start - 10 * DAY, start + 10 * DAY))
        provider.store.commit(series, Write("test", 1, frame=bars))
        for hour in range(4):
            first = start + hour * HOUR
            assert provider.fetch(str(series), first, first + HOUR).frame.height == 60
    assert judged == [60 + 2 * 64] * 4


def test_its_catalog_is_no_store_of_its_own(used_url: str) -> None:
    """Opened alone, all its bars would be taken for lost."""
    with questdb_store(used_url) as store:
        store.commit(SERIES, write(some_bars(0, 600)))
        folder = store.folder
    assert folder is not None
    with pytest.raises(StoreError, match="is the catalog of a store whose rows lie elsewhere"):
        EmbeddedStore(folder)


def test_a_folder_with_rows_of_its_own_is_no_catalog(questdb_url: str, tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "catalog") as store:
        store.commit(SERIES, write(some_bars(0, 3)))
    with pytest.raises(StoreError, match="is a store of its own"):
        questdb_store(questdb_url)
    with EmbeddedStore(tmp_path / "catalog") as store:
        assert store.read(SERIES, minutes(0, 3)).frame.height == 3


def test_a_store_that_may_only_read(used_url: str) -> None:
    with questdb_store(used_url) as store:
        store.commit(SERIES, write(some_bars(0, 600)))
    with questdb_store(used_url, read_only=True) as store:
        assert store.read(SERIES, minutes(0, 600)).frame.height == 600
        before = store._rows.table.progress()
        with pytest.raises(StoreError):
            store.commit(SERIES, write(some_bars(0, 900)))
        assert store._rows.table.progress() == before, "nothing is sent that cannot be named"


def test_a_refused_declaration_sends_no_row(used_url: str) -> None:
    with questdb_store(used_url) as store:
        store.declare(SERIES, SeriesFacts(calendar="XNYS"))
        before = store._rows.table.progress()
        with pytest.raises(InvalidRequestError):
            store.commit(SERIES, write(some_bars(0, 600), declared=SeriesFacts(calendar="24x7")))
        assert store._rows.table.progress() == before


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as missing:
        questdb_store(f"questdb://localhost?catalog={tmp_path / 'catalog'}")
    assert missing.value.next_step == "pip install 'qmtl[questdb]'"
    assert not (tmp_path / "catalog").exists()


def test_tasks_of_an_executor_open_it_by_its_address(
    questdb_server: QuestDBServer, used_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = used_url.rpartition("name=")[2]
    monkeypatch.chdir(tmp_path)  # a relative catalog is found from anywhere
    with SeamlessDataProvider(questdb_server.url(Path("copied"), name)) as provider:
        provider.store.commit(SERIES, write(some_bars(0, 600)))
        recipe = Recipe.of(provider._parts, provider._made_of)
        sent = pickle.dumps(recipe)
    monkeypatch.chdir("/")
    monkeypatch.setattr(recipes, "_HERE", {})
    made = pickle.loads(sent).made()
    try:
        assert made.store.read(SERIES, minutes(0, 600)).frame.height == 600
    finally:
        made.life.close()
