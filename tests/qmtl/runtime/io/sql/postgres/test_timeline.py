"""What a failover or a restored server has lost is told, and never served as if it were there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from qmtl.foundation.errors import StaleFenceError, StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.postgres import PostgresServer, newest_programs
from tests.qmtl.postgres_replica import (
    ServerFromBackup,
    base_backup,
    catch_up,
    cut_off,
    promote,
    replica_of,
    wait_for_recovery,
)

ALL = minutes(0, 100)
DOUBT = "nobody knows what the store held at"


def bar(number: int, price: float = 100.0) -> Write:
    return Write("v", number, some_bars(number, 1, price=price), Coverage.of(minutes(number, number + 1)))


class Servers(NamedTuple):
    primary: PostgresServer
    replica: PostgresServer

    @property
    def url(self) -> str:
        """The address of both: whichever can be written."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self)
        return f"postgresql://qmtl@{hosts}/postgres?target_session_attrs=read-write&schema=desk"


@pytest.fixture
def primary(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """One that may be killed. It asks for the other, so that it is skipped as all others are."""
    programs = newest_programs()
    assert programs is not None
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def servers(primary: PostgresServer) -> Iterator[Servers]:
    replica = replica_of(primary)
    yield Servers(primary, replica)
    replica.remove()


def lose(servers: Servers, store: PostgresStore) -> tuple[list[Commit], list[Commit], dict[int, int]]:
    """Commits that reach the replica, and some that do not: then the primary is no more.

    Both, and tokens that were issued among the latter.
    """
    kept = [store.commit(SERIES, bar(number)) for number in range(5)]
    store.open_fence(SERIES, [0], "a claim that is kept")
    catch_up(servers.primary, servers.replica)
    cut_off(servers.replica)
    lost = [store.commit(SERIES, bar(number, price=7.0)) for number in range(5, 8)]
    tokens = store.open_fence(SERIES, [0], "a claim that is lost")
    servers.primary.kill()
    return kept, lost, tokens


def check_kept(store: PostgresStore, kept: list[Commit]) -> None:
    for number, commit in enumerate(kept):
        found = store.read(SERIES, ALL, as_of=commit.as_of)
        assert found.tx == commit.tx
        assert found.frame.equals(some_bars(0, number + 1))
        assert found.answered == Coverage.of(minutes(0, number + 1))


def test_a_failover(servers: Servers) -> None:
    with PostgresStore(servers.url) as store:
        token = store.changed_since(None).token
        kept, lost, tokens = lose(servers, store)
        # A replica in recovery cannot know whether there is more.
        with PostgresStore(servers.replica.url("desk")) as reading:
            assert reading.read_only
            assert reading.newest() == (kept[-1].tx, kept[-1].as_of)
            check_kept(reading, kept)
            with pytest.raises(StoreError, match=DOUBT) as doubt:
                reading.read(SERIES, ALL, as_of=lost[-1].as_of)
            assert "replica in recovery" in str(doubt.value)
        promote(servers.replica)
        # Nor can one that was promoted, before anybody writes.
        with PostgresStore(servers.url, read_only=True) as reading:
            check_kept(reading, kept)
            with pytest.raises(StoreError, match=DOUBT) as doubt:
                reading.read(SERIES, ALL, as_of=lost[0].as_of)
            assert "was promoted or restored" in str(doubt.value)
            assert str(kept[-1].as_of) in (doubt.value.next_step or "")
        # The store that was open goes on with the other server, and says what it took for granted.
        assert {change.series for change in store.changed_since(token).commits} == {SERIES}
        assert store.read(SERIES, ALL).frame.equals(some_bars(0, 5))
        with pytest.raises(StaleFenceError):
            store.commit(SERIES, Write("v", 9, some_bars(9, 1), fences=tokens))
        others = [store.commit(SERIES, bar(number, price=9.0)) for number in range(5, 12)]
        assert others[0].tx > kept[-1].tx
        assert others[-1].tx > lost[-1].tx
        check_kept(store, kept)
        for commit in lost:
            with pytest.raises(StoreError, match=DOUBT):
                store.read(SERIES, ALL, as_of=commit.as_of)
            with pytest.raises(StoreError, match=DOUBT):
                store.pin("lost", as_of=commit.as_of)
            with pytest.raises(StoreError, match=DOUBT):
                store.diff(SERIES, kept[0].as_of, commit.as_of)
        for commit in others:
            assert store.read(SERIES, ALL, as_of=commit.as_of).tx == commit.tx
        again = store.open_fence(SERIES, [0], "another claim")
        assert again[0] > tokens[0]
        assert store.commit(SERIES, Write("v", 9, some_bars(20, 1), fences=again)).added == 1
        assert [one.kind for one in store.commits(SERIES)] == ["write"] * 13
        assert store.verify().is_sound
    with PostgresStore(servers.url, retention=0) as store:  # of which nobody hears once it is swept
        store.compact()
        assert store.verify().is_sound


def test_what_was_cached_of_lost_commits_is_not_served(servers: Servers) -> None:
    """Also where the other server has as many commits by then as the first one had."""
    with PostgresStore(servers.url) as store:
        store.commit(SERIES, bar(0))
        catch_up(servers.primary, servers.replica)
        cut_off(servers.replica)
        store.commit(SERIES, bar(0, price=7.0))
        token = store.changed_since(None).token
        servers.primary.kill()
        promote(servers.replica)
        with PostgresStore(servers.url) as other:
            assert other.newest().tx == token.tx  # the commit that ends the doubt
            assert other.read(SERIES, ALL).frame.equals(some_bars(0, 1))
        changes = store.changed_since(token)
        assert [change.series for change in changes.commits] == [SERIES]
        assert store.changed_since(changes.token).commits == []


def test_a_receipt_of_a_lost_commit(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    node = "ohlcv:test:BTC/USDT:1m"
    with SeamlessDataProvider(servers.url, vendors=ScriptedVendor()) as provider:
        first = provider.fetch(node, "2024-01-01", "2024-01-02")
        catch_up(servers.primary, servers.replica)
        cut_off(servers.replica)
        second = provider.fetch(node, "2024-01-02", "2024-01-03")
        servers.primary.kill()
        promote(servers.replica)
        again = provider.fetch(node, "2024-01-01", "2024-01-02", as_of=first.receipt.as_of)
        assert again.frame.equals(first.frame)
        assert again.receipt.fingerprint == first.receipt.fingerprint
        with pytest.raises(StoreError, match=DOUBT):
            provider.fetch(node, "2024-01-02", "2024-01-03", as_of=second.receipt.as_of)
        healed = provider.fetch(node, "2024-01-01", "2024-01-03")
        assert healed.frame.height == 2 * 1_440
        with pytest.raises(StoreError, match=DOUBT):
            provider.fetch(node, "2024-01-02", "2024-01-03", as_of=second.receipt.as_of)


def test_recovery_to_a_point_in_time(primary: PostgresServer, tmp_path: Path) -> None:
    archive = primary.folder / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = on")
        connection.execute(f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'")
    primary.stop()
    primary.start()
    with PostgresStore(primary.url("desk")) as store:
        first = store.commit(SERIES, bar(0))
        files = base_backup(primary)
        second = store.commit(SERIES, bar(1))
        with psycopg.connect(primary.url(), autocommit=True) as connection:
            found = connection.execute("SELECT pg_create_restore_point('good')").fetchone()
            assert found is not None
        mistake = store.retract(SERIES, minutes(0, 2), reason="by mistake")
        with psycopg.connect(primary.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_switch_wal()")
    primary.stop()
    restored = ServerFromBackup(
        files,
        primary,
        recovery={
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_name": "good",
            "recovery_target_action": "promote",
        },
    )
    try:
        wait_for_recovery(restored)
        with PostgresStore(restored.url("desk")) as store:
            assert store.read(SERIES, ALL).frame.equals(some_bars(0, 2))
            for commit, rows in ((first, 1), (second, 2)):
                assert store.read(SERIES, ALL, as_of=commit.as_of).frame.height == rows
            with pytest.raises(StoreError, match=DOUBT):
                store.read(SERIES, ALL, as_of=mistake.as_of)
            assert store.commit(SERIES, bar(2)).added == 1
            copy_store(restored.url("desk"), tmp_path / "copy")
        with EmbeddedStore(tmp_path / "copy") as copy, pytest.raises(StoreError, match=DOUBT):
            copy.read(SERIES, ALL, as_of=mistake.as_of)
    finally:
        restored.remove()


def test_the_time_of_now_is_in_reach_of_a_primary(postgres_url: str) -> None:
    with PostgresStore(postgres_url) as store:
        done = store.commit(SERIES, bar(0))
        assert store.read(SERIES, ALL, as_of=done.as_of + 1).tx == done.tx
