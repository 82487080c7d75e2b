"""Damage at any place of the file: never a wrong value or an unnoticed loss, and healed where it can be."""

import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.frames import stamps
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Snapshot, Write
from qmtl.runtime.testing.store_model import SERIES, STEP
from qmtl.runtime.testing.store_suites.bars import OTHER, minutes, some_bars

# Every so many bytes one is damaged; 31 takes minutes.
STRIDE = int(os.environ.get("QMTL_TEST_DAMAGE_STRIDE", "307"))
PARTS = 4

WHOLE = minutes(-10, 3_010)
LAST = some_bars(2_100, 900)


def scattered(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Bars that do not pack well, so that a chunk takes several pages."""
    noise = np.random.default_rng(seed).random((2, frame.height))
    return frame.with_columns(open=pl.Series(noise[0]), volume=pl.Series(noise[1]))


BARS = pl.concat([scattered(some_bars(0, 2_000), 1), LAST])
OTHERS = some_bars(0, 600, price=3.0)

Good = dict[Any, Snapshot]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chunks of two series, single rows, and bars that did not trade."""
    folder = tmp_path_factory.mktemp("original") / "store"
    with EmbeddedStore(folder) as store:
        for first, last, source in ((0, 1_000, "v"), (1_000, 2_000, "v"), (2_100, 2_980, "w")):
            frame = BARS.filter(BARS["ts"].to_physical().is_between(first * STEP, last * STEP, closed="left"))
            store.commit(SERIES, Write(source, 1, frame, Coverage.of(minutes(first, max(last, 2_100)))))
        store.commit(OTHER, Write("v", 1, OTHERS, Coverage.of(minutes(0, 600))))
        for bar in range(2_980, 3_000):
            store.commit(SERIES, Write("v", 1, LAST[bar - 2_100], cells(bar, bar + 1)))
    return folder


def cells(first: int, last: int) -> Coverage:
    return Coverage.of(minutes(first, last))


@pytest.fixture(scope="module")
def good(original: Path) -> Good:
    with EmbeddedStore(original) as store:
        return {series: store.read(series, WHOLE) for series in (SERIES, OTHER)}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "seamless.store")


def check(store: EmbeddedStore, good: Good) -> bool:
    """Read all; whether any of it was damaged. What is there is right, what is not there is named."""
    is_damaged = False
    for series, whole in good.items():
        found = store.read(series, WHOLE)
        rows = dict(zip(stamps(whole.frame).tolist(), whole.frame.rows(), strict=True))
        for ts, row in zip(stamps(found.frame).tolist(), found.frame.rows(), strict=True):
            assert rows.pop(ts, None) == row, "a row that was never stored, or twice"
        assert found.answered - whole.answered == EMPTY, "an answer that was never given"
        left = stamps(found.frame)
        missing = (whole.answered - found.answered) | Coverage((ts, ts + STEP) for ts in rows)
        missing = missing - Coverage.from_arrays(left, left + STEP) - found.answered
        assert missing - found.damaged == EMPTY, "what is missing is not named"
        assert not (found.answered & found.damaged)
        is_damaged |= bool(found.damaged) or found.answered != whole.answered
    return is_damaged


def heal(store: EmbeddedStore) -> None:
    store.commit(SERIES, Write("v", 5, BARS, cells(0, 3_000)))
    store.commit(OTHER, Write("v", 5, OTHERS, cells(0, 600)))


def check_healed(store: EmbeddedStore, good: Good) -> None:
    for series, whole in good.items():
        found = store.read(series, WHOLE)
        assert found.frame.equals(whole.frame)
        assert found.answered == whole.answered
        assert found.damaged == EMPTY


def outcome(folder: Path, good: Good) -> str:
    """What becomes of a damaged store: unharmed, healed, repaired, or corrupt for good; else it fails."""
    try:
        with EmbeddedStore(folder) as store:
            if not check(store, good):
                return "unharmed"
            heal(store)
            check_healed(store, good)
            assert store.verify().lost == ()
            return "healed"
    except StoreCorruptError:
        pass
    try:
        with EmbeddedStore(folder) as store:
            store.verify(repair=True)
            check(store, good)
            heal(store)
            check_healed(store, good)
            return "repaired"
    except StoreCorruptError:
        return "corrupt"


def damaged_copy(original: Path, folder: Path, damage: Callable[[bytearray], None]) -> Path:
    shutil.copytree(original, folder)
    data = bytearray((folder / "bars.sqlite").read_bytes())
    damage(data)
    (folder / "bars.sqlite").write_bytes(data)
    return folder


@pytest.mark.parametrize("part", range(PARTS))
def test_a_flipped_bit_anywhere(original: Path, good: Good, tmp_path: Path, part: int) -> None:
    size = (original / "bars.sqlite").stat().st_size
    dice = random.Random(part)
    seen: dict[str, int] = {}
    for start in range(part * size // PARTS, (part + 1) * size // PARTS, STRIDE):
        at, bit = min(start + dice.randrange(STRIDE), size - 1), dice.randrange(8)

        def flip(data: bytearray, at: int = at, bit: int = bit) -> None:
            data[at] ^= 1 << bit

        folder = damaged_copy(original, tmp_path / "store", flip)
        try:
            result = outcome(folder, good)
        except Exception as failure:
            failure.add_note(f"bit {bit} of byte {at}")
            raise
        seen[result] = seen.get(result, 0) + 1
        shutil.rmtree(folder)
    assert seen.get("unharmed"), seen


def test_a_page_of_zeros_or_of_noise(original: Path, good: Good, tmp_path: Path) -> None:
    pages = (original / "bars.sqlite").stat().st_size // 8_192
    dice = random.Random(7)
    seen: dict[str, int] = {}
    for page in range(pages):
        for filling in (bytes(8_192), dice.randbytes(8_192)):

            def fill(data: bytearray, page: int = page, filling: bytes = filling) -> None:
                data[page * 8_192 : (page + 1) * 8_192] = filling

            folder = damaged_copy(original, tmp_path / "store", fill)
            try:
                result = outcome(folder, good)
            except Exception as failure:
                failure.add_note(f"page {page}, {filling[:4]!r}")
                raise
            seen[result] = seen.get(result, 0) + 1
            shutil.rmtree(folder)
    assert seen.get("healed"), seen
    assert seen.get("corrupt"), seen


def test_a_file_cut_short(original: Path, good: Good, tmp_path: Path) -> None:
    size = (original / "bars.sqlite").stat().st_size
    for length in (0, 1, 100, 4_096, 8_192, *range(8_192 * 2, size, 8_192 * 2), size - 1):

        def cut(data: bytearray, length: int = length) -> None:
            del data[length:]

        folder = damaged_copy(original, tmp_path / "store", cut)
        assert outcome(folder, good) == "corrupt" if length < 8_192 else outcome(folder, good)
        if length < 100:
            assert (folder / "bars.sqlite").stat().st_size == length, "it was left as it was"
        shutil.rmtree(folder)
