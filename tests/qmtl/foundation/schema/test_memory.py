"""Rows in memory: a transaction is whole or nothing, and one runs at a time."""

from __future__ import annotations

import threading

import pytest

from qmtl.foundation.schema.documents import Reference, Schema
from qmtl.foundation.schema.memory import MemoryStorage
from qmtl.foundation.schema.storage import Record, RegistryView, SchemaRow, VersionRow


def seen(view: RegistryView) -> list[object]:
    """All that can be read."""
    return [
        view.last_id(),
        [view.schema(id) for id in range(5)],
        [view.schema_of(identity) for identity in ("x", "y")],
        view.subjects(),
        [view.versions(subject) for subject in ("a", "b")],
        [view.usages(id) for id in range(5)],
        view.referrers("a", 1),
        [view.setting(name, subject) for name in ("level", "mode") for subject in ("", "a")],  # type: ignore[arg-type]  # one of the two words
        view.records("kind", "a"),
    ]


def fill(view: RegistryView) -> None:
    view.add_schema(SchemaRow(1, "x", Schema("1")))
    view.put_version(VersionRow("a", 1, 1))
    view.put_setting("level", "a", "FULL")
    view.put_record(Record("kind", "a", "k", "1"))


def change(view: RegistryView) -> None:
    view.add_schema(SchemaRow(3, "y", Schema("2", references=(Reference("n", "a", 1),))))
    view.put_version(VersionRow("b", 1, 3))
    view.put_version(VersionRow("a", 1, 3, True))
    view.remove_version("b", 1)
    view.remove_schema(1)
    view.put_setting("level", "a", None)
    view.put_setting("mode", "", "READONLY")
    view.put_record(Record("kind", "a", "k", "2"))
    view.put_record(Record("kind", "a", "l", "3"))


def test_a_transaction_that_fails_leaves_nothing() -> None:
    storage = MemoryStorage()
    with storage.writing() as view:
        fill(view)
    with storage.reading() as view:
        before = seen(view)

    def fail() -> None:
        with storage.writing() as view:
            change(view)
            assert seen(view) != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with storage.reading() as view:
        assert seen(view) == before
    with storage.writing() as view:
        change(view)
    with storage.reading() as view:
        assert seen(view) != before
        assert view.last_id() == 3
        assert view.versions("a") == view.usages(3) == [VersionRow("a", 1, 3, True)]
        assert view.subjects() == [("a", True)]
        assert view.referrers("a", 1) == [3]


def test_the_highest_id_is_remembered_when_its_row_is_gone() -> None:
    storage = MemoryStorage()
    with storage.writing() as view:
        fill(view)
        view.remove_schema(1)
        assert (view.last_id(), view.schema(1), view.schema_of("x")) == (1, None, None)


def test_records_come_by_key_after_the_one_that_is_named() -> None:
    storage = MemoryStorage()
    with storage.writing() as view:
        for key in ("b", "a", "c"):
            view.put_record(Record("kind", "s", key, key.upper()))
        view.put_record(Record("kind", "s", "a", "new"))
        view.put_record(Record("other", "s", "a", "x"))
    with storage.reading() as view:
        assert [one.value for one in view.records("kind", "s")] == ["new", "B", "C"]
        assert [one.key for one in view.records("kind", "s", after="a")] == ["b", "c"]
        assert view.records("kind", "t") == []


def test_a_reader_waits_for_the_writer() -> None:
    storage = MemoryStorage()
    began, end = threading.Event(), threading.Event()

    def write() -> None:
        with storage.writing() as view:
            view.put_version(VersionRow("a", 1, 1))
            began.set()
            assert end.wait(10)
            view.put_version(VersionRow("a", 2, 1))

    found: list[int] = []

    def read() -> None:
        with storage.reading() as view:
            found.append(len(view.versions("a")))

    writer, reader = threading.Thread(target=write), threading.Thread(target=read)
    writer.start()
    assert began.wait(10)
    reader.start()
    end.set()
    writer.join(10)
    reader.join(10)
    assert found == [2]
