"""A store on a server in recovery is read as it is there, and says why it cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from qmtl.foundation.errors import StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.postgres import PostgresServer, newest_programs

WRITE = Write("v", 1, some_bars(0, 5), Coverage.of(minutes(0, 5)))
WHY = "the server is a replica in recovery"


@pytest.fixture(scope="module")
def replica(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    programs = newest_programs()
    assert programs is not None
    server = PostgresServer(programs, replica_of=postgres_server)
    yield server
    server.remove()


@pytest.fixture
def there(replica: PostgresServer, postgres_server: PostgresServer) -> Callable[[str], str]:
    """The address of a store as the replica has it, once it has all that was written to the primary."""

    def caught_up(url: str) -> str:
        with psycopg.connect(postgres_server.url()) as primary:
            (goal,) = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or ("",)
        pause = threading.Event()
        with psycopg.connect(replica.url(), autocommit=True) as connection:
            for _ in range(3_000):
                asked = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (goal,))
                if asked.fetchone() == (True,):
                    return url.replace(f":{postgres_server.port}/", f":{replica.port}/")
                pause.wait(0.01)
        raise AssertionError("the replica does not follow")

    return caught_up


def test_reads_work_and_writes_say_why(postgres_url: str, there: Callable[[str], str]) -> None:
    with PostgresStore(postgres_url) as primary:
        first = primary.commit(SERIES, WRITE)
        primary.pin("first")
        with PostgresStore(there(postgres_url)) as store:
            assert store.read_only
            assert store.store_id == primary.store_id
            assert store.place_id == primary.place_id, "it goes on where the primary ends"
            assert store.newest() == (first.tx, first.as_of)
            assert store.read(SERIES, minutes(0, 9), as_of=first.as_of).frame.equals(WRITE.frame)
            assert store.verify().is_sound
            assert [pin.name for pin in store.pins()] == ["first"]
            writes: list[Callable[[], object]] = [
                lambda: store.commit(SERIES, WRITE),
                lambda: store.retract(SERIES, minutes(0, 2), reason="a trial"),
                lambda: store.open_fence(SERIES, [0], "a claim"),
                lambda: store.pin("second"),
                store.compact,
            ]
            for write in writes:
                with pytest.raises(StoreError, match="the store cannot be written") as refused:
                    write()
                assert refused.value.why == WHY
                assert refused.value.next_step is not None
                assert "connect to a primary server" in refused.value.next_step
            second = primary.commit(SERIES, Write("v", 2, some_bars(5, 3)))
            there(postgres_url)
            assert store.read(SERIES, minutes(0, 9)).frame.height == 8
            assert store.newest() == (second.tx, second.as_of)


def test_a_fetch_is_answered_from_a_replica_and_a_backfill_is_not_begun(
    postgres_url: str, there: Callable[[str], str]
) -> None:
    name = "ohlcv:test:BTC/USDT:1m"
    with SeamlessDataProvider(postgres_url, vendors=ScriptedVendor()) as provider:
        known = provider.fetch(name, "2024-01-01", "2024-01-02")
    vendor = ScriptedVendor()
    with SeamlessDataProvider(there(postgres_url), vendors=vendor) as provider:
        found = provider.fetch(name, "2024-01-01", "2024-01-02")
        assert found.receipt.fingerprint == known.receipt.fingerprint
        with pytest.raises(StoreError, match="the store cannot be written") as refused:
            provider.fetch(name, "2024-01-01", "2024-01-03")
        assert refused.value.why == WHY
    assert vendor.calls == []


def test_a_replica_without_a_store_is_not_laid_out(postgres_url: str, there: Callable[[str], str]) -> None:
    with pytest.raises(StoreError, match="there is no store to read here") as refused:
        PostgresStore(there(postgres_url))
    assert WHY in str(refused.value.why)


def test_the_commands_say_it(
    postgres_url: str, there: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with PostgresStore(postgres_url) as primary:
        primary.commit(SERIES, WRITE)
    place = there(postgres_url)
    doctor = CliRunner().invoke(app, ["--store", place, "doctor"])
    assert "it can be read, but not written" in doctor.output
    retracted = CliRunner().invoke(
        app, ["--store", place, "retract", str(SERIES), "1970-01-01", "1970-01-02", "--reason", "a trial"]
    )
    assert retracted.exit_code == 7, retracted.output
    assert WHY in retracted.output
