"""A backup is whole and of one moment, or none; a restore replaces a store that nobody uses, or nothing."""

import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql.sqlite import backup as backups
from qmtl.runtime.io.sql.sqlite.backup import backup, restore
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import OTHER, minutes, some_bars

EVERYTHING = Span(-(10**18), 10**18)

ALL = minutes(0, 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two series, an older version, a report, a pin."""
    with EmbeddedStore(tmp_path / "store") as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 9_000), Coverage.of(minutes(0, 9_100))))
        store.commit(SERIES, Write("v", 1, some_bars(100, 50, price=3.0)))
        store.commit(OTHER, Write("v", 1, some_bars(0, 3)))
        store.archive_report(SERIES, {"errors": 0, "warnings": 0})
        store.pin("paper")
    return tmp_path / "store"


def everything(folder: Path) -> Any:
    """All that a store answers, at its newest commit and at the first."""
    with EmbeddedStore(folder) as store:
        times = [one.as_of for one in store.commits(SERIES)]
        reads = [store.read(series, EVERYTHING, as_of=at) for series in (SERIES, OTHER) for at in times]
        rows = [(read.frame.rows(), list(read.answers)) for read in reads]
        return rows, times, store.pins(), store.reports(), store.verify().is_sound


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(("-shm", "-wal")))


def test_a_backup_answers_as_the_store_does(folder: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with EmbeddedStore(folder) as store:
        copied = backup(store, tmp_path / "a" / "copy", progress=lambda *step: steps.append(step))
    assert names(tmp_path / "a" / "copy") == ["bars.lock", "bars.sqlite"]
    assert everything(tmp_path / "a" / "copy") == everything(folder)
    assert copied.last_tx == 3
    assert copied.verification.is_sound
    assert steps[-1][0] == steps[-1][1] > 0
    with EmbeddedStore(tmp_path / "a" / "copy") as copy:  # it goes on where the store was
        assert copy.commit(SERIES, Write("v", 2, some_bars(0, 1, price=9.0))).tx == 4


def test_a_backup_beside_writers_is_of_one_moment(children: Any, folder: Path, tmp_path: Path) -> None:
    """Four processes append while copies are made: each copy is what the store was at its newest commit."""
    shutil.rmtree(folder)
    children._start([("append_bars", folder, worker) for worker in range(4)])
    copies = []
    with EmbeddedStore(folder) as store:
        for number in range(6):
            copies.append(backup(store, tmp_path / f"copy {number}"))
        while (line := children._line(60.0)) != "done":
            assert line is not None
            assert not line.startswith("ended") or line.split()[2] == "0", line
        assert copies[0].last_tx < store.newest().tx == 1_600
        (shared,) = (one.series for one in store.list_series())
        for copied in copies:
            with EmbeddedStore(Path(copied.target)) as copy:
                assert copy.newest().tx == copied.last_tx
                assert copy.verify().is_sound
                if copied.last_tx:
                    then = store.read(shared, EVERYTHING, as_of=copied.as_of)
                    assert copy.read(shared, EVERYTHING).frame.equals(then.frame)
                    assert then.frame.height == copied.last_tx


def test_an_empty_folder_may_be_the_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
        with pytest.raises(InvalidRequestError, match="is not empty"):
            backup(store, tmp_path / "copy")
    assert everything(tmp_path / "copy") == everything(folder)


@pytest.mark.parametrize(
    "name", ["store", "store/", "./store", "link", "store/within", "other/../store", "."]
)
def test_a_store_is_not_copied_onto_itself(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "other").mkdir()
    before = everything(folder)
    with EmbeddedStore(folder) as store, pytest.raises(InvalidRequestError) as refused:
        backup(store, Path(name))
    assert refused.value.next_step
    with pytest.raises(InvalidRequestError):
        restore(Path(name), folder, replace=True)
    assert everything(folder) == before
    assert names(folder) == ["bars.lock", "bars.sqlite"]


def test_a_damaged_store_is_not_copied(folder: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(folder / "bars.sqlite")
    connection.execute("UPDATE blob SET data = zeroblob(length(data)) WHERE chunk = 1")
    connection.commit()
    connection.close()
    with EmbeddedStore(folder) as store:
        with pytest.raises(StoreCorruptError, match="1 damaged part"):
            backup(store, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        store.verify(repair=True)
        assert len(backup(store, tmp_path / "copy").verification.lost) == 1
    with EmbeddedStore(tmp_path / "copy") as copy:
        assert copy.read(SERIES, minutes(0, 100)).damaged, "what was lost is lost in the copy, too"


def test_a_full_disk_leaves_nothing_and_says_what_is_needed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (folder / "bars.sqlite").stat().st_size
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    with EmbeddedStore(folder) as store, pytest.raises(StoreError) as full:
        backup(store, tmp_path / "copy")
    assert "1,000 bytes are free" in str(full.value.why)
    assert f"it needs {size + 256 * 1_024:,} bytes" in str(full.value.why)
    assert "bars.sqlite" in full.value.what
    assert not (tmp_path / "copy").exists()


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(children: Any, folder: Path, tmp_path: Path) -> None:
    (written,) = children.run(("back_up_on_a_full_disk", folder, tmp_path / "copy"))
    assert "cannot be written" in written
    assert "it needs" in written
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.01, 0.03, 0.06])
def test_a_backup_that_is_killed_is_no_store(
    children: Any, folder: Path, tmp_path: Path, after_s: float
) -> None:
    children.run_and_kill(("back_up_for_ever", folder, tmp_path), lines=1, after_s=after_s)
    whole = 0
    for copy in tmp_path.glob("copy *"):
        if (copy / "bars.sqlite").exists():
            whole += 1
            assert everything(copy) == everything(folder)
        elif any(copy.iterdir()):  # killed before anything was written, it leaves an empty folder
            with pytest.raises(StoreError):
                EmbeddedStore(copy)
    assert whole


def test_a_restore_brings_all_back(folder: Path, tmp_path: Path) -> None:
    before = everything(folder)
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
        store.commit(SERIES, Write("v", 2, some_bars(0, 700, price=9.0)))
    with pytest.raises(InvalidRequestError, match="there is a store at") as refused:
        restore(tmp_path / "copy", folder)
    assert "replace=True" in str(refused.value.next_step)
    restore(tmp_path / "copy", folder, replace=True)
    assert everything(folder) == before
    assert names(folder) == ["bars.lock", "bars.sqlite"]
    restore(tmp_path / "copy", tmp_path / "new" / "place")
    assert everything(tmp_path / "new" / "place") == before


def test_commits_that_a_restore_has_lost_are_not_known(folder: Path, tmp_path: Path) -> None:
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
        kept = store.newest()
        lost = store.commit(SERIES, Write("v", 2, some_bars(0, 700, price=9.0)))
    restore(tmp_path / "copy", folder, replace=True)
    with EmbeddedStore(folder) as store:
        for as_of in (lost.as_of, lost.as_of + 1):
            with pytest.raises(StoreError, match="nobody knows what the store held"):
                store.read(SERIES, ALL, as_of=as_of)
        assert store.read(SERIES, ALL, as_of=kept.as_of).tx == kept.tx
        now = store.commit(SERIES, Write("v", 2, some_bars(0, 700, price=9.0)))
        assert store.read(SERIES, ALL, as_of=now.as_of).tx == now.tx == kept.tx + 2
        with pytest.raises(StoreError, match="nobody knows what the store held"):
            store.read(SERIES, ALL, as_of=lost.as_of)
        assert store.verify().is_sound


@pytest.mark.parametrize("name", ["bars.sqlite", "bars.lock", "both"])
def test_a_store_that_lost_its_files_is_restored(folder: Path, tmp_path: Path, name: str) -> None:
    before = everything(folder)
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
    for lost in ("bars.sqlite", "bars.lock") if name == "both" else (name,):
        (folder / lost).unlink()
    restore(tmp_path / "copy", folder, replace=name == "bars.lock")
    assert everything(folder) == before


def test_a_store_of_garbage_is_restored(folder: Path, tmp_path: Path) -> None:
    before = everything(folder)
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
    (folder / "bars.sqlite").write_bytes(os.urandom(100_000))
    (folder / "bars.sqlite-wal").write_bytes(os.urandom(100_000))
    restore(tmp_path / "copy", folder, replace=True)
    assert everything(folder) == before


def test_a_store_in_use_is_not_replaced(children: Any, folder: Path, tmp_path: Path) -> None:
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
        with pytest.raises(StoreLockedError, match="is in use"):
            restore(tmp_path / "copy", folder, replace=True)
    with EmbeddedStore(folder, read_only=True), pytest.raises(StoreLockedError, match="is in use"):
        restore(tmp_path / "copy", folder, replace=True)
    before = everything(folder)
    children._start([("hold_open", folder)])
    assert children._line(30.0).startswith("started")
    assert children._line(30.0) == "ready"
    try:
        with pytest.raises(StoreLockedError, match="is in use"):
            restore(tmp_path / "copy", folder, replace=True)
    finally:
        (folder.parent / "let go").touch()
        while children._line(30.0) != "done":
            pass
    assert everything(folder) == before
    restore(tmp_path / "copy", folder, replace=True)


def test_a_damaged_backup_replaces_nothing(folder: Path, tmp_path: Path) -> None:
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
    before = everything(folder)
    connection = sqlite3.connect(tmp_path / "copy" / "bars.sqlite")
    connection.execute("UPDATE blob SET data = zeroblob(length(data)) WHERE chunk = 1")
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorruptError):
        restore(tmp_path / "copy", folder, replace=True)
    assert everything(folder) == before
    assert names(folder) == ["bars.lock", "bars.sqlite"]


def test_what_holds_no_store_is_not_restored(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "beach.jpg").touch()
    for source in ("photos", "nowhere"):
        with pytest.raises(InvalidRequestError, match="holds no store"):
            restore(tmp_path / source, folder, replace=True)
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
    with pytest.raises(InvalidRequestError, match="other things, and no store"):
        restore(tmp_path / "copy", tmp_path / "photos", replace=True)
    assert names(tmp_path / "photos") == ["beach.jpg"]


@pytest.mark.parametrize("step", range(8))
def test_a_restore_that_ends_midway_mixes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whatever step was the last: the old store, the new one, or an error; a second restore goes through."""
    with EmbeddedStore(folder) as store:
        backup(store, tmp_path / "copy")
        store.commit(SERIES, Write("v", 2, some_bars(0, 700, price=9.0)))
    old, new = everything(folder), everything(tmp_path / "copy")
    left = [step]

    class Cut(BaseException):
        """The power goes."""

    def cutting(call: Any) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            if not left[0]:
                raise Cut
            left[0] -= 1
            return call(*args, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(backups.os, "replace", cutting(os.replace))
        patch.setattr(Path, "unlink", cutting(Path.unlink))
        patch.setattr(backups.shutil, "rmtree", lambda *_, **__: None)
        try:
            restore(tmp_path / "copy", folder, replace=True)
        except Cut:
            with suppress(StoreCorruptError):
                assert everything(folder) in (old, new)
        else:
            assert everything(folder) == new
    restore(tmp_path / "copy", folder, replace=True)
    assert everything(folder) == new
