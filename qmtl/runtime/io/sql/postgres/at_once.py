"""A bar at the end of a series as one trip to the server, which looks itself whether all is as presumed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql.appends import Append
from qmtl.runtime.io.sql.dialect import LIVE, Connection, Question
from qmtl.runtime.io.sql.postgres.timeline import TABLES
from qmtl.runtime.io.sql.presumed import Presumed
from qmtl.runtime.io.sql.single_rows import pack_single
from qmtl.runtime.io.sql.transaction import writer


def is_one_bar(made: Append) -> bool:
    """Whether a write is that, with no more than one coverage record that it ends, adds or makes longer."""
    few = (made.retired, made.added, made.delivered_at)
    return made.rows.size == 1 and all(len(some) <= 1 for some in few)


def question(
    series: SeriesId, presumed: Presumed, tables: int, now: int | None, channel: str, clock: str
) -> Question:
    """What writes one bar, and answers with the time of the commit; with nothing if it was not as presumed.

    tables: which they are, see `timeline.py`. now: the time of the commit, unless it is that of the server.
    channel: where others hear of it.
    """
    newest, made = presumed.newest, presumed.made[series]
    values: dict[str, Any] = {
        "newest": newest.tx,
        "newest_at": newest.as_of,
        "tables": tables,
        "tx": newest.tx + 1,
        "now": now,
        "series": made.number,
        "node": series.text,
        "writer": writer(),
        "start": made.touched.start,
        "stop": made.touched.end,
        "ts": made.rows.ts.item(0),
        "data": pack_single(made.rows, made.number, newest.tx + 1)[0],
        "channel": channel,
    }
    if touches := not made.covered.is_empty:
        values |= {"low": made.covered.start, "high": made.covered.end, "touching": len(made.before.records)}
    for old in made.retired:
        values |= {"old_start": old.start, "old_end": old.end}
    for new in made.added:
        values |= {
            "new_start": new.start,
            "new_end": new.end,
            "outcome": new.outcome,
            "source": new.source,
            "checked_at": new.checked_at,
            "expires_at": new.expires_at,
        }
    for at in made.delivered_at.values():
        values["delivered_at"] = at
    is_last = made.before.is_last
    kind = _Kind(is_last, touches, bool(made.retired), bool(made.added), bool(made.delivered_at))
    return Question(_statement(kind, clock), values)


class _Kind(NamedTuple):
    """What is done to coverage records, and whether a time of delivery is written.

    is_last: whether nothing lies behind, so that the newest commit alone says whether all is as presumed.
    """

    is_last: bool
    touches: bool
    ends: bool
    adds: bool
    delivers: bool


@lru_cache(maxsize=32)
def _statement(kind: _Kind, clock: str) -> str:
    live = f"series = :series AND tx_to = {LIVE}"
    free = f"id = :newest AND committed_at = :newest_at AND {TABLES} = :tables"
    if not kind.is_last:
        free += f" AND {_is_free(kind, live)}"
    answers, versions = kind.adds - kind.ends, 1 + kind.adds
    parts = [
        'made AS (INSERT INTO tx (id, committed_at, kind, writer, series, start, "end")'
        f" SELECT :tx, greatest(:newest_at + 1, coalesce(:now::bigint, {clock})), 'write', :writer, :series,"
        " :start, :stop FROM free RETURNING id, committed_at)",
        "bar AS (INSERT INTO hot (series, tx_to, ts, tx_from, over, data)"
        f" SELECT :series, {LIVE}, :ts, :tx, 0, :data FROM made)",
        f"counted AS (UPDATE series SET hot = hot + 1, answers = answers + {answers},"
        f" versions = versions + {versions} FROM made WHERE series.id = :series)",
        "void AS (DELETE FROM kept_flags USING made"
        " WHERE series = :series AND reach_end > :start AND reach_start < :stop)",
    ]
    if kind.ends:
        parts.append(
            "ended AS (UPDATE answer SET tx_to = :tx FROM made"
            f' WHERE {live} AND answer."end" = :old_end AND answer.start = :old_start)'
        )
    if kind.adds:
        parts.append(
            'began AS (INSERT INTO answer (series, tx_to, "end", start, tx_from, said, source, checked_at,'
            f" expires_at) SELECT :series, {LIVE}, :new_end, :new_start, :tx, :outcome, :source, :checked_at,"
            " :expires_at::bigint FROM made)"
        )
    if kind.delivers:
        parts.append(
            "came AS (INSERT INTO delivery (series, tx_to, ts, tx_from, delivered_at)"
            f" SELECT :series, {LIVE}, :ts, :tx, :delivered_at FROM made)"
        )
    newest = "(SELECT id, committed_at FROM tx ORDER BY id DESC LIMIT 1) AS newest"
    return (
        f"WITH free AS (SELECT FROM {newest} WHERE {free}), {', '.join(parts)}"
        " SELECT committed_at, pg_notify(:channel, id::text)::text FROM made"
    )


def _is_free(kind: _Kind, live: str) -> str:
    """Whether nothing lies where the bar goes, and the coverage records are those that were presumed."""
    free = [
        "EXISTS (SELECT FROM series WHERE id = :series AND node = :node)",
        f"NOT EXISTS (SELECT FROM chunk WHERE {live} AND last_ts >= :ts)",
        f"NOT EXISTS (SELECT FROM hot WHERE {live} AND ts = :ts)",
        f"NOT EXISTS (SELECT FROM lost WHERE {live})",
    ]
    if kind.touches:
        free.append(
            f'(SELECT count(*) FROM answer WHERE {live} AND "end" >= :low AND start <= :high) = :touching'
        )
    if kind.ends:
        free.append(f'EXISTS (SELECT FROM answer WHERE {live} AND "end" = :old_end AND start = :old_start)')
    return " AND ".join(free)


def is_there(connection: Connection, *, asked: Question, session: int, found: list[Any]) -> bool:
    """Whether the commit was made: what it wrote is there, and was written by this process.

    With others locked out, so that nothing is added later by the session that it was sent by: that is ended
    first. found: gets what the question would have answered.
    """
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ? AND usename = current_user"
        " AND application_name = current_setting('application_name')",
        (session,),
    )
    found += connection.execute(
        "SELECT committed_at FROM tx JOIN hot ON hot.series = tx.series AND hot.tx_from = tx.id"
        " WHERE tx.id = :tx AND writer = :writer AND tx.series = :series AND start = :start"
        ' AND "end" = :stop AND ts = :ts AND data = :data',
        asked.values,
    ).fetchall()
    return bool(found)
