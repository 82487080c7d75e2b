"""What a failover or a restored server has lost is told, and never served as if it were there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from qmtl.foundation.errors import StaleFenceError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.kept_flags import KeptFlags
from qmtl.runtime.io.sql.postgres.layout import TABLES
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.postgres.timeline import OF_SERVER_ALONE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Commit, Judged, Point, Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_suites.bars import SERIES, STEP, minutes, some_bars
from qmtl.runtime.testing.store_suites.flags import FLAGS
from qmtl.runtime.testing.vendors import ScriptedVendor
from tests.qmtl.postgres import PostgresServer, newest_programs
from tests.qmtl.postgres_replica import (
    ServerFromBackup,
    base_backup,
    become_replica,
    catch_up,
    cut_off,
    promote,
    replica_of,
    wait_for_recovery,
)

ALL = minutes(0, 100)
REPORT = {
    "errors": 0,
    "warnings": 0,
    "findings": [],
    "span": {"start": "1970-01-01", "end": "1970-01-02"},
}
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


@pytest.mark.parametrize("is_promoted", [False, True])
def test_a_copy_of_what_may_lack_commits_says_so_too(
    servers: Servers, postgres_url: str, tmp_path: Path, is_promoted: bool
) -> None:
    with PostgresStore(servers.url) as store:
        kept, lost, _ = lose(servers, store)
    if is_promoted:
        promote(servers.replica)
    copy_store(servers.replica.url("desk"), tmp_path / "copy")
    copy_store(servers.replica.url("desk"), postgres_url)
    for copy in (EmbeddedStore(tmp_path / "copy"), PostgresStore(postgres_url)):
        with copy:
            check_kept(copy, kept)
            assert copy.read(SERIES, ALL).frame.equals(some_bars(0, 5))
            with pytest.raises(StoreError, match=DOUBT):
                copy.read(SERIES, ALL, as_of=lost[-1].as_of)
            assert copy.verify().is_sound


def test_a_store_of_a_replica_is_written_once_that_is_promoted(servers: Servers) -> None:
    with PostgresStore(servers.url) as store:
        kept, lost, _ = lose(servers, store)
    with PostgresStore(servers.replica.url("desk")) as store:
        with pytest.raises(StoreError, match="the store cannot be written") as refused:
            store.commit(SERIES, bar(5, price=9.0))
        assert refused.value.why == "the server is a replica in recovery"
        promote(servers.replica)
        assert store.commit(SERIES, bar(5, price=9.0)).added == 1
        assert not store.read_only
        check_kept(store, kept)
        with pytest.raises(StoreError, match=DOUBT):
            store.read(SERIES, ALL, as_of=lost[-1].as_of)
        assert store.read(SERIES, ALL).frame.height == 6


def test_a_connection_of_before_the_promotion_writes_down_what_may_be_lost(servers: Servers) -> None:
    with PostgresStore(servers.url.replace("target_session_attrs=read-write&", "")) as store:
        kept, lost, _ = lose(servers, store)
        assert store.read(SERIES, ALL).frame.height == 5, "of the replica, by a connection that is kept"
        promote(servers.replica)
        store.commit(SERIES, bar(5, price=9.0))
        check_kept(store, kept)
        with pytest.raises(StoreError, match=DOUBT):
            store.read(SERIES, ALL, as_of=lost[-1].as_of)


def test_a_server_that_becomes_a_replica_under_an_open_store(primary: PostgresServer) -> None:
    with PostgresStore(primary.url("desk")) as store:
        store.commit(SERIES, bar(0))
        become_replica(primary)
        writes: list[Callable[[], object]] = [
            lambda: store.commit(SERIES, bar(1)),
            lambda: store.retract(SERIES, minutes(0, 1), reason="a trial"),
            lambda: store.open_fence(SERIES, [0], "a claim"),
            store.compact,
        ]
        for write in writes:
            with pytest.raises(StoreError, match="the store cannot be written") as refused:
                write()
            assert refused.value.why == "the server is a replica in recovery"
        assert store.archive_report(SERIES, REPORT) is None
        assert store.read(SERIES, ALL).frame.equals(some_bars(0, 1))
        promote(primary)
        assert store.commit(SERIES, bar(1)).added == 1
        assert store.archive_report(SERIES, REPORT) is not None


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


class Dump:
    """What pg_dump has saved of a store, and psql brings back under those who have it open."""

    def __init__(self, url: str) -> None:
        self._place, _, self.schema = url.partition("?schema=")
        self._whole = self._done("pg_dump", "--schema", self.schema)
        self._rows = self._done("pg_dump", "--data-only", "--schema", self.schema)

    def bring_back(self) -> None:
        with self.brought_back():
            pass

    @contextmanager
    def brought_back(self) -> Iterator[None]:
        """As the page on operations says: in one transaction, which ends behind the block."""
        words = [*self._words("psql"), "-q", "--single-transaction", "-v", "ON_ERROR_STOP=1"]
        psql = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert psql.stdin is not None
        assert psql.stdout is not None
        schema = f'"{self.schema}"'
        psql.stdin.write(
            f"LOCK TABLE {schema}.tx; DROP SCHEMA {schema} CASCADE;\n{self._whole}\n\\echo done\n"
        )
        psql.stdin.flush()
        while psql.stdout.readline() != "done\n":
            pass
        try:
            yield
        finally:
            _, said = psql.communicate()
        assert psql.returncode == 0, said

    def bring_rows_back(self) -> None:
        """Into the tables that are there."""
        tables = ", ".join(f'"{self.schema}".{name}' for name in TABLES)
        with psycopg.connect(self._place, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {tables}")
        self._done("psql", "-q", "-v", "ON_ERROR_STOP=1", given=self._rows)

    def drop(self) -> None:
        with psycopg.connect(self._place, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA "{self.schema}" CASCADE')

    def waiting(self) -> int:
        """How many sessions wait for a table."""
        with psycopg.connect(self._place, autocommit=True) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
            )
            return int(found.fetchall()[0][0])

    def _words(self, program: str) -> list[str]:
        programs = newest_programs()
        assert programs is not None
        return [str(programs / program), self._place]

    def _done(self, program: str, *options: str, given: str = "") -> str:
        words = [*self._words(program), *options]
        return subprocess.run(words, input=given, capture_output=True, text=True, check=True).stdout


SATURDAY = minutes(16 * 1_440, 16 * 1_440 + 10)
OPTIONS: list[dict[str, Any]] = [{}, {"cache_bytes": 0}, {"max_staleness": 0.2}]


def said(provider: SeamlessDataProvider) -> tuple[list[float], int]:
    """The price of the first bars, and how many are closed of a day on which some calendars have none."""
    bars = provider.fetch(str(SERIES), *map(iso, minutes(0, 2)), partial_ok=True).frame
    closed = provider.fetch(str(SERIES), *map(iso, SATURDAY), partial_ok=True).coverage.counts["closed"]
    return bars["close"].to_list(), closed


def change(url: str, price: float, calendar: str) -> Commit:
    with PostgresStore(url) as store:
        done = store.commit(SERIES, bar(0, price=price))
        store.archive_report(SERIES, REPORT)
        store.declare(SERIES, SeriesFacts(calendar=calendar))
        return done


@pytest.mark.parametrize("bring_back", [Dump.bring_back, Dump.bring_rows_back])
@pytest.mark.parametrize("options", OPTIONS)
def test_what_was_read_before_a_restore_is_not_served(
    postgres_url: str, bring_back: Callable[[Dump], None], options: dict[str, Any]
) -> None:
    """Though the store has as many commits by then as it had before."""
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, bar(1))
    dump = Dump(postgres_url)
    with SeamlessDataProvider(postgres_url, vendors={}, **options) as provider:
        change(postgres_url, 200.0, "24/5")
        assert said(provider) == said(provider) == ([200.0, 100.01], 10)
        bring_back(dump)
        newest = provider.store.newest()
        change(postgres_url, 300.0, "24x7")
        assert provider.store.newest().tx >= newest.tx + 2
        deadline = time.monotonic() + 10
        while options.get("max_staleness") and said(provider)[0][0] != 300.0:
            assert time.monotonic() < deadline
        assert said(provider) == ([300.0, 100.01], 0)
        assert provider.store.verify().is_sound


READS: dict[str, Callable[[PostgresStore], object]] = {
    "read": lambda store: store.read(SERIES, ALL).frame["close"].to_list(),
    "again": lambda store: [store.read(SERIES, ALL).frame["close"][at] for at in (0, 1)],
    "of many": lambda store: store.read_many([SERIES], ALL)[SERIES].frame["close"].to_list(),
    "facts": lambda store: store.facts(SERIES),
    "series": lambda store: [one.rows for one in store.list_series()],
    "newest": lambda store: store.newest(),
    "commits": lambda store: store.commits(SERIES),
    "verified": lambda store: store.verify(),
}


@pytest.mark.parametrize("name", READS)
def test_who_waits_for_a_restore_has_all_of_what_it_brings(postgres_url: str, name: str) -> None:
    """He began before its rows could be seen, and has tables without a row."""
    read = READS[name]
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 2), Coverage.of(minutes(0, 2))))
        store.declare(SERIES, SeriesFacts(calendar="24/5"))
        expected = read(store)
        dump = Dump(postgres_url)
        change(postgres_url, 200.0, "24x7")
        store.commit(SERIES, bar(2))
        assert read(store) != expected
        with ThreadPoolExecutor(1) as threads, dump.brought_back():
            begun = threads.submit(read, store)
            while not dump.waiting():
                assert not begun.done()
        assert begun.result() == expected


@pytest.mark.parametrize("is_known", [True, False])
def test_who_waits_for_a_restore_writes_to_what_it_brings(postgres_url: str, is_known: bool) -> None:
    """is_known: whether the write presumes what lies before it."""
    with PostgresStore(postgres_url) as store:
        for number in range(3):
            done = store.commit(SERIES, bar(number))
        dump = Dump(postgres_url)
        lost = store.commit(SERIES, bar(3))
        if not is_known:
            store._presumptions.forget()
        with ThreadPoolExecutor(1) as threads, dump.brought_back():
            begun = threads.submit(store.commit, SERIES, bar(4))
            while not dump.waiting():
                assert not begun.done()
        assert begun.result().tx == done.tx + 2, "the commit that notes the doubt comes first"
        with pytest.raises(StoreError, match=DOUBT):
            store.read(SERIES, ALL, as_of=lost.as_of)
        assert store.read(SERIES, ALL).frame["ts"].to_physical().to_list() == [
            at * STEP for at in (0, 1, 2, 4)
        ]
        assert store.verify().is_sound


def test_a_commit_that_a_restore_has_lost_is_not_known(postgres_url: str) -> None:
    """Neither before somebody writes again, nor afterwards."""
    with PostgresStore(postgres_url) as store:
        first = store.commit(SERIES, bar(1))
        store.open_fence(SERIES, [0], "a claim that is kept")
        dump = Dump(postgres_url)
        lost = change(postgres_url, 200.0, "24/5")
        tokens = store.open_fence(SERIES, [0], "a claim that is lost")
        place = store.place_id
        dump.bring_back()

        def check() -> None:
            assert store.read(SERIES, ALL, as_of=first.as_of).frame.equals(some_bars(1, 1))
            for reads in (store.read, store.deliveries):
                with pytest.raises(StoreError, match=DOUBT):
                    reads(SERIES, ALL, as_of=lost.as_of)

        check()
        with PostgresStore(postgres_url, read_only=True) as reader, pytest.raises(StoreError, match=DOUBT):
            reader.read(SERIES, ALL, as_of=lost.as_of)
        with pytest.raises(StaleFenceError):
            store.commit(SERIES, Write("v", 9, some_bars(9, 1), fences=tokens))
        check()
        assert store.place_id != place
        assert store.commit(SERIES, bar(3)).as_of > lost.as_of
        check()
        assert [one.kind for one in store.commits(SERIES)] == ["write", "write"]


def test_a_bar_behind_others_is_written_to_what_was_brought_back(postgres_url: str) -> None:
    """All is as such a write presumes but the tables: the doubt is noted first."""
    with PostgresStore(postgres_url) as store:
        for number in range(3):
            done = store.commit(SERIES, bar(number))
        dump = Dump(postgres_url)
        dump.bring_back()
        again = store.commit(SERIES, bar(3))
        assert again.tx == done.tx + 2
        with pytest.raises(StoreError, match=DOUBT):
            store.read(SERIES, ALL, as_of=done.as_of + 1)


@pytest.mark.parametrize("options", OPTIONS)
def test_another_store_in_the_same_place_is_not_taken_for_it(
    postgres_url: str, options: dict[str, Any]
) -> None:
    with SeamlessDataProvider(postgres_url, vendors={}, **options) as provider:
        change(postgres_url, 200.0, "24/5")
        said(provider)
        Dump(postgres_url).drop()
        change(postgres_url, 300.0, "24x7")
        deadline = time.monotonic() + 10
        while options.get("max_staleness") and provider._parts.watch.is_current:
            assert time.monotonic() < deadline
        with pytest.raises(StoreError, match="another store has taken the place") as refused:
            said(provider)
        assert "open it again" in (refused.value.next_step or "")
        with pytest.raises(StoreError, match="another store has taken the place"):
            provider.store.commit(SERIES, bar(5))
    with SeamlessDataProvider(postgres_url, vendors={}) as provider:
        assert said(provider) == ([300.0], 0)


def test_flags_of_what_a_restore_has_lost_are_not_kept(postgres_url: str) -> None:
    flags = KeptFlags(minutes(0, 3), minutes(0, 9), FLAGS.clip(minutes(0, 3)))
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, bar(0))
        dump = Dump(postgres_url)
        lost = store.commit(SERIES, bar(0, price=7.0))
        dump.bring_rows_back()
        assert store.commit(SERIES, bar(0, price=9.0)).tx == lost.tx
        store.keep_flags([Judged(SERIES, b"rules", Point(lost.tx, lost.as_of), flags)])
        assert store.kept_flags(SERIES) == []
        store.keep_flags([Judged(SERIES, b"rules", store.newest(), flags)])
        assert [kept for _, kept in store.kept_flags(SERIES)] == [flags]


def test_a_store_of_before_learns_its_tables(postgres_url: str) -> None:
    """It has lost nothing: nobody who reads it, or opens it to write, is told of a doubt."""
    place, _, schema = postgres_url.partition("?schema=")
    with PostgresStore(postgres_url) as store:
        done = store.commit(SERIES, bar(0))
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{schema}"')
        connection.execute(f"UPDATE setting SET value = {OF_SERVER_ALONE} WHERE name = 'timeline'")
    with PostgresStore(postgres_url, read_only=True) as store:
        assert store.read(SERIES, ALL, as_of=done.as_of + 1).tx == done.tx
    with PostgresStore(postgres_url) as store:
        assert store.newest().tx == done.tx
        dump = Dump(postgres_url)
        dump.bring_back()
        with pytest.raises(StoreError, match=DOUBT):
            store.read(SERIES, ALL, as_of=done.as_of + 1)
