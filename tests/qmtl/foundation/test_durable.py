"""What is made durable is the very file or folder, and nothing stays open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qmtl.foundation.durable import make_durable


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_system_is_told_to_write_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place = tmp_path
    if kind == "file":
        place = tmp_path / "file"
        place.write_bytes(b"x")
    told, fsync = [], os.fsync

    def tell(descriptor: int) -> None:
        told.append((descriptor, os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", tell)
    make_durable(place)
    ((descriptor, number),) = told
    assert number == place.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_durable(tmp_path / "nothing")
