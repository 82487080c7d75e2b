"""A folder keeps the promises of a place, and never shows half a file, whenever its writer is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.runtime.io.snapshots.folder import UNFINISHED, FolderPlace
from tests.qmtl.runtime.io.snapshots.place_suite import PlaceSuite


class TestFolder(PlaceSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> FolderPlace:
        return FolderPlace(tmp_path / "snapshots")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "bars.csv").write_text("")
    with pytest.raises(InvalidRequestError, match="is a file"):
        FolderPlace(tmp_path / "bars.csv")


def test_a_folder_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "snapshots").write_text("")
    place = FolderPlace(tmp_path / "other")
    place._folder = tmp_path / "snapshots"  # a file came in its way meanwhile
    with pytest.raises(StoreError, match=r"segments/a of the snapshot cannot be written[\s\S]*why:"):
        place.put("segments/a", b"")


# Kills itself before the system call of that number, of those that a write makes.
_KILLED = """
import os, signal, sys
from qmtl.runtime.io.snapshots.folder import FolderPlace

place, verb, left = FolderPlace(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def counted(call):
    def wrapped(*args, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **options)
    return wrapped

for name in ("fsync", "link", "replace", "unlink", "open", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
getattr(place, verb)("manifests/1", b"x" * 100_000)
"""


@pytest.mark.parametrize("verb", ["put", "create"])
def test_killed_at_any_step_it_leaves_the_whole_file_or_none(tmp_path, verb):
    outcomes = []
    for step in range(40):
        folder = tmp_path / str(step)
        done = subprocess.run([sys.executable, "-c", _KILLED, str(folder), verb, str(step)], timeout=240)
        place = FolderPlace(folder)
        found = place.get("manifests/1")
        assert found in (None, b"x" * 100_000)
        names = [one.name for one in place.entries("manifests/")]
        assert all(name == "manifests/1" or UNFINISHED in name for name in names)
        outcomes.append(found is not None)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        assert place.create("manifests/1", b"x" * 100_000) is (found is None)
    assert outcomes[-1]
    assert not outcomes[0]
    assert len(outcomes) > 4


def test_what_was_begun_is_no_file_by_its_name(tmp_path):
    place = FolderPlace(tmp_path)
    place.put("manifests/00000001.json", b"")
    assert os.listdir(tmp_path / "manifests") == ["00000001.json"]
