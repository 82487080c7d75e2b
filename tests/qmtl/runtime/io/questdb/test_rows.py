"""Rows that no commit names are nobody's, and numbers of chunks say nothing of their order."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import StaleFenceError, StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.questdb import filling
from qmtl.runtime.io.questdb import rows as rows_module
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql import codec
from qmtl.runtime.io.sql.chunk_parts import list_of, parts_in
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.store.rows import Rows, allocate, from_frame
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars, write
from tests.qmtl.questdb import QuestDBServer

pytestmark = pytest.mark.usefixtures("small_chunks")

Opened = Callable[..., QuestDBStore]


def numbered(monkeypatch: pytest.MonkeyPatch, numbers: Iterator[int]) -> None:
    """Chunks get these numbers, one after the other."""
    monkeypatch.setattr(rows_module, "randbits", lambda bits: next(numbers))


def orphaned(store: QuestDBStore, frame: pl.DataFrame) -> int:
    """Write rows as a commit does that ends before the catalog names them; their number."""
    (number,) = store._rows.write(SERIES, [codec.pack_plain(from_frame(frame, SERIES))])
    return number


def all_of(store: QuestDBStore, as_of: int | None = None) -> pl.DataFrame:
    return store.read(SERIES, minutes(0, 100), as_of=as_of).frame


def test_an_orphan_with_the_highest_number_is_not_served(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    highest = 2**62 - 1
    numbered(monkeypatch, iter([highest]))
    assert orphaned(store, some_bars(0, 8, price=7.0)) == highest + 1
    monkeypatch.undo()
    store.commit(SERIES, write(some_bars(0, 6)))
    assert orphaned(store, some_bars(3, 8, price=9.0))
    assert_frame_equal(all_of(store), some_bars(0, 6))
    assert store.verify().is_sound


def test_commits_in_the_opposite_order_of_their_numbers(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    numbered(monkeypatch, count(2**61, -1))
    states = []
    for price in (100.0, 200.0, 300.0):
        commit = store.commit(SERIES, write(some_bars(0, 6, price=price)))
        states.append((commit.as_of, some_bars(0, 6, price=price)))
    assert_frame_equal(all_of(store), states[-1][1])
    for as_of, frame in states:
        assert_frame_equal(all_of(store, as_of), frame)


@pytest.mark.parametrize("corrected", [1, 6])
def test_a_bar_corrected_then_retracted(used_url: str, opened: Opened, corrected: int) -> None:
    """Few corrected rows lie in the catalog, many in the table: either is found at its time alone."""
    store = opened(used_url)
    first, right = some_bars(0, 20), some_bars(2, corrected, price=500.0)
    written = store.commit(SERIES, write(first, answered=Coverage.of(minutes(0, 20))))
    changed = store.commit(SERIES, write(right))
    gone = store.retract(SERIES, minutes(2, 3), reason="a test")
    now = pl.concat([first[:2], right, first[2 + corrected :]])
    assert_frame_equal(all_of(store, written.as_of), first)
    assert_frame_equal(all_of(store, changed.as_of), now)
    assert_frame_equal(all_of(store, gone.as_of), pl.concat([now[:2], now[3:]]))
    assert_frame_equal(all_of(store), all_of(store, gone.as_of))
    assert changed.replaced.height == corrected
    assert store.compact().windows >= 0
    assert_frame_equal(all_of(store), all_of(store, gone.as_of))
    assert_frame_equal(all_of(store, changed.as_of), now)


def test_a_stale_writer_is_refused_before_it_writes_a_row(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    old = store.open_fence(SERIES, [0], "one")
    store.open_fence(SERIES, [0], "another")
    before = store._rows.table.progress()
    with pytest.raises(StaleFenceError):
        store.commit(SERIES, write(some_bars(0, 8), fences=old))
    assert store._rows.table.progress() == before
    assert all_of(store).is_empty()


def test_what_the_server_gives_back_otherwise_is_not_committed(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    table = store._rows.table
    send = table.server.send

    def garbled(name: str, series: str, numbers: list[int], chunks: list[rows_module.Rows]) -> None:
        send(name, series, numbers, [rows._replace(open=rows.open + 1) for rows in chunks])

    monkeypatch.setattr(table.server, "send", garbled)
    with pytest.raises(StoreError, match="does not give back what was written"):
        store.commit(SERIES, write(some_bars(0, 8)))
    monkeypatch.undo()
    assert store.newest() == (0, 0)
    store.commit(SERIES, write(some_bars(0, 8)))
    assert_frame_equal(all_of(store), some_bars(0, 8))


def test_edited_rows_are_found_told_and_heal(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    asked = minutes(0, 24)
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(asked)))
    with store._database.reading() as connection:
        edited = connection.execute("SELECT id, first_ts, last_ts FROM chunk ORDER BY first_ts").fetchall()[1]
    table = store._rows.table
    table.server.query(f"UPDATE {table.name} SET close = close + 1 WHERE tx = {edited[0]}")
    table.settle()
    assert not store.verify().is_sound
    found = store.read(SERIES, asked)
    assert found.damaged.hull.start == edited[1]
    assert found.answered == Coverage.of(asked) - found.damaged
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(asked)))
    assert_frame_equal(all_of(store), some_bars(0, 24))
    assert store.verify().is_sound


def test_many_chunks_are_read_in_several_statements(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_ASKED", 3)
    monkeypatch.setattr(rows_module, "_SENT", 2)
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 90)))
    assert_frame_equal(all_of(store), some_bars(0, 90))


def test_an_older_catalog_that_is_brought_back_knows_what_it_knew(
    used_url: str, questdb_server: QuestDBServer, opened: Opened, tmp_path: Path
) -> None:
    """What was written since is nobody's, and what is written from then on does not meet it."""
    with questdb_store(used_url) as store:
        store.commit(SERIES, write(some_bars(0, 20)))
        table = store.table
    shutil.copytree(tmp_path / "copied", tmp_path / "backup")
    with questdb_store(used_url) as store:
        store.commit(SERIES, write(some_bars(0, 30, price=900.0)))
    restored = opened(questdb_server.url(tmp_path / "backup", table.removesuffix("_bars")))
    assert_frame_equal(all_of(restored), some_bars(0, 20))
    assert restored.verify().is_sound
    restored.commit(SERIES, write(some_bars(20, 10)))
    assert_frame_equal(all_of(restored), some_bars(0, 30))


def test_rows_years_apart_fall_into_place(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    year = 525_600
    for first in (3 * year, year, 2 * year, 0):
        store.commit(SERIES, write(some_bars(first, 8)))
    expected = pl.concat([some_bars(number * year, 8) for number in range(4)])
    assert_frame_equal(store.read(SERIES, minutes(0, 4 * year)).frame, expected)


# What a store may hold; a volume may be missing as well.
VALUES = st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, -1.5, 1.7976931348623157e308])
VALUES |= st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 1e22, 123456.789])


def bits(rows: Rows) -> bytes:
    return b"".join(column.tobytes() for column in rows)


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_and_whole_chunks_give_the_same_bits(
    used_url: str, opened: Opened, data: st.DataObject
) -> None:
    """Of a range in the middle of chunks, of all of them, and by the numbers of all rows."""
    stamps = sorted(data.draw(st.sets(st.integers(0, 40), min_size=8, max_size=16)))
    columns = [data.draw(st.lists(VALUES, min_size=16, max_size=16))[: len(stamps)] for _ in range(4)]
    volume = data.draw(st.lists(VALUES | st.just(math.nan), min_size=16, max_size=16))[: len(stamps)]
    ts = np.array(stamps, dtype=np.int64) * MINUTE
    rows = Rows(ts, *(np.array(column) for column in [*columns, volume]))
    table = opened(used_url)._rows
    packed = [codec.pack_plain(rows.cut(0, 7)), codec.pack_plain(rows.cut(7, rows.size))]
    chunks = [
        (SERIES, Chunk(number, *one[:5]))
        for number, one in zip(table.write(SERIES, packed), packed, strict=True)
    ]
    parts = [
        (SERIES, part)
        for (series, chunk), whole in zip(chunks, (rows.cut(0, 7), rows.cut(7, rows.size)), strict=True)
        for _, part in parts_in(list_of(whole, chunk.checksum), chunk)
    ]
    missing = np.isnan(rows.volume)
    expected = bits(rows._replace(volume=np.where(missing, np.nan, rows.volume)))
    for asked in (chunks, parts):
        target = allocate(rows.size)
        outcomes = table.fill(asked, target)
        assert bits(target) == expected
        assert any(outcomes) == missing.any()
        assert not any(isinstance(one, codec.DamagedError) for one in outcomes)
        assert b"".join(bits(one) for one in rows_module.rows_in(table.table, asked)) == b"".join(
            bits(rows.between(chunk.first_ts, chunk.last_ts)) for _, chunk in asked
        )
    first = data.draw(st.integers(0, len(parts) - 1))
    some = parts[first : data.draw(st.integers(first + 1, len(parts)))]
    target = allocate(sum(part.rows for _, part in some))
    table.fill(some, target)
    assert bits(target) == bits(rows.between(some[0][1].first_ts, some[-1][1].last_ts))


def test_a_read_of_a_few_bars_asks_for_a_few(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(minutes(0, 24))))
    server = store._rows.table.server
    export, found = server.export, []

    def counted(sql: str) -> pa.Table:
        found.append(export(sql))
        return found[-1]

    monkeypatch.setattr(server, "export", counted)
    assert_frame_equal(store.read(SERIES, minutes(4, 6)).frame, some_bars(4, 2))
    assert [answer.num_rows for answer in found] == [3], "one part of three rows"
    found.clear()
    assert_frame_equal(store.read(SERIES, minutes(0, 24)).frame, some_bars(0, 24))
    assert [answer.num_rows for answer in found] == [24], "all chunks by one statement"


def test_many_series_are_read_by_one_statement(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    series = [SeriesId.parse(f"ohlcv:many:{name}:1m") for name in "ABCDE"]
    frames = {one: some_bars(number, 30, price=10.0 + number) for number, one in enumerate(series)}
    store.commit_many({one: write(frame) for one, frame in frames.items()})
    server = store._rows.table.server
    export, asked = server.export, []
    monkeypatch.setattr(server, "export", lambda sql: (asked.append(sql), export(sql))[1])
    found = store.read_many(series, minutes(9, 22))
    assert len(asked) == 1
    for one in series:
        assert_frame_equal(
            found[one].frame, frames[one].filter(pl.col("ts").is_between(*_ends(9, 22), closed="left"))
        )


@pytest.mark.parametrize(("wanted", "all_come"), [(5, True), (4, True), (3, False)])
def test_where_few_others_lie_between_all_rows_come(
    questdb_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch, wanted: int, all_come: bool
) -> None:
    """Of 5 series alike all are asked for, or 4, or 3; rows of the others, and of nobody, are left out."""
    store = opened(questdb_url)
    series = [SeriesId.parse(f"ohlcv:many:{name}:1m") for name in "ABCDE"]
    frames = {one: some_bars(0, 30, price=10.0 + number) for number, one in enumerate(series)}
    store.commit_many({one: write(frame) for one, frame in frames.items()})
    orphaned(store, some_bars(0, 6, price=7.0))
    monkeypatch.setattr(filling, "_MANY_ROWS", 1)
    server = store._rows.table.server
    export, asked = server.export, []
    monkeypatch.setattr(server, "export", lambda sql: (asked.append(sql), export(sql))[1])
    found = store.read_many(series[:wanted], minutes(0, 30))
    assert [" tx IN " in sql for sql in asked] == [not all_come]
    for one in series[:wanted]:
        assert_frame_equal(found[one].frame, frames[one])


def test_chunks_that_a_correction_changes_are_read_by_one_statement(
    used_url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(used_url)
    bars = some_bars(0, 200)
    store.commit(SERIES, write(bars))
    corrected = bars.filter(pl.int_range(pl.len()) % 10 == 3).with_columns(pl.col("volume") + 1.0)
    server = store._rows.table.server
    export, asked = server.export, []
    monkeypatch.setattr(server, "export", lambda sql: (asked.append(sql), export(sql))[1])
    store.commit(SERIES, write(corrected))
    assert len(asked) == 2, "to compare, and to read back"
    expected = bars.update(corrected, on="ts")
    assert_frame_equal(store.read(SERIES, minutes(0, 200)).frame, expected)


def _ends(first: int, last: int) -> tuple[pl.Expr, pl.Expr]:
    return tuple(pl.lit(minute * MINUTE).cast(pl.Datetime("ns", "UTC")) for minute in (first, last))  # type: ignore[return-value]


def test_damage_in_a_part_takes_its_chunk_and_damage_beside_it_is_not_met(
    used_url: str, opened: Opened
) -> None:
    store = opened(used_url)
    asked = minutes(0, 24)
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(asked)))
    table = store._rows.table
    table.server.query(f"UPDATE {table.name} SET close = close + 1 WHERE ts = {1 * MINUTE}")
    table.settle()
    assert_frame_equal(store.read(SERIES, minutes(4, 6)).frame, some_bars(4, 2))
    found = store.read(SERIES, minutes(1, 2))
    assert found.frame.is_empty()
    assert found.damaged == Coverage.of(minutes(1, 2))
    assert not store.verify().is_sound
    after = store.read(SERIES, minutes(4, 6))
    assert after.damaged == Coverage.of(minutes(4, 6)), "as any damaged chunk it is lost as a whole"


def test_a_list_of_parts_that_is_damaged_or_gone_is_not_needed(used_url: str, opened: Opened) -> None:
    store = opened(used_url)
    store.commit(SERIES, write(some_bars(0, 24), answered=Coverage.of(minutes(0, 24))))
    for statement in ("UPDATE blob SET data = substr(data, 1, 40)", "DELETE FROM blob"):
        with store._database.writing() as connection:
            connection.execute(statement)
            connection.execute("COMMIT")
        found = store.read(SERIES, minutes(4, 6))
        assert_frame_equal(found.frame, some_bars(4, 2))
        assert not found.damaged
    assert store.verify().is_sound
    assert_frame_equal(opened(used_url).read(SERIES, minutes(0, 24)).frame, some_bars(0, 24))


@pytest.mark.parametrize("ends", [(0, 24), (9, 13)])
def test_as_of_and_diff_are_exact_by_parts_and_by_chunks(
    used_url: str, opened: Opened, ends: tuple[int, int]
) -> None:
    store, span = opened(used_url), minutes(*ends)
    first, right = some_bars(0, 24), some_bars(10, 6, price=500.0)
    written = store.commit(SERIES, write(first))
    corrected = store.commit(SERIES, write(right))
    now = pl.concat([first[:10], right, first[16:]])
    low, high = ends
    assert_frame_equal(store.read(SERIES, span, as_of=written.as_of).frame, first[low:high])
    assert_frame_equal(store.read(SERIES, span, as_of=corrected.as_of).frame, now[low:high])
    assert store.diff(SERIES, written.as_of, corrected.as_of)["ts"].to_list() == right["ts"].to_list()
