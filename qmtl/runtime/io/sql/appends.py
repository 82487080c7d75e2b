"""Small writes of many series that meet no stored row: read, decided and written for all of them at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql import kept_flags, plans, transaction
from qmtl.runtime.io.sql.dialect import LIVE, Connection, Dialect, Question
from qmtl.runtime.io.sql.facts import decoded
from qmtl.runtime.io.sql.single_rows import pack_each
from qmtl.runtime.io.store import coverage_records
from qmtl.runtime.io.store.fencing import Fence, stale_fence
from qmtl.runtime.io.store.rows import Rows
from qmtl.runtime.io.store.values import CoverageRecord, Point, Write


class Small(NamedTuple):
    """A write of few rows."""

    series: SeriesId
    write: Write
    rows: Rows


class Before(NamedTuple):
    """What the store has of a series where a small write goes: no row, but these coverage records.

    hot: how many single rows it has elsewhere. facts: as they are kept; None if nothing is declared.
    is_last: whether it is known that neither rows nor records lie behind the write.
    """

    number: int
    hot: int
    records: list[CoverageRecord]
    fences: dict[int, Fence]
    facts: str | None
    is_last: bool = False


class Append(NamedTuple):
    """What a write adds to the tables, and which coverage records it ends.

    number: the row id of the series. covered: from the first to the last instant that the write covers;
    empty if there is none. touched: the range of its rows as well.
    """

    number: int
    before: Before
    rows: Rows
    retired: list[CoverageRecord]
    added: list[CoverageRecord]
    delivered_at: Mapping[int, int]
    covered: Span
    touched: Span


def small_ones(writes: Mapping[SeriesId, Write], rows: Mapping[SeriesId, Rows]) -> list[Small]:
    """Those of the writes that may only append. rows: those of each write."""
    return [
        Small(series, write, part)
        for series, write in writes.items()
        if (part := rows[series]).size < plans.FEW and not _keeps_aside(write)
    ]


def appends(
    connection: Connection, small: Sequence[Small], asked: Questions | None = None
) -> dict[SeriesId, Append]:
    """Those of the writes that only append. The others must go their own way, one by one.

    asked: the `questions` about them, if they were foreseen.
    """
    asked = questions(connection.dialect, small) if asked is None else asked
    return {
        one.series: made
        for one, before in _before(connection, small, asked)
        if (made := append(*one, before)) is not None
    }


def append(series: SeriesId, write: Write, rows: Rows, before: Before) -> Append | None:
    """What a write adds; None where it adds nothing, where it is refused, or where it does more than add."""
    if write.fences and stale_fence(series, write.fences, before.fences) is not None:
        return None
    if _declares(write) and not _is_known(before.facts, write.declared):
        return None
    size = rows.size
    if before.hot + size > transaction.MANY_HOT and transaction.counts_hot(series, rows):
        return None
    covered = touched = write.covered.hull
    old = before.records
    after = [] if covered.is_empty else coverage_records.overlay(old, write)
    if not size and set(old) == set(after):
        return None
    if size:
        start, end = rows.ts.item(0), rows.ts.item(-1) + series.timeframe.step
        if covered.is_empty:
            touched = Span(start, end)
        elif start < covered.start or end > covered.end:
            touched = Span(min(start, covered.start), max(end, covered.end))
    return Append(
        before.number,
        before,
        rows,
        [record for record in old if record not in after],
        [record for record in after if record not in old],
        write.delivered_at,
        covered,
        touched,
    )


def write_all(connection: Connection, made: Sequence[tuple[Point, Append]]) -> None:
    """Write appends, each as the commit of its point."""
    if not made:
        return
    dialect, many = connection.dialect, connection.queue
    packed = iter(pack_each((one.rows, one.number, point.tx) for point, one in made))
    single = [
        (one.number, LIVE, ts, point.tx, 0, next(packed))
        for point, one in made
        for ts in one.rows.ts.tolist()
    ]
    many(dialect.insert_hot, single)
    many(
        dialect.retire_record,
        [(point.tx, one.number, LIVE, old.end, old.start) for point, one in made for old in one.retired],
    )
    many(
        dialect.insert_record,
        [
            (one.number, LIVE, a.end, a.start, point.tx, a.outcome, a.source, a.checked_at, a.expires_at)
            for point, one in made
            for a in one.added
        ],
    )
    many(
        dialect.insert_delivery,
        [(one.number, LIVE, ts, point.tx, at) for point, one in made for ts, at in one.delivered_at.items()],
    )
    many(
        dialect.count_more,
        [
            (
                0,
                one.rows.size,
                len(one.added) - len(one.retired),
                one.rows.size + len(one.added),
                one.number,
            )
            for _, one in made
        ],
    )
    kept_flags.make_void(connection, [(one.number, one.touched) for _, one in made])
    writer = transaction.writer()
    many(
        dialect.insert_commit,
        [(*point, "write", writer, one.number, *one.touched) for point, one in made],
    )


def _declares(write: Write) -> bool:
    return write.declared is not NOTHING_DECLARED and write.declared != NOTHING_DECLARED


def _keeps_aside(write: Write) -> bool:
    return write.quarantine is not None and write.quarantine.height > 0


@lru_cache(maxsize=256)
def _is_known(stored: str | None, declared: SeriesFacts) -> bool:
    """Whether all that a write declares is what the store declares already."""
    known = {} if stored is None else decoded(stored).to_mapping()
    return declared.to_mapping().items() <= known.items()


class Questions(NamedTuple):
    """What is asked before small writes; None where no write needs to know it."""

    free: Question | None
    records: Question | None
    fences: Question | None
    facts: Question | None


def questions(dialect: Dialect, writes: Sequence[Small]) -> Questions:
    """Questions of the series by their names, so that none has to wait for another."""
    sound = dialect.sound
    listed = [(one.series.text, one.write, one.rows) for one in writes]
    named = "series = (SELECT id FROM series WHERE node = name)"
    return Questions(
        _question(
            dialect,
            f"SELECT id, node, hot, {_IS_LAST if dialect.is_server else 'NULL'},"
            f" {sound['series']} AND NOT EXISTS"
            f" (SELECT 1 FROM chunk WHERE chunk.series = series.id AND chunk.tx_to = {LIVE}"
            " AND last_ts >= low) AND NOT EXISTS"
            f" (SELECT 1 FROM hot WHERE hot.series = series.id AND hot.tx_to = {LIVE}"
            " AND ts BETWEEN low AND high)"
            f" AND id NOT IN (SELECT lost.series FROM lost WHERE lost.tx_to = {LIVE})"
            " FROM wanted JOIN series ON node = name",
            [(name, *_ends(rows), write.covered.hull.end) for name, write, rows in listed],
        ),
        _question(
            dialect,
            f'SELECT series, start, "end", said, source, checked_at, expires_at, {sound["answer"]}'
            f' FROM wanted JOIN answer ON {named} AND tx_to = {LIVE} AND "end" >= low AND start <= high',
            [(name, *write.covered.hull) for name, write, _ in listed if write.covered],
        ),
        _question(
            dialect,
            "SELECT series, shard, token, claim FROM wanted"
            f" JOIN fence ON {named} AND shard BETWEEN low AND high",
            [(name, min(write.fences), max(write.fences)) for name, write, _ in listed if write.fences],
        ),
        _question(
            dialect,
            f"SELECT series, facts, {sound['facts']} FROM wanted JOIN facts ON {named} AND tx_to = {LIVE}",
            [(name, None, None) for name, write, _ in listed if _declares(write)],
        ),
    )


# Whether nothing lies behind `high` and `stop`. Only who writes by it without asking wants to know.
_IS_LAST = (
    f"NOT EXISTS (SELECT 1 FROM hot WHERE hot.series = series.id AND hot.tx_to = {LIVE} AND ts > high)"
    " AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.series = series.id"
    f' AND answer.tx_to = {LIVE} AND answer."end" > stop)'
)


def _question(dialect: Dialect, sql: str, wanted: Sequence[tuple[Any, ...]]) -> Question | None:
    """A question that sees `wanted` as a table of `name`, `low`, `high` and, if there are more, `stop`."""
    if not wanted:
        return None
    table = dialect.listed("?", ("text:name", "low", "high", "stop")[: len(wanted[0])])
    return Question(f"WITH wanted AS ({table}) {sql}", (json.dumps(wanted),))


def _before(connection: Connection, writes: Sequence[Small], asked: Questions) -> list[tuple[Small, Before]]:
    """What is known of the series that are sound, and have no row where the write has any."""
    by_name = {one.series.text: one for one in writes}
    known = {
        number: (by_name[node], Before(number, hot, [], {}, None, bool(is_last)))
        for number, node, hot, is_last, is_free in _found(connection, asked.free)
        if is_free
    }
    unsound: set[int] = set()
    for number, *record, is_sound in _found(connection, asked.records):
        if number in known:
            known[number][1].records.append(CoverageRecord(*record))
            if not is_sound:
                unsound.add(number)
    for number, shard, token, claim in _found(connection, asked.fences):
        if number in known:
            known[number][1].fences[shard] = Fence(token, claim)
    for number, text, is_sound in _found(connection, asked.facts):
        if number in known:
            one, before = known[number]
            known[number] = one, before._replace(facts=text)
            if not is_sound:
                unsound.add(number)
    return [both for number, both in known.items() if number not in unsound]


def _found(connection: Connection, question: Question | None) -> Sequence[Any]:
    return () if question is None else connection.execute(*question).fetchall()


def _ends(rows: Rows) -> tuple[int | None, int | None]:
    return (int(rows.ts[0]), int(rows.ts[-1])) if rows.size else (None, None)
