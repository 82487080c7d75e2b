"""Whoever writes a snapshot while files are removed has a whole one, or none; whenever each of them waits."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import QmtlError, StoreError
from qmtl.foundation.times import HOUR
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.manifest import manifest_name
from qmtl.runtime.io.snapshots.numbering import numbers, read_manifest
from qmtl.runtime.io.snapshots.place import Entry
from qmtl.runtime.io.snapshots.removals import NOTE, announced
from qmtl.runtime.io.snapshots.upkeep import find_garbage, remove_garbage, verify_snapshot
from qmtl.runtime.io.snapshots.writing import write_snapshot
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS

NOW = 1_800_000_000 * 1_000_000_000
GRACE = HOUR


class Stepped(FolderPlace):
    """Calls `at` before each verb, with the number of verbs so far."""

    def __init__(self, folder: Path, at: Callable[[int], None]) -> None:
        super().__init__(folder)
        self._at, self._steps = at, 0

    def _step(self) -> None:
        step, self._steps = self._steps, self._steps + 1
        self._at(step)

    def get(self, name: str) -> bytes | None:
        self._step()
        return super().get(name)

    def create(self, name: str, data: bytes) -> bool:
        self._step()
        return super().create(name, data)

    def put(self, name: str, data: bytes) -> None:
        self._step()
        super().put(name, data)

    def size(self, name: str) -> int | None:
        self._step()
        return super().size(name)

    def entries(self, prefix: str) -> list[Entry]:
        self._step()
        return super().entries(prefix)

    def remove(self, name: str) -> None:
        self._step()
        super().remove(name)


class Removal:
    """`snapshot gc --delete`, in a thread that waits at one of its steps until it may go on."""

    def __init__(self, folder: Path, stop: int) -> None:
        self._folder, self._stop = folder, stop
        self._stopped, self._goes_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        assert self._stopped.wait(60)

    def end(self) -> None:
        self._goes_on.set()
        self._thread.join()

    def _run(self) -> None:
        def at(step: int) -> None:
            if step == self._stop:
                self._stopped.set()
                assert self._goes_on.wait(60)

        try:
            place, now = Stepped(self._folder, at), SystemClock().now()
            with suppress(QmtlError):  # such as that a manifest was there, and is not any more
                remove_garbage(place, find_garbage(place, now=now, grace=GRACE), now=now, grace=GRACE)
        finally:
            self._stopped.set()


@pytest.fixture
def prepared(store: EmbeddedStore, tmp_path: Path) -> Path:
    """Two snapshots that share no file, all of them ten hours old."""
    place = FolderPlace(tmp_path / "prepared")
    for series in (SECONDS, DAILY):
        write_snapshot(store, place, [series], clock=SystemClock())
    then = SystemClock().now() - 10 * HOUR
    for path in (tmp_path / "prepared").rglob("*.*"):
        os.utime(path, ns=(then, then))
    return tmp_path / "prepared"


def write_while_files_go(store: EmbeddedStore, folder: Path, begin: int, stop: int) -> bool | None:
    """Whether a snapshot is written while the newest one and its files go; None if it was there before that.

    Its manifest goes, and the removal begins, before step `begin` of the writer. The removal waits at its
    step `stop` until the writer has ended.
    """
    removal = Removal(folder, stop)
    steps = 0

    def at(step: int) -> None:
        nonlocal steps
        steps = step
        if step == begin:
            (folder / manifest_name(2)).unlink()
            removal.start()

    try:
        write_snapshot(store, Stepped(folder, at), [DAILY], clock=SystemClock())
        is_written = True
    except StoreError:
        is_written = False
    if steps < begin:
        return None
    removal.end()
    return is_written


def test_a_writer_has_a_whole_snapshot_or_none_wherever_both_are_interrupted(
    store: EmbeddedStore, prepared: Path, tmp_path: Path
) -> None:
    seen = set()
    for begin in range(3, 100):
        for stop in range(begin % 2, 28, 2):
            folder = tmp_path / f"{begin} {stop}"
            shutil.copytree(prepared, folder)
            is_written = write_while_files_go(store, folder, begin, stop)
            if is_written is None:
                break
            place = FolderPlace(folder)
            assert numbers(place) == ([1, 3] if is_written else [1]), (begin, stop)
            for number in numbers(place):
                found = verify_snapshot(place, read_manifest(place, number))
                assert found.problems == (), (begin, stop)
            seen.add(is_written)
            shutil.rmtree(folder)
        if is_written is None:
            break
    assert seen == {True, False}


def test_only_one_removes_files_at_a_time(place: FolderPlace) -> None:
    with announced(place, ["a"], now=NOW, grace=GRACE):
        with (
            pytest.raises(StoreError, match="somebody is removing files") as refused,
            announced(place, ["b"], now=NOW + GRACE, grace=GRACE),
        ):
            pass
        assert NOTE in str(refused.value.next_step)
    assert place.get(NOTE) is None


def test_the_note_of_one_who_was_killed_is_replaced_after_the_grace(place: FolderPlace) -> None:
    place.create(NOTE, b'{"at": %d, "files": ["a"]}' % NOW)
    with announced(place, ["b"], now=NOW + GRACE + 1, grace=GRACE):
        assert b'"b"' in (place.get(NOTE) or b"")
    assert place.get(NOTE) is None


def test_the_note_stays_where_nobody_knows_whether_a_file_went(place: FolderPlace) -> None:
    with pytest.raises(StoreError, match="lost"), announced(place, ["a"], now=NOW, grace=GRACE):
        raise StoreError("the answer was lost")
    assert place.get(NOTE) is not None
    place.remove(NOTE)
    with pytest.raises(KeyboardInterrupt), announced(place, ["a"], now=NOW, grace=GRACE):
        raise KeyboardInterrupt
    assert place.get(NOTE) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"at": "x", "files": []}'])
def test_a_note_that_cannot_be_read_is_told(store: EmbeddedStore, place: FolderPlace, data: bytes) -> None:
    place.put(NOTE, data)
    with pytest.raises(StoreError, match="cannot be read"):
        write_snapshot(store, place, [DAILY], clock=SystemClock())
    with pytest.raises(StoreError, match="cannot be read"), announced(place, [], now=NOW, grace=GRACE):
        pass


def test_a_note_about_other_files_stops_nobody(store: EmbeddedStore, place: FolderPlace) -> None:
    place.put(NOTE, b'{"at": 0, "files": ["segments/another.parquet"]}')
    assert write_snapshot(store, place, [DAILY], clock=SystemClock()).manifest.number == 1
