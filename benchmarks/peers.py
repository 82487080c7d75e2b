"""The same raw work by DuckDB, and by polars on Parquet files: no checks, no coverage, no receipt."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from qmtl.foundation.timeline import Span

_COLUMNS = "ts, open, high, low, close, volume"


class Duck:
    """Bars of any series in one DuckDB table, with `ts` as BIGINT nanoseconds, in order of time."""

    def __init__(self, path: Path) -> None:
        import duckdb

        self.path = path
        self.connection: Any = duckdb.connect(str(path))
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS bars (series VARCHAR, ts BIGINT,"
            " open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE)"
        )

    def insert(self, frame: pl.DataFrame, series: str = "bench") -> None:
        """One durable transaction."""
        self.connection.register("fresh", _plain(frame).to_arrow())
        self.connection.execute(f"INSERT INTO bars SELECT '{series}', {_COLUMNS} FROM fresh")
        self.connection.unregister("fresh")

    def insert_many(self, frame: pl.DataFrame) -> None:
        """Rows of several series, with the column `series`, in one durable transaction."""
        self.connection.register("fresh", _plain(frame).to_arrow())
        self.connection.execute(f"INSERT INTO bars SELECT series, {_COLUMNS} FROM fresh")
        self.connection.unregister("fresh")

    def append(self, row: tuple[Any, ...], series: str = "bench") -> None:
        """One row (ts in ns, then the values), one durable transaction."""
        self.connection.execute("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", (series, *row))

    def replace(self, frame: pl.DataFrame, span: Span, series: str = "bench") -> None:
        """The rows of a span make room for others, in one durable transaction."""
        self.connection.execute("BEGIN")
        self.connection.execute(
            "DELETE FROM bars WHERE series = ? AND ts >= ? AND ts < ?", (series, span.start, span.end)
        )
        self.insert(frame, series)
        self.connection.execute("COMMIT")

    def read(self, span: Span, series: str = "bench") -> pl.DataFrame:
        """The rows of a span, as a frame."""
        found = self.connection.sql(
            f"SELECT {_COLUMNS} FROM bars WHERE series = ? AND ts >= ? AND ts < ? ORDER BY ts",
            params=(series, span.start, span.end),
        )
        return pl.DataFrame(found.pl())

    def read_many(self, span: Span) -> pl.DataFrame:
        """The rows of a span of all series, by series and time, as a frame."""
        found = self.connection.sql(
            f"SELECT series, {_COLUMNS} FROM bars WHERE ts >= ? AND ts < ? ORDER BY series, ts",
            params=tuple(span),
        )
        return pl.DataFrame(found.pl())

    def checkpoint(self) -> None:
        """Move the log into the file."""
        self.connection.execute("CHECKPOINT")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """A Parquet file (zstd, polars' own defaults), put in place of an older one, durable."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        frame.write_parquet(file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_parquet(path: Path, span: Span) -> pl.DataFrame:
    """The rows of a span, found by the statistics of the row groups."""
    return _within(path, span).collect()


def read_parquet_of_many(folder: Path, span: Span) -> pl.DataFrame:
    """The rows of a span of all series in the files of a folder, by series and time."""
    return _within(folder, span).sort("series", "ts").collect()


def _within(path: Path, span: Span) -> pl.LazyFrame:
    from qmtl.foundation.frames import TS

    start, end = (pl.lit(bound).cast(TS) for bound in span)
    return pl.scan_parquet(path).filter(pl.col("ts") >= start, pl.col("ts") < end)


def upsert_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Read a file, lay newer rows over it, and write it anew."""
    stored = pl.read_parquet(path)
    write_parquet(pl.concat([stored.join(frame.select("ts"), on="ts", how="anti"), frame]).sort("ts"), path)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("ts").to_physical())
