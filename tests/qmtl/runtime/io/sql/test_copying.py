"""A copy holds whatever the store holds, row for row, by whichever engines; or its place holds no store."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.schema.governance.decisions import Decision
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql import copied_tables, packed_copies, same_answers
from qmtl.runtime.io.sql.copying import StoreCopy
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE, LOCK
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER, minutes, some_bars
from tests.qmtl.runtime.io.sql.copies import (
    EVERYTHING,
    answers,
    contents,
    is_store,
    live,
)


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows meet every border between what is held at once."""
    monkeypatch.setattr(copied_tables, "AT_ONCE", 7)
    monkeypatch.setattr(packed_copies, "ENTRIES", 5)
    monkeypatch.setattr(packed_copies, "BYTES", 1_000)
    monkeypatch.setattr(same_answers, "AT_ONCE", 50)


@pytest.mark.usefixtures("small_chunks", "small_portions")
@pytest.mark.parametrize("seed", range(3))
def test_a_copy_holds_whatever_the_store_holds(
    places: tuple[str, str], script: ModuleType, seed: int
) -> None:
    source, target = places
    with script.opened(source) as store:
        live(script, store, seed)
        before, said = contents(store), answers(store)
        copied = copy_store(source, target)
        assert contents(store) == before  # it was read, no more
    assert all(before.values()), {table for table, rows in before.items() if not rows}
    assert (copied.last_tx, copied.as_of) == said[-2]
    assert copied.pins == ("step 20", "step 40")
    assert copied.resumed == 0
    with script.opened(target) as copy:
        assert contents(copy) == before
        assert answers(copy) == said
        assert copy.verify().is_readable
        assert copied.rows == sum(one.rows for one in copy.list_series())
        assert copied.series == len(copy.list_series()) == 2
        goes_on(copy, said)


def goes_on(copy: KeptStore, said: Any) -> None:
    """What is written to a copy has numbers, times and tokens behind those that were copied."""
    reports, point = said[-4], said[-2]
    done = copy.commit(SERIES, Write("v", 2, some_bars(3_000, 1, price=9.0)))
    assert done.tx == point.tx + 1
    assert done.as_of > point.as_of
    assert copy.read(SERIES, EVERYTHING, as_of=point.as_of).tx == point.tx
    assert copy.open_fence(OTHER, [1], "another claim")[1] > 1
    assert copy.archive_report(SERIES, {"errors": 0, "warnings": 0}) > reports[0]["number"]
    copy.decide("bars", Decision(2, "rollback", None, "so", "2:ab"))
    assert [one.at for one in copy.decisions("bars")] == [1, 2]
    new = SeriesId.parse("ohlcv:new:BTC/USDT:1m")
    copy.commit(new, Write("v", 2, some_bars(0, 100)))
    assert copy.read(new, EVERYTHING).frame.height == 100
    assert copy.compact().windows >= 0
    assert copy.verify().is_readable


@pytest.mark.process
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("phase", ["chunks", "rows", "series compared"])
def test_a_copy_that_is_killed_is_gone_on_with(
    places: tuple[str, str],
    tmp_path: Path,
    script: ModuleType,
    children: Any,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    source, target = places
    monkeypatch.setattr(copied_tables, "AT_ONCE", script.ROWS_AT_ONCE)
    monkeypatch.setattr(packed_copies, "ENTRIES", script.ENTRIES)
    with script.opened(source) as store:
        for number in range(20):
            covered = Coverage.of(minutes(0, number))
            store.commit(SERIES, Write("v", 1, some_bars(number * 10, 20 + number), covered))
            if number % 8 == 0:
                store.pin(f"pin {number}")
        before = contents(store)
    said: list[str] = []
    copied = copy_store(source, tmp_path / "trial", progress=lambda what, *_: said.append(what))
    lines = said.index(phase) + 2
    written = children.run_and_kill(("copy_until", source, target, lines), lines=lines, after_s=0.0)
    assert written[-1] != "copied"
    assert not is_store(target)
    again = copy_store(source, target)
    done = (said[:lines].count("chunks") - 1) * script.ENTRIES if phase == "chunks" else copied.chunks
    assert 0 < done <= again.resumed
    with script.opened(target) as copy:
        assert contents(copy) == before


def test_a_copy_is_of_the_moment_when_its_last_phase_began(
    stored: str, target: str, script: ModuleType
) -> None:
    """What others write before, it holds; what they write later, it does not."""
    with script.opened(stored) as store:

        def write(what: str, done: int, total: int) -> None:
            if (what, done) == ("rows", total) or what == "chunks":
                store.commit(SERIES, Write("v", 1, some_bars(30_000 + len(points), 1)))
                points.append(store.newest())

        points: list[Any] = []
        copied = copy_store(stored, target, progress=write)
        assert [point.tx for point in points] == [4, 5]
        assert (copied.last_tx, copied.as_of) == points[0]
        with script.opened(target) as copy:
            then = store.read(SERIES, EVERYTHING, as_of=copied.as_of)
            assert copy.read(SERIES, EVERYTHING).frame.equals(then.frame)
            assert copy.newest() == points[0]


def test_an_empty_store_is_copied(places: tuple[str, str], script: ModuleType) -> None:
    source, target = places
    with script.opened(source) as store:
        copied = copy_store(source, target)
        assert (copied.last_tx, copied.rows, copied.chunks) == (0, 0, 0)
        with script.opened(target) as copy:
            assert copy.store_id == store.store_id
            assert copy.place_id != store.place_id, "what is done here is not done there"
            assert copy.shard_steps == store.shard_steps
            assert copy.commit(SERIES, Write("v", 1, some_bars(0, 1))).tx == 1


@pytest.mark.parametrize("format", [1, 2, 3, 4, 5, 6])
def test_a_store_of_an_older_format_is_brought_up_to_date_in_its_copy(
    tmp_path: Path, target: str, script: ModuleType, format: int
) -> None:
    """Once it has an id: a copy must not have another than the store will get."""
    place = tmp_path / "old"
    place.mkdir()
    packed = Path(__file__).parent / "sqlite" / "formats" / f"format_{format}.sqlite.gz"
    (place / DATABASE).write_bytes(gzip.decompress(packed.read_bytes()))
    (place / LOCK).touch()
    before = (place / DATABASE).read_bytes()
    if format < 5:
        with pytest.raises(StoreError, match="the store has no id yet") as refused:
            copy_store(place, target)
        assert refused.value.next_step
        assert not is_store(target)
    else:
        copy_store(place, target)
        with script.opened(target) as copy, EmbeddedStore(place, read_only=True) as store:
            assert answers(copy) == answers(store)
            assert copy.info().format == 7
        return
    assert (place / DATABASE).read_bytes() == before


@pytest.mark.slow
def test_what_is_in_memory_at_once_is_bounded(
    target: str, tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is asked for at once: a store of ten times that takes no more."""
    monkeypatch.setattr(packed_copies, "BYTES", 1 << 20)
    monkeypatch.setattr(same_answers, "AT_ONCE", 1 << 15)
    noise = np.random.default_rng(0).normal(size=(4, 40_000)).cumsum(axis=1)
    peaks = []
    for parts in (2, 20):
        source = str(tmp_path / f"{parts} parts")
        with script.opened(source) as store:
            for part in range(parts):
                columns = {
                    name: pl.Series(noise[at] + part)
                    for at, name in enumerate(("open", "high", "low", "close"))
                }
                store.commit(SERIES, Write("v", 1, some_bars(part * 40_000, 40_000).with_columns(**columns)))
        place = (
            str(tmp_path / f"copy of {parts}")
            if not target.startswith("postgresql:")
            else f"{target}_{parts}"
        )
        tracemalloc.start()
        copied = copy_store(source, place)
        peaks.append((tracemalloc.get_traced_memory()[1], copied.bytes))
        tracemalloc.stop()
        assert copied.rows == parts * 40_000
    (few, _), (many, size) = peaks
    assert size > 20 << 20
    assert many < 2 * few
    assert many < size / 2


@pytest.mark.process
def test_a_full_disk_ends_a_copy_which_goes_on_later(
    stored: str, tmp_path: Path, script: ModuleType, children: Any
) -> None:
    target = tmp_path / "copy"
    said = " ".join(children.run(("copy_on_a_full_disk", stored, target)))
    assert "there is no room left for the store" in said
    assert "free some space" in said
    assert not is_store(str(target))
    copied = copy_store(stored, target)
    with script.opened(stored) as store, script.opened(str(target)) as copy:
        assert contents(copy) == contents(store)
    assert copied.series == 2


def test_a_copy_tells_what_it_was(stored: str, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    copied = copy_store(stored, tmp_path / "copy", progress=lambda *step: steps.append(step))
    newest = {what: (done, total) for what, done, total in steps}
    assert newest["chunks"] == (2, 2)
    assert newest["series compared"] == (4, 4)
    assert newest["rows"][0] == newest["rows"][1] > 10
    assert copied == StoreCopy(
        source=stored,
        target=str(tmp_path / "copy"),
        last_tx=3,
        as_of=copied.as_of,
        series=2,
        rows=20_003,
        chunks=2,
        bytes=copied.bytes,
        resumed=0,
        pins=("paper",),
    )
