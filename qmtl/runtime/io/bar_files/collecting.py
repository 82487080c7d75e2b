"""Rows out of a lazy table, with progress, and with the line where a scan stopped."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.tables import Table

OnRead = Callable[[int, int], None]


def collected(table: Table, lazy: pl.LazyFrame, on_progress: OnRead | None = None) -> pl.DataFrame:
    """Raises `InvalidRequestError` for a file that its library cannot read."""
    try:
        if on_progress is None:
            return lazy.collect(engine="streaming")
        parts, done, total = [], 0, table.count()
        for part in lazy.collect_batches():
            parts.append(part)
            done += part.height
            on_progress(min(done, total), total)
        return pl.concat(parts)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # a reader's panic: damage
        table.explain()
        raise InvalidRequestError(
            f"{table.name} cannot be read", why=str(error).splitlines()[0], next_step="check the file"
        ) from error
