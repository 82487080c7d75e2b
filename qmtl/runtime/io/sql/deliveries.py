"""When live bars had reached us: beside their rows, and no part of them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from qmtl.foundation.frames import TS
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.difference import Difference


def replace(
    connection: Connection, number: int, tx: int, difference: Difference, delivered_at: Mapping[int, int]
) -> None:
    """End the deliveries of rows that get other values, and enter those of fresh rows."""
    old = difference.old.ts
    if old.size:
        known = connection.execute(
            "SELECT ts FROM delivery WHERE series = ? AND tx_to = ? AND ts BETWEEN ? AND ?",
            (number, LIVE, int(old[0]), int(old[-1])),
        ).fetchall()
        # A correction of thousands of bars meets few that came live.
        replaced = set(old.tolist()) if known else set()
        connection.queue(
            "UPDATE delivery SET tx_to = ? WHERE series = ? AND tx_to = ? AND ts = ?",
            [(tx, number, LIVE, ts) for (ts,) in known if ts in replaced],
        )
    if delivered_at:
        connection.queue(
            connection.dialect.insert_delivery,
            [
                (number, LIVE, ts, tx, delivered_at[ts])
                for ts in difference.fresh.ts.tolist()
                if ts in delivered_at
            ],
        )


def end(connection: Connection, number: int, tx: int, span: Span) -> None:
    """The rows of a span are there no more."""
    connection.execute(
        "UPDATE delivery SET tx_to = ? WHERE series = ? AND tx_to = ? AND ts >= ? AND ts < ?",
        (tx, number, LIVE, *span),
    )


def read(view: View, span: Span) -> pl.DataFrame:
    """See `History.deliveries`."""
    found = view.rows(
        "SELECT ts, delivered_at FROM delivery WHERE series = :series AND @at AND ts >= :low AND ts < :high"
        " ORDER BY ts",
        low=span.start,
        high=span.end,
    ).fetchall()
    frame = pl.DataFrame(found, schema={"ts": pl.Int64(), "delivered_at": pl.Int64()}, orient="row")
    return frame.with_columns(pl.all().cast(TS))
