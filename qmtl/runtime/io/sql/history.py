"""The commits of a series, and what changed between two of them."""

from __future__ import annotations

import polars as pl

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql.assembling import assemble
from qmtl.runtime.io.sql.commits import commit_at, damaged_list, horizon_of, series_number
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.index_checks import look_for_gaps, look_through_entries, look_through_history
from qmtl.runtime.io.sql.rewrite_plan import FULL
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.difference import changes_between
from qmtl.runtime.io.store.rows import NO_ROWS
from qmtl.runtime.io.store.values import CommitInfo


def commits(connection: Connection, series: SeriesId) -> list[CommitInfo]:
    """See `History.commits`: all since the retention horizon. What a pin keeps beyond it, the pin names."""
    sound = connection.dialect.sound
    found = connection.execute(
        'SELECT committed_at, kind, start, "end", writer,'
        f" (SELECT reason FROM reason WHERE reason.tx = tx.id), {sound['tx']}"
        f" AND NOT EXISTS (SELECT 1 FROM reason WHERE reason.tx = tx.id AND NOT ({sound['reason']}))"
        " FROM tx WHERE series = ? AND kind <> 'compact'"
        " AND committed_at >= ? ORDER BY id",
        (series_number(connection, series), horizon_of(connection)),
    ).fetchall()
    if not all(is_sound for *_, is_sound in found):
        raise damaged_list("the list of commits")
    return [CommitInfo(at, kind, Span(start, end), by, why) for at, kind, start, end, by, why, _ in found]


def diff(
    connection: Connection, series: SeriesId, as_of_a: int, as_of_b: int
) -> tuple[pl.DataFrame, Coverage]:
    """See `History.diff`, and where damage hides changes. Reads only what the commits do not share."""
    number = series_number(connection, series)
    ends = [commit_at(connection, as_of).tx for as_of in (as_of_a, as_of_b)]
    live = View(connection, series, number, LIVE)
    look_for_gaps([live])
    views = [View(connection, series, number, tx) for tx in ends]
    lost_a, lost_b = (view.lost() for view in views)
    suspects = _suspects(connection, series, number, ends)
    # What only one of them has lost is a difference, too, and one that nobody can tell any more.
    look_through_history(views)
    look_through_entries(views)
    damaged = Coverage(damage.span for seen in (live, *views) for damage in seen.damage)
    damaged |= ((lost_a | lost_b) & Coverage(suspects)) | (lost_a - lost_b) | (lost_b - lost_a)
    parts = []
    for span in suspects:
        before, after = (
            found.rows.between(span.start, span.end - 1) for found in assemble(views, span, [0] * len(views))
        )
        damaged |= Coverage(damage.span for view in views for damage in view.damage).clip(span)
        parts.append(changes_between(*(rows.pick(~damaged.holds(rows.ts)) for rows in (before, after))))
    return pl.concat(parts) if parts else changes_between(NO_ROWS, NO_ROWS), damaged


def _suspects(connection: Connection, series: SeriesId, number: int | None, ends: list[int]) -> list[Span]:
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
