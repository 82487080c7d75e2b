"""Several processes use one store at once; nothing is lost, doubled, or blocked for ever."""

import fcntl
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qmtl.foundation.errors import StoreLockedError
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import changes_since, minutes, some_bars


def test_a_change_of_another_process_is_seen(children: Any, script: ModuleType, tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        token = store.changed_since(None).token
        children.run(("write_pages", tmp_path / "store", 0))
        assert store.has_changed(token)
        changes = store.changed_since(token)
        assert changes.commits == changes_since(store, 0)
        assert not store.has_changed(changes.token)


def test_a_lock_that_stays_taken_says_by_whom(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store", lock_timeout_s=0.05) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 3)))
        holder = os.open(tmp_path / "store" / "bars.lock", os.O_RDWR)
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()}") as locked:
            store.commit(SERIES, Write("v", 1, some_bars(3, 1)))
        assert locked.value.next_step is not None
        assert store.read(SERIES, minutes(0, 9)).frame.height == 3
        os.close(holder)
        store.commit(SERIES, Write("v", 1, some_bars(3, 1)))
        assert store.read(SERIES, minutes(0, 9)).frame.height == 4


def test_a_full_disk_keeps_nothing_by_half(children: Any, tmp_path: Path) -> None:
    (written,) = children.run(("fill_the_disk", tmp_path / "store"))
    assert written.startswith("refused StoreError")
    assert "free" in written


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A directory that other users may enter, as those below `tmp_path` are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for entry in (folder, *folder.rglob("*")):
            entry.chmod(0o755)


def protect(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.chmod(0o444)
    folder.chmod(0o555)


def test_a_directory_that_cannot_be_written(children: Any, shared_folder: Path) -> None:
    folder = shared_folder / "store"
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 10)))
    assert sorted(entry.name for entry in folder.iterdir()) == ["bars.lock", "bars.sqlite"]
    protect(folder)
    written = children.run(("read_without_rights", folder))
    assert written[0] == "read 10 True"
    assert written[1].startswith("refused open it for writing")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555


def test_commits_in_the_log_of_a_directory_that_cannot_be_written(children: Any, shared_folder: Path) -> None:
    folder = shared_folder / "store"
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 10)))
        protect(folder)
        # The writer is still there, and so is the index of its log.
        assert children.run(("read_without_rights", folder))[0] == "read 10 True"
        folder.chmod(0o755)


def test_close_waits_for_reads_of_other_threads(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.commit(SERIES, Write("v", 1, some_bars(0, 20_000)))
    reading, closing = threading.Event(), threading.Event()
    closer = threading.Thread(target=lambda: (closing.set(), store.close()))

    def never() -> bool:
        if not reading.is_set():
            reading.set()
            closing.wait(30.0)
        return False

    found = []
    reader = threading.Thread(
        target=lambda: found.append(store.read(SERIES, minutes(0, 20_000), cancelled=never))
    )
    reader.start()
    reading.wait(30.0)
    closer.start()
    reader.join(30.0)
    closer.join(30.0)
    assert found[0].frame.height == 20_000
    assert not closer.is_alive()
