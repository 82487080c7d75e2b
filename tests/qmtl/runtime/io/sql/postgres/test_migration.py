"""A store of an older format is refused until it was migrated, which succeeds as a whole or not at all.

Stores on PostgreSQL have had one format so far. The tests make one of the format before it, as if its last
table had come with today's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from qmtl.foundation.errors import InvalidRequestError, StoreError, StoreLockedError
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.formats import Migration
from qmtl.runtime.io.sql.postgres import layout, rights, use_lock
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.rights import Right
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_migration import migrate_store
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from qmtl.runtime.testing.store_suites.flags import some_judged
from tests.qmtl.postgres import PostgresServer

OLDER = layout.FORMAT - 1


@pytest.fixture
def older(postgres_url: str, postgres_server: PostgresServer) -> str:
    """The address of a store of the format before today's, with five bars."""
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 5)))
    schema = postgres_url.rpartition("=")[2]
    with psycopg.connect(postgres_server.url()) as connection:
        connection.execute(f"DROP TABLE {schema}.kept_flags")
        connection.execute(f"UPDATE {schema}.setting SET value = {OLDER} WHERE name = 'format'")
    return postgres_url


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, script: ModuleType) -> None:
    monkeypatch.setattr(layout, "STEPS", {layout.FORMAT: script.STEP_7})


@pytest.fixture
def ask(postgres_server: PostgresServer) -> Callable[[str], Any]:
    def asked(statement: str) -> Any:
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else None

    return asked


def is_older(url: str, ask: Callable[[str], Any]) -> bool:
    """Whether a store has the older format, and nothing of the newer one."""
    schema = url.rpartition("=")[2]
    (number,) = ask(f"SELECT value FROM {schema}.setting WHERE name = 'format'")[0]
    (has_table,) = ask(f"SELECT to_regclass('{schema}.kept_flags') IS NOT NULL")[0]
    assert has_table == (number == layout.FORMAT)
    return bool(number == OLDER)


def check_today(url: str) -> None:
    with PostgresStore(url) as store:
        assert store.info().format == layout.FORMAT
        assert store.read(SERIES, minutes(0, 5)).frame.equals(some_bars(0, 5))
        store.keep_flags([some_judged(store)])
        assert store.kept_flags(SERIES)
        assert store.verify().is_sound


@pytest.mark.parametrize("read_only", [False, True])
def test_an_older_store_is_refused(older: str, ask: Callable[[str], Any], read_only: bool) -> None:
    with pytest.raises(StoreError, match=f"has format {OLDER}, and this qmtl writes format") as refused:
        PostgresStore(older, read_only=read_only)
    assert f"qmtl --store '{older}' store migrate" in str(refused.value)
    assert is_older(older, ask)


@pytest.mark.usefixtures("steps")
def test_a_migrated_store_is_one_of_today(older: str) -> None:
    shown = CliRunner().invoke(app, ["--store", older, "store", "migrate"])
    assert shown.exit_code == 0, shown.output
    assert f"had format {OLDER}, and has format {layout.FORMAT} now" in shown.output
    check_today(older)
    shown = CliRunner().invoke(app, ["--store", older, "--json", "store", "migrate"])
    assert json.loads(shown.stdout) == {"place": older, "before": layout.FORMAT, "after": layout.FORMAT}
    assert f"has format {layout.FORMAT} already" in shown.stderr


@pytest.mark.usefixtures("steps")
def test_roles_keep_their_rights(older: str, ask: Callable[[str], Any]) -> None:
    schema, names = older.rpartition("=")[2], [f"role_{uuid4().hex}" for _ in range(2)]
    for name, right in zip(names, (Right.reader, Right.writer), strict=True):
        ask(f"CREATE ROLE {name} LOGIN")
        for statement in rights.statements(schema, right, name):
            ask(statement.replace(f', "{schema}".kept_flags', ""))
    try:
        migrate_store(older)
        with PostgresStore(older.replace("qmtl@", f"{names[0]}@")) as store:
            assert store.read_only
            assert store.kept_flags(SERIES) == []
        with PostgresStore(older.replace("qmtl@", f"{names[1]}@")) as store:
            store.keep_flags([some_judged(store)])
            assert store.kept_flags(SERIES)
            assert not store.read_only
        ask(f"UPDATE {schema}.setting SET value = {OLDER} WHERE name = 'format'")
        with pytest.raises(StoreError, match="only the owner of the store"):
            migrate_store(older.replace("qmtl@", f"{names[1]}@"))
    finally:
        for name in names:
            ask(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.usefixtures("steps")
def test_nobody_migrates_what_others_use(
    older: str, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_store(older)
    with PostgresStore(older) as store:
        schema = older.rpartition("=")[2]
        ask(f"DROP TABLE {schema}.kept_flags")
        ask(f"UPDATE {schema}.setting SET value = {OLDER} WHERE name = 'format'")
        with monkeypatch.context() as patched:
            patched.setattr(use_lock, "PATIENCE_S", 0.05)
            with pytest.raises(StoreLockedError, match="the store is in use") as used:
                migrate_store(older)
        assert "qmtl " in (used.value.why or "")
        assert store.read(SERIES, minutes(0, 5)).frame.height == 5
    assert is_older(older, ask)
    migrate_store(older)
    check_today(older)


@pytest.mark.usefixtures("steps")
def test_who_comes_next_finds_the_store_free(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the server has noticed that the session has ended which had it for itself."""
    lingering: list[PostgresConnection] = []
    with monkeypatch.context() as patched:
        patched.setattr(PostgresConnection, "close", lambda connection: lingering.append(connection))
        migrate_store(older)
    with PostgresStore(older) as store:
        assert store.read(SERIES, minutes(0, 5)).frame.height == 5
    assert len(lingering) == 1
    lingering[0].close()


@pytest.mark.process
def test_a_migration_that_is_killed_leaves_the_older_store(
    children: Any, older: str, ask: Callable[[str], Any], steps: None
) -> None:
    children.run_and_kill(("migrate_for_ever", older), lines=1, after_s=0.0)
    assert is_older(older, ask)
    # The server does not look whether anybody waits for its answer, and says who has the store.
    with pytest.raises(StoreLockedError, match="being migrated"):
        PostgresStore(older)
    ask("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)'")
    assert is_older(older, ask)
    assert migrate_store(older) == Migration(older, OLDER, layout.FORMAT)
    check_today(older)


@pytest.mark.process
def test_two_migrate_at_once(children: Any, older: str) -> None:
    said = children.run(("migrate_from_6", older), ("migrate_from_6", older))
    assert sorted(said) == [f"{OLDER} {layout.FORMAT}", f"{layout.FORMAT} {layout.FORMAT}"]
    check_today(older)


def test_a_step_that_fails_leaves_the_older_store(
    older: str, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, script: ModuleType
) -> None:
    monkeypatch.setattr(layout, "STEPS", {layout.FORMAT: f"{script.STEP_7}; SELECT 1 / 0"})
    with pytest.raises(StoreError, match="division by zero"):
        migrate_store(older)
    assert is_older(older, ask)


def test_no_store_is_migrated(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no store to migrate"):
        migrate_store(postgres_url)
