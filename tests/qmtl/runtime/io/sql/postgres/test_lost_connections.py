"""What a store says when a server, or the way to it, is lost: never that something was kept which was not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.postgres import lost_connections
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars
from tests.qmtl.postgres import PostgresServer, newest_programs

BARS = some_bars(0, 5)
WRITE = Write("v", 1, BARS, Coverage.of(minutes(0, 5)))
ALL = minutes(0, 100)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with PostgresStore(postgres_url) as store:
        yield store


def cut(connection: PostgresConnection) -> None:
    """End the session of a connection on the server, as a firewall or an operator would."""
    pid = connection.raw.info.backend_pid
    info = connection.raw.info
    with psycopg.connect(
        host=info.host, port=info.port, user=info.user, dbname=info.dbname, autocommit=True
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


def cut_at_commit(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> list[int]:
    """The next COMMIT loses its connection: before the server has it, or after it was carried out."""
    commit = PostgresConnection.commit
    calls: list[int] = []

    def broken(connection: PostgresConnection) -> None:
        calls.append(len(calls))
        if len(calls) > 1:
            commit(connection)
            return
        if after:
            commit(connection)
        cut(connection)
        connection.script(b"SELECT 1")  # what shows that the connection is gone

    monkeypatch.setattr(PostgresConnection, "commit", broken)
    return calls


def test_a_commit_that_was_carried_out_is_found(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = cut_at_commit(monkeypatch, after=True)
    commit = store.commit(SERIES, WRITE)
    assert calls == [0], "it is not made a second time"
    assert store.newest() == (commit.tx, commit.as_of) == (1, commit.as_of)
    assert store.read(SERIES, ALL).frame.equals(BARS)


def test_a_commit_that_did_not_arrive_is_an_error(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = cut_at_commit(monkeypatch, after=False)
    with pytest.raises(StoreError, match="while a commit was made") as lost:
        store.commit(SERIES, WRITE)
    assert "nothing of it was kept" in str(lost.value)
    assert calls == [0]
    assert store.newest() == (0, 0)
    assert store.commit(SERIES, WRITE).added == 5


@pytest.mark.parametrize("after", [True, False])
def test_what_is_no_commit_of_bars_is_looked_for_too(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    cut_at_commit(monkeypatch, after=after)
    if after:
        assert store.open_fence(SERIES, [3], "one") == {3: 1}
    else:
        with pytest.raises(StoreError, match="nothing of it was kept"):
            store.open_fence(SERIES, [3], "one")
    assert store.open_fence(SERIES, [3], "two") == {3: 2 if after else 1}


def test_another_commit_of_the_same_number_is_not_taken_for_ours(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = PostgresConnection.commit

    def overtaken(connection: PostgresConnection) -> None:
        monkeypatch.setattr(PostgresConnection, "commit", commit)
        cut(connection)
        with PostgresStore(postgres_url) as other:
            assert other.commit(OTHER, WRITE).tx == 1
        connection.script(b"SELECT 1")

    monkeypatch.setattr(PostgresConnection, "commit", overtaken)
    with pytest.raises(StoreError, match="nothing of it was kept"):
        store.commit(SERIES, WRITE)
    assert store.read(SERIES, ALL).frame.is_empty()


def test_nobody_knows_where_nobody_answers(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_at_commit(monkeypatch, after=True)
    monkeypatch.setattr(lost_connections, "SEARCH_S", 0.3)

    def unreachable() -> PostgresConnection:
        raise StoreError("the database cannot be reached")

    monkeypatch.setattr(store._database._pool, "_open_one", unreachable)
    with pytest.raises(StoreError, match="nobody knows whether the commit was kept") as unknown:
        store.commit(SERIES, WRITE)
    assert "cannot be reached" in str(unknown.value)
    assert "repeat what is missing" in str(unknown.value)


def test_a_transaction_that_failed_is_not_called_durable(store: PostgresStore) -> None:
    with store._database.writing() as connection:
        connection.execute("INSERT INTO reason (tx, reason) VALUES (1, 'x')")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("COMMIT")
    with store._database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM reason").fetchone() == (0,)


def test_connections_that_broke_while_nobody_used_them_are_replaced(store: PostgresStore) -> None:
    store.commit(SERIES, WRITE)
    for ask in (
        lambda: store.read(SERIES, ALL).frame.height,
        lambda: store.commit(SERIES, WRITE).unchanged,
        lambda: len(store.changed_since(store.changed_since(None).token).commits) + 5,
    ):
        for connection in store._database._pool._free:
            cut(connection)
        assert ask() == 5


def test_a_connection_that_breaks_in_the_middle_is_an_error(store: PostgresStore) -> None:
    store.commit(SERIES, WRITE)
    lost = pytest.raises(StoreError, match="connection to the database was lost")
    with lost, store._database.reading() as connection:
        cut(connection)
        connection.execute("SELECT 1")
    with lost, store._database.writing() as connection:
        connection.execute("DELETE FROM tx")
        cut(connection)
        connection.execute("SELECT 1")
    assert store.read(SERIES, ALL).frame.equals(BARS)
    assert store.newest().tx == 1


@pytest.fixture
def own_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that this test may kill."""
    programs = newest_programs()
    assert programs is not None
    server = PostgresServer(programs)
    yield server
    server.remove()


def test_a_server_that_is_killed_keeps_what_it_acknowledged(own_server: PostgresServer) -> None:
    acknowledged: list[tuple[int, int]] = []
    refused: list[StoreError] = []
    with PostgresStore(own_server.url("bars")) as store:

        def write() -> None:
            for number in range(100_000):
                if enough.is_set():  # a COMMIT that was looked for and found goes on as if nothing had been
                    return
                try:
                    commit = store.commit(SERIES, Write("v", 1, some_bars(number, 1)))
                except StoreError as failure:
                    refused.append(failure)
                    return
                acknowledged.append((number, commit.as_of))

        for _ in range(3):
            enough = threading.Event()
            already = len(acknowledged)
            thread = threading.Thread(target=write)
            thread.start()
            pause = threading.Event()
            while len(acknowledged) < already + 20:
                assert thread.is_alive(), refused
                pause.wait(0.005)
            own_server.kill()
            own_server.start()
            enough.set()
            thread.join(60)
            assert not thread.is_alive()
            last = max(number for number, _ in acknowledged[already:])
            rows = store.read(SERIES, minutes(0, 100_001)).frame.height
            assert rows >= last + 1
            for number, as_of in acknowledged[already:]:
                found = store.read(SERIES, minutes(number, number + 1), as_of=as_of)
                assert found.frame.equals(some_bars(number, 1))
            assert store.newest().as_of >= acknowledged[-1][1]
    for failure in refused:
        assert failure.next_step


def test_reports_and_acceptances_are_looked_for_as_well(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at_commit(monkeypatch, after=True)
    assert store.accept(SERIES, [Accepted("a.rule", 0, 1, "f")]) == 1
    assert len(store.accepted(SERIES)) == 1
