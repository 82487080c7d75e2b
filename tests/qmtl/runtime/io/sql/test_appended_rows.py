"""Rows of appends have the checksums that the engine would give them; what is presumed is not believed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql import appended_rows
from qmtl.runtime.io.sql.dialect import PROVEN
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_suites.bars import STEP, minutes, some_bars

# Names that Python writes with escapes, or with quotes of the other kind.
NAMES = [SeriesId.parse(f"ohlcv:rows:{symbol}:1m") for symbol in ("A/B", "it's", 'a"b', "é\\'\"")]
SOURCES = ("feed", "it's", 'quo"te', "é\\\n", "both'\"", "")


def bar(at: int, *, source: str = "feed", **more: Any) -> Write:
    return Write(source, 40 + at, some_bars(at, 1), Coverage.of(minutes(at, at + 1)), **more)


def batch(at: int, **more: Any) -> dict[SeriesId, Write]:
    return {name: bar(at, **more) for name in NAMES}


def unproven(store: KeptStore) -> dict[str, int]:
    """By table, how many rows are not what was written, by the engine's own expression."""
    with store._database.reading() as connection:
        sound = connection.dialect.sound
        asked = {name: f"SELECT count(*) FROM {name} WHERE NOT ({sound[name]})" for name in PROVEN}
        return {name: n for name, sql in asked.items() if (n := connection.execute(sql).fetchone()[0])}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many writes were appended together, of each commit."""
    sizes: list[int] = []
    write = appended_rows._write_proven

    def noted(connection: Any, made: Any, checksum: Any) -> None:
        sizes.append(len(made))
        write(connection, made, checksum)

    monkeypatch.setattr(appended_rows, "_write_proven", noted)
    return sizes


@pytest.fixture
def place(new_place: Callable[[], str]) -> str:
    return new_place()


def test_each_row_is_proven_whatever_its_texts(new_store: Callable[..., KeptStore]) -> None:
    store = new_store(clock=FakeClock(5_000))
    for at in range(4):
        store.commit_many(batch(at, delivered_at={at * STEP: at * STEP + STEP + 3}))
    for at, source in enumerate(SOURCES, 4):
        store.commit_many(batch(at, source=source))
        store.commit(NAMES[0], bar(at + 20, source=source))
    span = minutes(60, 70)
    store.commit_many({name: Write("it's", 7, absent=Coverage.of(span), absent_until=99) for name in NAMES})
    store.commit_many(batch(80))
    assert unproven(store) == {}
    assert store.verify().is_sound
    assert store.read(NAMES[0], minutes(0, 90)).frame.height == 4 + 2 * len(SOURCES) + 1


def test_one_bar_is_appended_without_a_question_once_its_store_was_the_last_to_write(
    new_store: Callable[..., KeptStore], written: list[int]
) -> None:
    store = new_store(clock=FakeClock(5_000))
    if store._database.dialect.is_server:
        pytest.skip("a server has a way of its own")
    asked: list[str] = []
    store.commit(NAMES[0], bar(0))
    assert written == []
    for at in range(1, 4):
        store.commit(NAMES[0], bar(at))
    with store._database.writing() as connection:
        connection.set_trace_callback(asked.append)
    asked.clear()
    store.commit(NAMES[0], bar(4))
    assert written == [1, 1, 1, 1]
    # Each text once: of one that a trigger looks at SQLite tells twice.
    assert [text.split()[0] for text in dict.fromkeys(asked)] == [
        *("BEGIN", "SELECT", "INSERT", "UPDATE", "INSERT", "UPDATE", "INSERT", "DELETE", "COMMIT"),
    ]


def test_a_series_that_was_counted_anew_is_asked_for(
    new_store: Callable[..., KeptStore], written: list[int]
) -> None:
    clock = FakeClock(5_000)
    store = new_store(clock=clock, retention=0)
    for at in range(4):
        store.commit_many(batch(at))
    clock.advance(100)
    assert store.compact().swept
    for at in range(4, 8):
        store.commit_many(batch(at))
    assert unproven(store) == {}
    assert store.verify().is_sound
    assert store.read(NAMES[1], minutes(0, 20)).answered == Coverage.of(minutes(0, 8))


DAMAGE = {
    "a count": ("UPDATE series SET hot = hot + 5 WHERE id = 2", StoreCorruptError),
    "a number of versions": ("UPDATE series SET versions = versions - 1 WHERE id = 2", StoreCorruptError),
    "the end of a record": ('UPDATE answer SET "end" = "end" + 1 WHERE series = 2 AND tx_to > 999', None),
    "the commit of a record": ("UPDATE answer SET tx_from = 1 WHERE series = 2 AND tx_to > 999", None),
    "the time of a record": ("UPDATE answer SET checked_at = 1 WHERE series = 2 AND tx_to > 999", None),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_beneath_what_is_presumed_does_not_pass_for_sound(
    script: ModuleType, place: str, what: str
) -> None:
    statement, refused = DAMAGE[what]
    with closing(script.opened(place, clock=FakeClock(5_000))) as store:
        if not store._database.dialect.has_proofs:
            pytest.skip("rows have no checksums of ours")
        for at in range(4):
            store.commit_many(batch(at))
        with store._database.writing() as connection:
            connection.execute(statement)
            connection.execute("COMMIT")
        assert sum(unproven(store).values()) == 1
        if refused is None:
            store.commit_many(batch(4))
        else:
            with pytest.raises(refused):
                store.commit_many(batch(4))
    with closing(script.opened(place, clock=FakeClock(5_000))) as store:
        assert not store.verify().is_sound
