"""A place is named by a folder or by the address of an object store; nothing else becomes a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError
from qmtl.runtime.io.snapshots import addresses
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.folder import FolderPlace


@pytest.mark.parametrize("where", ["snapshots", "./a b/c", Path("snapshots")])
def test_a_folder(where):
    assert isinstance(place_named(where), FolderPlace)


@pytest.mark.parametrize("where", ["memory://", "ftp://host/x", "postgresql://host/db", "https://host/x"])
def test_what_is_not_served(where):
    with pytest.raises(InvalidRequestError, match="no place of a snapshot"):
        place_named(where)


@pytest.mark.parametrize("where", ["", "file:///tmp/x", "mem:", Path("s3://bucket/x")])
def test_what_is_no_folder(where):
    with pytest.raises(InvalidRequestError):
        place_named(where)


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'qmtl\[snapshots\]'"):
        place_named("s3://bucket/x")
