"""A store that lacks what was durable once is corrupt, and never new; and no crash is taken for that."""

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

READ_ONLY = [False, True]


@pytest.fixture
def killed(children: Any, tmp_path: Path) -> Path:
    """A store whose writer was killed: its newest commits are in the log alone."""
    children.run_and_kill(("write_until_killed", tmp_path / "store", 3, 25), lines=25, after_s=0.0)
    assert (tmp_path / "store" / "bars.sqlite-wal").stat().st_size
    return tmp_path / "store"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.suffix != ".sqlite-shm"}


@pytest.mark.parametrize("read_only", READ_ONLY)
def test_a_lost_log_is_corrupt(killed: Path, read_only: bool) -> None:
    (killed / "bars.sqlite-wal").unlink()
    for _ in range(2):
        with pytest.raises(
            StoreCorruptError, match=r"newest commits|not a store|belongs|was not always"
        ) as lost:
            EmbeddedStore(killed, read_only=read_only)
        assert lost.value.next_step
        assert lost.value.path == str(killed)


def test_a_log_cut_short_is_corrupt_or_whole(killed: Path) -> None:
    """Commits that were acknowledged are there, or their loss is reported."""
    log = killed / "bars.sqlite-wal"
    log.write_bytes(log.read_bytes()[: 32 + 8_216 * 2])
    with pytest.raises(StoreCorruptError):
        EmbeddedStore(killed)


def test_the_loss_can_be_accepted(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 3), Coverage.of(minutes(0, 3))))
        # As the file was at the last checkpoint.
        shutil.copytree(tmp_path / "store", tmp_path / "other")
        store.commit(SERIES, Write("v", 1, some_bars(3, 3), Coverage.of(minutes(3, 6))))
    shutil.copy(tmp_path / "store" / "bars.lock", tmp_path / "other" / "bars.lock")
    with pytest.raises(StoreCorruptError, match="the newest commits of the store are gone") as lost:
        EmbeddedStore(tmp_path / "other")
    assert "commit 2 was durable, and the newest one there is 1" in str(lost.value.why)
    with EmbeddedStore(tmp_path / "other", lost_commits_ok=True) as store:
        assert store.read(SERIES, minutes(0, 9)).frame.height == 3
        assert store.verify().is_sound
    with EmbeddedStore(tmp_path / "other") as store:
        assert store.commit(SERIES, Write("v", 1, some_bars(3, 3))).added == 3


@pytest.mark.parametrize("read_only", READ_ONLY)
@pytest.mark.parametrize("damage", ["emptied", "removed"])
def test_a_file_that_is_empty_or_gone_is_corrupt_and_nothing_is_made(
    tmp_path: Path, damage: str, read_only: bool
) -> None:
    folder = tmp_path / "store"
    EmbeddedStore(folder).close()  # without a single commit
    if damage == "emptied":
        os.truncate(folder / "bars.sqlite", 0)
    else:
        (folder / "bars.sqlite").unlink()
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="was not always"):
            EmbeddedStore(folder, read_only=read_only)
    assert contents(folder) == before


def test_an_empty_file_beside_its_log_keeps_the_log(killed: Path) -> None:
    """SQLite itself would throw the log away."""
    os.truncate(killed / "bars.sqlite", 0)
    (killed / "bars.lock").unlink()
    before = contents(killed)
    with pytest.raises(StoreCorruptError, match="holds commits that belong to it"):
        EmbeddedStore(killed)
    assert contents(killed) == before


def test_an_empty_file_alone_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "bars.sqlite").touch()
    with pytest.raises(StoreCorruptError, match="never made without"):
        EmbeddedStore(tmp_path)


def note_of(folder: Path) -> bytes:
    return (folder / "bars.lock").read_bytes()[128:]


@pytest.mark.parametrize(
    "change",
    [
        lambda note: b"",
        lambda note: bytes(len(note)),
        lambda note: note[: len(note) // 2],
        lambda note: b"commit %020d 00000000\n" % 10**9,
        lambda note: os.urandom(len(note)),
    ],
    ids=["gone", "zeros", "torn", "damaged", "noise"],
)
def test_a_note_that_was_not_kept_proves_nothing(tmp_path: Path, change: Any) -> None:
    """It is never waited for: after a power cut it may be anything, and the store is whole."""
    folder = tmp_path / "store"
    with EmbeddedStore(folder) as store:
        for bar in range(3):
            store.commit(SERIES, Write("v", 1, some_bars(bar, 1)))
    lock = folder / "bars.lock"
    lock.write_bytes(lock.read_bytes()[:128] + change(note_of(folder)))
    with EmbeddedStore(folder) as store:
        assert store.newest().tx == 3
        store.commit(SERIES, Write("v", 1, some_bars(3, 1)))
    assert note_of(folder).startswith(b"commit %020d " % 4)


def test_an_older_note_proves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 1)))
        older = (folder / "bars.lock").read_bytes()
        store.commit(SERIES, Write("v", 1, some_bars(1, 1)))
    (folder / "bars.lock").write_bytes(older)
    with EmbeddedStore(folder) as store:
        assert store.newest().tx == 2


def test_the_note_names_no_commit_that_is_not_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written once COMMIT has returned, whatever becomes of the process then."""
    folder = tmp_path / "store"
    noted: list[int] = []
    with EmbeddedStore(folder) as store:
        original = store._directory.lock.note

        def note(tx: int) -> None:
            connection = sqlite3.connect(f"file:{folder}/bars.sqlite?mode=ro", uri=True)
            noted.append(connection.execute("SELECT max(id) FROM tx").fetchone()[0] - tx)
            connection.close()
            original(tx)

        monkeypatch.setattr(store._directory.lock, "note", note)
        for bar in range(5):
            store.commit(SERIES, Write("v", 1, some_bars(bar, 1)))
    assert noted == [0] * 5


def test_sweeping_and_compacting_keep_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with EmbeddedStore(folder, retention=0) as store:
        for bar in range(40):
            store.commit(SERIES, Write("v", 1, some_bars(bar, 1)))
        store.compact()
    with EmbeddedStore(folder) as store:
        assert store.read(SERIES, Span(0, 10**18)).frame.height == 40
