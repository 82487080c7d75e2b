"""Bars and coverage records as the bytes of a Parquet file, and back; damaged bytes are never read."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.frames import BAR_SCHEMA, VALUES
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.snapshots.manifest import Part
from qmtl.runtime.io.snapshots.place import Place
from qmtl.runtime.io.store.values import CoverageRecord

# Rows of a row group: one month and a half of minutes, which readers may skip by its statistics.
GROUP_ROWS = 65_536

_STAMP = pa.timestamp("ns", "UTC")
_TEXT = pa.dictionary(pa.int32(), pa.string())
_BARS = pa.schema(
    [
        pa.field("series", _TEXT, nullable=False),
        pa.field("ts", _STAMP, nullable=False),
        *(pa.field(name, pa.float64(), nullable=name == "volume") for name in VALUES),
    ]
)
_RECORDS = pa.schema(
    [
        pa.field("start", _STAMP, nullable=False),
        pa.field("end", _STAMP, nullable=False),
        pa.field("outcome", _TEXT, nullable=False),
        pa.field("source", _TEXT, nullable=False),
        pa.field("checked_at", _STAMP, nullable=False),
        pa.field("expires_at", _STAMP),
    ]
)


def bars_to_bytes(series: SeriesId, frame: pl.DataFrame) -> bytes:
    """The file of some bars (BAR_SCHEMA, sorted), with the node id of the series as a first column."""
    places = pl.zeros(frame.height, pl.Int32, eager=True).to_arrow()
    names = pa.DictionaryArray.from_arrays(places, _texts([series.text]))
    columns = [names, *(frame[name].to_arrow().cast(_BARS.field(name).type) for name in BAR_SCHEMA)]
    return _to_bytes(pa.Table.from_arrays(columns, schema=_BARS), stamps=["ts"], texts=["series"])


def bars_of_bytes(data: bytes) -> pl.DataFrame:
    """The bars of a file, as BAR_SCHEMA."""
    # Not by polars: a year took 23 ms of processor time by it, and 19 by this.
    file = pq.ParquetFile(pa.BufferReader(data))
    frame = pl.from_arrow(file.read(columns=BAR_SCHEMA.names(), use_threads=False), rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    return frame


def records_to_bytes(records: Iterable[CoverageRecord]) -> bytes:
    """The file of coverage records, in their order."""
    columns: list[Any] = [list(column) for column in zip(*records, strict=True)]
    kinds = {"start": 0, "end": 1, "outcome": 2, "source": 3, "checked_at": 4, "expires_at": 5}
    arrays = [
        _texts(columns[place]).dictionary_encode()
        if name in ("outcome", "source")
        else pl.Series(columns[place], dtype=pl.Int64).to_arrow().cast(_STAMP)
        for name, place in kinds.items()
    ]
    table = pa.Table.from_arrays(arrays, schema=_RECORDS)
    return _to_bytes(table, stamps=["start", "end", "checked_at", "expires_at"], texts=["outcome", "source"])


def _texts(texts: list[str]) -> pa.StringArray:
    """By polars: whatever is not of Arrow already, pyarrow asks pandas about, and so loads it."""
    return pl.Series(texts, dtype=pl.String).to_arrow().cast(pa.string())


def records_of_bytes(data: bytes) -> list[CoverageRecord]:
    """The coverage records of a file."""
    frame = pl.read_parquet(BytesIO(data), columns=_RECORDS.names)
    physical = frame.with_columns(
        pl.col("start", "end", "checked_at", "expires_at").to_physical(),
        pl.col("outcome", "source").cast(pl.String),
    )
    return [CoverageRecord(*row) for row in physical.iter_rows()]


def read_part(place: Place, part: Part) -> bytes:
    """The bytes of a file. Raises `StoreCorruptError` where they are not those that its name promises."""
    data = place.get(part.name)
    if data is not None and len(data) == part.bytes and sha256(data).hexdigest() == part.sha256:
        return data
    if data is None:
        why = "it is not there"
    elif len(data) != part.bytes:
        why = f"it has {len(data):,} of {part.bytes:,} bytes"
    else:
        why = f"its SHA-256 is {sha256(data).hexdigest()}"
    raise StoreCorruptError(
        f"the file {part.name} of the snapshot is damaged",
        path=place.location,
        why=why,
        next_step="put a good copy of it in its place; `qmtl snapshot verify` names all that are damaged",
    )


def _to_bytes(table: pa.Table, *, stamps: list[str], texts: list[str]) -> bytes:
    # Not into a file of Python's, each write to which would wait for its lock.
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=GROUP_ROWS,
        # Every reader is quick with it. Files of zstd are a third smaller, and take half as long again.
        compression="lz4",
        use_dictionary=texts,
        column_encoding=dict.fromkeys(stamps, "DELTA_BINARY_PACKED"),
        write_statistics=True,
        # Without it, other readers see a text where we have a dictionary.
        store_schema=False,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
