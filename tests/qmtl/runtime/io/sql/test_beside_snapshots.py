"""What a snapshot of a store does not take along is named, and counted."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from qmtl.runtime.io.sql.beside_snapshots import left_behind
from qmtl.runtime.io.sql.upkeep import KeptStore
from tests.qmtl.runtime.io.sql.copies import live


@pytest.mark.usefixtures("small_chunks")
def test_each_kind_is_counted_and_none_that_there_is_not(
    new_store: Callable[[], KeptStore], script: ModuleType
) -> None:
    store = new_store()
    assert left_behind(store._database) == ()
    live(script, store, 0)
    found = dict(reversed(one.split(" ", 1)) for one in left_behind(store._database))
    assert list(found) == [
        *("older versions", "commit times", "pins", "reasons", "quarantined rows", "delivery time"),
        *("stream session", "lost range", "schema decision", "fencing tokens"),
    ]
    assert found["pins"] == "2"
    assert found["quarantined rows"] == "2"
    assert found["fencing tokens"] == "2"
    assert int(found["commit times"]) > 40
