"""What every place promises that keeps the rows of a registry, as tests that an implementation inherits."""

from __future__ import annotations

import threading

import pytest

from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.storage import (
    Record,
    RegistryStorage,
    RegistryView,
    SchemaRow,
    Setting,
    VersionRow,
)

_SETTINGS: tuple[Setting, ...] = ("level", "mode")
_USER = Schema("2", SchemaType.JSON, (Reference("n", "a", 1), Reference("m", "a", 1)))


def seen(view: RegistryView) -> list[object]:
    """All that can be read."""
    return [
        view.last_id(),
        [view.schema(id) for id in range(5)],
        [list(view.schemas_of(identity)) for identity in ("x", "y")],
        list(view.subjects()),
        [list(view.versions(subject)) for subject in ("a", "b")],
        [view.latest(subject, deleted=deleted) for subject in ("a", "b") for deleted in (False, True)],
        [list(view.versions_of("a", id)) for id in range(5)],
        [list(view.usages(id)) for id in range(5)],
        list(view.referrers("a", 1)),
        [view.setting(name, subject) for name in _SETTINGS for subject in ("", "a")],
        list(view.records("kind", "a")),
    ]


def fill(view: RegistryView) -> None:
    view.add_schema(SchemaRow(1, "x", Schema("1")))
    view.put_version(VersionRow("a", 1, 1))
    view.put_setting("level", "a", "FULL")
    view.put_record(Record("kind", "a", "k", "1"))


def change(view: RegistryView) -> None:
    view.add_schema(SchemaRow(3, "y", _USER))
    view.put_version(VersionRow("b", 1, 3))
    view.put_version(VersionRow("a", 1, 3, True))
    view.remove_version("b", 1)
    view.remove_schema(1)
    view.put_setting("level", "a", None)
    view.put_setting("mode", "", "READONLY")
    view.put_record(Record("kind", "a", "k", "2"))
    view.put_record(Record("kind", "a", "l", "3"))


class RegistryStorageSuite:
    """Inherit it, and give a fixture `storage` that is an empty storage."""

    def test_an_empty_storage_holds_nothing(self, storage: RegistryStorage) -> None:
        with storage.reading() as view:
            assert seen(view) == [
                *(0, [None] * 5, [[]] * 2, [], [[]] * 2, [None] * 4),
                *([[]] * 5, [[]] * 5, [], [None] * 4, []),
            ]

    def test_rows_come_back_as_they_went_in(self, storage: RegistryStorage) -> None:
        with storage.writing() as view:
            fill(view)
            change(view)
        with storage.reading() as view:
            row = SchemaRow(3, "y", _USER)
            assert (view.schema(3), list(view.schemas_of("y"))) == (row, [row])
            assert (view.schema(1), list(view.schemas_of("x"))) == (None, [])
            assert list(view.versions("a")) == list(view.usages(3)) == [VersionRow("a", 1, 3, True)]
            assert list(view.subjects()) == [("a", True)]
            assert list(view.referrers("a", 1)) == [3]
            assert (view.setting("mode", ""), view.setting("level", "a")) == ("READONLY", None)
            assert [one.value for one in view.records("kind", "a")] == ["2", "3"]

    def test_a_transaction_that_fails_leaves_nothing(self, storage: RegistryStorage) -> None:
        def fail() -> None:
            with storage.writing() as view:
                change(view)
                assert seen(view) != before
                raise ZeroDivisionError

        with storage.writing() as view:
            fill(view)
        with storage.reading() as view:
            before = seen(view)
        with pytest.raises(ZeroDivisionError):
            fail()
        with storage.reading() as view:
            assert seen(view) == before

    def test_rows_of_one_identity_come_by_id(self, storage: RegistryStorage) -> None:
        rows = [SchemaRow(id, "x", Schema(str(id))) for id in (2, 1, 3)]
        with storage.writing() as view:
            for row in rows:
                view.add_schema(row)
            view.remove_schema(3)
        with storage.reading() as view:
            assert [row.id for row in view.schemas_of("x")] == [1, 2]

    def test_the_highest_id_is_remembered_when_its_row_is_gone(self, storage: RegistryStorage) -> None:
        with storage.writing() as view:
            view.add_schema(SchemaRow(7, "x", _USER))
            view.add_schema(SchemaRow(2, "y", Schema("1")))
        with storage.writing() as view:
            view.remove_schema(7)
        with storage.reading() as view:
            assert (view.last_id(), list(view.referrers("a", 1))) == (7, [])

    def test_versions_and_subjects_are_in_order(self, storage: RegistryStorage) -> None:
        with storage.writing() as view:
            view.add_schema(SchemaRow(1, "x", Schema("1")))
            for subject in ("b", "é", "a_", "aa", "a%", "A"):
                for number in (10, 2, 1):
                    view.put_version(VersionRow(subject, number, 1, subject == "aa" or number == 1))
        with storage.reading() as view:
            gone = {"aa"}
            assert list(view.subjects()) == [
                (each, each in gone) for each in ("A", "a%", "a_", "aa", "b", "é")
            ]
            assert [name for name, _ in view.subjects("a")] == ["a%", "a_", "aa"]
            assert [name for name, _ in view.subjects("a_")] == ["a_"]
            assert [row.version for row in view.versions("b")] == [1, 2, 10]
            assert [row.version for row in view.versions_of("b", 1)] == [1, 2, 10]
            assert list(view.versions_of("b", 2)) == []
            assert view.latest("b", deleted=False) == VersionRow("b", 10, 1)
            assert view.latest("aa", deleted=True) == VersionRow("aa", 10, 1, True)
            assert (view.latest("aa", deleted=False), view.latest("c", deleted=True)) == (None, None)
            used = [(row.subject, row.version) for row in view.usages(1)]
            assert used == sorted(used)
            assert len(used) == 18

    def test_records_come_by_key_after_the_one_that_is_named(self, storage: RegistryStorage) -> None:
        with storage.writing() as view:
            for key in ("b", "a", "c"):
                view.put_record(Record("kind", "s", key, key.upper()))
            view.put_record(Record("kind", "s", "a", "new"))
            view.put_record(Record("other", "s", "a", "x"))
        with storage.reading() as view:
            assert [one.value for one in view.records("kind", "s")] == ["new", "B", "C"]
            assert [one.key for one in view.records("kind", "s", after="a")] == ["b", "c"]
            assert list(view.records("kind", "t")) == []

    def test_a_reader_sees_a_transaction_whole_or_not_at_all(self, storage: RegistryStorage) -> None:
        began, end = threading.Event(), threading.Event()
        found: list[int] = []

        def write() -> None:
            with storage.writing() as view:
                view.put_version(VersionRow("a", 1, 1))
                began.set()
                assert end.wait(10)
                view.put_version(VersionRow("a", 2, 1))

        def read() -> None:
            with storage.reading() as view:
                found.append(len(view.versions("a")))

        writer, reader = threading.Thread(target=write), threading.Thread(target=read)
        writer.start()
        assert began.wait(10)
        reader.start()
        reader.join(0.05)  # it may answer before the writer ends, or wait for it
        end.set()
        writer.join(10)
        reader.join(10)
        assert found in ([0], [2])

    def test_writers_take_turns(self, storage: RegistryStorage) -> None:
        def count() -> None:
            for _ in range(10):
                with storage.writing() as view:
                    number = int(view.setting("level", "n") or 0)
                    view.put_setting("level", "n", str(number + 1))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        with storage.reading() as view:
            assert view.setting("level", "n") == "40"
