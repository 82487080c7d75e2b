"""A store with a little of everything, and an empty folder for snapshots of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from tests.qmtl.runtime.io.snapshots.filled import fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "bars") as opened:
        fill(opened)
        yield opened


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "snapshots")
