"""A registry that lacks what was durable once is corrupt, and never new; and no crash is taken for that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.services.registry.sqlite import DATABASE, LOCK, SqliteStorage

LOG = f"{DATABASE}-wal"


def register(folder: Path, name: str) -> None:
    storage = SqliteStorage(folder)
    SchemaRegistryClient(storage).register(name, Schema(f'{{"type":"fixed","name":"{name}","size":1}}'))
    storage.close()


def contents(folder: Path) -> dict[str, bytes]:
    """All that holds entries; the lock also tells who took it last."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != LOCK}


@pytest.mark.parametrize("has_entries", [False, True])
@pytest.mark.parametrize("damage", ["emptied", "removed"])
def test_a_file_that_is_empty_or_gone_is_corrupt_and_nothing_is_made(
    tmp_path: Path, damage: str, has_entries: bool
) -> None:
    SqliteStorage(tmp_path).close()
    if has_entries:
        register(tmp_path, "s")
    if damage == "emptied":
        os.truncate(tmp_path / DATABASE, 0)
    else:
        (tmp_path / DATABASE).unlink()
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="was not always") as lost:
            SqliteStorage(tmp_path)
        assert lost.value.path == str(tmp_path)
        assert "backup" in str(lost.value.next_step)
    assert contents(tmp_path) == before


def test_an_empty_file_alone_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    with pytest.raises(StoreCorruptError, match="never made without"):
        SqliteStorage(tmp_path)
    assert os.listdir(tmp_path) == [DATABASE]


def test_an_empty_file_beside_its_log_keeps_the_log(tmp_path: Path) -> None:
    """SQLite itself would throw the log away."""
    with_log(tmp_path)
    killed = tmp_path / "killed"
    os.truncate(killed / DATABASE, 0)
    os.truncate(killed / LOCK, 0)
    before = contents(killed)
    with pytest.raises(StoreCorruptError, match="holds transactions that belong to it"):
        SqliteStorage(killed)
    assert contents(killed) == before


def with_log(tmp_path: Path) -> None:
    """What a killed server leaves behind in `killed`: its newest entry is in the log alone."""
    register(tmp_path / "running", "a")
    storage = SqliteStorage(tmp_path / "running")
    client = SchemaRegistryClient(storage)
    client.register("b", Schema('{"type":"fixed","name":"b","size":1}'))
    client.set_level(Level.NONE)
    shutil.copytree(tmp_path / "running", tmp_path / "killed")
    storage.close()
    assert (tmp_path / "killed" / LOG).stat().st_size


def test_a_lost_log_is_corrupt(tmp_path: Path) -> None:
    with_log(tmp_path)
    killed = tmp_path / "killed"
    (killed / LOG).unlink()
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="newest entries of the registry are gone") as lost:
            SqliteStorage(killed)
        assert "3 transactions were durable, and 1 are there" in str(lost.value.why)
    # To go on without them is a decision of its own.
    (killed / LOCK).unlink()
    storage = SqliteStorage(killed)
    assert SchemaRegistryClient(storage).subjects() == ("a",)
    storage.close()


def test_a_killed_server_has_lost_nothing(tmp_path: Path) -> None:
    with_log(tmp_path)
    storage = SqliteStorage(tmp_path / "killed")
    assert SchemaRegistryClient(storage).subjects() == ("a", "b")
    storage.close()


def test_a_new_registry_whose_log_is_lost_is_corrupt(tmp_path: Path) -> None:
    """Its tables are in the log alone: without it the file looks as if it were new."""
    storage = SqliteStorage(tmp_path / "running")
    SchemaRegistryClient(storage).register("a", Schema('"string"'))
    shutil.copytree(tmp_path / "running", tmp_path / "killed")
    storage.close()
    (tmp_path / "killed" / LOG).unlink()
    with pytest.raises(StoreCorruptError, match="holds nothing any more"):
        SqliteStorage(tmp_path / "killed")


def test_what_changes_nothing_is_not_counted(tmp_path: Path) -> None:
    register(tmp_path, "a")
    before = (tmp_path / DATABASE).read_bytes()
    register(tmp_path, "a")
    assert (tmp_path / DATABASE).read_bytes() == before


@pytest.mark.parametrize(
    "note", [b"", bytes(36), b"commit %020d 00000000\n" % 10**9], ids=["", "zeros", "noise"]
)
def test_a_note_that_was_not_kept_proves_nothing(tmp_path: Path, note: bytes) -> None:
    """It is never waited for: after a power cut it may be anything, and the registry is whole."""
    register(tmp_path, "a")
    lock = tmp_path / LOCK
    lock.write_bytes(lock.read_bytes()[:128] + note)
    register(tmp_path, "b")
    assert (tmp_path / LOCK).read_bytes()[128:].startswith(b"commit %020d " % 2)
