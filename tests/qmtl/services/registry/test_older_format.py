"""A file of format 1, as it was written then: nothing in it is lost, and nothing is registered twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.schema.compatibility.levels import Level
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.contract import Usage
from qmtl.services.registry.sqlite import DATABASE, SqliteStorage

DUMP = Path(__file__).with_name("format_1.sql")

# What was registered then: one schema twice, because it was spelled in two ways.
BAR = {
    "type": "record",
    "name": "Bar",
    "namespace": "a",
    "fields": [{"name": "close", "type": {"type": "double"}, "default": 0.0}],
}
TICK = Schema('{"type": "number", "multipleOf": 0.10, "maximum": 1e6}', SchemaType.JSON)
USES = Schema(
    json.dumps({"type": "record", "name": "U", "fields": [{"name": "b", "type": "a.Bar"}]}),
    references=(Reference("a.Bar", "bars", 1),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / DATABASE)) as file:
        file.executescript(DUMP.read_text())
    return tmp_path


@pytest.fixture
def registry(folder: Path) -> Iterator[SchemaRegistryClient]:
    with closing(SchemaRegistryClient(SqliteStorage(folder))) as registry:
        yield registry


def test_every_version_keeps_its_id_and_text(registry: SchemaRegistryClient) -> None:
    assert registry.subjects() == ("bars", "more", "s", "t", "tick", "uses")
    assert registry.subjects(deleted_only=True) == ("old",)
    assert registry.version("bars", 1).schema.text == json.dumps(BAR, separators=(",", ":"))
    assert registry.version("bars", 2).schema.text == json.dumps(BAR, separators=(",", ":"), sort_keys=True)
    assert registry.version("tick", 1).schema.text == '{"type":"number","multipleOf":0.1,"maximum":1000000.0}'
    assert registry.usages(2) == (Usage("bars", 2), Usage("more", 1))
    assert registry.referenced_by("bars", 1) == (6,)
    assert registry.level("bars") is Level.FULL


def test_what_is_there_is_found_however_it_is_spelled(registry: SchemaRegistryClient) -> None:
    field = {"type": "double", "name": "close", "default": 0}
    for text in (json.dumps(BAR), json.dumps(BAR, sort_keys=True), json.dumps({**BAR, "name": "a.Bar"})):
        assert registry.lookup("bars", text)[1:3] == (2, 2)
        assert registry.lookup("more", text)[1:3] == (1, 2)
        assert registry.register("bars", text)[1:3] == (2, 2)
        assert registry.register("more", text)[1:3] == (1, 2)
    assert registry.register("bars", json.dumps({**BAR, "fields": [field]})).version == 3  # 0 is not 0.0
    for subject, id in (("s", 3), ("t", 4)):
        for text in ('"string"', '{"type":"string"}'):
            assert registry.register(subject, text)[1:3] == (1, id)
    assert registry.register("tick", TICK)[1:3] == (1, 5)
    assert registry.register("uses", USES)[1:3] == (1, 6)
    assert registry.lookup("old", '"int"', deleted=True)[1:3] == (1, 7)


def test_a_new_subject_gets_the_first_of_two_ids(registry: SchemaRegistryClient) -> None:
    assert registry.register("new", json.dumps(BAR)).id == 1
    assert registry.register("new-tick", TICK).id == 5
    assert registry.register("newer", '"float"').id == 9  # 8 was given, and its schema is gone
    registry.set_mode("IMPORT", "copy")
    assert registry.register("copy", json.dumps(BAR), version=1, id=2).id == 2


def test_it_is_opened_again_as_it_is_now(folder: Path) -> None:
    for _ in range(2):
        with closing(SqliteStorage(folder)) as storage, storage.reading() as view:
            [first, second] = view.schemas_of(view.schema(1).identity)  # type: ignore[union-attr]  # it is there
            assert (first.id, second.id, view.last_id()) == (1, 2, 8)
    with closing(sqlite3.connect(folder / DATABASE)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (2,)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_cannot_be_renewed_stays_as_it_was(folder: Path) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as file:
        file.execute("UPDATE schema SET text = '{' WHERE id = 5")
        file.commit()
        before = list(file.iterdump())
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="the schema with the id 5 cannot be read"):
            SqliteStorage(folder)
    with closing(sqlite3.connect(folder / DATABASE)) as file:
        assert list(file.iterdump()) == before
