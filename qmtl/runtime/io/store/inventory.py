"""What lies in a store: counts and sizes."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from qmtl.foundation.frames import BAR_SCHEMA, TS
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store.reader import last_commit, series_number
from qmtl.runtime.io.store.schema import LIVE, format_of


@dataclass(frozen=True)
class SeriesInfo:
    """One series as it is now. `span` is from its first row to its last (their stamps), None without rows.

    rows: bars. hot_rows: those kept apart from chunks. bytes: of its current chunks, packed.
    """

    series: SeriesId
    rows: int
    span: Span | None
    chunks: int
    hot_rows: int
    bytes: int
    answers: int
    quarantined: int
    reports: int


@dataclass(frozen=True)
class StoreInfo:
    """A store as a whole. Counts of rows, chunks and hot rows are of now, `old_versions` of the past.

    bytes: of all its files. last_tx, last_commit_at (ns): the newest commit, 0 if none. horizon (ns): the
    earliest `as_of`, 0 if history is whole. lost: ranges that damage has taken, neither healed nor
    acknowledged.
    """

    path: str
    format: int
    read_only: bool
    series: int
    rows: int
    chunks: int
    hot_rows: int
    old_versions: int
    quarantined: int
    reports: int
    lost: int
    bytes: int
    last_tx: int
    last_commit_at: int
    horizon: int


def list_series(connection: sqlite3.Connection) -> list[SeriesInfo]:
    """Every series, by name."""
    connection.execute("BEGIN")
    found = connection.execute(
        """
        SELECT node, coalesce(c.rows, 0) + coalesce(h.rows - h.over, 0), c.first, c.last, h.first, h.last,
               coalesce(c.chunks, 0), coalesce(h.rows, 0), coalesce(c.bytes, 0),
               (SELECT count(*) FROM answer WHERE series = s.id AND tx_to = ?1),
               (SELECT count(*) FROM quarantine WHERE series = s.id),
               (SELECT count(*) FROM report WHERE series = s.id)
        FROM series AS s
        LEFT JOIN (SELECT series, sum(rows) AS rows, min(first_ts) AS first, max(last_ts) AS last,
                          count(*) AS chunks, sum(bytes) AS bytes
                   FROM chunk WHERE tx_to = ?1 GROUP BY series) AS c ON c.series = s.id
        LEFT JOIN (SELECT series, count(*) AS rows, sum(over) AS over, min(ts) AS first, max(ts) AS last
                   FROM hot WHERE tx_to = ?1 GROUP BY series) AS h ON h.series = s.id
        ORDER BY node
        """,
        (LIVE,),
    )
    result = []
    for node, rows, *bounds, chunks, hot_rows, size, answers, quarantined, reports in found:
        known = [ts for ts in bounds if ts is not None]
        span = Span(min(known), max(known)) if known else None
        result.append(
            SeriesInfo(
                SeriesId.parse(node), rows, span, chunks, hot_rows, size, answers, quarantined, reports
            )
        )
    return result


def info(connection: sqlite3.Connection, folder: Path, *, read_only: bool) -> StoreInfo:
    """The store as a whole."""
    each = list_series(connection)

    last_tx, last_at = last_commit(connection)

    def one(sql: str) -> int:
        return int(connection.execute(sql, {"live": LIVE}).fetchone()[0])

    return StoreInfo(
        path=str(folder),
        format=format_of(connection),
        read_only=read_only,
        series=len(each),
        rows=sum(s.rows for s in each),
        chunks=sum(s.chunks for s in each),
        hot_rows=sum(s.hot_rows for s in each),
        old_versions=sum(
            one(f"SELECT count(*) FROM {table} WHERE tx_to < :live") for table in ("chunk", "hot", "answer")
        ),
        quarantined=sum(s.quarantined for s in each),
        reports=sum(s.reports for s in each),
        lost=one("SELECT count(*) FROM lost WHERE closed IS NULL"),
        bytes=size_of(folder),
        last_tx=last_tx,
        last_commit_at=last_at,
        horizon=one("SELECT value FROM setting WHERE name = 'horizon'"),
    )


def size_of(folder: Path) -> int:
    """Bytes of the files in a directory."""
    total = 0
    for entry in folder.iterdir():
        # The log comes and goes with the processes that use the store.
        with suppress(FileNotFoundError):
            total += entry.stat().st_size
    return total


def quarantined(connection: sqlite3.Connection, series: SeriesId, span: Span) -> pl.DataFrame:
    """See `Store.quarantined`."""
    found = connection.execute(
        "SELECT ts, open, high, low, close, volume, rule, source, checked_at FROM quarantine"
        " WHERE series = ? AND ts >= ? AND ts < ? ORDER BY ts, rowid",
        (series_number(connection, series), *span),
    ).fetchall()
    schema = {"ts": pl.Int64(), **dict(list(BAR_SCHEMA.items())[1:])}
    schema |= {"rule": pl.String(), "source": pl.String(), "checked_at": pl.Int64()}
    rows = [tuple(float("nan") if value == "nan" else value for value in row) for row in found]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col("ts", "checked_at").cast(TS))
