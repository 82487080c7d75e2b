"""Stores of every earlier format are read as they are, and written once they were migrated.

`formats/format_N.sqlite.gz` are the files of stores that the code of each format made: 600 rows in a chunk,
four single ones (one of them over a row of the chunk), coverage records, facts, quarantine, a report; a pin
since format 2, a retraction since 3, an observation of a schema in 4.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError, StoreError, StoreLockedError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.formats import Migration
from qmtl.runtime.io.sql.sqlite.backup import backup, restore
from qmtl.runtime.io.sql.sqlite.directory import StoreDirectory
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE, FORMAT, LOCK
from qmtl.runtime.io.store.values import CoverageRecord, Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.store_migration import migrate_store
from qmtl.runtime.testing.store_suites.bars import STEP, minutes, some_bars

SERIES = SeriesId.parse("ohlcv:old:BTC/USDT:1m")
FIRST_COMMIT = 1_700_000_000_000_001_000
OLDER = [1, 2, 3, 4, 5, 6]


@pytest.fixture(params=OLDER)
def found(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Path]:
    """The format of a store, and its folder."""
    packed = Path(__file__).with_name("formats") / f"format_{request.param}.sqlite.gz"
    place = tmp_path / "store"
    place.mkdir()
    (place / DATABASE).write_bytes(gzip.decompress(packed.read_bytes()))
    (place / LOCK).touch()
    return request.param, place


def check(store: EmbeddedStore, format: int) -> None:
    """All that the file holds, whichever code reads it."""
    snapshot = store.read(SERIES, minutes(0, 700), context=3)
    whole = some_bars(0, 603)
    kept = whole.filter(whole["ts"].to_physical() != 601 * STEP) if format >= 3 else whole
    expected = kept.update(some_bars(5, 1, price=7.0), on="ts")
    assert_frame_equal(snapshot.frame, expected, check_exact=True)
    assert snapshot.answered == Coverage.of(minutes(0, 610), minutes(615, 618)) - (
        Coverage.of(minutes(601, 602)) if format >= 3 else Coverage()
    )
    assert snapshot.absent(98) == Coverage.of(minutes(610, 615))
    assert snapshot.answers[-1] == CoverageRecord(615 * STEP, 618 * STEP, "answered", "vendor", 10, None)
    first = store.read(SERIES, minutes(0, 700), as_of=FIRST_COMMIT)
    assert_frame_equal(first.frame, some_bars(0, 600), check_exact=True)
    assert store.facts(SERIES) == SeriesFacts(calendar="XNYS")
    assert store.facts(SERIES, as_of=FIRST_COMMIT) is None
    assert store.quarantined(SERIES, minutes(0, 700))["rule"].to_list() == ["high_is_highest"]
    assert [one["report"]["note"] for one in store.reports()] == [format]
    assert store.baseline_report(SERIES) == store.newest_report(SERIES)
    assert [pin.name for pin in store.pins()] == (["first"] if format >= 2 else [])
    kinds = ["write", "declare", "write", "write", *(["retract"] if format >= 3 else [])]
    assert [one.kind for one in store.commits(SERIES)] == kinds
    assert store.commits(SERIES)[-1].reason == ("a trial" if format >= 3 else None)
    assert [one.failed for one in store.observed("ohlcv")] == ([1] if format >= 4 else [])
    assert store.decisions("ohlcv") == ()
    assert store.deliveries(SERIES, minutes(0, 700)).is_empty()
    assert store.shard_steps == 10_000
    changed = store.diff(SERIES, FIRST_COMMIT, store.newest().as_of)["change"].to_list()
    assert changed == ["changed", "added", *([] if format >= 3 else ["added"]), "added"]
    assert store.verify().is_sound


def test_an_older_store_is_read_as_it_is(found: tuple[int, Path]) -> None:
    format, place = found
    before = (place / DATABASE).read_bytes()
    with EmbeddedStore(place, read_only=True) as store:
        assert store.info().format == format
        check(store, format)
        if format < 5:
            with pytest.raises(StoreError, match="has no id yet"):
                _ = store.store_id
    assert (place / DATABASE).read_bytes() == before


def test_an_older_store_is_not_written(found: tuple[int, Path]) -> None:
    format, place = found
    before = (place / DATABASE).read_bytes()
    with pytest.raises(StoreError, match=f"has format {format}, and this qmtl writes format {FORMAT}") as old:
        EmbeddedStore(place)
    assert f"qmtl --store '{place}' store migrate" in str(old.value)
    with pytest.raises(StoreError, match="this qmtl writes format"):
        SeamlessDataProvider(place)
    assert (place / DATABASE).read_bytes() == before


def test_the_way_back_is_a_backup(found: tuple[int, Path], tmp_path: Path) -> None:
    format, place = found
    with EmbeddedStore(place, read_only=True) as store:
        backup(store, tmp_path / "saved")
    migrate_store(place)
    restore(tmp_path / "saved", place, replace=True)
    with EmbeddedStore(place, read_only=True) as store:
        assert store.info().format == format
        check(store, format)
    assert migrate_store(place).after == FORMAT


def test_nobody_migrates_what_others_use(found: tuple[int, Path]) -> None:
    format, place = found
    with EmbeddedStore(place, read_only=True) as store:
        with pytest.raises(StoreLockedError, match="the store is in use"):
            StoreDirectory(place, read_only=False, lock_timeout_s=0.0, migrates=True)
        assert store.info().format == format


@pytest.mark.process
def test_a_migration_that_is_killed_leaves_the_older_store(children: Any, found: tuple[int, Path]) -> None:
    format, place = found
    children.run_and_kill(("migrate_for_ever", place), lines=1, after_s=0.05)
    with EmbeddedStore(place, read_only=True) as store:
        assert store.info().format == format
        check(store, format)
    assert migrate_store(place) == Migration(str(place), format, FORMAT)


@pytest.mark.process
def test_two_migrate_at_once(children: Any, found: tuple[int, Path]) -> None:
    format, place = found
    said = children.run(("migrate", place), ("migrate", place))
    assert sorted(said) == [f"{format} {FORMAT}", f"{FORMAT} {FORMAT}"]
    with EmbeddedStore(place, read_only=True) as store:
        check(store, format)


def test_no_store_is_migrated(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no store to migrate"):
        migrate_store(tmp_path / "nothing")
    EmbeddedStore(tmp_path / "new").close()
    assert migrate_store(tmp_path / "new") == Migration(str(tmp_path / "new"), FORMAT, FORMAT)


def test_a_migrated_store_is_one_of_today(found: tuple[int, Path]) -> None:
    format, place = found
    with EmbeddedStore(place, read_only=True) as store:
        named = store.store_id if format >= 5 else None
    assert migrate_store(place) == Migration(str(place), format, FORMAT)
    with EmbeddedStore(place) as store:
        assert named in (None, store.store_id)
        assert store.info().format == FORMAT
        check(store, format)
        name = store.store_id
        assert len(name) == 36
        fences = store.open_fence(SERIES, [0], "claim")
        bar = some_bars(700, 1)
        store.commit(SERIES, Write("feed", 13, bar, fences=fences, delivered_at={700 * STEP: 701 * STEP}))
        assert store.deliveries(SERIES, minutes(0, 999)).height == 1
        store.pin("now")
    with EmbeddedStore(place) as store:
        assert store.store_id == name
        assert store.compact().hot_folded >= 4
        assert store.read(SERIES, minutes(700, 701)).frame.equals(bar)
        assert store.verify().is_sound
    with EmbeddedStore(place, read_only=True) as store:
        assert store.store_id == name
