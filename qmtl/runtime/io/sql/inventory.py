"""What lies in a store: counts and sizes."""

from __future__ import annotations

import polars as pl

from qmtl.foundation.frames import BAR_SCHEMA, TS
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.commits import damaged_list, horizon_of, newest, series_named, series_number
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.store.values import SeriesInfo, StoreInfo


def list_series(connection: Connection) -> list[SeriesInfo]:
    """Every series, by name."""
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
            SeriesInfo(series_named(node), rows, span, chunks, hot_rows, size, answers, quarantined, reports)
        )
    return result


def info(connection: Connection, path: str, *, format: int, read_only: bool, size: int) -> StoreInfo:
    """The store as a whole."""
    each = list_series(connection)
    last = newest(connection)

    def one(sql: str) -> int:
        return int(connection.execute(sql, {"live": LIVE}).fetchone()[0])

    return StoreInfo(
        path=path,
        format=format,
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
        bytes=size,
        last_tx=last.tx,
        last_commit_at=last.as_of,
        horizon=horizon_of(connection),
    )


def quarantined(connection: Connection, series: SeriesId, span: Span) -> pl.DataFrame:
    """See `Quarantine.quarantined`."""
    found = connection.execute(
        "SELECT ts, open, high, low, close, volume, rule, source, checked_at,"
        f" {connection.dialect.sound['quarantine']} FROM quarantine"
        " WHERE series = ? AND ts >= ? AND ts < ? ORDER BY ts, tx, rule",
        (series_number(connection, series), *span),
    ).fetchall()
    if not all(is_sound for *_, is_sound in found):
        raise damaged_list("the quarantine")
    schema = {"ts": pl.Int64(), **dict(list(BAR_SCHEMA.items())[1:])}
    schema |= {"rule": pl.String(), "source": pl.String(), "checked_at": pl.Int64()}
    kept_as = connection.dialect.to_float
    rows = [(row[0], *map(kept_as, row[1:6]), *row[6:9]) for row in found]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col("ts", "checked_at").cast(TS))
