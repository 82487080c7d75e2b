"""A snapshot as a vendor: it answers what the store that it was taken of had been answered."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError, StoreError
from qmtl.foundation.frames import empty_bars, stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.folder import FolderPlace
from qmtl.runtime.io.snapshots.manifest import Manifest, Segment, SeriesEntry
from qmtl.runtime.io.snapshots.numbering import read_manifest
from qmtl.runtime.io.snapshots.reading import read_segment, records_of, segments_within
from qmtl.runtime.io.store.values import CoverageRecord, Outcome
from qmtl.runtime.io.vendors.base import Page

# Rows of a page at most: what is committed together should stay small.
PAGE_ROWS = 32_768


class SnapshotVendor:
    """Bars from a snapshot, read where it lies.

    path: the folder, or the address of an object store such as s3://bucket/path. number: of the snapshot;
        left out, the newest at the time of the first request, for as long as the vendor lives.

    What the snapshot knows as answered is answered, and what it knows as absent is absent, whether that had
    expired or not; all else stays unknown. Each file is checked against its checksum as it is read.
    """

    def __init__(self, path: str | PathLike[str], *, number: int | None = None) -> None:
        if number is not None and (type(number) is not int or number < 1):
            raise InvalidRequestError(f"`number=` {number!r} is none of a snapshot", next_step="count from 1")
        self._path = os.fspath(path)
        self._number = number
        self._place = place_named(path)
        self._manifest: Manifest | None = None
        self._answers: tuple[SeriesEntry, Coverage, Coverage] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For a vendor of another process, which may work in another folder."""
        is_folder = isinstance(self._place, FolderPlace)
        path = os.path.abspath(self._place.location) if is_folder else self._path
        return partial(SnapshotVendor, number=self._number), (path,)

    @property
    def name(self) -> str:
        """How receipts and the store call this source."""
        return f"snapshot:{self._path}" + ("" if self._number is None else f"#{self._number}")

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """The part of the snapshot within `span`, in order.

        Raises `InvalidRequestError` for a series that it does not have, and `SourceUnavailableError` where it
        cannot be read or is damaged.
        """
        entry, answered, absent = await asyncio.to_thread(self._known, series)
        if span.is_empty:
            return
        at = span.start
        for segment in segments_within(entry, span):
            part = Span(at, min(segment.span.end, span.end))
            frame = await asyncio.to_thread(self._read, segment)
            for page in _pages(series, frame, part, answered, absent):
                yield page
            at = part.end
        for page in _pages(series, empty_bars(), Span(at, span.end), answered, absent):
            yield page

    def _known(self, series: SeriesId) -> tuple[SeriesEntry, Coverage, Coverage]:
        """What the snapshot says of a series; what was answered, and what was absent."""
        last = self._answers
        if last is not None and last[0].series == series:
            return last
        with self._unavailable():
            manifest = self._manifest or read_manifest(self._place, self._number)
            self._manifest = manifest
            entry = manifest.entry(series)
            records = records_of(self._place, entry)
        self._answers = known = (entry, _spans(records, "answered"), _spans(records, "absent"))
        return known

    def _read(self, segment: Segment) -> pl.DataFrame:
        with self._unavailable():
            return read_segment(self._place, segment)

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            raise SourceUnavailableError(
                error.what, source=self.name, span=error.span, why=error.why, next_step=error.next_step
            ) from error


def _spans(records: Iterable[CoverageRecord], outcome: Outcome) -> Coverage:
    return Coverage((one.start, one.end) for one in records if one.outcome == outcome)


def _pages(
    series: SeriesId, frame: pl.DataFrame, part: Span, answered: Coverage, absent: Coverage
) -> Iterator[Page]:
    """One part of a request, as pages of at most about `PAGE_ROWS` rows."""
    ts = stamps(frame)
    first, last = np.searchsorted(ts, part).tolist()
    mine = ts[first:last]
    timeframe = series.timeframe
    # A row that nobody answered for answers for itself; one off the clock for its instant alone.
    on_clock = (mine - timeframe.origin) % timeframe.step == 0
    cells = Coverage.from_arrays(mine, mine + np.where(on_clock, timeframe.step, 1)) - answered
    for run in (answered | absent | cells).clip(part):
        low, high = np.searchsorted(ts, run).tolist()
        edges = (int(ts[place]) for place in range(low + PAGE_ROWS, high, PAGE_ROWS))
        for start, end in itertools.pairwise(sorted({run.start, *edges, run.end})):
            rows = np.searchsorted(ts, (start, end)).tolist()
            yield Page(
                frame.slice(rows[0], rows[1] - rows[0]), Span(start, end), absent.clip(Span(start, end))
            )
