"""A server is told that nobody waits any more, and nobody waits for the telling."""

from __future__ import annotations

import threading

import psycopg
import pytest

from qmtl.runtime.io.sql.postgres.cancelling import order_to_cancel, send
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.tcp_proxy import TcpProxy

_ASLEEP = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"


def test_the_statement_ends(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        order = order_to_cancel(connection.pgconn)
        assert order is not None
        told: list[bool] = []
        pid, pause = connection.info.backend_pid, threading.Event()

        def tell() -> None:
            with psycopg.connect(postgres_server.url(), autocommit=True) as other:
                while not other.execute(_ASLEEP, (pid,)).fetchall():
                    pause.wait(0.01)
            told.append(send(order))

        thread = threading.Thread(target=tell)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        thread.join(60)
        assert told == [True]


def test_a_network_that_stands_still_holds_up_nobody_else(postgres_server: PostgresServer) -> None:
    proxy = TcpProxy(postgres_server.port)
    with psycopg.connect(proxy.url(postgres_server.url()), autocommit=True) as connection:
        order = order_to_cancel(connection.pgconn)
        assert order is not None
        proxy.stall()
        told: list[bool] = []
        thread = threading.Thread(target=lambda: told.append(send(order, within_s=2.0)))
        thread.start()
        assert told == [], "the rest of the process goes on"
        thread.join(60)
        assert told == [False]
        proxy.resume()
    proxy.close()


def test_a_server_that_is_gone_is_no_error(postgres_server: PostgresServer) -> None:
    proxy = TcpProxy(postgres_server.port)
    with psycopg.connect(proxy.url(postgres_server.url()), autocommit=True) as connection:
        order = order_to_cancel(connection.pgconn)
        assert order is not None
        proxy.close()
        assert send(order) is False


def test_an_old_libpq_sends_nothing(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def cancel_conn(self) -> None:
            raise psycopg.NotSupportedError("version 17 is needed")

    assert order_to_cancel(Old()) is None  # type: ignore[arg-type]
