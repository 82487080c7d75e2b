"""The commits of a series, and what changed between two of them."""

from __future__ import annotations

import sqlite3

import numpy as np
import polars as pl

from qmtl.foundation.frames import TS, VALUES
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.store.base import CommitInfo
from qmtl.runtime.io.store.reader import View, assemble, commit_at, series_number
from qmtl.runtime.io.store.rows import Rows, find, same_values
from qmtl.runtime.io.store.schema import FORMAT_WITH_REASONS, LIVE, format_of
from qmtl.runtime.io.store.windows import FULL

_NAN = float("nan")


def commits(connection: sqlite3.Connection, series: SeriesId) -> list[CommitInfo]:
    """See `Store.commits`: all since the retention horizon. What a pin keeps beyond it, the pin names."""
    connection.execute("BEGIN")
    has_reasons = format_of(connection) >= FORMAT_WITH_REASONS
    reason = "(SELECT reason FROM reason WHERE reason.tx = tx.id)" if has_reasons else "NULL"
    found = connection.execute(
        f'SELECT committed_at, kind, start, "end", writer, {reason} FROM tx'
        " WHERE series = ? AND kind <> 'compact'"
        " AND committed_at >= (SELECT value FROM setting WHERE name = 'horizon') ORDER BY id",
        (series_number(connection, series),),
    ).fetchall()
    return [CommitInfo(at, kind, Span(start, end), by, why) for at, kind, start, end, by, why in found]


def diff(
    connection: sqlite3.Connection, series: SeriesId, as_of_a: int, as_of_b: int
) -> tuple[pl.DataFrame, Coverage]:
    """See `Store.diff`, and where damage hides what has changed. Reads only what the commits do not share."""
    connection.execute("BEGIN")
    number = series_number(connection, series)
    ends = [commit_at(connection, as_of)[0] for as_of in (as_of_a, as_of_b)]
    live = View(connection, series, number, LIVE)
    live.look_for_gaps()
    views = [View(connection, series, number, tx) for tx in ends]
    lost_a, lost_b = (view.lost() for view in views)
    suspects = _suspects(connection, series, number, ends)
    # What only one of them has lost is a difference, too, and one that nobody can tell any more.
    damaged = Coverage(damage.span for damage in live.damage)
    damaged |= ((lost_a | lost_b) & Coverage(suspects)) | (lost_a - lost_b) | (lost_b - lost_a)
    parts = []
    for span in suspects:
        before, after = (assemble(view, span, 0, None)[0].between(span.start, span.end - 1) for view in views)
        damaged |= Coverage(damage.span for view in views for damage in view.damage).clip(span)
        parts.append(_compare(*(rows.pick(~damaged.holds(rows.ts)) for rows in (before, after))))
    return pl.concat(parts) if parts else _frame(np.empty(0, np.int64), [], [], []), damaged


def _suspects(
    connection: sqlite3.Connection, series: SeriesId, number: int | None, ends: list[int]
) -> list[Span]:
    """Ranges with a chunk or a hot row that only one of the two commits has, cut to bounded pieces."""
    at_one = "((tx_from <= ?2 AND tx_to > ?2) <> (tx_from <= ?3 AND tx_to > ?3))"
    found = connection.execute(
        f"SELECT first_ts, last_ts FROM chunk WHERE series = ?1 AND {at_one}"
        f" UNION ALL SELECT ts, ts FROM hot WHERE series = ?1 AND {at_one}",
        (number, *ends),
    ).fetchall()
    block = FULL * series.timeframe.step
    rough = Coverage((low // block * block, (high // block + 1) * block) for low, high in found)
    return [
        Span(start, min(start + 16 * block, span.end))
        for span in rough
        for start in range(span.start, span.end, 16 * block)
    ]


def _compare(before: Rows, after: Rows) -> pl.DataFrame:
    at = find(after.ts, before.ts)
    removed = before.pick(at < 0)
    added = after.pick(find(before.ts, after.ts) < 0)
    old, new = before.pick(at >= 0), after.pick(at[at >= 0])
    differs = ~same_values(old, new)
    old, new = old.pick(differs), new.pick(differs)
    changes = ["removed"] * removed.size + ["added"] * added.size + ["changed"] * old.size
    ts = np.concatenate([removed.ts, added.ts, old.ts])
    order = np.argsort(ts, kind="stable")
    return _frame(
        ts[order],
        [changes[i] for i in order],
        _spread([removed, None, old], [removed.size, added.size, old.size], order),
        _spread([None, added, new], [removed.size, added.size, old.size], order),
    )


def _spread(parts: list[Rows | None], counts: list[int], order: np.ndarray) -> list[np.ndarray]:
    columns = []
    for column in range(1, 1 + len(VALUES)):
        pieces = [
            np.full(count, _NAN) if part is None else part[column]
            for part, count in zip(parts, counts, strict=True)
        ]
        columns.append(np.concatenate(pieces)[order])
    return columns


def _frame(ts: np.ndarray, change: list[str], old: list[np.ndarray], new: list[np.ndarray]) -> pl.DataFrame:
    columns = [pl.Series("ts", ts).cast(TS), pl.Series("change", change, dtype=pl.String)]
    for side, values in (("old", old), ("new", new)):
        for position, name in enumerate(VALUES):
            column = values[position] if values else np.empty(0)
            columns.append(pl.Series(f"{side}_{name}", column, nan_to_null=True))
    return pl.DataFrame(columns)
