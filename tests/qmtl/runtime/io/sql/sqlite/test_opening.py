"""What cannot be a store is refused with what it is and what to do, and is left as it was."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import ChangeToken, Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars


def a_file(place: Path) -> None:
    place.write_text("not a directory")


def text_instead_of_sqlite(place: Path) -> None:
    place.mkdir()
    (place / "bars.sqlite").write_text("ts,open,high,low,close\n" * 100)


def a_foreign_database(place: Path) -> None:
    place.mkdir()
    connection = sqlite3.connect(place / "bars.sqlite")
    connection.execute("CREATE TABLE bars (a)")
    connection.commit()
    connection.close()


def another_programs_mark(place: Path) -> None:
    place.mkdir()
    connection = sqlite3.connect(place / "bars.sqlite")
    connection.execute("PRAGMA application_id = 77")
    connection.close()


def a_newer_format(place: Path) -> None:
    EmbeddedStore(place).close()
    connection = sqlite3.connect(place / "bars.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def a_folder_of_other_things(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("precious")


CASES: list[tuple[Callable[[Path], None], type[StoreError], str]] = [
    (a_file, StoreError, "is a file, not a directory"),
    (text_instead_of_sqlite, StoreCorruptError, "is not a store"),
    (a_foreign_database, StoreCorruptError, "belongs to another program"),
    (another_programs_mark, StoreCorruptError, "belongs to another program"),
    (a_newer_format, StoreError, "has format 99"),
    (a_folder_of_other_things, StoreError, "holds other things"),
]


def contents(place: Path) -> dict[str, bytes]:
    """What lies there, but for the scratch files of SQLite, which a reader may leave behind."""
    files = [path for path in [place, *place.rglob("*")] if path.is_file()]
    return {path.name: path.read_bytes() for path in files if path.name[-4:] not in ("-shm", "-wal")}


@pytest.mark.parametrize(("make", "kind", "words"), CASES, ids=lambda case: getattr(case, "__name__", None))
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_store_is_refused(
    tmp_path: Path, make: Callable[[Path], None], kind: type[StoreError], words: str, read_only: bool
) -> None:
    place = tmp_path / "store"
    make(place)
    before = contents(place)
    if read_only and make is a_folder_of_other_things:
        words = "no store to read"
    with pytest.raises(kind, match=words) as refused:
        EmbeddedStore(place, read_only=read_only)
    assert refused.value.path == str(place)
    assert refused.value.next_step
    assert contents(place) == before


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "a" / "b") as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 1)))
    assert (tmp_path / "a" / "b" / "bars.sqlite").exists()


def test_a_missing_store_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        EmbeddedStore(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


def test_a_store_whose_making_was_cut_off_is_made_again(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    (place / "bars.lock").touch()
    (place / "bars.sqlite").touch()
    with EmbeddedStore(place) as store:
        assert store.commit(SERIES, Write("v", 1, some_bars(0, 1))).added == 1


def test_names_with_odd_characters(tmp_path: Path) -> None:
    place = tmp_path / "a ?b#c%20d=é"
    with EmbeddedStore(place) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 1)))
    with EmbeddedStore(place, read_only=True) as store:
        assert store.read(SERIES, minutes(0, 1)).frame.height == 1
    assert os.listdir(tmp_path) == [place.name]


def test_read_only_refuses_each_write_and_sees_the_newest(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as writer:
        writer.commit(SERIES, Write("v", 1, some_bars(0, 3)))
        with EmbeddedStore(tmp_path / "store", read_only=True) as reader:
            assert reader.read_only
            token = reader.changed_since(None).token
            writer.commit(SERIES, Write("v", 1, some_bars(3, 3)))
            assert reader.has_changed(token)
            assert reader.read(SERIES, minutes(0, 9)).frame.height == 6
            for attempt in (
                lambda: reader.commit(SERIES, Write("v", 1, some_bars(0, 1, price=3.0))),
                lambda: reader.compact(),
                lambda: reader.accept(SERIES, []),
            ):
                with pytest.raises(StoreError, match="cannot be written") as refused:
                    attempt()
                assert refused.value.next_step
            assert reader.archive_report(SERIES, {"a": 1}) is None
            assert reader.info().read_only


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.close()
    token = ChangeToken(0, 0)
    for attempt in (
        lambda: store.has_changed(token),
        store.newest,
        lambda: store.read(SERIES, minutes(0, 1)),
    ):
        with pytest.raises(StoreError, match="is closed"):
            attempt()


def test_no_room_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        kept = store.commit(SERIES, Write("v", 1, some_bars(0, 1_000)))
    connect = sqlite3.connect

    def with_little_room(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]  # passed on
        connection.execute("PRAGMA max_page_count = 40")
        return connection

    monkeypatch.setattr(sqlite3, "connect", with_little_room)
    with EmbeddedStore(tmp_path / "store") as store:
        done = []

        def fill() -> None:
            for first in range(0, 200_000, 1_000):
                store.commit(SERIES, Write("v", 1, some_bars(first, 1_000)))
                done.append(first)

        with pytest.raises(StoreError, match="no room left") as full:
            fill()
        assert full.value.series == SERIES.text
        assert 1 < len(done) < 199
        assert store.read(SERIES, minutes(0, 999_999)).frame.height == len(done) * 1_000
        assert store.verify().is_sound
        assert store.read(SERIES, minutes(0, 9_999), as_of=kept.as_of).frame.height == 1_000
