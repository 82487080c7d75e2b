"""Where a copy is made nothing else is touched, and no store is there before it is complete."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError, StoreLockedError
from qmtl.runtime.io.sql.sqlite import copy_target
from qmtl.runtime.io.sql.sqlite.copy_target import INCOMPLETE
from qmtl.runtime.io.sql.sqlite.layout import DATABASE, LOCK
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER, some_bars
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.runtime.io.sql.copies import (
    FOLDER,
    SERVER,
    contents,
    interrupt,
    is_store,
    names,
)


def test_a_store_is_never_replaced(stored: str, target: str, script: ModuleType) -> None:
    with script.opened(target) as other:
        other.commit(OTHER, Write("v", 1, some_bars(0, 1)))
        before = contents(other)
    with pytest.raises(InvalidRequestError, match=r"there is a store at .* already") as refused:
        copy_store(stored, target)
    assert refused.value.why == "it holds 1 series and 1 commit"
    with script.opened(target) as other:
        assert contents(other) == before


def test_a_copy_that_another_store_has_begun_is_left_alone(
    stored: str, target: str, script: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, target, progress=interrupt("rows"))
    with script.opened(str(tmp_path / "other")) as other:
        other.commit(SERIES, Write("v", 1, some_bars(0, 200)))
    with pytest.raises(InvalidRequestError, match="the copy cannot be made at") as refused:
        copy_store(tmp_path / "other", target)
    assert "an unfinished copy of another store is there" in str(refused.value.why)
    assert copy_store(stored, target).resumed == 2


def test_an_unfinished_copy_is_no_store_to_copy(stored: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy_store(stored, tmp_path / "copy", progress=interrupt("chunks"))
    with pytest.raises(InvalidRequestError, match="a copy that was not finished"):
        copy_store(tmp_path / "copy" / INCOMPLETE, tmp_path / "another")
    assert not (tmp_path / "another" / DATABASE).exists()


@pytest.mark.parametrize("name", ["store", "./store/", "store/within", "."])
def test_a_folder_is_not_copied_into_itself(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequestError, match="the copy and the store"):
        copy_store(stored, name)
    assert names(Path(stored)) == [LOCK, DATABASE]


def test_a_folder_with_other_things_is_left_alone(stored: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter").touch()
    with pytest.raises(InvalidRequestError, match="is not empty"):
        copy_store(stored, tmp_path / "copy")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match="is a file"):
        copy_store(stored, tmp_path / "file")


@pytest.mark.parametrize("moved", [0, 1])
def test_a_copy_that_was_killed_as_it_took_its_place_is_completed(
    stored: str, tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """Its files were complete; the lock, which is moved first, was in its place, or was not."""
    replace, calls = os.replace, iter(range(2))

    def interrupted(source: Path, target: Path) -> None:
        if next(calls) == moved:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(copy_target.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy_store(stored, tmp_path / "copy")
    assert not is_store(str(tmp_path / "copy"))
    assert copy_store(stored, tmp_path / "copy").resumed == 2
    assert names(tmp_path / "copy") == [LOCK, DATABASE]
    with script.opened(stored) as store, script.opened(str(tmp_path / "copy")) as copy:
        assert contents(copy) == contents(store)


def test_two_copies_are_not_made_at_one_place(stored: str, target: str) -> None:
    refused = []

    def progress(what: str, done: int, total: int) -> None:
        with pytest.raises(StoreLockedError) as failure:
            copy_store(stored, target)
        refused.append(failure.value)

    copy_store(stored, target, progress=progress)
    assert len(refused) > 3
    assert all(one.next_step for one in refused)


@pytest.mark.service
def test_a_copy_waits_for_the_session_of_a_killed_one(
    stored: str, place_of: Callable[[str], str], postgres_server: PostgresServer
) -> None:
    """The server ends it only when it notices, which is here once somebody waits."""
    import psycopg

    target = place_of(SERVER)
    killed = psycopg.connect(postgres_server.url(), autocommit=True)
    name = f"qmtl copy {target.rpartition('=')[2]}"
    killed.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))

    def end_it_when_somebody_waits() -> None:
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with psycopg.connect(postgres_server.url(), autocommit=True) as watcher:
            while not over.is_set() and watcher.execute(waits).fetchone() is None:
                over.wait(0.02)
        killed.close()

    over = threading.Event()
    noticing = threading.Thread(target=end_it_when_somebody_waits)
    noticing.start()
    try:
        assert copy_store(stored, target).series == 2
    finally:
        over.set()
        noticing.join()


@pytest.mark.service
def test_who_has_waited_for_another_copy_finds_a_store(
    stored: str, place_of: Callable[[str], str], postgres_server: PostgresServer
) -> None:
    import psycopg

    target, second = place_of(SERVER), list[Future[object]]()
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with (
        psycopg.connect(postgres_server.url(), autocommit=True) as watcher,
        ThreadPoolExecutor(1) as thread,
    ):

        def progress(what: str, done: int, total: int) -> None:
            if not second:
                second.append(thread.submit(copy_store, stored, target))
                while watcher.execute(waits).fetchone() is None:
                    assert not second[0].done()

        copy_store(stored, target, progress=progress)
        with pytest.raises(InvalidRequestError, match="there is a store at"):
            second[0].result()


def test_there_has_to_be_a_store(tmp_path: Path, target: str, script: ModuleType) -> None:
    with pytest.raises(InvalidRequestError, match="there is no store to copy"):
        copy_store(tmp_path / "nothing", target)
    assert not (tmp_path / "nothing").exists()
    assert not is_store(target)
    with pytest.raises(InvalidRequestError, match="s3://"):
        copy_store("s3://bucket", target)


@pytest.mark.service
def test_a_schema_that_was_made_for_it_is_filled(stored: str, place_of: Callable[[str], str]) -> None:
    """As an administrator prepares one, with its rights. One that holds other things is refused."""
    import psycopg

    target = place_of(SERVER)
    schema = target.rpartition("=")[2]
    with psycopg.connect(re.sub(r"\?.*", "", target), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO public")  # type: ignore[arg-type]  # a name of ours
        rights = connection.execute(
            "SELECT nspacl FROM pg_namespace WHERE nspname = %s", (schema,)
        ).fetchone()
        assert copy_store(stored, target).series == 2
        assert (
            rights
            == connection.execute("SELECT nspacl FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        )
        assert connection.execute("SELECT to_regnamespace(%s)", (f"{schema}_unfinished",)).fetchone() == (
            None,
        )
        other = place_of(SERVER)
        name = other.rpartition("=")[2]
        connection.execute(f"CREATE SCHEMA {name}; CREATE TABLE {name}.letter (text text)")  # type: ignore[arg-type]  # a name of ours
    with pytest.raises(StoreCorruptError, match="belongs to another program"):
        copy_store(stored, other)


@pytest.mark.service
def test_a_password_is_shown_nowhere(stored: str, place_of: Callable[[str], str], script: ModuleType) -> None:
    target = place_of(SERVER)
    with_password = target.replace("qmtl@", "qmtl:s3cret@")
    copied = copy_store(stored, with_password)
    assert "s3cret" not in repr(copied)
    for source, place in ((stored, with_password), (with_password, with_password), (with_password, stored)):
        with pytest.raises(InvalidRequestError) as refused:
            copy_store(source, place)
        assert "s3cret" not in str(refused.value) + repr(refused.value)


@pytest.mark.service
def test_a_user_without_rights_is_told(
    stored: str, place_of: Callable[[str], str], postgres_server: PostgresServer
) -> None:
    """One that may read a store can copy it; to make a copy takes the right to create a schema."""
    import psycopg

    source, refused = place_of(SERVER), place_of(SERVER)
    copy_store(stored, source)
    schema = source.rpartition("=")[2]
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}")  # type: ignore[arg-type]  # a name of ours
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")  # type: ignore[arg-type]  # a name of ours
        try:
            reader = source.replace("//qmtl@", f"//{schema}@")
            assert copy_store(reader, place_of(FOLDER)).series == 2
            with pytest.raises(StoreError, match="no right") as failure:
                copy_store(stored, refused.replace("//qmtl@", f"//{schema}@"))
            assert failure.value.next_step
            assert not is_store(refused)
        finally:
            connection.execute(f"DROP OWNED BY {schema}; DROP ROLE {schema}")  # type: ignore[arg-type]  # a name of ours


@pytest.mark.parametrize("schema", ["desk", "d" * 52, "d" * 53, "d" * 63, "ä" * 31])
def test_the_name_of_an_unfinished_copy_fits(schema: str) -> None:
    from qmtl.runtime.io.sql.postgres.copy_target import unfinished

    name = unfinished(schema)
    assert len(name.encode()) <= 63
    assert name.endswith("_unfinished")
    assert name != unfinished(schema[:-1] + "e")
    assert len(schema.encode()) > 52 or name == f"{schema}_unfinished"
