"""Few rows of many series come block by block, side by side: each as if it were read alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql import blocks, paged, plans, rewrite_plan, transaction
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.contract import ReadAbandonedError
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars
from tests.qmtl.runtime.io.sql.sqlite.tampering import tamper

NAMES = [SeriesId.parse(f"ohlcv:blocks:S{number}:1m") for number in range(20)]
# Of 256 bars in chunks of 128, and pages of 32.
WITHIN = minutes(100, 190)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStore]:
    """The last series has no bar, the one before it bars elsewhere; of the others some pages are wanted."""
    monkeypatch.setattr(rewrite_plan, "FULL", 128)
    monkeypatch.setattr(rewrite_plan, "SMALL", 64)
    monkeypatch.setattr(plans, "FEW", 8)
    monkeypatch.setattr(transaction, "MANY_HOT", 20)
    monkeypatch.setattr(paged, "PAGE_ROWS", 32)
    with EmbeddedStore(tmp_path / "store") as store:
        for number, name in enumerate(NAMES[:-1]):
            first = 1_000 if name == NAMES[-2] else 4 * number
            cells = Coverage.of(minutes(first, first + 256))
            store.commit(name, Write("me", 40, some_bars(first, 256), cells))
        yield store


@pytest.mark.parametrize("stretch", [1, 100, 300, 1 << 17])
@pytest.mark.parametrize("context", [0, 8])
def test_each_is_read_as_if_it_were_alone(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, stretch: int, context: int
) -> None:
    alone = {name: store.read(name, WITHIN, context=context) for name in NAMES}
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", stretch)
    together = store.read_many(NAMES, WITHIN, context=context)
    assert list(together) == NAMES
    for name, read in together.items():
        assert_frame_equal(read.rows, alone[name].rows)
        assert (read.first, read.answers, read.damaged) == (
            alone[name].first,
            alone[name].answers,
            alone[name].damaged,
        )


def test_blocks_are_decoded_by_several_threads(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", 300)
    both, busy = threading.Barrier(2, timeout=60), set[threading.Thread]()
    plain = blocks.decode_parts

    def decode_parts(*stretch: object) -> object:
        if threading.current_thread() not in busy:
            busy.add(threading.current_thread())
            both.wait()  # breaks where there is no second thread
        return plain(*stretch)  # type: ignore[arg-type]

    monkeypatch.setattr(blocks, "decode_parts", decode_parts)
    store.read_many(NAMES, WITHIN)
    assert len(busy) == 2


def test_damage_is_of_its_own_series_alone(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", 300)
    alone = store.read_many(NAMES, WITHIN)
    folder = Path(store.location)
    assert tamper(folder, "UPDATE blob SET data = zeroblob(length(data)) WHERE chunk = 1") == 1
    with EmbeddedStore(folder) as again:
        together = again.read_many(NAMES, WITHIN)
    damaged = [name for name, read in together.items() if read.damaged]
    assert damaged == [NAMES[0]]
    for name in NAMES[1:]:
        assert_frame_equal(together[name].rows, alone[name].rows)


def test_a_panel_can_be_abandoned_between_blocks(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", 300)
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(len(asked) >= 1)
        return asked[-1]

    with pytest.raises(ReadAbandonedError):
        store.read_many(NAMES, WITHIN, cancelled=cancelled)
    assert asked == [False, True]


def test_room_is_made_for_all_as_if_they_were_like_the_first() -> None:
    rooms = blocks._Rooms(10)
    first, second = rooms.take(2, 100), rooms.take(2, 90)
    assert (first.size, second.size) == (100, 90)
    assert first.ts.base is second.ts.base, "one allocation"
    larger = rooms.take(3, 1_000)
    assert larger.size == 1_000
    assert larger.ts.base is not first.ts.base
    assert rooms.take(3, 1_000).ts.base is larger.ts.base
