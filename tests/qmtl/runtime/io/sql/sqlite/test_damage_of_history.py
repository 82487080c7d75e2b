"""Damage at any place, read as of every commit: never an older value in place of one that is lost."""

import logging
import os
import random
import shutil
from pathlib import Path

import polars as pl
import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.frames import stamps
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Snapshot, Write
from qmtl.runtime.testing.store_model import SERIES, STEP
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

# Every so many bytes one is damaged; a smaller stride takes minutes.
STRIDE = int(os.environ.get("QMTL_TEST_DAMAGE_STRIDE", "4001"))
PARTS = 4
WHOLE = minutes(0, 700)

History = dict[int, Snapshot]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chunk, bars corrected once and twice, and a retraction across chunk and corrections."""
    folder = tmp_path_factory.mktemp("original") / "store"
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 600), Coverage.of(minutes(0, 620))))
        for price, (first, count) in enumerate([(20, 60), (40, 60), (300, 40)], start=1):
            frame = some_bars(first, count, price=100.0 + price / 10)
            store.commit(SERIES, Write("v", 1, frame, Coverage.of(minutes(first, first + count))))
        store.retract(SERIES, minutes(310, 320), reason="a trial")
        store.commit(SERIES, Write("v", 1, some_bars(310, 5, price=101.0), Coverage.of(minutes(310, 320))))
        for bar in range(620, 640):
            store.commit(SERIES, Write("v", 1, some_bars(bar, 1), Coverage.of(minutes(bar, bar + 1))))
        store.commit(SERIES, Write("v", 1, some_bars(60, 5, price=102.0), Coverage.of(minutes(60, 65))))
        store.pin("here")
    return folder


@pytest.fixture(scope="module")
def history(original: Path) -> History:
    with EmbeddedStore(original) as store:
        times = [one.as_of for one in store.commits(SERIES)]
        return {as_of: store.read(SERIES, WHOLE, as_of=as_of) for as_of in times}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "seamless.store")


def check(found: Snapshot, whole: Snapshot) -> bool:
    """What is there is right, and what is not there is marked; whether anything is marked."""
    rows = dict(zip(stamps(whole.frame).tolist(), whole.frame.rows(), strict=True))
    for ts, row in zip(stamps(found.frame).tolist(), found.frame.rows(), strict=True):
        assert rows.pop(ts, None) == row, f"the row of bar {ts // STEP} was not there then"
    assert Coverage((ts, ts + STEP) for ts in rows) - found.damaged == EMPTY, "a missing row is not marked"
    assert found.answered - whole.answered == EMPTY, "an answer that was never given"
    left = stamps(found.frame)
    missing = whole.answered - found.answered - Coverage.from_arrays(left, left + STEP)
    assert missing - found.damaged == EMPTY, "a missing answer is not marked"
    return bool(found.damaged)


def check_all(folder: Path, history: History) -> bool:
    """Whether any read was marked or refused."""
    any_marked = False
    with EmbeddedStore(folder) as store:
        for as_of, whole in history.items():
            try:
                any_marked |= check(store.read(SERIES, WHOLE, as_of=as_of), whole)
            except StoreCorruptError:
                any_marked = True
    return any_marked


def outcome(folder: Path, history: History) -> str:
    """What becomes of reads as of each commit of a damaged store: before a repair, after it, once healed."""
    try:
        before = check_all(folder, history)
        with EmbeddedStore(folder) as store:
            verified = store.verify(repair=True)
        if before:
            assert not verified.is_sound, "reads have met damage that `verify` does not"
        after = check_all(folder, history)
        with EmbeddedStore(folder) as store:
            newest = list(history.values())[-1]
            current = store.read(SERIES, WHOLE)
            check(current, newest)
            store.commit(SERIES, Write("v", 5, newest.frame, newest.answered))
            healed = store.read(SERIES, WHOLE)
            assert healed.frame.equals(newest.frame)
            assert healed.damaged == EMPTY
        assert check_all(folder, history) >= after, "what was lost in the past came back"
        return "marked" if before or after else "unharmed"
    except StoreCorruptError:
        return "corrupt"


def flipped(original: Path, folder: Path, at: int, bit: int) -> Path:
    shutil.copytree(original, folder)
    data = bytearray((folder / "bars.sqlite").read_bytes())
    data[at] ^= 1 << bit
    (folder / "bars.sqlite").write_bytes(data)
    return folder


@pytest.mark.parametrize("part", range(PARTS))
def test_a_flipped_bit_read_as_of_every_commit(
    original: Path, history: History, tmp_path: Path, part: int
) -> None:
    dice = random.Random(part)
    seen: dict[str, int] = {}
    size = (original / "bars.sqlite").stat().st_size
    for start in range(part * size // PARTS, (part + 1) * size // PARTS, STRIDE):
        at, bit = min(start + dice.randrange(STRIDE), size - 1), dice.randrange(8)
        folder = flipped(original, tmp_path / "store", at, bit)
        try:
            result = outcome(folder, history)
        except Exception as failure:
            failure.add_note(f"bit {bit} of byte {at}")
            raise
        seen[result] = seen.get(result, 0) + 1
        shutil.rmtree(folder)
    assert seen.get("unharmed"), seen


def test_a_superseded_row_that_is_damaged_never_shows_what_lies_beneath(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with EmbeddedStore(folder) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 600), Coverage.of(minutes(0, 600))))
        second = store.commit(SERIES, Write("v", 1, some_bars(5, 1, price=7.0), EMPTY)).as_of
        store.commit(SERIES, Write("v", 1, some_bars(5, 1, price=8.0), EMPTY))
    data = (folder / "bars.sqlite").read_bytes()
    with EmbeddedStore(folder, read_only=True) as store:
        frame: pl.DataFrame = store.read(SERIES, minutes(5, 6), as_of=second).frame
    value = data.index(frame["ts"].to_physical().to_numpy().tobytes() + frame["open"].to_numpy().tobytes())
    (folder / "bars.sqlite").write_bytes(
        data[: value + 9] + bytes([data[value + 9] ^ 64]) + data[value + 10 :]
    )
    for repair in (False, True):
        with EmbeddedStore(folder) as store:
            if repair:
                assert [one.span for one in store.verify(repair=True).damage] == [minutes(5, 6)]
            found = store.read(SERIES, minutes(4, 7), as_of=second)
            assert found.frame["ts"].to_physical().to_list() == [4 * STEP, 6 * STEP]
            assert found.damaged == Coverage.of(minutes(5, 6))
            assert store.read(SERIES, minutes(5, 6)).frame.equals(some_bars(5, 1, price=8.0))
