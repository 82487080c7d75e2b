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
from qmtl.runtime.io.questdb.table import BarTable, between, bounds, having, quoted
from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.codec import are_proven
from qmtl.runtime.io.store.rows import Rows

# What the columns of bars are in an answer.
COLUMNS = {"ts": pa.timestamp("ns", tz="UTC"), **dict.fromkeys(VALUES, pa.float64())}

# So many come quicker by themselves than as a file. Milliseconds until they are in their place, the server on
# the same machine, by wire and by export: 512 rows 0.2 and 2.0, 1,536 0.3 and 1.9, 4,096 0.7 and 4.2, 8,192
# 2.7 and 4.7; of 16,384 both take as long, and of 65,536 the export a third.
_FEW_ROWS = 8_192

# From so many rows on it is worth a question how many others lie between them. Up to so many times the rows
# that are wanted come as quickly as those alone.
_MANY_ROWS, _OTHERS = 50_000, 1.4

# So many numbers of chunks are values of one text, which the server then knows; more are written into it.
_NUMBERS_GIVEN = 3

_Named = tuple[SeriesId, Chunk]


def asked(table: BarTable, chunks: Sequence[_Named]) -> pa.Table:
    """The rows of chunks, not too many at once; with the number of each where they are of several series.

    Of several series the server is asked by numbers alone: a day of 200 of them took it 74 ms so, and 173 ms
    with their names among the conditions and the columns. Where few others lie between, all rows of the time
    come, and nobody compares numbers, which took as long as half of the rest. Of one series, its name spares
    comparing them.
    """
    names = {series.text for series, _ in chunks}
    some = [chunk for _, chunk in chunks]
    wanted, columns = having(some), ["ts", *VALUES]
    if len(names) == 1:
        wanted = f"series IN ({quoted(names.pop())}) AND {wanted}"
    else:
        columns = ["tx", *columns]
        rows = sum(chunk.rows for chunk in some)
        if rows >= _MANY_ROWS and table.size_between(some) <= _OTHERS * rows:
            wanted = between(some)
    return table.server.export(f"SELECT {', '.join(columns)} FROM {table.name} WHERE {wanted}")


def put(found: pa.Table, chunks: Sequence[_Named], target: Rows) -> bool:
    """Put the rows of chunks into `target`; False where any of them is not proven by its checksum."""
    if any(found.schema.field(name).type != kind for name, kind in COLUMNS.items()):
        return False
    columns = [found["ts"].cast(pa.int64()), *(found[name] for name in VALUES)]
    if "tx" in found.schema.names:
        if found.schema.field("tx").type != pa.int64():
            return False
        places = _places(found["tx"], columns[0].to_numpy(), chunks)
        if len(places) != target.size:
            return False
        for room, column in zip(target, columns, strict=True):
            # No place is out of reach: to be told of one would take a copy, and half as long again.
            np.take(column.to_numpy(), places, out=room, mode="clip")
    else:
        if found.num_rows != target.size:
            return False
        for room, column in zip(target, columns, strict=True):
            _pour(column, room)
    return are_proven((chunk[1:] for _, chunk in chunks), target)


def pour_few(table: BarTable, chunks: Sequence[_Named], target: Rows) -> bool:
    """Put the rows of chunks into `target` the quickest way for a few; False where it is none, or failed."""
    if target.size > _FEW_ROWS or len({series for series, _ in chunks}) > 1:
        return False
    some = [chunk for _, chunk in chunks]
    numbers = list(dict.fromkeys(chunk.id for chunk in some))
    values: list[str | int] = [chunks[0][0].text]
    if len(numbers) > _NUMBERS_GIVEN:
        wanted = having(some)
    else:
        either = " OR ".join(f"tx = ${4 + place}" for place in range(len(numbers)))
        wanted = f"ts BETWEEN $2 AND $3 AND ({either})"
        values += [*bounds(some), *numbers]
    sql = f"SELECT ts::long, {', '.join(VALUES)} FROM {table.name} WHERE series = $1 AND {wanted}"
    return table.server.pour(sql, values, target) and are_proven((chunk[1:] for chunk in some), target)


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


def _places(
    tx: pa.ChunkedArray, ts: npt.NDArray[np.int64], chunks: Sequence[_Named]
) -> npt.NDArray[np.int64]:
    """Where the rows of each chunk stand: of each number they come in order of time."""
    coded = tx.dictionary_encode().unify_dictionaries().combine_chunks()
    codes_of = {number: code for code, number in enumerate(coded.dictionary.to_pylist())}
    # As many as were asked for, and perhaps others; few are sorted in one pass.
    codes = coded.indices.to_numpy().astype(np.uint16 if len(codes_of) <= 1 << 16 else np.int32)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(codes_of)))
    sorted_ts = ts[order]
    parts = []
    for number, some in groupby(chunks, key=lambda named: named[1].id):
        code = codes_of.get(number)
        if code is None:
            return np.empty(0, dtype=np.int64)
        first, last = int(ends[code - 1]) if code else 0, int(ends[code])
        bounds = [stamp for _, chunk in some for stamp in (chunk.first_ts, chunk.last_ts + 1)]
        cuts = first + np.searchsorted(sorted_ts[first:last], bounds)
        parts += [order[low:high] for low, high in cuts.reshape(-1, 2).tolist()]
    return np.concatenate(parts)
