"""What compaction does to the file of a folder: it gets smaller, and it needs room for that."""

import re
from pathlib import Path
from typing import Any

from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars
from tests.qmtl.runtime.io.sql.hand_clock import HandClock


def test_a_sweep_gives_space_back(tmp_path: Path) -> None:
    clock = HandClock()
    with EmbeddedStore(tmp_path / "store", clock=clock, retention=0) as store:
        for price in range(10):
            store.commit(SERIES, Write("v", 1, some_bars(0, 50_000, price=price * 1.37)))
        clock.time = 5_000
        done = store.compact()
        assert done.bytes_after < done.bytes_before / 3
        assert store.read(SERIES, minutes(0, 50_000)).frame.equals(some_bars(0, 50_000, price=9 * 1.37))


def test_a_compaction_on_a_full_disk_says_what_it_needs(children: Any, tmp_path: Path) -> None:
    (written,) = children.run(("compact_on_a_full_disk", tmp_path / "store"))
    assert "there is no room left to compact the store" in written
    assert re.search(
        r"it needs up to [0-9,]{7,} bytes beside bars.sqlite while it works, and [0-9,]+ bytes", written
    )
