"""What is not a store of ours, or cannot be used as one, is named; nothing is changed in it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from qmtl.foundation.errors import StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.postgres import opening, recognition
from qmtl.runtime.io.sql.postgres.failures import unreachable
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from tests.qmtl.postgres import PostgresServer

WRITE = Write("v", 1, some_bars(0, 5), Coverage.of(minutes(0, 5)))


@pytest.fixture
def owner(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """A session that may do everything."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        yield connection


def schema_of(url: str) -> str:
    return url.partition("schema=")[2]


def as_user(url: str, user: str) -> str:
    return url.replace("//qmtl@", f"//{user}@")


@pytest.fixture
def reader(owner: psycopg.Connection[Any]) -> Iterator[str]:
    """A user without any right."""
    owner.execute("CREATE ROLE reading LOGIN")
    yield "reading"
    owner.execute("DROP OWNED BY reading")
    owner.execute("DROP ROLE reading")


def test_a_schema_of_another_program(owner: psycopg.Connection[Any], postgres_url: str) -> None:
    schema = schema_of(postgres_url)
    owner.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.bars (ts bigint)")
    with pytest.raises(StoreCorruptError, match="belongs to another program") as foreign:
        PostgresStore(postgres_url)
    assert "has 1 other tables" in str(foreign.value)
    for name in ("setting", "identity", "tx"):
        owner.execute(f"CREATE TABLE {schema}.{name} (name text, value bigint)")
    with pytest.raises(StoreCorruptError, match="does not say that it is one of qmtl"):
        PostgresStore(postgres_url)
    tables = owner.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", (schema,)).fetchone()
    assert tables == (4,)


def test_an_empty_schema_is_laid_out(owner: psycopg.Connection[Any], postgres_url: str) -> None:
    owner.execute(f"CREATE SCHEMA {schema_of(postgres_url)}")
    with PostgresStore(postgres_url) as store:
        assert store.commit(SERIES, WRITE).added == 5


@pytest.mark.parametrize("odd", ["a b", "a\nb\tc", "a,b", "a'b", 'a"b', "a\\b", "$users", "%41"])
def test_a_schema_may_have_any_name(owner: psycopg.Connection[Any], postgres_url: str, odd: str) -> None:
    name = schema_of(postgres_url) + odd
    try:
        with PostgresStore(postgres_url + quote(odd)) as store:
            assert store.commit(SERIES, WRITE).added == 5
            found = owner.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchall()
            assert found == [(1,)]
    finally:
        owner.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def test_a_newer_format(owner: psycopg.Connection[Any], postgres_url: str) -> None:
    PostgresStore(postgres_url).close()
    owner.execute(f"UPDATE {schema_of(postgres_url)}.setting SET value = 8 WHERE name = 'format'")
    with pytest.raises(StoreError, match="has format 8") as newer:
        PostgresStore(postgres_url)
    assert "pip install --upgrade" in str(newer.value)


def test_a_table_that_was_dropped(owner: psycopg.Connection[Any], postgres_url: str) -> None:
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
        owner.execute(f"DROP TABLE {schema_of(postgres_url)}.hot")
        with pytest.raises(StoreCorruptError, match="layout of the store is damaged"):
            store.read(SERIES, minutes(0, 5))


def test_users_with_fewer_rights(owner: psycopg.Connection[Any], postgres_url: str, reader: str) -> None:
    schema, url = schema_of(postgres_url), as_user(postgres_url, reader)
    with pytest.raises(StoreError, match="no right"):
        PostgresStore(url)
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
    with pytest.raises(StoreError, match="no right to read the store"):
        PostgresStore(url)
    owner.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}")
    owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}")
    with PostgresStore(url) as store:
        assert store.read_only
        assert store.read(SERIES, minutes(0, 5)).frame.height == 5
        with pytest.raises(StoreError, match="cannot be written") as refused:
            store.commit(SERIES, WRITE)
        assert "no right to write" in str(refused.value)
        assert store.archive_report(SERIES, {}) is None


def test_a_session_that_may_only_read(owner: psycopg.Connection[Any], postgres_url: str, reader: str) -> None:
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
    owner.execute(f"ALTER ROLE {reader} SET default_transaction_read_only = on")
    owner.execute(f"GRANT ALL ON SCHEMA {schema_of(postgres_url)} TO {reader}")
    owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema_of(postgres_url)} TO {reader}")
    with PostgresStore(as_user(postgres_url, reader)) as store:
        assert store.read(SERIES, minutes(0, 5)).frame.height == 5
        with pytest.raises(StoreError, match="default_transaction_read_only"):
            store.commit(SERIES, WRITE)


def test_commits_are_durable_whatever_a_user_is_set_to(
    owner: psycopg.Connection[Any], postgres_url: str, reader: str
) -> None:
    owner.execute(f"ALTER ROLE {reader} SET synchronous_commit = off")
    owner.execute(f"GRANT CREATE ON DATABASE postgres TO {reader}")
    with PostgresStore(as_user(postgres_url, reader)) as store:
        asked = "SELECT current_setting('synchronous_commit')"
        with store._database.writing() as connection:
            assert connection.execute(asked).fetchone() == ("on",)
        with store._database.writing(is_durable=False) as connection:
            assert connection.execute(asked).fetchone() == ("off",)
        with store._database.writing() as connection:
            assert connection.execute(asked).fetchone() == ("on",)


def test_an_older_server(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "_OLDEST", 990_000)
    with pytest.raises(StoreError, match="older than version 99") as older:
        PostgresStore(postgres_url)
    assert older.value.next_step == "update the server"


def test_a_pooler_that_drops_the_settings_of_a_session(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = opening.make_conninfo

    def without_options(conninfo: str, **kept: str) -> str:
        return make(conninfo, **{name: value for name, value in kept.items() if name != "options"})

    monkeypatch.setattr(opening, "make_conninfo", without_options)
    with pytest.raises(StoreError, match="a pooler between here and the database") as pooled:
        PostgresStore(postgres_url)
    assert "connect to the server itself" in str(pooled.value)


def test_another_encoding(owner: psycopg.Connection[Any], postgres_server: PostgresServer) -> None:
    owner.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    try:
        with pytest.raises(StoreError, match="cannot hold every text"):
            PostgresStore(postgres_server.url("bars", database="latin"))
    finally:
        owner.execute("DROP DATABASE latin")


def test_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(StoreError, match="cannot be reached"):
            PostgresStore(f"postgresql://me@127.0.0.1:{port}/bars?connect_timeout=2")


def test_a_lock_that_stays_taken_says_by_whom(postgres_url: str) -> None:
    with PostgresStore(postgres_url) as holder, PostgresStore(postgres_url, lock_timeout_s=0.1) as store:
        store.commit(SERIES, WRITE)
        with holder._database.writing():
            with pytest.raises(StoreLockedError, match=r"has been locked for 0\.1 s") as locked:
                store.commit(SERIES, WRITE)
            assert "qmtl " in str(locked.value)
            assert "127.0.0.1" in str(locked.value)
            assert store.read(SERIES, minutes(0, 5)).frame.height == 5
        assert store.commit(SERIES, WRITE).unchanged == 5


def test_stores_beside_each_other_do_not_wait_for_each_other(postgres_url: str) -> None:
    with PostgresStore(postgres_url) as one, PostgresStore(f"{postgres_url}_2", lock_timeout_s=0.1) as two:
        assert one.store_id != two.store_id
        with one._database.writing():
            assert two.commit(SERIES, WRITE).tx == 1
        assert one.newest() == (0, 0)


def test_few_connections(owner: psycopg.Connection[Any], postgres_url: str, reader: str) -> None:
    """With a limit of three, threads wait for each other and get their answers."""
    owner.execute(f"GRANT CREATE ON DATABASE postgres TO {reader}")
    owner.execute(f"ALTER ROLE {reader} CONNECTION LIMIT 3")
    with PostgresStore(as_user(postgres_url, reader)) as store:
        store.commit(SERIES, WRITE)
        found: list[int] = []
        failed: list[Exception] = []

        def work(number: int) -> None:
            try:
                for step in range(5):
                    store.commit(SERIES, Write("v", 1, some_bars(10 + number * 5 + step, 1)))
                    found.append(store.read(SERIES, minutes(0, 5)).frame.height)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the test shows it
                failed.append(failure)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert found == [5] * 40
        assert store.read(SERIES, minutes(0, 100)).frame.height == 45


# `make soak` tries ten thousand.
MANY = int(os.environ.get("QMTL_TEST_SERIES", "2000"))


def test_thousands_of_series_at_once(postgres_url: str) -> None:
    names = [SeriesId.parse(f"ohlcv:many:S{number}:1m") for number in range(MANY)]
    with PostgresStore(postgres_url) as store:
        done = store.commit_many(dict.fromkeys(names, WRITE))
        assert [one.added for one in done.values()] == [5] * MANY
        again = {name: Write("v", 1, some_bars(5, 1), Coverage.of(minutes(5, 6))) for name in names}
        assert {one.added for one in store.commit_many(again).values()} == {1}
        found = store.read_many(names, minutes(0, 10))
        assert {one.frame.height for one in found.values()} == {6}
        with SeamlessDataProvider(store, vendors={}) as provider:
            panel = provider.fetch_many(names, "1970-01-01", "1970-01-01T00:06Z")
        assert panel.frame.height == 6 * MANY
        assert store.info().series == MANY
        assert store.verify().is_sound


@pytest.mark.parametrize(
    "words",
    [
        "the database system is starting up",
        "the database system is in recovery mode",
        "the database system is not yet accepting connections",
        "the database system is not accepting connections",
    ],
)
def test_a_server_that_repairs_itself_has_one_name_and_one_advice(words: str) -> None:
    failure = psycopg.OperationalError(
        f'connection to server at "db.desk", port 5432 failed: FATAL:  {words}'
    )
    told = unreachable(failure, StoreAddress.parse("postgresql://db.desk/bars"))
    assert (told.what, told.next_step) == ("the database is starting", "repeat in a moment")
    assert words in (told.why or "")


def test_a_replica_that_answers_nobody_is_not_waited_for() -> None:
    words = "the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled."
    told = unreachable(psycopg.OperationalError(words), StoreAddress.parse("postgresql://db.desk/bars"))
    assert told.what == "the server is a replica that answers nobody"
