"""The file: what one transaction leaves, what is refused, and that it keeps what memory keeps."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import SchemaRegistryError, StoreCorruptError, StoreError
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.memory_storage import MemoryStorage
from qmtl.foundation.schema.registry.storage import Record, RegistryStorage, SchemaRow, VersionRow
from qmtl.runtime.testing.registry_storage_suite import RegistryStorageSuite
from qmtl.services.registry.sqlite import DATABASE, SqliteStorage


class TestSqliteStorage(RegistryStorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SqliteStorage]:
        made = SqliteStorage(tmp_path)
        yield made
        made.close()


A = SchemaRow(1, "a", Schema('{"type":"string"}'))
B = SchemaRow(2, "b", Schema("true", SchemaType.JSON, (Reference("x", "s", 1), Reference("y", "s", 1))))


def test_rows_stay_when_it_is_opened_again(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "deep" / "registry")
    with storage.writing() as view:
        view.add_schema(A)
        view.add_schema(B)
        view.put_version(VersionRow("s", 1, 1))
        view.put_version(VersionRow("t", 7, 2, deleted=True))
        view.put_setting("level", "", "FULL")
        view.put_record(Record("observation", "s", "k", "{}"))
    storage.close()
    storage.close()
    again = SqliteStorage(tmp_path / "deep" / "registry")
    with again.reading() as view:
        assert (view.schema(1), view.schemas_of("b"), view.last_id()) == (A, [B], 2)
        assert view.subjects() == [("s", False), ("t", True)]
        assert view.usages(2) == view.versions("t") == [VersionRow("t", 7, 2, deleted=True)]
        assert view.referrers("s", 1) == [2]
        assert view.setting("level", "") == "FULL"
        assert view.records("observation", "s") == [Record("observation", "s", "k", "{}")]
    again.close()


def test_what_raises_keeps_nothing(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)

    def break_off() -> None:
        with storage.writing() as view:
            view.add_schema(A)
            view.put_version(VersionRow("s", 1, 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    with storage.writing() as view:
        assert (view.schema(1), view.subjects(), view.last_id()) == (None, [], 0)
    storage.close()


def test_a_reader_sees_one_state_and_waits_for_nobody(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    with storage.reading() as before:
        assert before.schema(1) is None
        with storage.writing() as view:
            view.add_schema(A)
            with storage.reading() as beside:
                assert beside.schema(1) is None, "not committed yet"
        assert before.schema(1) is None, "the state that it began with"
    with storage.reading() as after:
        assert after.schema(1) == A
    storage.close()


def test_a_row_that_is_there_already_is_reported(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)

    def add_twice() -> None:
        with storage.writing() as view:
            view.add_schema(A)
            view.add_schema(A._replace(identity="other"))

    with pytest.raises(SchemaRegistryError) as refused:
        add_twice()
    assert (refused.value.code, refused.value.status) == (50001, 500)
    assert "UNIQUE" in str(refused.value)
    with storage.reading() as view:
        assert view.last_id() == 0
    storage.close()


# What is not ours to open


def test_a_file_of_another_program(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(StoreCorruptError, match="another program"):
        SqliteStorage(tmp_path)


def test_a_newer_format(tmp_path: Path) -> None:
    SqliteStorage(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as newer:
        newer.execute("PRAGMA user_version = 3")
    newer.close()
    with pytest.raises(StoreError, match="format 3; this qmtl reads formats up to 2"):
        SqliteStorage(tmp_path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreCorruptError, match="damaged, or no registry"):
        SqliteStorage(tmp_path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the folder of the registry cannot be used"):
        SqliteStorage(tmp_path / "file")


# Against memory

names = st.sampled_from(["", "a", "ab", "b", "é", "\U0001f600", "\uffee", "a%", "a_"])
versions = st.integers(1, 4)
ids = st.integers(1, 4)
references = st.lists(st.builds(Reference, names, names, versions), max_size=2).map(tuple)
schemas = st.builds(Schema, st.text(max_size=3), st.sampled_from(SchemaType), references)
keys = st.sampled_from(["", "1", "10", "2", "é"])
kinds = st.sampled_from(["level", "mode"])
maybe = st.none() | st.sampled_from(["FULL", "NONE"])
actions = st.one_of(
    st.tuples(st.just("add_schema"), schemas),
    st.tuples(st.just("remove_schema"), ids),
    st.tuples(st.just("put_version"), st.builds(VersionRow, names, versions, ids, st.booleans())),
    st.tuples(st.just("remove_version"), names, versions),
    st.tuples(st.just("put_setting"), kinds, names, maybe),
    st.tuples(st.just("put_record"), st.builds(Record, kinds, names, keys, st.text(max_size=2))),
    st.just(("rollback",)),
)


def all_of(storage: RegistryStorage) -> list[Any]:
    """Whatever can be asked."""
    with storage.reading() as view:
        reported: list[Any] = [view.last_id()]
        reported += [view.schema(id) for id in range(6)]
        reported += [list(view.schemas_of(str(id))) for id in range(6)]
        reported += [list(view.usages(id)) for id in range(6)]
        for name in ["", "a", "ab", "b", "é", "\U0001f600", "\uffee", "a%", "a_", "none"]:
            reported += [list(view.subjects(name)), list(view.versions(name))]
            reported += [list(view.referrers(name, version)) for version in range(6)]
            reported += [view.setting("level", name), view.setting("mode", name)]
            for kind in ("level", "mode"):
                reported += [list(view.records(kind, name, after=after)) for after in ("", "1", "2")]
        return reported


@settings(max_examples=60)
@given(st.lists(st.lists(actions, max_size=6), max_size=5))
def test_the_file_keeps_what_memory_keeps(transactions: list[list[tuple[Any, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, memory = SqliteStorage(folder), MemoryStorage()
        for transaction in transactions:
            for storage in (file, memory):
                try:
                    with storage.writing() as view:
                        for verb, *arguments in transaction:
                            if verb == "rollback":
                                raise ZeroDivisionError
                            if verb == "add_schema":
                                number = view.last_id() + 1
                                view.add_schema(SchemaRow(number, str(number), *arguments))
                            elif verb == "remove_schema":
                                if view.schema(*arguments) is not None:
                                    view.remove_schema(*arguments)
                            else:
                                getattr(view, verb)(*arguments)
                except ZeroDivisionError:
                    continue
            assert all_of(file) == all_of(memory)
        file.close()
        memory.close()


# Against other processes

WRITER = """
import sys
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry.storage import SchemaRow, VersionRow
from qmtl.services.registry.sqlite import SqliteStorage

storage = SqliteStorage(sys.argv[1])
for number in range(100):
    with storage.writing() as view:
        id = view.last_id() + 1
        view.add_schema(SchemaRow(id, f"{sys.argv[2]}-{number}", Schema(sys.argv[2])))
        view.put_version(VersionRow("s", len(view.versions("s")) + 1, id))
storage.close()
"""


def test_writers_of_several_processes_leave_no_gap(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], stderr=subprocess.PIPE)
        for name in "abc"
    ]
    for writer in writers:
        _, reported = writer.communicate(timeout=120)
        assert writer.returncode == 0, reported.decode()
    storage = SqliteStorage(tmp_path)
    with storage.reading() as view:
        rows = view.versions("s")
        assert [(row.version, row.id) for row in rows] == [(n, n) for n in range(1, 301)]
        by_writer = [view.schema(row.id) for row in rows]
        assert {row.schema.text for row in by_writer if row} == {"a", "b", "c"}
    storage.close()


def test_references_are_kept_as_they_are(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    with storage.writing() as view:
        view.add_schema(B)
    with storage.reading() as view:
        row = view.schema(2)
    storage.close()
    assert row == B
    assert json.dumps(row.schema.references) == '[["x", "s", 1], ["y", "s", 1]]'
