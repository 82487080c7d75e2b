"""Where the rows of an answer belong, if they are those that the catalog names and no others.

Nothing is sorted out here: whoever finds that an answer is not what it should be asks once more, with the
number of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qmtl.foundation.frames import VALUES
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.questdb.table import BarTable, having, quoted
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import is_proven
from qmtl.runtime.io.store.rows import Rows

# What the columns of bars are in an answer.
COLUMNS = {"ts": pa.timestamp("ns", tz="UTC"), **dict.fromkeys(VALUES, pa.float64())}

_Named = tuple[SeriesId, Chunk]


def asked(table: BarTable, chunks: Sequence[_Named]) -> pa.Table:
    """The rows of chunks, not too many at once; with the series of each where there are several."""
    names = sorted({series.text for series, _ in chunks})
    symbols = ["series"] if len(names) > 1 else []
    return table.server.export(
        f"SELECT {', '.join([*symbols, 'ts', *VALUES])} FROM {table.name}"
        f" WHERE series IN ({', '.join(map(quoted, names))}) AND {having([chunk for _, chunk in chunks])}"
    )


def put(found: pa.Table, chunks: Sequence[_Named], target: Rows) -> bool:
    """Put the rows of chunks into `target`; False where any of them is not proven by its checksum."""
    if any(found.schema.field(name).type != kind for name, kind in COLUMNS.items()):
        return False
    columns = [found["ts"].cast(pa.int64()), *(found[name] for name in VALUES)]
    if "series" in found.schema.names:
        places = _places(found, columns[0].to_numpy(), chunks)
        if len(places) != target.size:
            return False
        for room, column in zip(target, columns, strict=True):
            np.take(column.to_numpy(), places, out=room)
    else:
        if found.num_rows != target.size:
            return False
        for room, column in zip(target, columns, strict=True):
            _pour(column, room)
    ends = accumulate(chunk.rows for _, chunk in chunks)
    return all(
        is_proven(chunk[1:], target.cut(end - chunk.rows, end))
        for (_, chunk), end in zip(chunks, ends, strict=True)
    )


def missing_volumes(chunks: Sequence[Chunk], rows: Rows) -> list[bool]:
    """Of each chunk whether it has missing volumes."""
    missing = np.isnan(rows.volume)
    if not missing.any():
        return [False] * len(chunks)
    ends = accumulate(chunk.rows for chunk in chunks)
    return [bool(missing[end - chunk.rows : end].any()) for chunk, end in zip(chunks, ends, strict=True)]


def _pour(column: pa.ChunkedArray, room: npt.NDArray[np.generic]) -> None:
    at = 0
    for piece in column.chunks:
        room[at : at + len(piece)] = piece.to_numpy(zero_copy_only=False)  # a missing one is NaN
        at += len(piece)


def _places(found: pa.Table, ts: npt.NDArray[np.int64], chunks: Sequence[_Named]) -> npt.NDArray[np.int64]:
    """Where the rows of each chunk stand: of each series they come in order of time."""
    series = found["series"].dictionary_encode().unify_dictionaries().combine_chunks()
    numbers = {name: number for number, name in enumerate(series.dictionary.to_pylist())}
    codes = series.indices.to_numpy().astype(np.uint16)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(numbers)))
    sorted_ts = ts[order]
    parts = []
    for name, some in groupby(chunks, key=lambda named: named[0].text):
        number = numbers.get(name)
        if number is None:
            return np.empty(0, dtype=np.int64)
        first, last = int(ends[number - 1]) if number else 0, int(ends[number])
        bounds = [stamp for _, chunk in some for stamp in (chunk.first_ts, chunk.last_ts + 1)]
        cuts = first + np.searchsorted(sorted_ts[first:last], bounds)
        parts += [order[low:high] for low, high in cuts.reshape(-1, 2).tolist()]
    return np.concatenate(parts)
