"""A fetch ends within its budget whatever the server does, and the server ends what nobody waits for."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from qmtl.foundation.errors import SeamlessSLAExceeded, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import iso
from qmtl.runtime.io.sql.postgres import connection
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.store.waiting import waiting
from qmtl.runtime.sdk import fetching
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from tests.qmtl.postgres import PostgresServer, newest_programs
from tests.qmtl.tcp_proxy import TcpProxy

NAME, SPAN = str(SERIES), minutes(0, 5)
WRITE = Write("v", 1, some_bars(0, 5), Coverage.of(SPAN))
RANGE = (NAME, iso(SPAN.start), iso(SPAN.end))
# Without its budget a read would wait for `HELD_S`; a machine that is busy is given a part of that.
BUDGET, SLACK, HELD_S = 0.3, 120.0, 300


@pytest.fixture
def stored(postgres_url: str) -> str:
    """The address of a store with five bars."""
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
    return postgres_url


@pytest.fixture
def provider(stored: str) -> Iterator[SeamlessDataProvider]:
    with SeamlessDataProvider(stored, vendors={}, cache_bytes=0, partial_ok=True) as provider:
        provider.fetch(*RANGE)
        yield provider


@contextmanager
def locked(url: str, table: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session has the table for itself, until the block ends (or a test hangs)."""
    place, _, schema = url.partition("?schema=")
    with psycopg.connect(place) as other:
        other.execute(f"SET idle_in_transaction_session_timeout = '{HELD_S}s'")
        other.execute(f'LOCK TABLE "{schema}".{table} IN ACCESS EXCLUSIVE MODE')
        yield other
        other.rollback()


def until_under_way(other: psycopg.Connection[Any], count: int, doing: str = "state <> 'idle'") -> None:
    """Wait until so many of our sessions do anything."""
    pause, found = threading.Event(), []
    for _ in range(3_000):
        other.execute("SELECT pg_stat_clear_snapshot()")
        found = other.execute(
            f"SELECT state, query FROM pg_stat_activity WHERE application_name LIKE 'qmtl %' AND {doing}"
        ).fetchall()
        if len(found) == count:
            return
        pause.wait(0.01)
    raise AssertionError(found)


def until_held_up(other: psycopg.Connection[Any]) -> None:
    """Wait until one waits for the lock; before that it may be between two statements."""
    until_under_way(other, 1, "wait_event_type = 'Lock'")


@pytest.mark.parametrize("budget", ["storage_wait", "total"])
@pytest.mark.parametrize("table", ["chunk", "hot", "tx"])
def test_a_read_that_waits_for_a_lock_ends_with_the_budget(
    stored: str, provider: SeamlessDataProvider, table: str, budget: str
) -> None:
    with locked(stored, table) as other:
        began = time.monotonic()
        with pytest.raises(SeamlessSLAExceeded) as breach:
            provider.fetch(*RANGE, partial_ok=False, sla=SLAPolicy(**{budget: BUDGET}))
        seconds = time.monotonic() - began
        until_under_way(other, 0)
    assert BUDGET <= seconds < BUDGET + SLACK
    assert (breach.value.phase, breach.value.budget_s) == (budget, BUDGET)
    assert breach.value.elapsed_s is not None
    assert breach.value.elapsed_s >= BUDGET
    assert provider.fetch(*RANGE).frame.height == 5, "the next one gets a connection that works"


def test_a_budget_that_is_answered_leaves_holes(stored: str, provider: SeamlessDataProvider) -> None:
    with locked(stored, "chunk"):
        result = provider.fetch(*RANGE, sla=SLAPolicy(total=BUDGET, on_breach="partial"))
    assert result.frame.is_empty()
    assert "total budget of 0.3 s is spent" in result.receipt.violations[0]


@pytest.mark.parametrize("is_default", [False, True])
def test_a_read_that_a_budget_ends_is_told_by_what_is_declared_now(
    stored: str, monkeypatch: pytest.MonkeyPatch, *, is_default: bool
) -> None:
    saturday = minutes(16 * 1_440, 16 * 1_440 + 10)
    asked = (NAME, iso(saturday.start), iso(saturday.end))
    # A busy machine takes its time to look, and then to ask for reports on a new connection.
    sla = SLAPolicy(total=10 * BUDGET, on_breach="partial")
    monkeypatch.setattr(fetching, "_LAST_S", SLACK)
    default, of_call = (sla, {}) if is_default else (None, {"sla": sla})
    with (
        PostgresStore(stored) as other,
        SeamlessDataProvider(stored, vendors={}, cache_bytes=0, partial_ok=True, sla=default) as provider,
    ):
        other.declare(SERIES, SeriesFacts(calendar="24/5"))
        provider.fetch(*asked, sla=SLAPolicy())
        other.declare(SERIES, SeriesFacts(calendar="24x7"))
        with locked(stored, "chunk"):
            result = provider.fetch(*asked, **of_call)
    assert result.coverage.counts["unknown"] == 10


def test_what_follows_the_read_takes_of_the_whole_budget(
    stored: str, provider: SeamlessDataProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive of reports is looked at last."""
    newest_report = PostgresStore.newest_report

    def locked_from_here(store: PostgresStore, *asked: Any) -> Any:
        with locked(stored, "report") as other:
            try:
                return newest_report(store, *asked)
            finally:
                until_under_way(other, 0)

    monkeypatch.setattr(PostgresStore, "newest_report", locked_from_here)
    monkeypatch.setattr(PostgresStore, "baseline_report", locked_from_here)
    provider.store.archive_report(SERIES, {"errors": 0, "warnings": 0})
    broken = some_bars(0, 1).with_columns(volume=0.0)  # what is found in it is compared
    provider.store.commit(SERIES, Write("v", 2, broken, Coverage.of(minutes(0, 1))))
    began = time.monotonic()
    with pytest.raises(SeamlessSLAExceeded, match="the store did not answer") as breach:
        provider.fetch(*RANGE, sla=SLAPolicy(total=BUDGET))
    assert time.monotonic() - began < BUDGET + SLACK
    assert breach.value.phase == "total"


def test_several_series_end_with_their_budget(stored: str, provider: SeamlessDataProvider) -> None:
    with locked(stored, "chunk") as other:
        began = time.monotonic()
        found = provider.fetch_many([NAME, "ohlcv:test:OTHER:1m"], *RANGE[1:], sla=SLAPolicy(total=BUDGET))
        assert time.monotonic() - began < 2 * BUDGET + SLACK
        until_under_way(other, 0)
    assert found.frame.is_empty()


@pytest.mark.parametrize("table", ["tx", "chunk"])
@pytest.mark.parametrize("several", [False, True])
def test_a_task_that_is_cancelled_ends_its_query(
    stored: str, provider: SeamlessDataProvider, table: str, several: bool
) -> None:
    async def cancelled(other: psycopg.Connection[Any]) -> None:
        asked = provider.fetch_many_async([NAME], *RANGE[1:]) if several else provider.fetch_async(*RANGE)
        task = asyncio.ensure_future(asked)
        await asyncio.to_thread(until_held_up, other)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(until_under_way, other, 0)

    with locked(stored, table) as other:
        asyncio.run(cancelled(other))
    assert provider.fetch(*RANGE).frame.height == 5


CHILD = """
import sys
import qmtl

provider = qmtl.SeamlessDataProvider(sys.argv[1], vendors={}, cache_bytes=0, partial_ok=True)
provider.fetch(*sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
try:
    provider.fetch(*sys.argv[2:])
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
print(provider.fetch(*sys.argv[2:]).frame.height, flush=True)
"""


@pytest.mark.parametrize("table", ["tx", "chunk"])
def test_an_interrupt_ends_the_query_as_well(stored: str, table: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, stored, *RANGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with locked(stored, table) as other:
            child.stdin.write("\n")
            child.stdin.flush()
            until_held_up(other)
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "interrupted\n"
            until_under_way(other, 0)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "5\n"


def test_a_network_that_stands_still_ends_with_the_budget(
    stored: str, postgres_server: PostgresServer
) -> None:
    """With a connection at hand, and again where a new one has to be opened."""
    sla = SLAPolicy(total=BUDGET)
    with closing(TcpProxy(postgres_server.port)) as proxy:
        far = f"{proxy.url(stored)}&connect_timeout={HELD_S}"
        with SeamlessDataProvider(far, vendors={}, cache_bytes=0, partial_ok=True) as provider:
            provider.fetch(*RANGE)
            proxy.stall()
            for _ in range(3):
                began = time.monotonic()
                with pytest.raises(SeamlessSLAExceeded, match="the store did not answer"):
                    provider.fetch(*RANGE, sla=sla)
                assert time.monotonic() - began < BUDGET + SLACK, "opening a connection may take five minutes"
            proxy.resume()
            assert provider.fetch(*RANGE).frame.height == 5


def test_the_server_ends_by_itself_what_no_word_reaches(stored: str) -> None:
    asked = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"
    with PostgresStore(stored) as store:
        with waiting(60.0), store._database.reading() as used:
            (limit,) = used.execute(asked).fetchone()
            assert 1_000 < limit <= 60_500
        with store._database.reading() as used:
            assert used.execute(asked).fetchone() == (0,)


@pytest.mark.parametrize("by", ["user request", "statement timeout"])
def test_a_statement_that_the_server_ends_is_told_with_its_reason(stored: str, by: str) -> None:
    with locked(stored, "chunk") as other, PostgresStore(stored) as store:

        def cancel() -> None:
            until_held_up(other)
            other.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'qmtl %' AND state <> 'idle'"
            )

        if by == "statement timeout":
            with store._database._pool.use() as used:
                used.execute("SET statement_timeout = 200")
        ending = threading.Thread(target=cancel if by == "user request" else lambda: None)
        ending.start()
        with pytest.raises(StoreError, match=f"has ended a statement(.|\n)*due to {by}") as failure:
            store.read(SERIES, SPAN)
        ending.join(60)
    assert "repeat; where the server says" in str(failure.value)


def test_the_server_notices_that_nobody_is_there(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the word that nobody waits any more is lost, and no time was set."""
    monkeypatch.setattr(connection, "order_to_cancel", lambda _: None)
    with locked(stored, "chunk") as other, PostgresStore(stored) as store, waiting() as wait:
        reading = threading.Thread(target=until_held_up, args=(other,))
        reading.start()
        giving_up = threading.Thread(target=lambda: (reading.join(60), wait.give_up()))
        giving_up.start()
        with pytest.raises(ReadAbandonedError):
            store.read(SERIES, SPAN)
        giving_up.join(60)
        until_under_way(other, 0)


def test_a_commit_is_never_ended(stored: str) -> None:
    with PostgresStore(stored) as store:
        with waiting() as wait, store._database.writing() as used:
            used.execute("DELETE FROM report")
            wait.give_up()
            used.execute("SELECT pg_sleep(0.2)")
            assert wait.is_over
            used.execute("COMMIT")
        with waiting(0), pytest.raises(ReadAbandonedError):
            store.commit(SERIES, Write("v", 2, some_bars(5, 5)))
        assert store.read(SERIES, minutes(0, 10)).frame.height == 5, "one that had not begun leaves nothing"


def test_who_waits_for_a_connection_ends_as_well(stored: str) -> None:
    with PostgresStore(stored) as store:
        store._database._pool._limit = 1
        taken, free = threading.Event(), threading.Event()

        def take() -> None:
            with store._database.reading():
                taken.set()
                assert free.wait(60)

        thread = threading.Thread(target=take)
        thread.start()
        assert taken.wait(60)
        with waiting(0.1), pytest.raises(ReadAbandonedError):
            store.read(SERIES, SPAN)
        free.set()
        thread.join(60)
        with waiting(30):
            assert store.read(SERIES, SPAN).frame.height == 5


# Broken connections


def test_a_pool_whose_sessions_were_all_ended(stored: str, provider: SeamlessDataProvider) -> None:
    pool = provider.store._database._pool  # type: ignore[attr-defined]
    everybody = threading.Barrier(5)

    def use() -> None:
        with pool.use():
            everybody.wait(60)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    pids = [one.raw.info.backend_pid for one in pool._free]
    assert len(set(pids)) == 5
    with psycopg.connect(stored.partition("?")[0], autocommit=True) as other:
        for pid in pids:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(provider.fetch(*RANGE).frame.height)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [5] * 5


def test_a_server_that_was_started_again_between_two_fetches() -> None:
    programs = newest_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    server = PostgresServer(programs)
    try:
        url = server.url("bars")
        with PostgresStore(url) as store:
            store.commit(SERIES, WRITE)
        with SeamlessDataProvider(
            url, vendors={}, cache_bytes=0, partial_ok=True, max_staleness=30.0
        ) as provider:
            assert provider.fetch(*RANGE).frame.height == 5
            server.stop()
            server.start()
            assert provider.fetch(*RANGE).frame.height == 5
            server.kill()
            server.start()
            result = provider.fetch(*RANGE, sla=SLAPolicy(total=30.0))
            assert result.frame.height == 5
    finally:
        server.remove()
