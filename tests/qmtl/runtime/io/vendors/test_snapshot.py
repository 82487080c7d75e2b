"""A snapshot as a vendor keeps the promises of every vendor, and answers what its store had been answered."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import qmtl
from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.numbering import read_manifest
from qmtl.runtime.io.snapshots.pieces import SEGMENT_STEPS
from qmtl.runtime.io.snapshots.writing import write_snapshot
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.base import Page, Vendor
from qmtl.runtime.io.vendors.snapshot import PAGE_ROWS, SnapshotVendor
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.vendor_suite import Known, VendorSuite

SERIES = SeriesId.parse("ohlcv:mine:BTC/USDT:1m")
# The end of one segment and the start of the next.
BORDER = SEGMENT_STEPS * MINUTE * (1 + to_ns("2024-01-01") // (SEGMENT_STEPS * MINUTE))
WHOLE = Span(BORDER - 250 * MINUTE, BORDER + 250 * MINUTE)


def with_holes() -> pl.DataFrame:
    """500 minutes, of which some have no row, those around the border of two segments among them."""
    minute = (stamps(bars := synthetic_bars(SERIES, WHOLE)) - WHOLE.start) // MINUTE
    return bars.filter(~pl.Series(np.isin(minute, [3, 4, 5, 249, 250]) | ((minute >= 100) & (minute < 200))))


def snapshot(folder: Path, *writes: Write) -> FolderPlace:
    store, place = MemoryStore(), FolderPlace(folder)
    for write in writes:
        store.commit(SERIES, write)
    write_snapshot(store, place, [SERIES], clock=SystemClock())
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    snapshot(tmp_path, Write("v", WHOLE.end + HOUR, with_holes(), answered=Coverage.of(WHOLE)))
    return tmp_path


class TestSnapshot(VendorSuite):
    @pytest.fixture
    def known(self) -> Known:
        return Known(SERIES, WHOLE, with_holes(), SeriesId.parse("ohlcv:mine:ETH/USDT:1m"))

    @pytest.fixture
    def new_vendor(self, folder: Path) -> Callable[[], Vendor]:
        return lambda: SnapshotVendor(folder)


def collect(vendor: SnapshotVendor, span: Span) -> list[Page]:
    async def gather() -> list[Page]:
        return [page async for page in vendor.pages(SERIES, span)]

    return asyncio.run(gather())


def test_beyond_what_was_answered_nothing_is(folder):
    wide = Span(WHOLE.start - HOUR, WHOLE.end + HOUR)
    pages = collect(SnapshotVendor(folder), wide)
    assert Coverage(page.answered for page in pages) == Coverage.of(WHOLE)
    assert collect(SnapshotVendor(folder), Span(WHOLE.end, WHOLE.end + HOUR)) == []


def test_absences_and_rows_that_nobody_answered_for(tmp_path):
    absent, row = Span(WHOLE.end, WHOLE.end + HOUR), Span(WHOLE.start, WHOLE.start + MINUTE)
    bars = synthetic_bars(SERIES, row)
    snapshot(
        tmp_path,
        Write(
            "v", absent.end, answered=Coverage.of(absent), absent=Coverage.of(absent), absent_until=absent.end
        ),
        Write("v", absent.end, bars),
    )
    pages = collect(SnapshotVendor(tmp_path), Span(WHOLE.start, absent.end))
    assert [(page.answered, page.frame.height) for page in pages] == [(row, 1), (absent, 0)]
    assert pages[1].absent == Coverage.of(absent)


def test_pages_are_bounded(tmp_path):
    span = Span(BORDER, BORDER + (2 * PAGE_ROWS + 7) * MINUTE)
    frame = synthetic_bars(SERIES, span)
    snapshot(tmp_path, Write("v", span.end, frame, answered=Coverage.of(span)))
    pages = collect(SnapshotVendor(tmp_path), span)
    assert [page.frame.height for page in pages] == [PAGE_ROWS, PAGE_ROWS, 7]
    assert pl.concat([page.frame for page in pages]).equals(frame)


def test_a_number_holds_and_the_newest_is_that_of_the_first_request(folder, tmp_path):
    newest, first = SnapshotVendor(folder), SnapshotVendor(folder, number=1)
    assert len(collect(newest, WHOLE)) > 0
    less = Span(WHOLE.start, WHOLE.start + MINUTE)
    snapshot(folder, Write("v", WHOLE.end, synthetic_bars(SERIES, less), answered=Coverage.of(less)))
    for vendor in (newest, first):
        assert Coverage(page.answered for page in collect(vendor, WHOLE)) == Coverage.of(WHOLE)
    assert [page.answered for page in collect(SnapshotVendor(folder), WHOLE)] == [less]
    with pytest.raises(InvalidRequestError, match="no snapshot 7"):
        collect(SnapshotVendor(folder, number=7), WHOLE)
    with pytest.raises(InvalidRequestError, match="none of a snapshot"):
        SnapshotVendor(folder, number=0)


def test_one_flipped_byte_is_an_error_of_the_source(folder):
    place = FolderPlace(folder)
    part = read_manifest(place).series[0].segments[0].part
    data = place.get(part.name)
    place.put(part.name, data[:99] + bytes([data[99] ^ 1]) + data[100:])
    with pytest.raises(SourceUnavailableError, match="is damaged") as raised:
        collect(SnapshotVendor(folder), WHOLE)
    assert raised.value.source == f"snapshot:{folder}"


def test_it_travels_to_other_processes(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    travelled = pickle.dumps(SnapshotVendor(folder.name, number=1))
    monkeypatch.chdir("/")
    again = pickle.loads(travelled)
    assert again.name.endswith(f"{folder}#1")
    assert len(collect(again, WHOLE)) > 0


def test_a_fetch_from_it_is_whole(folder, tmp_path, registry):
    with qmtl.SeamlessDataProvider(
        tmp_path / "store", SnapshotVendor(folder), metrics_registry=registry
    ) as provider:
        result = provider.fetch(SERIES, WHOLE.start, WHOLE.end, partial_ok=True)
    assert result.frame.equals(with_holes())
    assert result.coverage.unknown == qmtl.Coverage()
    assert [one.source for one in result.receipt.served] == [f"snapshot:{folder}"]
