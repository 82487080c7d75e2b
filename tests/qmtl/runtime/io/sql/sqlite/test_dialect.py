"""A name that the list of series lacks: the list is looked through once, and damage hides no name.

And what a connection remembers: until anybody writes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks.growth.counting import counting
from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.commits import certainly_new, enter_series, series_number
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.sqlite.layout import DATABASE, PAGE_BYTES
from tests.qmtl.runtime.io.sql.sqlite.tampering import tamper


def name(number: int) -> SeriesId:
    return SeriesId.parse(f"ohlcv:binance:S{number}/USDT:1m")


def enter(directory: StoreDirectory, *numbers: int) -> None:
    with directory.writing() as connection:
        for number in numbers:
            enter_series(connection, name(number))
        connection.execute("COMMIT")


def spoil_index(folder: Path, number: int) -> None:
    """Change a name in the index of names, and leave the row in the table as it is."""
    file = folder / DATABASE
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_series_1'"
    ).fetchone()
    connection.close()
    data = file.read_bytes()
    start, end = (page - 1) * PAGE_BYTES, page * PAGE_BYTES
    text = name(number).text.encode()
    index = data[start:end]
    assert index.count(text) == 1
    file.write_bytes(data[:start] + index.replace(text, text.replace(b"/", b"~")) + data[end:])


def filled(folder: Path, count: int) -> None:
    directory = opened(folder)
    enter(directory, *range(1, count + 1))
    directory.close()


def opened(folder: Path) -> StoreDirectory:
    return StoreDirectory(folder, read_only=False, lock_timeout_s=1.0)


def test_the_list_is_looked_through_once_and_then_only_behind_what_was_looked_at(tmp_path: Path) -> None:
    taken = {}
    for count in (10, 1_000):
        folder = tmp_path / str(count)
        filled(folder, count)
        with counting() as counter:
            directory = opened(folder)

            def look_up(number: int, directory: StoreDirectory = directory) -> None:
                with directory.reading() as connection:
                    assert series_number(connection, name(number)) is None
                    assert certainly_new(connection, [name(number)]) == {name(number)}

            first = counter.count(lambda: look_up(90_000)).steps
            again = counter.count(lambda: look_up(90_001)).steps
            enter(directory, *range(50_000, 50_010))
            behind_ten = counter.count(lambda: look_up(90_002)).steps
            directory.close()
        assert first > 20 * count
        taken[count] = (again, behind_ten)
    assert taken[10] == taken[1_000]


def test_series_are_entered_at_the_same_cost_however_many_there_are(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    with counting() as counter:
        directory = opened(tmp_path)
        few = counter.count(lambda: enter(directory, *range(100, 200))).steps
        enter(directory, *range(1_000, 2_000))
        many = counter.count(lambda: enter(directory, *range(2_000, 2_100))).steps
        directory.close()
    assert many < 1.1 * few


def test_a_name_that_the_index_lacks_is_noticed_after_another_was_looked_up(tmp_path: Path) -> None:
    filled(tmp_path, 9)
    spoil_index(tmp_path, 5)
    directory = opened(tmp_path)
    for _ in range(2):
        with directory.reading() as connection:
            assert series_number(connection, name(77)) is None
            assert certainly_new(connection, [name(77)]) == {name(77)}
            with pytest.raises(StoreCorruptError, match="the list of series is damaged"):
                series_number(connection, name(5))
            assert certainly_new(connection, [name(77), name(5)]) == set()
    directory.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE series SET node = 'ohlcv:binance:S99/USDT:1m' WHERE id = 5",
        "UPDATE series SET chunks = 7 WHERE id = 5",
        "DELETE FROM series WHERE id = 5",
    ],
)
def test_damage_among_what_others_entered_later_is_noticed(tmp_path: Path, damage: str) -> None:
    filled(tmp_path, 3)
    directory, other = opened(tmp_path), opened(tmp_path)
    with directory.reading() as connection:
        assert series_number(connection, name(77)) is None
    enter(other, 4, 5, 6)
    other.close()
    tamper(tmp_path, damage)
    with directory.reading() as connection:
        with pytest.raises(StoreCorruptError, match="the list of series is damaged"):
            series_number(connection, name(77))
        assert certainly_new(connection, [name(77)]) == set()
    directory.close()


def test_names_that_were_not_kept_are_no_hole(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    directory, other = opened(tmp_path), opened(tmp_path)
    with directory.writing() as connection:
        assert [enter_series(connection, name(number)) for number in (4, 5, 6)] == [4, 5, 6]
    with directory.reading() as connection:
        assert series_number(connection, name(4)) is None
    enter(other, 7)
    other.close()
    with directory.reading() as connection:
        assert series_number(connection, name(7)) == 4
        assert series_number(connection, name(5)) is None
    directory.close()


def test_what_was_read_is_remembered_until_anybody_writes(tmp_path: Path) -> None:
    ours, theirs = opened(tmp_path), opened(tmp_path)
    asked: list[int] = []

    def count() -> int:
        with ours.reading() as connection:

            def find() -> int:
                asked.append(1)
                (found,) = connection.execute("SELECT count(*) FROM series").fetchone()
                return int(found)

            return connection.remembered("series", find)

    enter(ours, 1)
    assert [count(), count(), count()] == [1, 1, 1]
    assert len(asked) == 1
    enter(theirs, 2)  # as another process would
    assert [count(), count()] == [2, 2]
    enter(ours, 3)  # by the very connection that remembers
    assert [count(), count()] == [3, 3]
    assert len(asked) == 3
    with ours.writing() as connection:
        enter_series(connection, name(4))  # and undone
    assert count() == 3
    ours.close()
    theirs.close()


def test_a_look_that_fails_is_not_remembered(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    directory = opened(tmp_path)
    with directory.reading() as connection:
        with pytest.raises(ZeroDivisionError):
            connection.remembered("odd", lambda: 1 // 0)
        assert connection.remembered("odd", lambda: 7) == 7
    directory.close()


def test_no_more_is_remembered_than_there_is_room_for(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    directory = opened(tmp_path)
    with directory.reading() as connection:
        for number in range(5_000):
            assert connection.remembered(number, lambda number=number: number + 1) == number + 1  # type: ignore[misc]
        assert len(connection._remembered) <= 1_024
    directory.close()
