"""A snapshot holds what the store held at its commit, and writes nothing again that is there."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, to_ns
from qmtl.runtime.io.snapshots import writing
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.manifest import ANSWERS, SEGMENTS
from qmtl.runtime.io.snapshots.numbering import numbers, read_manifest
from qmtl.runtime.io.snapshots.reading import bars_of, records_of
from qmtl.runtime.io.snapshots.upkeep import verify_snapshot
from qmtl.runtime.io.snapshots.writing import SnapshotWritten, write_snapshot
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import ALL_TIME
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, START, add_seconds, seconds


def write(store: Store, place: FolderPlace, **options: object) -> SnapshotWritten:
    return write_snapshot(store, place, [SECONDS, DAILY], clock=SystemClock(), **options)


def test_it_holds_bars_answers_facts_and_reports(store, place):
    made = write(store, place).manifest
    assert read_manifest(place) == made
    assert (made.number, made.as_of, made.store_id) == (1, store.newest().as_of, store.store_id)
    daily, secs = made.series
    for entry in made.series:
        held = store.read(entry.series, ALL_TIME)
        assert bars_of(place, entry, ALL_TIME).equals(held.frame, null_equal=True)
        assert records_of(place, entry) == list(held.answers)
        assert entry.records == len(held.answers)
    assert daily.facts == SeriesFacts(calendar="24x7", has_volume=False)
    assert daily.fingerprint != secs.fingerprint
    assert daily.schema_id == "bars/1"
    assert daily.ruleset
    assert secs.reports is secs.ruleset is None
    assert len(secs.segments) == 3
    # A segment has the fingerprint that a receipt has of the same bars.
    assert daily.segments[0].fingerprint == fingerprint(store.read(DAILY, ALL_TIME).frame)


def test_a_second_one_writes_what_changed(store, place):
    first = write(store, place)
    assert (first.written, first.kept) == (7, 0)
    again = write(store, place)
    assert (again.manifest.number, again.written, again.bytes, again.kept) == (2, 0, 0, 7)
    assert again.manifest.fingerprint == first.manifest.fingerprint
    add_seconds(store, 10, shift=1.0)
    third = write(store, place)
    assert third.written == 1
    assert third.manifest.fingerprint != first.manifest.fingerprint
    changed = set(third.manifest.parts) - set(first.manifest.parts)
    assert [part.kind for part in changed] == [SEGMENTS]
    # The older snapshot is what it was.
    assert verify_snapshot(place, read_manifest(place, 1)).problems == ()


def test_it_is_of_one_commit(store, place):
    before = store.newest().as_of
    wanted = write(store, FolderPlace(Path(place.location) / "other")).manifest
    add_seconds(store, 10, shift=1.0)
    add_seconds(store, 50)
    store.retract(SECONDS, seconds(0), reason="test")
    made = write(store, place, as_of=before).manifest
    assert made.fingerprint == wanted.fingerprint
    assert made.series == wanted.series


def test_a_part_of_time(store, place):
    span = Span(START + 5 * DAY, START + 15 * DAY)
    made = write(store, place, span=span).manifest
    for entry in made.series:
        held = store.read(entry.series, span)
        assert bars_of(place, entry, ALL_TIME).equals(held.frame, null_equal=True)
        found = Coverage(
            (one.start, one.end) for one in records_of(place, entry) if one.outcome == "answered"
        )
        assert found == held.answered.clip(span)


def test_an_empty_store_has_none(place):
    with pytest.raises(InvalidRequestError, match="no series"):
        write_snapshot(MemoryStore(), place, [], clock=SystemClock())
    assert numbers(place) == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_time_before_all_commits_has_none(store, place, is_first):
    """A mistyped year would be an archive of nothing, and newer than the good ones."""
    if not is_first:
        write(store, place)
    before = numbers(place)
    with pytest.raises(InvalidRequestError, match=r"nothing to export as of 2001-01-01"):
        write(store, place, as_of=to_ns("2001-01-01"))
    assert numbers(place) == before
    assert write(store, place, as_of=store.newest().as_of).manifest.series


def test_lost_bars_make_no_snapshot(store, place, monkeypatch):
    read = type(store).read

    def damaged(self, series, span, **options):
        found = read(self, series, span, **options)
        object.__setattr__(found, "damaged", Coverage.of(seconds(10)).clip(span))
        return found

    monkeypatch.setattr(type(store), "read", damaged)
    with pytest.raises(StoreCorruptError, match="there is no snapshot"):
        write(store, place)
    assert numbers(place) == []


def test_a_file_of_an_earlier_one_that_is_gone_is_not_named_again(store, place):
    first = write(store, place)
    gone = first.manifest.series[1].segments[0].part
    place.remove(gone.name)
    with pytest.raises(StoreError, match=gone.name):
        write(store, place)
    assert numbers(place) == [1]


def test_the_same_bars_from_another_store_are_not_written_again(store, place):
    write(store, place)
    other = MemoryStore()
    for day in (0, 10, 20):
        add_seconds(other, day)
    made = write_snapshot(other, place, [SECONDS], clock=SystemClock())
    assert {part.kind for part in made.manifest.parts} == {SEGMENTS, "answers/"}
    assert made.written == 1  # its answers


class KilledError(BaseException):
    """Stands for kill -9 between two files; the tests of folders show what a kill within one leaves."""


class Mortal(FolderPlace):
    """Dies before the file of a number."""

    left = 0

    def _write(self, name: str, data: bytes, place: Callable[[Path, Path], None]) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1
        super()._write(name, data, place)


def test_killed_before_any_file_it_leaves_no_snapshot_and_the_next_one_is_whole(store, tmp_path):
    for step in range(8):  # seven files and the manifest
        place = Mortal(tmp_path / str(step))
        place.left = step
        with pytest.raises(KilledError):
            write(store, place)
        assert numbers(place) == []
        place.left = -1
        made = write(store, place)
        assert made.manifest.number == 1
        assert verify_snapshot(place, made.manifest).problems == ()


_KILLED = """
import os, signal, sys
from qmtl.foundation.clock import SystemClock
from qmtl.runtime.io.snapshots import writing
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

writing.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with EmbeddedStore(sys.argv[1], read_only=True) as store:
    names = [known.series for known in store.list_series()]
    writing.write_snapshot(store, FolderPlace(sys.argv[2]), names, clock=SystemClock())
"""


def test_killed_before_the_manifest_of_all_files_it_is_no_snapshot(store, place, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "bars"), place.location], timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    assert len(place.entries(SEGMENTS)) == 4
    assert numbers(place) == []
    assert write(store, place).manifest.number == 1


def test_files_are_written_while_others_are_made(store, place, monkeypatch):
    """Each waits until another one is on its way, as none does where they are written one by one."""
    for day in range(100, 130, 4):
        add_seconds(store, day)
    both, put = threading.Barrier(2, timeout=60), FolderPlace.put
    waiting = iter(range(2))

    def late(self, name, data):
        if next(waiting, None) is not None:
            both.wait()
        put(self, name, data)

    monkeypatch.setattr(FolderPlace, "put", late)
    made = write_snapshot(store, place, [SECONDS], clock=SystemClock())
    assert made.written == len(place.entries(SEGMENTS)) + len(place.entries(ANSWERS))
    assert not both.broken


@pytest.mark.parametrize("failing", [1, 3, 8])
def test_a_file_that_cannot_be_written_is_the_error_and_there_is_no_snapshot(
    store, place, monkeypatch, failing
):
    for day in range(100, 130, 4):
        add_seconds(store, day)
    put, number = FolderPlace.put, count(1)

    def failed(self, name, data):
        if next(number) == failing:
            raise StoreError(f"{name} cannot be written")
        put(self, name, data)

    monkeypatch.setattr(FolderPlace, "put", failed)
    with pytest.raises(StoreError, match="cannot be written"):
        write_snapshot(store, place, [SECONDS], clock=SystemClock())
    assert numbers(place) == []
    assert write_snapshot(store, place, [SECONDS], clock=SystemClock()).manifest.number == 1


def test_bars_are_in_memory_in_pieces(store, place, monkeypatch):
    """What is read and not yet written stays a few segments, however many there are."""
    for day in range(100, 300, 4):
        add_seconds(store, day)
    under_way, most = 0, 0
    real = writing.pieces

    def counted(*arguments):
        nonlocal under_way, most
        for piece in real(*arguments):
            under_way += bool(piece.count)
            most = max(most, under_way)
            yield piece

    put = FolderPlace.put

    def done(self, name, data):
        nonlocal under_way
        put(self, name, data)
        under_way -= name.startswith(SEGMENTS)

    monkeypatch.setattr(writing, "pieces", counted)
    monkeypatch.setattr(FolderPlace, "put", done)
    made = write_snapshot(store, place, [SECONDS], clock=SystemClock()).manifest
    assert len(made.series[0].segments) > 40
    assert most <= 20
    assert isinstance(bars_of(place, made.series[0], ALL_TIME), pl.DataFrame)
