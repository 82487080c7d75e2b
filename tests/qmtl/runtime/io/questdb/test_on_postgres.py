"""With its catalog in PostgreSQL, a store with rows in QuestDB is one store to many machines."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import ClassVar
from uuid import uuid4

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from polars.testing import assert_frame_equal

from qmtl import SeamlessDataProvider
from qmtl.foundation.errors import InvalidRequestError, StaleFenceError, StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.questdb.on_postgres import QuestDBOnPostgres
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql import codec
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.rows import from_frame
from qmtl.runtime.sdk import recipe as recipes
from qmtl.runtime.sdk.recipe import Recipe
from qmtl.runtime.sdk.stores import is_store, place_of, questdb_store
from qmtl.runtime.testing import store_model
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suite import StoreSuite
from qmtl.runtime.testing.store_suites.bars import SERIES, STEP, minutes, some_bars, write
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.questdb import QuestDBServer
from tests.qmtl.runtime.io.sql.addressed_machine import AddressedMachine

# All promises of a store take minutes here, for each test has tables of its own: `make soak` keeps them.
ALL = bool(os.environ.get("QMTL_TEST_BOTH_CATALOGS"))

Opened = Callable[..., QuestDBOnPostgres]


@pytest.fixture
def new_url(questdb_server: QuestDBServer, new_schema: Callable[[], str]) -> Callable[[], str]:
    """Addresses of stores that do not exist yet."""
    return lambda: questdb_server.url(new_schema(), f"shared_{uuid4().hex}")


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:

        def open_it(url: str, **options: object) -> QuestDBOnPostgres:
            store = stack.enter_context(questdb_store(url, **options))  # type: ignore[arg-type]
            assert isinstance(store, QuestDBOnPostgres)
            return store

        yield open_it


def all_of(store: QuestDBStore, as_of: int | None = None) -> pl.DataFrame:
    return store.read(SERIES, minutes(0, 2_000), as_of=as_of).frame


def test_the_view_follows_commits_of_all_machines(url: str, opened: Opened) -> None:
    one, other = opened(url), opened(url)
    for store, price in ((one, 100.0), (other, 200.0), (one, 300.0)):
        store.commit(SERIES, write(some_bars(0, 600, price=price)))
    other.retract(SERIES, minutes(590, 600), reason="a test")
    state = one.questdb()
    assert state.trails_by == 0
    found = one._rows.table.server.query(f"SELECT count(), min(open), max(ts)::long FROM {state.view}")
    assert found == [[590, 300.0, 589 * STEP]]


def test_two_machines_write_and_read_the_same_bars(url: str, opened: Opened) -> None:
    one, other = opened(url), opened(url)
    first = one.commit(SERIES, write(some_bars(0, 600), answered=Coverage.of(minutes(0, 600))))
    assert_frame_equal(all_of(other), some_bars(0, 600))
    token = other.changed_since(None).token
    second = one.commit(SERIES, write(some_bars(100, 520, price=900.0)))
    assert [commit.tx for commit in other.changed_since(token).commits] == [second.tx]
    third = other.commit(SERIES, write(some_bars(620, 1)))  # in one trip, as on PostgreSQL
    assert third.as_of > second.as_of > first.as_of, "the clock is the server's"
    expected = pl.concat([some_bars(0, 100), some_bars(100, 520, price=900.0), some_bars(620, 1)])
    for store in (one, other):
        assert_frame_equal(all_of(store), expected)
        assert_frame_equal(all_of(store, first.as_of), some_bars(0, 600))
    assert one.store_id == other.store_id
    assert one.verify().is_sound


def test_a_stale_machine_is_refused_before_it_sends_a_row(url: str, opened: Opened) -> None:
    one, other = opened(url), opened(url)
    old = one.open_fence(SERIES, [0], "one")
    newer = other.open_fence(SERIES, [0], "other")
    before = one._rows.table.progress()
    with pytest.raises(StaleFenceError):
        one.commit(SERIES, write(some_bars(0, 600), fences=old))
    assert one._rows.table.progress() == before
    other.commit(SERIES, write(some_bars(0, 600), fences=newer))
    assert_frame_equal(all_of(one), some_bars(0, 600))


def test_a_machine_that_became_stale_while_its_rows_were_sent_adds_nothing(
    url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = opened(url), opened(url)
    old = one.open_fence(SERIES, [0], "one")
    server = one._rows.table.server
    send = server.send

    def overtaken(*given: object) -> None:
        send(*given)  # type: ignore[arg-type]
        monkeypatch.undo()
        other.commit(
            SERIES,
            write(some_bars(0, 700, price=7.0), fences=other.open_fence(SERIES, [0], "other")),
        )

    monkeypatch.setattr(server, "send", overtaken)
    with pytest.raises(StaleFenceError):
        one.commit(SERIES, write(some_bars(0, 600), fences=old))
    assert_frame_equal(all_of(one), some_bars(0, 700, price=7.0))
    assert one.questdb().rows >= 1_300, "the rows of the stale one are there, and nobody's"


def test_a_catalog_that_is_lost_while_rows_are_sent_names_none_of_them(
    url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(url)
    place = store._address
    server = store._rows.table.server
    send = server.send

    def cut_off(*given: object) -> None:
        send(*given)  # type: ignore[arg-type]
        with psycopg.connect(place.conninfo, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND application_name LIKE 'qmtl %'"
            )

    monkeypatch.setattr(server, "send", cut_off)
    with pytest.raises(StoreError):
        store.commit(SERIES, write(some_bars(0, 600)))
    monkeypatch.undo()
    assert store.newest() == (0, 0)
    store.commit(SERIES, write(some_bars(0, 600)))
    assert_frame_equal(all_of(store), some_bars(0, 600))


def test_a_compaction_moves_the_rows_under_the_feet_of_other_machines(url: str, opened: Opened) -> None:
    one, other = opened(url), opened(url)
    one.commit(SERIES, write(some_bars(0, 600)))
    assert_frame_equal(all_of(other), some_bars(0, 600))
    one._rows.write(SERIES, [codec.pack_plain(from_frame(some_bars(0, 600, price=7.0), SERIES))])
    before = one.table
    assert one.compact().unnamed == 600
    assert one.table != before
    assert_frame_equal(all_of(other), some_bars(0, 600))
    other.commit(SERIES, write(some_bars(600, 600)))
    for store in (one, other, opened(url)):
        assert_frame_equal(all_of(store), some_bars(0, 1_200))
        assert store.verify().is_sound


def test_commits_of_other_machines_are_heard_within_the_bound(url: str, opened: Opened) -> None:
    writer, patient = opened(url), opened(url, max_staleness=60.0)
    assert patient.max_staleness == 60.0
    token = patient.changed_since(None).token
    writer.commit(SERIES, write(some_bars(0, 600)))
    assert patient.has_changed(token)
    assert_frame_equal(all_of(patient), some_bars(0, 600))


def test_its_schema_is_no_store_of_its_own_and_the_other_way_round(
    url: str, new_url: Callable[[], str], opened: Opened
) -> None:
    place = opened(url)._address
    with pytest.raises(StoreError, match="is the catalog of a store whose rows lie elsewhere"):
        PostgresStore(place)
    another = new_url()
    where = place_of(another)
    assert not is_store(where)
    with PostgresStore(where.place) as store:  # type: ignore[union-attr, arg-type]
        store.commit(SERIES, write(some_bars(0, 3)))
    with pytest.raises(StoreError, match="is a store of its own"):
        opened(another)


def test_tables_of_another_catalog_are_refused(
    url: str, questdb_server: QuestDBServer, new_schema: Callable[[], str], opened: Opened
) -> None:
    store = opened(url)
    name = store.table.removesuffix("_bars")
    with pytest.raises(InvalidRequestError, match="belongs to another catalog"):
        opened(questdb_server.url(new_schema(), name))


def test_a_reader_alone_writes_nothing(url: str, opened: Opened) -> None:
    opened(url).commit(SERIES, write(some_bars(0, 600)))
    reader = opened(url, read_only=True)
    assert_frame_equal(all_of(reader), some_bars(0, 600))
    before = reader._rows.table.progress()
    with pytest.raises(StoreError):
        reader.commit(SERIES, write(some_bars(0, 900)))
    assert reader._rows.table.progress() == before


def test_a_provider_fills_it_and_one_of_another_machine_is_made_from_its_address(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("ohlcv:mine:BTC/USDT:1m", "2024-01-01", "2024-01-02")
    with SeamlessDataProvider(url, vendors=ScriptedVendor(), clock=clock) as provider:
        fetched = provider.fetch(*asked)
        assert fetched.frame.height == 1_440
    with SeamlessDataProvider(url) as provider:
        sent = pickle.dumps(Recipe.of(provider._parts, provider._made_of))
    monkeypatch.setattr(recipes, "_HERE", {})
    monkeypatch.setattr(recipes, "_machine", lambda: "another one")
    made = pickle.loads(sent).made()
    try:
        assert made.store.read(SeriesId.parse(asked[0]), fetched.receipt.span).frame.height == 1_440
    finally:
        made.life.close()


class SharedMachine(AddressedMachine):
    new_url: ClassVar[Callable[[], str]]

    def empty_url(self) -> str:
        return SharedMachine.new_url()

    def opened(self, url: str) -> QuestDBStore:
        return questdb_store(url)


@pytest.fixture
def machine_here(new_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_model, "FIRST_BAR", 0)
    SharedMachine.new_url = new_url


SharedMachine.TestCase.settings = settings(
    max_examples=30 if ALL else 2,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestSoakOfTheModel = pytest.mark.usefixtures("small_chunks", "machine_here")(SharedMachine.TestCase)


if ALL:

    class TestSoakOfEveryPromise(StoreSuite):
        has_times_before_1970 = False
        knows_at_once = False

        @pytest.fixture
        def store(self, url: str) -> Iterator[QuestDBStore]:
            with questdb_store(url) as store:
                yield store
