"""Bars as a table of Delta Lake, for other tools: each export is one commit of it, and replaces its rows.

The archive are snapshots: times in Delta are of microseconds, and answers, facts and reports do not fit in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from qmtl.foundation.errors import InvalidRequestError, QmtlError, StoreError
from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.local_paths import without_password
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.version import __version__
from qmtl.runtime.io.snapshots.pieces import pieces
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.damage import corrupt

if TYPE_CHECKING:
    from qmtl.runtime.io.snapshots.writing import Progress

_ROWS = pa.schema(
    [
        pa.field("series", pa.string(), nullable=False),
        pa.field("ts", pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(name, pa.float64(), nullable=name == "volume") for name in VALUES),
    ]
)


@dataclass(frozen=True)
class DeltaWritten:
    """A commit of a table. version: its number there, from 0 on. as_of (ns): of the store."""

    location: str
    version: int
    as_of: int
    series: int
    rows: int


class _Batches:
    """The rows of some series, piece by piece; keeps what went wrong, which the library only quotes."""

    def __init__(
        self, store: Store, series: Sequence[SeriesId], span: Span, as_of: int, show: Progress
    ) -> None:
        self._asked = store, series, span, as_of
        self._show = show
        self.rows = 0
        self.failure: QmtlError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        store, names, span, as_of = self._asked
        try:
            for number, series in enumerate(names):
                self._show(f"writing {series}", number, len(names))
                for piece in pieces(store, series, span, as_of):
                    if piece.damaged:
                        raise corrupt(series, piece.damaged, what="nothing was written", span=piece.span)
                    if piece.count:
                        self.rows += piece.count
                        yield _batch(series, piece.frame)
            self._show("writing", len(names), len(names))
        except QmtlError as failure:
            self.failure = failure
            raise


def _batch(series: SeriesId, frame: pl.DataFrame) -> pa.RecordBatch:
    ts = stamps(frame)
    finer = np.flatnonzero(ts % 1_000)
    if finer.size:
        raise InvalidRequestError(
            f"the bar of {iso(int(ts[finer[0]]))} cannot be in a table of Delta",
            series=series,
            why="its times are of microseconds",
            next_step="write a snapshot without --format, which keeps nanoseconds",
        )
    table = frame.select(pl.lit(series.text).alias("series"), pl.col("ts").dt.cast_time_unit("us"), *VALUES)
    (batch,) = table.to_arrow().combine_chunks().cast(_ROWS).to_batches()
    return batch


def write_delta(
    store: Store, dest: str, series: Sequence[SeriesId], *, span: Span, as_of: int, progress: Progress
) -> DeltaWritten:
    """Write what a store holds at one commit as the next version of a table; its older versions stay.

    dest: a folder, or an address such as s3://bucket/path, which is reached as that of a snapshot is. Of
    those who write at the same time one has the version; the others have written nothing, and are told.

    Raises `StoreCorruptError` where bars are lost to damage, `InvalidRequestError` for bars between two
    microseconds, and `StoreError` where the table cannot be written.
    """
    import deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    shown = without_password(dest)
    batches = _Batches(store, series, span, as_of, progress)
    said = {"qmtl.as_of": str(as_of), "qmtl.store_id": store.store_id, "qmtl.version": __version__}
    try:
        deltalake.write_deltalake(
            dest,
            pa.RecordBatchReader.from_batches(_ROWS, iter(batches)),
            mode="overwrite",
            storage_options=_options(),
            commit_properties=deltalake.CommitProperties(custom_metadata=said),
        )
        history = deltalake.DeltaTable(dest, storage_options=_options()).history()
    except CommitFailedError as failure:
        raise StoreError(
            "somebody else has written the table at the same time",
            path=shown,
            why=_reason(failure),
            next_step="nothing of this export can be read; repeat it",
        ) from failure
    except (DeltaError, OSError, ValueError, pa.ArrowException) as failure:
        if batches.failure is not None:
            raise batches.failure from None
        raise StoreError(
            "the table of Delta cannot be written",
            path=shown,
            why=_reason(failure),
            next_step="check the folder or the bucket, its rights, and that no other table is there",
        ) from failure
    version = next(int(one["version"]) for one in history if all(one.get(k) == v for k, v in said.items()))
    return DeltaWritten(shown, version, as_of, len(series), batches.rows)


def _options() -> dict[str, str]:
    """Credentials and the rest are taken from the environment; without TLS it has to be said once more."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return {"allow_http": "true"} if endpoint.lower().startswith("http://") else {}


def _reason(failure: Exception) -> str:
    return without_password(" ".join(str(failure).split()))[:500]
