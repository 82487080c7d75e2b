"""Small writes of many series that meet no stored row: read, decided and written for all of them at once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql import plans, transaction
from qmtl.runtime.io.sql.dialect import LIVE, Connection, Dialect, Question
from qmtl.runtime.io.sql.facts import decoded
from qmtl.runtime.io.store import coverage_records
from qmtl.runtime.io.store.fencing import Fence, stale_fence
from qmtl.runtime.io.store.rows import Rows
from qmtl.runtime.io.store.values import CoverageRecord, Write


class Small(NamedTuple):
    """A write of few rows."""

    series: SeriesId
    write: Write
    rows: Rows


class Counts(NamedTuple):
    """What the list of series counts beside a name, but for single rows."""

    chunks: int
    answers: int
    versions: int


class Before(NamedTuple):
    """What the store has of a series where a small write goes: no row, but these coverage records.

    hot: how many single rows it has elsewhere. facts: as they are kept; None if nothing is declared.
    is_last: whether it is known that neither rows nor records lie behind the write. since: the commit of each
    of the records.
    """

    number: int
    hot: int
    records: list[CoverageRecord]
    fences: dict[int, Fence]
    facts: str | None
    is_last: bool = False
    counts: Counts = Counts(0, 0, 0)
    since: Sequence[int] = ()


class Append(NamedTuple):
    """What a write adds to the tables, and which coverage records it ends.

    node: the name of the series, and number its row id. covered: from the first to the last instant that the
    write covers; empty if there is none. touched: the range of its rows as well. hot, counts: what the series
    has after it.
    """

    node: str
    number: int
    before: Before
    rows: Rows
    retired: list[CoverageRecord]
    added: list[CoverageRecord]
    delivered_at: Mapping[int, int]
    covered: Span
    touched: Span
    hot: int
    counts: Counts


def small_ones(writes: Mapping[SeriesId, Write], rows: Mapping[SeriesId, Rows]) -> list[Small]:
    """Those of the writes that may only append. rows: those of each write."""
    return [
        Small(series, write, part)
        for series, write in writes.items()
        if (part := rows[series]).size < plans.FEW and not keeps_aside(write)
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
    size = len(rows.ts)
    if before.hot + size > transaction.MANY_HOT and transaction.counts_hot(series, rows):
        return None
    covered = touched = write.covered.hull
    old = before.records
    if len(old) == 1 and (longer := coverage_records.grown(old[0], write)) is not None:
        retired, added = old, [longer]
    else:
        after = [] if covered.is_empty else coverage_records.overlay(old, write)
        if not size and set(old) == set(after):
            return None
        retired = [record for record in old if record not in after]
        added = [record for record in after if record not in old]
    if size:
        start, end = rows.ts.item(0), rows.ts.item(-1) + series.timeframe.step
        if covered.is_empty:
            touched = Span(start, end)
        elif start < covered.start or end > covered.end:
            touched = Span(min(start, covered.start), max(end, covered.end))
    chunks, answers, versions = before.counts
    counts = Counts(chunks, answers + len(added) - len(retired), versions + size + len(added))
    return Append(
        series.text,
        before.number,
        before,
        rows,
        retired,
        added,
        write.delivered_at,
        covered,
        touched,
        before.hot + size,
        counts,
    )


def _declares(write: Write) -> bool:
    return write.declared is not NOTHING_DECLARED and write.declared != NOTHING_DECLARED


def keeps_aside(write: Write) -> bool:
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
    # Records do not overlap: none behind the first that ends later is touched, however many there are.
    last = f'(SELECT min("end") FROM answer WHERE {named} AND tx_to = {LIVE} AND "end" > high)'
    return Questions(
        _question(
            dialect,
            f"SELECT id, node, hot, chunks, answers, versions, {_IS_LAST},"
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
            f'SELECT series, tx_from, start, "end", said, source, checked_at, expires_at, {sound["answer"]}'
            f" FROM wanted JOIN answer ON {named} AND tx_to = {LIVE}"
            f' AND "end" BETWEEN low AND coalesce({last}, high) AND start <= high',
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


# Whether nothing lies behind `high` and `stop`.
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
    since: dict[int, list[int]] = defaultdict(list)
    known = {
        number: (
            by_name[node],
            Before(number, hot, [], {}, None, bool(is_last), Counts(*counts), since[number]),
        )
        for number, node, hot, *counts, is_last, is_free in _found(connection, asked.free)
        if is_free
    }
    unsound: set[int] = set()
    for number, tx, *record, is_sound in _found(connection, asked.records):
        if number in known:
            known[number][1].records.append(CoverageRecord(*record))
            since[number].append(tx)
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
