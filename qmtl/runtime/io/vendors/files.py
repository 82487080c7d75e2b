"""Local files as a vendor: a file answers for its rows; a bar without a row proves nothing."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.local_paths import local_path
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.runtime.io.bar_files import ReadingOptions, read_bar_file
from qmtl.runtime.io.bar_files.identity import contradicts
from qmtl.runtime.io.bar_files.options import Reading
from qmtl.runtime.io.vendors.base import Page

# Rows of a page at most: what is committed together should stay small.
PAGE_ROWS = 32_768

_FIELD = re.compile(r"\{([^{}]*)\}")
_BRACE = re.compile(r"[{}]")
_FIELDS = ("venue", "symbol", "timeframe")


@dataclass(frozen=True)
class _Read:
    """A file as it was when it had this stamp: its bars sorted by `ts`, and what it answers for."""

    path: Path
    stamp: tuple[int, int]
    where: dict[str, str]
    frame: pl.DataFrame
    ts: Int64Array
    answered: Coverage


class FilesVendor:
    """Bars from files, one per series.

    path: where the file of a series lies: `data/{symbol}-{timeframe}.csv`, with `{venue}`, `{symbol}` and
        `{timeframe}` filled in. Each is percent-encoded, so that no symbol leads out of the folder.
        Without `{symbol}` one file holds several series, and `where` tells which rows are whose.
    holes: what a bar between the first and the last row of a file is, if it has none: "unknown", or
        "no_trade" if the files are known to be complete.
    options: how the files are to be read; see `ReadingOptions`. The values of `where` may hold the same
        fields as the path: `where={"ticker": "{symbol}"}`; there they are filled in as they are.

    The file that was read last is kept, and read again when it changes.
    """

    def __init__(
        self,
        path: str = "data/{symbol}-{timeframe}.csv",
        *,
        holes: Literal["unknown", "no_trade"] = "unknown",
        **options: Unpack[ReadingOptions],
    ) -> None:
        local_path(path, "the path of a files vendor")
        _check_fields(f"the path {path!r}", path)
        if holes not in ("unknown", "no_trade"):
            raise InvalidRequestError(
                f"holes {holes!r} are neither 'unknown' nor 'no_trade'", next_step="use one of them"
            )
        reading = Reading.of(options)  # a mistake in the options is reported now, not at the first request
        for value in reading.where.values():
            _check_fields(f"the condition {value!r}", value)
        self._pattern = path
        self._holes = holes
        self._options = options
        self._where = reading.where
        self._root = ""
        self._last: _Read | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For a vendor of another process, which may work in another folder."""
        return vars(self) | {"_root": self._root or os.getcwd(), "_last": None}

    @property
    def name(self) -> str:
        """How receipts and the store call this source."""
        return f"files:{self._pattern}"

    def path_of(self, series: SeriesId) -> Path:
        """Where the file of a series is looked for."""
        values = {
            # Letters, digits, '_', '.' and '-' only; dots alone would be a folder of their own.
            "venue": series.venue if series.venue.strip(".") else series.venue.replace(".", "%2E"),
            "symbol": series.encoded_symbol,
            "timeframe": str(series.timeframe),
        }
        # The home folder is the pattern's to name, never a symbol's.
        pattern = os.path.expanduser(self._pattern)
        return Path(self._root, _FIELD.sub(lambda match: values[match[1]], pattern))

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        """The part of the file within `span`, in order; what the file has no rows for stays unanswered.

        Raises `InvalidRequestError` if there is no file of the series, it cannot be read, or none of its rows
        is of the series.
        """
        file = await asyncio.to_thread(self._read, series)
        if span.is_empty:
            return
        for answered in file.answered.clip(span):
            for page in _cut(file, answered):
                yield page

    def _read(self, series: SeriesId) -> _Read:
        path = self.path_of(series)
        try:
            facts = path.stat()
        except FileNotFoundError:
            raise InvalidRequestError(
                f"there is no file {path}",
                series=series,
                why=f"the bars of a series are looked for in {self._pattern}",
                next_step="put the file there, or change the path of the vendor",
            ) from None
        stamp = (facts.st_mtime_ns, facts.st_size)
        last = self._last
        where = self._where_of(series)
        if last is not None and (last.path, last.stamp, last.where) == (path, stamp, where):
            return last
        options: ReadingOptions = {**self._options, "where": where}
        file = read_bar_file(path, timeframe=series.timeframe, **options)
        for column, value in file.identities:
            if contradicts(column, value, series):
                raise InvalidRequestError(
                    f"{file.name} holds no bars of the series",
                    series=series,
                    why=f"its column {column!r} says {value!r}",
                    next_step=f"say whose rows are meant with `where='{column}={{symbol}}'`, or "
                    f"`where='{column}=*'` if that column does not tell",
                )
        frame = file.frame.sort("ts", maintain_order=True)
        ts = stamps(frame)
        self._last = read = _Read(path, stamp, where, frame, ts, self._answered(series, ts))
        return read

    def _where_of(self, series: SeriesId) -> dict[str, str]:
        """The conditions that the rows of a series meet."""
        values = {"venue": series.venue, "symbol": series.symbol, "timeframe": str(series.timeframe)}
        return {
            column: _FIELD.sub(lambda match: values[match[1]], value) for column, value in self._where.items()
        }

    def _answered(self, series: SeriesId, ts: Int64Array) -> Coverage:
        timeframe = series.timeframe
        # A row off the grid answers for its instant alone: two of them must not cover a bar between.
        on_clock = (ts - timeframe.origin) % timeframe.step == 0
        cells = Coverage.from_arrays(ts, ts + np.where(on_clock, timeframe.step, 1))
        return Coverage.of(cells.hull) if self._holes == "no_trade" else cells


def _check_fields(what: str, text: str) -> None:
    unknown = [field for field in _FIELD.findall(text) if field not in _FIELDS]
    if unknown:
        raise InvalidRequestError(
            f"{what} has a field {{{unknown[0]}}} that is not known",
            next_step=f"use {', '.join(f'{{{field}}}' for field in _FIELDS)}",
        )
    if brace := _BRACE.search(_FIELD.sub("", text)):
        raise InvalidRequestError(
            f"{what} has a {brace[0]!r} that belongs to no field",
            why="a field stands between two braces, and braces stand for nothing else",
            next_step="write a field as {symbol}; take a lone brace out of names",
        )


def _cut(file: _Read, answered: Span) -> Iterator[Page]:
    """One run as pages of at most about `PAGE_ROWS` rows."""
    first, last = np.searchsorted(file.ts, answered).tolist()
    edges = [int(file.ts[place]) for place in range(first + PAGE_ROWS, last, PAGE_ROWS)]
    bounds = sorted({answered.start, *edges, answered.end})
    for start, end in itertools.pairwise(bounds):
        low, high = np.searchsorted(file.ts, (start, end)).tolist()
        yield Page(file.frame.slice(low, high - low), Span(start, end))
