"""A cache that is told of commits never serves what others have replaced beyond its bound, come what may."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.settings import Settings
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import iso
from qmtl.runtime.io.sql.postgres import notice
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.notice import seconds
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import ChangeToken, Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.tcp_proxy import TcpProxy

SPAN = minutes(0, 5)
ALL = Coverage.of(SPAN)


def write(store: PostgresStore, price: float) -> None:
    store.commit(SERIES, Write("v", 1, some_bars(0, 5, price=price), ALL))


def token_of(store: PostgresStore) -> ChangeToken:
    return store.changed_since(None).token


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(3_000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it does not come")


def thread_of(store: PostgresStore) -> threading.Thread:
    assert store._notice is not None
    assert store._notice._thread is not None
    return store._notice._thread


def listeners(url: str) -> list[int]:
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '% notice'"
        ).fetchall()
    return [pid for (pid,) in found]


def end_listeners(url: str) -> None:
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        for pid in listeners(url):
            connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


@pytest.fixture
def writer(postgres_url: str) -> Iterator[PostgresStore]:
    with PostgresStore(postgres_url) as store:
        write(store, 1.0)
        yield store


@pytest.fixture
def patient(postgres_url: str, writer: PostgresStore) -> Iterator[PostgresStore]:
    """A store whose bound is so long that only a notice can be quicker."""
    with PostgresStore(postgres_url, max_staleness=60.0) as store:
        yield store


def test_without_a_bound_each_request_asks(writer: PostgresStore) -> None:
    assert writer.max_staleness == 0.0
    assert writer.has_changed(token_of(writer))


def test_a_commit_of_others_is_told_at_once(patient: PostgresStore, writer: PostgresStore) -> None:
    token = token_of(patient)
    until(lambda: not patient.has_changed(token))
    write(writer, 2.0)
    until(lambda: patient.has_changed(token))
    token = patient.changed_since(token).token
    until(lambda: not patient.has_changed(token))
    writer.archive_report(SERIES, {"errors": 0, "warnings": 0})
    until(lambda: patient.has_changed(token))


def test_what_this_process_commits_is_seen_without_being_told(patient: PostgresStore) -> None:
    for price in range(20):
        token = token_of(patient)
        until(lambda token=token: not patient.has_changed(token))  # type: ignore[misc]
        write(patient, 10.0 + price)
        assert patient.has_changed(token)


def test_the_payload_names_the_commit(postgres_url: str, writer: PostgresStore) -> None:
    with psycopg.connect(postgres_url.partition("?")[0], autocommit=True) as connection:
        schema = postgres_url.partition("schema=")[2]
        connection.execute(f'LISTEN "qmtl {schema}"')
        write(writer, 2.0)
        assert [one.payload for one in connection.notifies(timeout=60, stop_after=1)] == ["2"]


def test_a_lost_notice_falls_back_to_asking_and_is_made_again(
    postgres_url: str,
    writer: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notice, "_PAUSE_S", 0.05)
    with PostgresStore(postgres_url, max_staleness=60.0) as patient:
        token = token_of(patient)
        until(lambda: not patient.has_changed(token))
        begin_again = threading.Event()
        hearing = patient._notice
        assert hearing is not None
        opened = hearing._open_one
        monkeypatch.setattr(hearing, "_open_one", lambda: begin_again.wait(60) and opened())
        with caplog.at_level(logging.WARNING, "seamless.store"):
            end_listeners(postgres_url)
            until(lambda: patient.has_changed(token))
            until(lambda: "each request asks" in caplog.text)
        assert "closed the connection" in caplog.text
        write(writer, 2.0)
        assert len(patient.changed_since(token).commits) == 1, "it answers without the notice"
        begin_again.set()
        token = token_of(patient)
        until(lambda: not patient.has_changed(token))


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[TcpProxy]:
    proxy = TcpProxy(postgres_server.port)
    yield proxy
    proxy.close()


def test_a_network_that_stands_still_proves_nothing(
    postgres_url: str, writer: PostgresStore, proxy: TcpProxy
) -> None:
    """The listening socket hears nothing, and no error either."""
    with PostgresStore(proxy.url(postgres_url), max_staleness=0.5) as store:
        token = token_of(store)
        until(lambda: not store.has_changed(token))
        proxy.stall(marked_only=True)
        write(writer, 2.0)
        visible = asked_at = seconds()
        pause = threading.Event()
        while not store.has_changed(token):
            assert asked_at - visible <= 0.5, "the bound"
            pause.wait(0.01)
            asked_at = seconds()
        assert len(store.changed_since(token).commits) == 1, "other connections still work"
        token = token_of(store)
        for _ in range(20):
            assert store.has_changed(token)
        proxy.resume()
        until(lambda: not store.has_changed(token))


def test_an_answer_is_as_old_as_its_question(
    postgres_url: str, writer: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has looked before the commit, and its answer arrives long after it."""
    with PostgresStore(postgres_url, max_staleness=0.2) as store:
        token = token_of(store)
        until(lambda: not store.has_changed(token))
        answer, arrives, looked, heard, ends = notice._Line.answer, *(threading.Event() for _ in range(4))

        def late(line: notice._Line, statements: bytes, within_s: float) -> bytes:
            if looked.is_set():
                heard.set()
                assert ends.wait(60)
            found = answer(line, statements, within_s)
            looked.set()
            assert arrives.wait(60)
            return found

        monkeypatch.setattr(notice._Line, "answer", late)
        assert looked.wait(60)
        write(writer, 2.0)
        visible = seconds()
        until(lambda: seconds() - visible > 0.2)
        arrives.set()
        assert heard.wait(60)
        assert store.has_changed(token)
        ends.set()


def test_a_notice_that_does_not_answer_is_given_up(
    postgres_url: str,
    writer: PostgresStore,
    proxy: TcpProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notice, "_PAUSE_S", 0.05)
    with PostgresStore(proxy.url(postgres_url), max_staleness=0.5) as store:
        token = token_of(store)
        until(lambda: not store.has_changed(token))
        until(lambda: len(listeners(postgres_url)) == 1)  # one of a test before may end a moment later
        (pid,) = listeners(postgres_url)
        assert store._notice is not None
        opened, open_one = list[PostgresConnection](), store._notice._open_one

        def noted() -> PostgresConnection:
            opened.append(open_one())
            return opened[-1]

        monkeypatch.setattr(store._notice, "_open_one", noted)
        with caplog.at_level(logging.WARNING, "seamless.store"):
            proxy.stall(marked_only=True)
            monkeypatch.setattr(notice, "_ANSWER_S", 0.3)
            until(lambda: "the server does not answer" in caplog.text)
            until(lambda: len(opened) > 2)
        monkeypatch.setattr(notice, "_ANSWER_S", 60.0)  # a busy machine is not taken for one that is lost
        proxy.resume()
        until(lambda: not store.has_changed(token))
        until(lambda: len(found := listeners(postgres_url)) == 1 and found != [pid])
        assert caplog.text.count("each request asks") == 1, "said once, however often it is tried"


def test_closing_ends_the_session_also_where_the_network_stands_still(
    postgres_url: str, writer: PostgresStore, proxy: TcpProxy
) -> None:
    store = PostgresStore(proxy.url(postgres_url), max_staleness=0.5)
    token = token_of(store)
    until(lambda: not store.has_changed(token))
    until(lambda: len(listeners(postgres_url)) == 1)  # one of a test before may end a moment later
    thread = thread_of(store)
    proxy.stall()
    until(lambda: store.has_changed(token))
    store.close()
    thread.join(60)  # which it was given a second for
    assert not thread.is_alive()
    assert store.has_changed(token)
    proxy.resume()
    until(lambda: listeners(postgres_url) == [])


def test_a_store_that_nobody_closes_takes_its_thread_along(postgres_url: str, writer: PostgresStore) -> None:
    store = PostgresStore(postgres_url, max_staleness=0.5)
    token = token_of(store)
    while store.has_changed(token):
        thread = thread_of(store)
    database = store._database
    del store
    thread.join(60)
    assert not thread.is_alive()
    database.close()  # what else is open is closed by the garbage collector, with a warning


def test_a_forked_child_asks_and_leaves_the_session_of_its_parent_alone(
    patient: PostgresStore, postgres_url: str
) -> None:
    token = token_of(patient)
    until(lambda: not patient.has_changed(token))
    pid = os.fork()
    if pid == 0:
        patient.close()
        os._exit(0 if patient.has_changed(token) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    until(lambda: len(listeners(postgres_url)) == 1)  # one of a test before may end a moment later
    until(lambda: not patient.has_changed(token))


# The whole way

NAME = str(SERIES)


def ask(provider: SeamlessDataProvider) -> Any:
    return provider.fetch(NAME, iso(SPAN.start), iso(SPAN.end), strategy="FAIL_FAST", partial_ok=True)


def test_the_receipt_says_how_fresh_an_answer_is(postgres_url: str, writer: PostgresStore) -> None:
    with SeamlessDataProvider(postgres_url, vendors={}) as provider:
        for _ in range(2):
            receipt = ask(provider).receipt
            assert (receipt.freshness, receipt.max_staleness) == ("asked", 0.0)
    with SeamlessDataProvider(postgres_url, vendors={}, max_staleness=30.0) as provider:
        first = ask(provider).receipt
        until(lambda: ask(provider).receipt.freshness == "notified")
        receipt = ask(provider).receipt
        assert (receipt.served[0].tier, receipt.max_staleness) == ("cache", 30.0)
        assert receipt.fingerprint == first.fingerprint
        assert receipt.to_json()["freshness"] == "notified"
        assert receipt.to_json()["max_staleness"] == 30.0
        assert "notified" in repr(receipt)
        assert "notified" not in repr(first)


def test_the_bound_is_a_setting(postgres_url: str) -> None:
    env = {"QMTL_SEAMLESS_STORE": postgres_url, "QMTL_SEAMLESS_MAX_STALENESS": "2s"}
    with SeamlessDataProvider.from_settings(Settings.load(env=env)) as provider:
        assert provider.store.max_staleness == 2.0


def test_a_folder_tells_at_once_whatever_the_bound(tmp_path: Path) -> None:
    with SeamlessDataProvider(tmp_path / "bars", vendors={}, max_staleness=60.0) as provider:
        assert ask(provider).receipt.freshness == ask(provider).receipt.freshness == "asked"


@pytest.mark.parametrize("wrong", [-1, True, "1s", float("nan"), float("inf")])
def test_what_is_no_bound_is_refused(postgres_url: str, wrong: Any) -> None:
    with pytest.raises(InvalidRequestError, match="max_staleness"):
        SeamlessDataProvider(postgres_url, vendors={}, max_staleness=wrong)


# Asks again and again, and tells when each request began, what it saw, and how.
READER = """
import json, sys
import qmtl
from qmtl.runtime.io.sql.postgres.notice import seconds

url, name, start, end, bound = sys.argv[1:]
provider = qmtl.SeamlessDataProvider(url, vendors={}, max_staleness=float(bound))
print("ready", flush=True)
while True:
    began = seconds()
    result = provider.fetch(name, start, end, strategy="FAIL_FAST", partial_ok=True)
    seen = result.frame["close"][0]
    print(json.dumps([began, seen, result.receipt.freshness]), flush=True)
"""


def test_another_process_never_serves_what_was_replaced_beyond_the_bound(
    postgres_url: str, writer: PostgresStore, proxy: TcpProxy
) -> None:
    bound = 0.8
    command = [sys.executable, "-c", READER, proxy.url(postgres_url), NAME, iso(SPAN.start), iso(SPAN.end)]
    with subprocess.Popen([*command, str(bound)], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        answers: list[Any] = []
        reading = threading.Thread(target=lambda: answers.extend(map(json.loads, reader.stdout or ())))
        reading.start()
        committed = [(0.0, 1.0)]
        pause = threading.Event()

        def is_up_to_date() -> bool:
            return bool(answers) and answers[-1][1:] == [committed[-1][1], "notified"]

        def write_for(seconds_long: float) -> None:
            end = seconds() + seconds_long
            while seconds() < end:
                price = committed[-1][1] + 1
                write(writer, price)
                committed.append((seconds(), price))
                pause.wait(0.02)

        def stale() -> list[float]:
            return [seen for began, seen, _ in answers if seen < max(p for at, p in committed if at <= began)]

        write_for(0.3)
        until(is_up_to_date)
        for _ in range(10):  # a reader that is not given a turn within the bound has nothing to serve
            proxy.stall(marked_only=True)
            write(writer, committed[-1][1] + 1)
            committed.append((seconds(), committed[-1][1] + 1))
            pause.wait(2 * bound)  # nothing tells of it but the bound
            write_for(0.3)
            proxy.resume()
            if stale():
                break
            until(is_up_to_date)
        end_listeners(postgres_url)
        write_for(0.3)
        until(is_up_to_date)
        until(lambda: len(answers) > 100)
        reader.kill()
        reading.join(60)
    assert {how for _, _, how in answers} == {"asked", "notified"}
    for began, seen, how in answers:
        newest = max(price for at, price in committed if at <= began - bound)
        assert seen >= newest, (began, how)
    assert stale(), "the cache has served within the bound, or this test shows nothing"
