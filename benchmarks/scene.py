"""The bars, stores and raw files that cases work on; all made up, the same on every machine."""

from __future__ import annotations

import mmap
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing.bars import synthetic_bars

SERIES = SeriesId.parse("ohlcv:bench:BTC/USDT:1m")
YEAR_START = to_ns("2023-01-01")
# Far enough back for ten million minutes to end before 2024.
MANY_START = to_ns("2004-01-01")
SOURCE = "bench"


def series_number(number: int) -> SeriesId:
    """One of several series."""
    return SeriesId.parse(f"ohlcv:bench:COIN{number}/USDT:1m")


def span_of(rows: int, start: int = YEAR_START) -> Span:
    """The span of so many minutes."""
    return Span(start, start + rows * MINUTE)


def year_of_bars(rows: int, series: SeriesId = SERIES) -> pl.DataFrame:
    """Minute bars from 2023-01-01: two decimals in prices, three in volumes, none missing."""
    return synthetic_bars(series, span_of(rows))


def many_bars(rows: int) -> pl.DataFrame:
    """Minute bars from 2004-01-01, none missing."""
    return synthetic_bars(SERIES, span_of(rows, MANY_START))


def write_of(frame: pl.DataFrame) -> Write:
    """A write of rows without a hole: the source has answered from the first to the last."""
    ts = stamps(frame)
    answered = Coverage.of(Span(int(ts[0]), int(ts[-1]) + MINUTE))
    return Write(source=SOURCE, checked_at=int(ts[-1]) + MINUTE, frame=frame, answered=answered)


def fill_store(folder: Path, frame: pl.DataFrame, *, per_commit: int = 525_600) -> None:
    """A store that holds the frame under `SERIES`."""
    with EmbeddedStore(folder) as store:
        for first in range(0, frame.height, per_commit):
            store.commit(SERIES, write_of(frame.slice(first, per_commit)))


class MemoryVendor:
    """Answers from a frame without a hole, in pages that are slices of it."""

    def __init__(self, frame: pl.DataFrame, *, page_rows: int = 10_000) -> None:
        self._frame = frame
        self._start = int(stamps(frame)[0])
        self._page_rows = page_rows

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        for part in self._parts(span):
            first = (part.start - self._start) // MINUTE
            yield Page(self._frame.slice(first, part.length // MINUTE), part)

    def _parts(self, span: Span) -> Iterator[Span]:
        step = self._page_rows * MINUTE
        for start in range(span.start, span.end, step):
            yield Span(start, min(start + step, span.end))


def raw_bytes(frame: pl.DataFrame) -> bytes:
    """The columns as they lie in memory, one after the other: 48 bytes a row."""
    return b"".join(frame[name].to_physical().to_numpy().tobytes() for name in frame.columns)


def write_durably(path: Path, content: bytes) -> None:
    """A bare write, and one fdatasync."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        sync(file.fileno())


def sync(descriptor: int) -> None:
    """fdatasync where there is one (macOS has only fsync)."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def map_and_touch(path: Path, offset: int = 0, length: int = 0) -> int:
    """Map a raw file, and read every word of `length` bytes (all of it, if 0) from `offset`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        words = np.frombuffer(mapped, np.int64, count=(length or len(mapped)) // 8, offset=offset)
        total = int(words.sum())
        del words  # a map cannot be closed while an array looks into it
    return total


def folder_bytes(folder: Path) -> int:
    """How much the files of a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
