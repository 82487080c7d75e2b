"""What a snapshot brings is what the store held that it was taken of; nothing is written of a damaged one."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qmtl
from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.manifest import SEGMENTS, Manifest, part_of
from qmtl.runtime.io.snapshots.segments import bars_to_bytes
from qmtl.runtime.io.snapshots.writing import write_snapshot
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import ALL_TIME, Write
from qmtl.runtime.sdk.snapshot_import import import_snapshot
from qmtl.runtime.testing.bars import synthetic_bars
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, START, add_seconds, fill, seconds

HOURLY = SeriesId.parse("ohlcv:mine:BTC/USDT:1h")


def taken(store: Store, place: FolderPlace) -> Manifest:
    names = [known.series for known in store.list_series()]
    return write_snapshot(store, place, names, clock=SystemClock()).manifest


def alike(ours: Store, theirs: Store, series: SeriesId) -> None:
    """All that two stores say of a series."""
    one, other = ours.read(series, ALL_TIME), theirs.read(series, ALL_TIME)
    assert one.frame.equals(other.frame, null_equal=True)
    assert list(one.answers) == list(other.answers)
    assert ours.facts(series) == theirs.facts(series)
    assert ours.accepted(series) == theirs.accepted(series)
    assert [one["report"] for one in ours.reports(series)] == [
        one["report"] for one in theirs.reports(series)
    ]


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "snapshots")


@pytest.fixture
def source(place: FolderPlace) -> MemoryStore:
    store = MemoryStore()
    fill(store)
    taken(store, place)
    return store


def test_all_of_it_comes_and_the_next_snapshot_is_the_same(source, place, tmp_path):
    loaded = import_snapshot(tmp_path / "bars", place.location)
    assert [(one.series, one.added, one.replaced, one.reports, one.differs) for one in loaded.series] == [
        (DAILY, 60, 0, 1, ()),
        (SECONDS, 75, 0, 0, ()),
    ]
    with EmbeddedStore(tmp_path / "bars") as store:
        assert loaded.as_of == store.newest().as_of
        for series in (DAILY, SECONDS):
            alike(store, source, series)
        again = taken(store, place)
    assert again.number == 2
    assert again.fingerprint == loaded.manifest.fingerprint
    # Bars and answers are the same files.
    assert again.parts == loaded.manifest.parts


_CELLS = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda cell: (cell[0], cell[0] + cell[1]))
_WRITES = st.lists(
    st.tuples(st.sampled_from(["rows", "answered", "absent", "refused", "bare"]), _CELLS, st.integers(0, 2)),
    max_size=8,
)


@given(_WRITES, _WRITES)
@settings(max_examples=60)
def test_whatever_a_store_holds_comes_back(writes, later):
    source, target = MemoryStore(), MemoryStore()
    for kind, (first, last), who in writes:
        source.commit(HOURLY, _write(kind, Span(START + first * HOUR, START + last * HOUR), who))
    if not source.list_series():
        return
    folder = tempfile.mkdtemp(prefix="qmtl-snapshots-")
    try:
        taken(source, FolderPlace(folder))
        import_snapshot(target, folder)
        alike(source, target, HOURLY)
        for kind, (first, last), who in later:
            source.commit(HOURLY, _write(kind, Span(START + first * HOUR, START + last * HOUR), who))
        taken(source, FolderPlace(folder))
        import_snapshot(target, folder)
        # Rows are never taken away by an import, and answers of the snapshot are those of the store then.
        held = target.read(HOURLY, ALL_TIME)
        assert held.frame.equals(source.read(HOURLY, ALL_TIME).frame)
    finally:
        shutil.rmtree(folder)


def _write(kind: str, span: Span, who: int) -> Write:
    cells, source, checked_at = Coverage.of(span), f"v{who}", span.end + who * DAY
    until = checked_at + HOUR if who else None
    frame = synthetic_bars(HOURLY, span, seed=who)
    if kind == "rows":
        return Write(source, checked_at, frame.gather_every(2), answered=cells)
    if kind == "bare":
        return Write(source, checked_at, frame)
    if kind == "absent":
        return Write(source, checked_at, answered=cells, absent=cells, absent_until=until)
    if kind == "refused":
        return Write(source, checked_at, retracted=cells, refused=cells, refused_until=until)
    return Write(source, checked_at, answered=cells)


def test_once_more_changes_nothing(source, place):
    target = MemoryStore()
    import_snapshot(target, place.location)
    before = target.newest()
    loaded = import_snapshot(target, place.location)
    assert [(one.added, one.unchanged, one.replaced, one.reports) for one in loaded.series] == [
        (0, 60, 0, 0),
        (0, 75, 0, 0),
    ]
    assert target.newest() == before


def test_other_bars_are_corrected_and_more_bars_are_told(source, place):
    target = MemoryStore()
    add_seconds(target, 0, shift=1.0)
    more = Span(seconds(10).end, seconds(10).end + 3_000_000_000)
    target.commit(SECONDS, Write("mine", more.end, synthetic_bars(SECONDS, more)))
    before = target.newest().as_of
    _, loaded = import_snapshot(target, place.location).series
    assert (loaded.added, loaded.replaced) == (50, 25)
    assert [span.start <= more.start < span.end for span in loaded.differs] == [True]
    assert target.read(SECONDS, more).count == 3
    assert target.read(SECONDS, seconds(0)).frame.equals(source.read(SECONDS, seconds(0)).frame)
    assert not target.read(SECONDS, seconds(0), as_of=before).frame.equals(
        source.read(SECONDS, seconds(0)).frame
    )


def test_some_series_of_an_older_one(source, place):
    add_seconds(source, 40)
    taken(source, place)
    target = MemoryStore()
    import_snapshot(target, place.location, number=1, series=[str(SECONDS), SECONDS])
    assert [known.series for known in target.list_series()] == [SECONDS]
    assert target.read(SECONDS, ALL_TIME).count == 75
    with pytest.raises(InvalidRequestError, match="has no such series"):
        import_snapshot(target, place.location, series=["ohlcv:mine:BTC/USDT:5m"])


@pytest.mark.parametrize("kind", ["segments/", "answers/", "reports/"])
def test_one_flipped_byte_anywhere_and_nothing_is_written(source, place, tmp_path, kind):
    for entry in place.entries(kind):
        data = place.get(entry.name)
        place.put(entry.name, data[:30] + bytes([data[30] ^ 4]) + data[31:])
        with pytest.raises(StoreCorruptError, match=entry.name):
            import_snapshot(tmp_path / "bars", place.location)
        assert not (tmp_path / "bars").exists()
        place.put(entry.name, data)
    import_snapshot(tmp_path / "bars", place.location)


def test_facts_that_contradict_the_store_are_refused(source, place):
    target = MemoryStore()
    target.declare(DAILY, SeriesFacts(calendar="XNYS"))
    before = target.newest()
    with pytest.raises(InvalidRequestError, match="disagree about the calendar"):
        import_snapshot(target, place.location)
    assert target.newest() == before


def test_impossible_bars_are_refused_though_every_checksum_is_right(place):
    store = MemoryStore()
    frame = synthetic_bars(DAILY, Span(START, START + 9 * DAY))
    store.commit(DAILY, Write("v", START, frame))
    made = taken(store, place)
    bad = frame.with_columns(high=pl.col("low") - 1)
    data = bars_to_bytes(DAILY, bad)
    entry = made.series[0]
    segment = replace(entry.segments[0], part=part_of(SEGMENTS, data), fingerprint=fingerprint(bad))
    forged = replace(made, number=2, series=(replace(entry, segments=(segment,)),))
    place.put(segment.part.name, data)
    place.put(forged.name, forged.to_bytes())
    target = MemoryStore()
    with pytest.raises(InvalidRequestError, match="9 bars that are impossible"):
        import_snapshot(target, place.location)
    assert target.newest().tx == 0


def test_a_receipt_has_the_same_fingerprint_before_and_after(place, tmp_path, registry):
    with EmbeddedStore(tmp_path / "one") as store:
        fill(store)
        taken(store, place)
    import_snapshot(tmp_path / "two", place.location)
    span = seconds(10)
    found = []
    for name in ("one", "two"):
        with qmtl.SeamlessDataProvider(tmp_path / name, metrics_registry=registry) as provider:
            found.append(provider.fetch(SECONDS, *span, strategy="FAIL_FAST", partial_ok=True))
    assert found[0].receipt.fingerprint == found[1].receipt.fingerprint
    assert found[0].coverage.counts == found[1].coverage.counts
    assert found[0].coverage.no_trade
