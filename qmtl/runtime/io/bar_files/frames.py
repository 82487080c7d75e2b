"""Frames of other libraries as polars frames, with their index as pandas writes it into files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError

if TYPE_CHECKING:
    import pyarrow as pa


def polars_frame(frame: Any) -> pl.DataFrame:
    """Of a polars (also lazy), pandas or Arrow table. Raises `InvalidRequestError` for anything else.

    An index of pandas becomes a column, under its name or as `__index_level_0__`; a mere numbering does not.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    import pyarrow as pa  # it takes as long to load as polars, and the import of a file has no use for it

    try:
        table = frame if isinstance(frame, pa.Table) else _arrow(frame)
        converted = pl.from_arrow(table)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequestError(
            f"a {type(frame).__name__} cannot be read as bars",
            why=str(error).splitlines()[0],
            next_step="hand over a frame of polars or pandas, or an Arrow table",
        ) from error
    assert isinstance(converted, pl.DataFrame)  # of a table; a single array would be a series
    return converted


def _arrow(frame: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    if isinstance(frame, pa.RecordBatchReader):
        return frame.read_all()
    return pa.Table.from_pandas(frame)
