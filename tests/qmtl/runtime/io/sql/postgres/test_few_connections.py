"""A user who may have three connections: all work is done by three, or an error says what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import psycopg
import pytest

from qmtl.foundation.errors import StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.postgres import USER, PostgresServer

LIMIT = 3
# What does not end by then waits for itself.
PATIENCE_S = 120.0
NAMES = [f"ohlcv:few:S{number}/USDT:1m" for number in range(24)]
DAY = ("2023-03-01", "2023-03-02")


@pytest.fixture
def few_url(postgres_server: PostgresServer, new_schema: Callable[[], str]) -> Iterator[str]:
    """The address of a store that does not exist yet, for a user with three connections."""
    schema = new_schema().rpartition("schema=")[2]
    user = f"few_{schema}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT {LIMIT}")
        connection.execute(f"GRANT CREATE ON DATABASE postgres TO {user}")
        yield postgres_server.url(schema, user=user)
        connection.execute(f"DROP OWNED BY {user} CASCADE")
        connection.execute(f"DROP ROLE {user}")


def until_left(few_url: str, sessions: int) -> None:
    """Wait until the user has so many sessions: the server takes a moment to notice that one has ended."""
    user, pause = urlsplit(few_url).username or "", threading.Event()
    with psycopg.connect(few_url.partition("?")[0].replace(user, USER), autocommit=True) as connection:
        for _ in range(6_000):
            asked = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (user,))
            if asked.fetchone() == (sessions,):
                return
            pause.wait(0.01)
    raise AssertionError("sessions do not end")


def all_done(pool: ThreadPoolExecutor, works: list[Callable[[], object]]) -> list[object]:
    return [one.result(PATIENCE_S) for one in [pool.submit(work) for work in works]]


def test_fetches_backfills_and_live_bars_at_once(few_url: str) -> None:
    with (
        SeamlessDataProvider(few_url, vendors=ScriptedVendor()) as provider,
        psycopg.connect(few_url.partition("?")[0], autocommit=True) as listener,
        ThreadPoolExecutor(12) as pool,
    ):
        listener.execute("LISTEN anything")  # a notice of changes has a connection of its own

        def append(number: int) -> None:
            series = SeriesId.parse(f"ohlcv:live:S{number}/USDT:1m")
            for minute in range(20):
                span = minutes(minute, minute + 1)
                provider.store.commit(series, Write("feed", minute, some_bars(minute, 1), Coverage.of(span)))

        works: list[Callable[[], object]] = [lambda n=n: append(n) for n in range(4)]  # type: ignore[misc]
        works += [lambda: provider.fetch_many(NAMES[:12], *DAY), lambda: provider.fetch_many(NAMES[6:], *DAY)]
        works += [lambda: provider.backfill(NAMES[-1], "2023-02-01", "2023-03-02")]
        works += [lambda name=name: provider.fetch(name, *DAY) for name in NAMES[:5]]  # type: ignore[misc]
        all_done(pool, works)
        again = provider.fetch_many(NAMES, *DAY)
        assert {name: again[name].frame.height for name in again} == dict.fromkeys(NAMES, 1440)
    until_left(few_url, 0)
    with PostgresStore(few_url) as store:
        for number in range(4):
            series = SeriesId.parse(f"ohlcv:live:S{number}/USDT:1m")
            assert store.read(series, minutes(0, 20)).frame.height == 20


def test_threads_that_have_all_connections_and_need_one_more_are_told(few_url: str) -> None:
    """Who waits for the lock in vain asks by a second connection who has it; nobody waits for himself."""
    with PostgresStore(few_url, lock_timeout_s=0.3) as store, ExitStack() as holding:
        store.commit(SERIES, Write("v", 1, some_bars(0, 3)))
        holding.enter_context(store._database.writing())
        refused: list[StoreError] = []
        barrier = threading.Barrier(LIMIT - 1)

        def write() -> None:
            barrier.wait(PATIENCE_S)
            with pytest.raises(StoreError) as raised:
                store.commit(SERIES, Write("v", 1, some_bars(5, 1)))
            refused.append(raised.value)

        threads = [threading.Thread(target=write) for _ in range(LIMIT - 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(refused) == LIMIT - 1
        assert all(isinstance(one, StoreLockedError) or "no connection left" in one.what for one in refused)
        holding.close()
        assert store.commit(SERIES, Write("v", 1, some_bars(5, 1))).added == 1


def test_a_program_for_which_none_is_left_is_told_what_to_do(few_url: str) -> None:
    with ExitStack() as others:
        stores = [others.enter_context(closing(PostgresStore(few_url))) for _ in range(LIMIT)]
        with pytest.raises(StoreError, match="no connection left") as raised:
            PostgresStore(few_url)
        assert "CONNECTION LIMIT" in str(raised.value.next_step)
        assert "too many connections" in str(raised.value.why)
        # Those that have one go on with it, whatever else they do at once.
        with ThreadPoolExecutor(6) as pool:
            found = all_done(pool, [lambda: stores[0].read(SERIES, minutes(0, 1)).frame.height] * 12)
        assert found == [0] * 12
        stores[1].close()
        until_left(few_url, LIMIT - 1)
        with PostgresStore(few_url) as store:
            assert store.newest() == stores[0].newest()


def test_one_that_comes_back_while_the_server_refuses_another_is_taken(
    few_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as others:
        store, *_ = [others.enter_context(closing(PostgresStore(few_url))) for _ in range(LIMIT)]
        pool = store._database._pool
        refused, is_back = threading.Event(), threading.Event()
        open_one = pool._open_one

        def open_late() -> PostgresConnection:
            try:
                return open_one()
            finally:
                refused.set()
                is_back.wait(PATIENCE_S)

        monkeypatch.setattr(pool, "_open_one", open_late)
        with ThreadPoolExecutor(1) as beside:
            with pool.use():
                reading = beside.submit(lambda: store.read(SERIES, minutes(0, 1)).frame.height)
                assert refused.wait(PATIENCE_S)
            is_back.set()
            assert reading.result(PATIENCE_S) == 0
