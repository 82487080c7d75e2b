"""On a disk without any room, what a store holds can be read; a write says that there is no room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

BARS = some_bars(0, 100)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    with (place / "filling").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    assert shutil.disk_usage(place).free == 0


@pytest.fixture
def full(small: Path) -> Path:
    with EmbeddedStore(small / "store") as store:
        store.commit(SERIES, Write("v", 1, BARS, Coverage.of(minutes(0, 100))))
    for left in ("bars.sqlite-wal", "bars.sqlite-shm"):
        (small / "store" / left).unlink(missing_ok=True)
    fill(small)
    return small / "store"


def test_a_full_disk_is_read(full: Path) -> None:
    for read_only in (False, True):
        with EmbeddedStore(full, read_only=read_only) as store:
            assert store.read(SERIES, minutes(0, 100)).frame.equals(BARS)
            assert len(store.commits(SERIES)) == 1
            assert store.verify().is_sound


def test_a_write_says_that_there_is_no_room(full: Path) -> None:
    with EmbeddedStore(full) as store, pytest.raises(StoreError, match="no room left for the store"):
        store.commit(SERIES, Write("v", 2, some_bars(100, 1)))
    with EmbeddedStore(full) as store, pytest.raises(StoreError) as refused:
        store.compact()
    assert "bytes beside bars.sqlite" in str(refused.value.why)
    (full.parent / "filling").unlink()
    with EmbeddedStore(full) as store:
        store.commit(SERIES, Write("v", 2, some_bars(100, 1), Coverage.of(minutes(100, 101))))
        assert store.read(SERIES, minutes(0, 101)).frame.equals(some_bars(0, 101))


def test_a_report_that_finds_no_room_spoils_no_answer(small: Path) -> None:
    with EmbeddedStore(small / "store") as store:
        store.commit(SERIES, Write("v", 1, BARS, Coverage.of(minutes(0, 100))))
        fill(small)
        report = {"errors": 0, "warnings": 1, "text": "x" * 4_096}
        kept = list(
            takewhile(lambda number: number is not None, (archive(store, report) for _ in range(999)))
        )
        assert len(kept) < 999
        assert len(store.reports(SERIES)) == len(kept)
        assert store.read(SERIES, minutes(0, 100)).frame.equals(BARS)
        (small / "filling").unlink()
        assert archive(store, report) is not None


def archive(store: EmbeddedStore, report: dict[str, object]) -> int | None:
    return store.archive_report(SERIES, report)


def test_a_store_that_was_opened_on_a_full_disk_is_written_when_there_is_room(full: Path) -> None:
    new = Write("v", 2, some_bars(100, 1), Coverage.of(minutes(100, 101)))
    with EmbeddedStore(full) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match="no room left for the store") as refused:
                store.commit(SERIES, new)
            assert "0 bytes are free now" in str(refused.value.why)
            assert store.info().read_only
            assert store.read(SERIES, minutes(0, 100)).frame.equals(BARS)
        before = store.changed_since(None).token
        (full.parent / "filling").unlink()
        store.commit(SERIES, new)
        assert not store.info().read_only
        assert [one.series for one in store.changed_since(before).commits] == [SERIES]
        assert store.read(SERIES, minutes(0, 101)).frame.equals(some_bars(0, 101))
    with EmbeddedStore(full) as again:
        assert again.read(SERIES, minutes(0, 101)).frame.equals(some_bars(0, 101))
        assert again.verify().is_sound


def test_a_store_that_is_to_be_read_only_stays_so_when_there_is_room(full: Path) -> None:
    with EmbeddedStore(full, read_only=True) as store:
        (full.parent / "filling").unlink()
        with pytest.raises(StoreError, match="cannot be written"):
            store.commit(SERIES, Write("v", 2, some_bars(100, 1)))


def test_many_threads_write_when_there_is_room(full: Path) -> None:
    with EmbeddedStore(full) as store, ThreadPoolExecutor(8) as threads:
        reads = [threads.submit(store.read, SERIES, minutes(0, 100)) for _ in range(20)]
        (full.parent / "filling").unlink()
        writes = [
            threads.submit(store.commit, SERIES, Write("v", 2, some_bars(100 + number, 1)))
            for number in range(20)
        ]
        assert all(read.result().frame.height >= 100 for read in reads)
        for written in writes:
            written.result()
        assert store.read(SERIES, minutes(0, 120)).frame.equals(some_bars(0, 120))


def test_commits_in_the_log_need_room_to_be_read(small: Path) -> None:
    folder = small / "store"
    child = os.fork()
    if not child:
        store = EmbeddedStore(folder)
        store.commit(SERIES, Write("v", 1, BARS, Coverage.of(minutes(0, 100))))
        os._exit(0)  # as a process that is killed leaves it
    os.waitpid(child, 0)
    assert (folder / "bars.sqlite-wal").stat().st_size > 0
    (folder / "bars.sqlite-shm").unlink()
    fill(small)
    with pytest.raises(StoreError, match="the newest commits cannot be read") as refused:
        EmbeddedStore(folder)
    assert refused.value.next_step == "free 32,768 bytes and repeat; nothing is lost"
    (small / "filling").unlink()
    with EmbeddedStore(folder) as store:
        assert store.read(SERIES, minutes(0, 100)).frame.equals(BARS)
