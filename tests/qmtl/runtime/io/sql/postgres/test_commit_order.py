"""A commit never appears behind a time that a reader was told, whichever writer is slow, and where."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise, permutations
from typing import Any

import psycopg
import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suites.bars import SERIES, changes_since, minutes, some_bars
from qmtl.runtime.testing.vendors import ScriptedVendor

WRITERS = 3
ALL = minutes(0, 1_000)
_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


class Stalls:
    """Each writer stands still just before its COMMIT until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = [threading.Event() for _ in range(WRITERS)]
        self.let_go = [threading.Event() for _ in range(WRITERS)]
        commit = PostgresConnection.commit

        def stalled(connection: PostgresConnection) -> None:
            name = threading.current_thread().name
            if name.startswith("writer "):
                number = int(name.removeprefix("writer "))
                self.arrived[number].set()
                assert self.let_go[number].wait(60)
            commit(connection)

        monkeypatch.setattr(PostgresConnection, "commit", stalled)


@pytest.fixture
def observer(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Looks at the locks of the server."""
    with psycopg.connect(postgres_url.partition("?")[0], autocommit=True) as connection:
        yield connection


def wait_for(observer: psycopg.Connection[Any], waiting: int) -> None:
    pause = threading.Event()
    for _ in range(3_000):
        (found,) = observer.execute(_WAITING).fetchone() or (0,)
        if found == waiting:
            return
        pause.wait(0.01)
    raise AssertionError(f"{found} writers wait for the lock, not {waiting}")


def answer(store: PostgresStore, as_of: int | None = None) -> tuple[Any, ...]:
    """All that a read says of all series, byte by byte."""
    names = [SERIES, *(series_of(number) for number in range(WRITERS))]
    found = store.read_many(names, ALL, as_of=as_of)
    return tuple((one.tx, one.as_of, one.frame.rows(), list(one.answers)) for one in found.values())


def series_of(number: int) -> SeriesId:
    return SeriesId.parse(f"ohlcv:order:W{number}:1m")


def bars_of(number: int) -> Write:
    """All writers touch the same bars of the series that they share."""
    span: Span = minutes(0, 5 + number)
    return Write("v", number, some_bars(0, 5 + number, price=number + 1.0), Coverage.of(span))


@pytest.mark.parametrize("order", list(permutations(range(WRITERS))))
def test_writers_that_stall_before_their_commit(
    order: tuple[int, ...],
    postgres_url: str,
    observer: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stalls = Stalls(monkeypatch)
    with ExitStack() as stack:
        reader = stack.enter_context(PostgresStore(postgres_url))
        stores = [stack.enter_context(PostgresStore(postgres_url)) for _ in range(WRITERS)]
        done: dict[int, dict[SeriesId, Commit]] = {}

        def write(number: int) -> None:
            both = {SERIES: bars_of(number), series_of(number): bars_of(number)}
            done[number] = stores[number].commit_many(both)

        threads = {
            number: threading.Thread(target=write, args=(number,), name=f"writer {number}")
            for number in order
        }
        receipts: list[tuple[int, tuple[Any, ...]]] = []

        def note() -> None:
            now = answer(reader)
            receipts.append((now[0][1], now))

        note()
        for waiting, number in enumerate(order):
            threads[number].start()
            if waiting == 0:
                assert stalls.arrived[number].wait(60)
            wait_for(observer, waiting)
            note()
        for place, number in enumerate(order):
            assert stalls.arrived[number].wait(60), "who came first has the lock first"
            assert [stalls.arrived[later].is_set() for later in order[place + 1 :]] == [False] * (2 - place)
            note()
            stalls.let_go[number].set()
            threads[number].join(60)
            note()
        times = [done[number][SERIES].as_of for number in order]
        assert times == sorted(times)
        for as_of, then in receipts:
            if as_of:
                assert answer(reader, as_of) == then
        commits = changes_since(reader, 0)
        assert [change.tx for change in commits] == list(range(1, 2 * WRITERS + 1))
        numbers = [done[number][name].tx for number in order for name in (SERIES, series_of(number))]
        assert numbers == sorted(numbers)


def test_many_writers_beside_a_reader(postgres_url: str) -> None:
    with ExitStack() as stack:
        reader = stack.enter_context(PostgresStore(postgres_url))
        stores = [stack.enter_context(PostgresStore(postgres_url)) for _ in range(4)]
        receipts: list[tuple[int, tuple[Any, ...]]] = []

        def write(number: int) -> None:
            for _ in range(15):
                stores[number].commit(SERIES, bars_of(number))
                stores[number].commit(series_of(number % WRITERS), bars_of(number))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            now = answer(reader)
            receipts.append((now[0][1], now))
        for as_of, then in receipts:
            if as_of:
                assert answer(reader, as_of) == then
        with psycopg.connect(postgres_url.partition("?")[0]) as connection:
            schema = postgres_url.partition("schema=")[2]
            times = connection.execute(f"SELECT committed_at FROM {schema}.tx ORDER BY id").fetchall()
        assert all(one < two for one, two in pairwise(times))


def test_a_receipt_reads_the_same_bytes_for_ever(postgres_url: str) -> None:
    """Of answers that were given while three others wrote to the same series."""
    names = [f"ohlcv:order:W{number}:1m" for number in range(WRITERS)]
    receipts: list[tuple[str, int, bytes]] = []

    def write(number: int) -> None:
        with SeamlessDataProvider(postgres_url, vendors=ScriptedVendor(page_rows=100)) as writer:
            for day in range(1, 4):
                for name in names:
                    writer.fetch(name, f"2024-01-0{day}", f"2024-01-0{day + 1}", partial_ok=True)
                    writer.retract(
                        name, f"2024-01-0{day}", f"2024-01-0{day}T0{number + 1}:00Z", reason="a trial"
                    )

    def asked(reader: SeamlessDataProvider, name: str, as_of: int | None = None) -> tuple[str, int, bytes]:
        found = reader.fetch(
            name, "2024-01-01", "2024-01-05", as_of=as_of, strategy="FAIL_FAST", partial_ok=True
        )
        return name, found.receipt.as_of, found.frame.write_ipc(None).getvalue()

    with SeamlessDataProvider(postgres_url, vendors={}) as reader:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            receipts.extend(asked(reader, name) for name in names)
        assert len({data for _, _, data in receipts}) > WRITERS, "the answers did change"
    with SeamlessDataProvider(postgres_url, vendors={}) as later:
        for name, as_of, data in receipts:
            if as_of:
                assert asked(later, name, as_of) == (name, as_of, data)


def test_times_rise_although_a_clock_is_an_hour_behind(postgres_url: str) -> None:
    with PostgresStore(postgres_url) as store:
        before = store.commit(SERIES, bars_of(0))
    late = FakeClock("2100-01-01T00:00:00Z")
    with PostgresStore(postgres_url, clock=late) as store:
        ahead = store.commit(SERIES, bars_of(1))
        assert ahead.as_of == late.now()
    with PostgresStore(postgres_url) as store:  # by the clock of the server again, decades behind
        after = store.commit(SERIES, bars_of(2))
        assert before.as_of < ahead.as_of < after.as_of == ahead.as_of + 1
        assert store.read(SERIES, ALL, as_of=ahead.as_of).frame.equals(some_bars(0, 6, price=2.0))
        assert store.read(SERIES, ALL, as_of=after.as_of).frame.equals(some_bars(0, 7, price=3.0))


def test_commits_have_the_time_of_the_server(postgres_url: str, observer: psycopg.Connection[Any]) -> None:
    with PostgresStore(postgres_url) as store:
        times = []
        for step in range(2):
            (now,) = observer.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone() or (0,)
            times.append(int(now * 10**9))
            if not step:
                times.append(store.commit(SERIES, bars_of(0)).as_of)
        assert times == sorted(times)
