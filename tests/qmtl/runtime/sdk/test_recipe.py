"""A provider's recipe makes one like it elsewhere, of the same store, or says what cannot go along."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.settings import Settings
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.coordination.engine_runs import process_pool
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.io.vendors.files import FilesVendor
from qmtl.runtime.io.vendors.polygon import PolygonVendor
from qmtl.runtime.sdk import recipe as module
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.recipe import OpenProviders, Recipe
from qmtl.runtime.sdk.wiring import ProviderParts
from qmtl.runtime.testing.exchange import SimulatedExchange
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

A = "ohlcv:test:A/USDT:1m"
DAWN = to_ns("2024-01-01")
SPAN = Span(DAWN, DAWN + 4 * HOUR)


def recipe_of(provider: SeamlessDataProvider) -> Recipe:
    return Recipe.of(provider._parts, provider._made_of)


def elsewhere(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, **facts: Any) -> Recipe:
    """The recipe in a process that does not have its provider."""
    monkeypatch.setattr(module, "_HERE", {})
    again: Recipe = pickle.loads(pickle.dumps(recipe))
    for name, value in facts.items():
        setattr(again, name, value)
    return again


def test_where_the_provider_is_it_is_used_itself(make: Make) -> None:
    provider = make(clock=None)
    with pickle.loads(pickle.dumps(recipe_of(provider))).parts() as parts:
        assert parts is provider._parts


def test_elsewhere_tasks_share_one_provider_of_the_same_store(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = qmtl.SLAPolicy(total=5)
    own = make(ScriptedVendor(), clock=None, sla=rules, cache_bytes=7, retention=86_400.0)
    own.fetch(A, *SPAN)
    recipe = elsewhere(recipe_of(own), monkeypatch)
    with recipe.parts() as parts, recipe.parts() as same:
        assert parts is same is not own._parts
        assert parts.store.place_id == own.store.place_id
        assert parts.store.newest() == own.store.newest()
        assert parts.profiles.of(SeriesId.parse(A)).sla == rules
        assert isinstance(parts.profiles.of(SeriesId.parse(A)).vendor, ScriptedVendor)
    assert not parts.life.closed
    parts.life.close()


def test_a_provider_that_no_task_uses_is_closed_after_a_while(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def made(self: Recipe) -> ProviderParts:
        parts = real(self)
        close = parts.life.close
        monkeypatch.setattr(parts.life, "close", lambda: (close(), closed.set()))
        return parts

    real = Recipe.made
    recipe = elsewhere(recipe_of(make(clock=None)), monkeypatch)
    monkeypatch.setattr(Recipe, "made", made)
    providers = OpenProviders(idle_s=0.05)
    with providers.borrowed(recipe) as parts:
        with providers.borrowed(recipe) as same:
            assert same is parts
        assert not closed.wait(0.2), "it is in use"
    assert closed.wait(60)
    with providers.borrowed(recipe) as fresh:
        assert fresh is not parts
        assert fresh.store.newest()
    fresh.life.close()


def test_another_store_than_the_callers_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = elsewhere(recipe_of(make(clock=None)), monkeypatch, _place_id="of another")
    with pytest.raises(qmtl.InvalidRequestError, match="another one in that place"), recipe.parts():
        pass


def test_a_folder_of_another_machine_is_refused_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SeamlessDataProvider(tmp_path / "bars", vendors={}) as provider:
        recipe = recipe_of(provider)
    away = elsewhere(recipe, monkeypatch, _machine="another")
    with pytest.raises(qmtl.InvalidRequestError, match="folder of another machine"), away.parts():
        pass
    gone = elsewhere(recipe, monkeypatch)
    gone.options["store"] = str(tmp_path / "elsewhere")
    with pytest.raises(qmtl.InvalidRequestError, match="no store in that place"), gone.parts():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_relative_folder_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SeamlessDataProvider("bars", vendors={}) as provider:
        assert recipe_of(provider).options["store"] == str(tmp_path / "bars")


def test_a_store_of_this_process_alone_cannot_go_along() -> None:
    with SeamlessDataProvider(MemoryStore(), vendors={}) as provider:
        with pytest.raises(qmtl.InvalidRequestError, match=r"another process[\s\S]*use threads"):
            pickle.dumps(recipe_of(provider))
        assert len(provider.revalidate([A], *SPAN)) == 1


def test_what_cannot_be_pickled_is_named(make: Make) -> None:
    class Local(ScriptedVendor):
        """Of this function, so that no other process could import it."""

    refusal = recipe_of(make({"*": Local()}, clock=None)).unsendable()
    assert refusal is not None
    assert "`vendors=`" in str(refusal)
    assert recipe_of(make(clock=None)).unsendable() is None


def test_what_the_environment_says_here_is_said_there(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = make(clock=None)
    monkeypatch.setenv("QMTL_SEAMLESS_COORDINATOR_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("QMTL_SCHEMA_VALIDATION_MODE", "strict")
    options = recipe_of(provider).options
    assert options["coordinator"] == "http://127.0.0.1:9"
    assert options["default_validation_mode"] == "strict"
    assert "metrics_registry" not in options


def test_an_open_coordinator_goes_along_as_its_url(tmp_path: Path) -> None:
    coordinator = qmtl.DistributedBackfillCoordinator("http://127.0.0.1:9")
    with SeamlessDataProvider(tmp_path / "bars", vendors={}, coordinator=coordinator) as provider:
        assert recipe_of(provider).options["coordinator"] == "http://127.0.0.1:9"
    coordinator.close()


# -- vendors of ours


def test_vendors_go_along_and_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SimulatedExchange() as exchange:
        vendor = CcxtVendor("binance", urls=exchange.url)
        series = SeriesId.parse("ohlcv:binance:BTC/USDT:1m")

        async def bars(of: CcxtVendor) -> int:
            try:
                return sum([page.frame.height async for page in of.pages(series, SPAN)])
            finally:
                await of.aclose()

        assert asyncio.run(bars(vendor)) == 240  # it has been at work, and has had connections
        assert asyncio.run(bars(pickle.loads(pickle.dumps(vendor)))) == 240
    polygon = pickle.loads(pickle.dumps(PolygonVendor(url="http://127.0.0.1:9", key="secret")))
    assert polygon.paging(SeriesId.parse("ohlcv:polygon:AAPL:1d"))
    monkeypatch.chdir(tmp_path)
    files = pickle.dumps(FilesVendor("data/{symbol}.csv"))
    monkeypatch.chdir("/")
    again = pickle.loads(files)
    assert again.path_of(series) == tmp_path / "data" / "BTC%2FUSDT.csv"
    assert again.name == "files:data/{symbol}.csv"


def test_vendors_of_settings_go_along(tmp_path: Path) -> None:
    file = tmp_path / "qmtl.yml"
    file.write_text(
        "seamless:\n  store: bars\n  vendors:\n"
        "  - {match: 'ohlcv:binance:*', kind: ccxt, exchange: binance}\n"
        "  - {match: 'ohlcv:mine:*', kind: files, path: 'data/{symbol}.csv'}\n",
        encoding="utf-8",
    )
    with SeamlessDataProvider.from_settings(Settings.load(file)) as provider:
        recipe = recipe_of(provider)
        assert recipe.unsendable() is None
        vendors = pickle.loads(pickle.dumps(recipe)).options["vendors"]
    assert {match: vendor.name for match, vendor in vendors.items()} == {
        "ohlcv:binance:*": "ccxt:binance",
        "ohlcv:mine:*": f"files:{tmp_path / 'data/{symbol}.csv'}",
    }


# -- pools of processes


@pytest.mark.process
def test_processes_find_the_same_as_a_loop(make: Make) -> None:
    names = [f"ohlcv:test:S{number}/USDT:1m" for number in range(40)]
    provider = make({"*": ScriptedVendor()}, clock=None)
    with process_pool(2) as pool:
        filled = provider.backfill_many([*names, "nonsense"], *SPAN, pool)
        judged = provider.revalidate([*names, "nonsense"], *SPAN, pool)
    assert filled[names[0]].states == {"present": 240}
    assert judged == provider.revalidate([*names, "nonsense"], *SPAN)
    assert filled.series == judged.series
    assert list(judged.failures) == ["nonsense"]


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_are_refused_and_not_waited_for(make: Make) -> None:
    provider = make({"*": ScriptedVendor()}, clock=None)
    provider.fetch(A, *SPAN)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(qmtl.InvalidRequestError, match=r"before a fork[\s\S]*spawn"),
    ):
        provider.revalidate([A], *SPAN, pool)


@pytest.mark.process
def test_a_vendor_that_cannot_go_along_is_named_and_threads_still_serve(make: Make) -> None:
    class Local(ScriptedVendor):
        pass

    provider = make({"*": Local()}, clock=None)
    with process_pool(1) as pool, pytest.raises(qmtl.InvalidRequestError, match="`vendors=`"):
        provider.backfill_many([A], *SPAN, pool)
    assert provider.backfill_many([A], *SPAN).passes
