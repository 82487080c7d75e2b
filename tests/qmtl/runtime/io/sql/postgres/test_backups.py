"""A store on a server is backed up into a folder and restored from it, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from qmtl.foundation.errors import InvalidRequestError, StaleFenceError, StoreError, StoreLockedError
from qmtl.foundation.store_address import StoreAddress
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.postgres import rights, use_lock
from qmtl.runtime.io.sql.postgres.rights import Right
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_copy import restore_store
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.runtime.io.sql.copies import answers, but_for_the_doubt, contents, interrupt, live


@pytest.fixture
def saved(postgres_url: str, script: ModuleType, tmp_path: Path, small_chunks: None) -> Path:
    """A backup of a store with something of everything; the store has gone on since."""
    with PostgresStore(postgres_url) as store:
        live(script, store, seed=1)
        before = contents(store)
        said = answers(store)
        folder = tmp_path / "saved"
        shown = CliRunner().invoke(app, ["--store", postgres_url, "--json", "store", "backup", str(folder)])
        assert shown.exit_code == 0, shown.output
        found = json.loads(shown.stdout)
        assert (found["source"], found["target"]) == (postgres_url, str(folder))
        assert (found["last_tx"], found["as_of"]) == store.newest()
        assert found["pins"] == ["step 20", "step 40"]
        store.commit(SERIES, Write("v", 1, some_bars(5_000, 1)))
    with EmbeddedStore(folder) as copy:
        assert contents(copy) == before
        assert answers(copy) == said
    return folder


@pytest.fixture
def reader(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"role_{uuid4().hex}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        yield name
        connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_backup_is_restored_elsewhere(saved: Path, new_schema: Callable[[], str]) -> None:
    place = new_schema()
    shown = CliRunner().invoke(app, ["--store", place, "store", "restore", str(saved)])
    assert shown.exit_code == 0, shown.output
    with PostgresStore(place) as store, EmbeddedStore(saved) as copy:
        assert but_for_the_doubt(contents(store)) == but_for_the_doubt(contents(copy))
        assert answers(store)[:-2] == answers(copy)[:-2]
        assert (store.store_id == copy.store_id, store.place_id == copy.place_id) == (True, False)
        assert store.commit(SERIES, Write("v", 1, some_bars(6_000, 1))).tx == copy.newest().tx + 2


def test_commits_that_a_restore_has_lost_are_not_known(saved: Path, postgres_url: str) -> None:
    with PostgresStore(postgres_url) as store:
        lost, tokens = store.newest(), store.open_fence(SERIES, [0], "a claim that is lost")
    restore_store(saved, StoreAddress.parse(postgres_url), replace=True)
    with PostgresStore(postgres_url) as store, EmbeddedStore(saved) as copy:
        kept = copy.newest()
        assert store.read(SERIES, minutes(0, 9), as_of=kept.as_of).tx == kept.tx
        with pytest.raises(StoreError, match="nobody knows what the store held"):
            store.read(SERIES, minutes(0, 9), as_of=lost.as_of)
        with pytest.raises(StaleFenceError):
            store.commit(SERIES, Write("v", 1, some_bars(1, 1), fences=tokens))
        now = store.commit(SERIES, Write("v", 1, some_bars(9_000, 1)))
        assert store.read(SERIES, minutes(0, 9), as_of=now.as_of).tx == now.tx
        assert store.read(SERIES, minutes(0, 9), as_of=now.as_of - 1).tx == kept.tx + 1
        with pytest.raises(StoreError, match="nobody knows what the store held"):
            store.read(SERIES, minutes(0, 9), as_of=lost.as_of)


def test_a_store_that_is_there_goes_only_if_it_may(
    saved: Path, postgres_url: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--store", postgres_url, "store", "restore", str(saved)]
    address = StoreAddress.parse(postgres_url)
    with PostgresStore(postgres_url) as store:
        store.grant(Right.reader, reader)
        newest = store.newest()
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 2, refused.output
        assert "there is a store at" in refused.output
        assert "--replace" in refused.output
        with monkeypatch.context() as patched:
            patched.setattr(use_lock, "PATIENCE_S", 0.05)
            with pytest.raises(StoreLockedError, match="the store is in use"):
                restore_store(saved, address, replace=True)
        assert store.newest() == newest
    for when in ("chunks", "rows", "series compared"):
        with pytest.raises(KeyboardInterrupt):
            restore_store(saved, address, replace=True, progress=interrupt(when))
        with PostgresStore(postgres_url) as store:
            assert store.newest() == newest
    with pytest.raises(StoreError, match="only the owner"):
        restore_store(saved, StoreAddress.parse(postgres_url.replace("qmtl@", f"{reader}@")), replace=True)
    shown = CliRunner().invoke(app, [*words, "--replace"])
    assert shown.exit_code == 0, shown.output
    with PostgresStore(postgres_url) as store, EmbeddedStore(saved) as copy:
        assert but_for_the_doubt(contents(store)) == but_for_the_doubt(contents(copy))
        with store._database.reading() as connection:
            assert rights.holders(connection) == {reader: Right.reader}
    with PostgresStore(postgres_url.replace("qmtl@", f"{reader}@")) as store:
        assert store.read_only


def test_a_reader_makes_backups(saved: Path, postgres_url: str, reader: str, tmp_path: Path) -> None:
    with PostgresStore(postgres_url) as store:
        store.grant(Right.reader, reader)
        address = postgres_url.replace("qmtl@", f"{reader}@")
        shown = CliRunner().invoke(app, ["--store", address, "store", "backup", str(tmp_path / "mine")])
        assert shown.exit_code == 0, shown.output
        with EmbeddedStore(tmp_path / "mine") as copy:
            assert contents(copy) == contents(store)
    again = CliRunner().invoke(app, ["--store", address, "store", "backup", str(tmp_path / "mine")])
    assert again.exit_code == 2, again.output
    assert "there is a store at" in again.output


def test_nothing_is_restored_from_nothing(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no store to copy"):
        restore_store(tmp_path / "nothing", StoreAddress.parse(postgres_url))
