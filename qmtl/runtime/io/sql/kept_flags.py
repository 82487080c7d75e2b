"""Flags of stretches of series, kept until a commit touches what they rest on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, reduce
from typing import Any, NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.kept_flags import (
    KeptFlags,
    from_bytes,
    joined,
    merged,
    stretch_number,
    to_bytes,
)
from qmtl.runtime.io.sql.commits import changes, has_all, newest, series_entries, series_number
from qmtl.runtime.io.sql.dialect import Connection, Dialect, Question
from qmtl.runtime.io.store.values import Judged

_COLUMNS = 'start, "end", reach_start, reach_end, flags'


class Wanted(NamedTuple):
    """A series, its row id, and the rules whose flags are wanted."""

    series: SeriesId
    number: int
    rules: bytes


def of_span(connection: Connection, wanted: Sequence[Wanted], span: Span) -> list[Flags | None]:
    """Of each series the flags of a span that were kept; None where a part of them is missing or damaged."""
    ends = [_ends(one, span) for one in wanted]
    asked = [question(connection.dialect, one, span) for one in wanted]
    try:
        each = connection.each(asked[0].sql, [one.values for one in asked]) if asked else ()
        found = [list(rows) for rows in each]
    except Exception as failure:  # of the engine: only its dialect can name those that tell of damage
        if not connection.dialect.is_damage(failure):
            raise
        if len(wanted) == 1:
            return [None]  # they can be found again
        return [flags for one in wanted for flags in of_span(connection, [one], span)]
    return [
        joined([_kept(row) for row in rows], span)
        if len(rows) > high - low and all(row[-1] for row in rows)
        else None
        for rows, (low, high) in zip(found, ends, strict=True)
    ]


def question(dialect: Dialect, wanted: Wanted, span: Span) -> Question:
    """What finds the flags of a series."""
    return Question(_of_stretches(dialect), (wanted.number, *_ends(wanted, span), wanted.rules))


@cache
def _of_stretches(dialect: Dialect) -> str:
    # In a file the sign keeps the search to the series, as that of `make_void`: where damage has put rows out
    # of order, both meet the same ones. A server proves its pages, and would read hundreds for two of them.
    stretch = "stretch" if dialect.is_server else "+stretch"
    return (
        f"SELECT {_COLUMNS}, {dialect.sound['kept_flags']} FROM kept_flags"
        f" WHERE series = ? AND {stretch} BETWEEN ? AND ? AND rules = ? ORDER BY stretch"
    )


def _ends(wanted: Wanted, span: Span) -> tuple[int, int]:
    step = wanted.series.timeframe.step
    return stretch_number(span.start, step), stretch_number(span.end - 1, step)


def listed(connection: Connection, series: SeriesId) -> list[tuple[bytes, KeptFlags]]:
    """All that is kept of a series, by rules and time."""
    found = connection.execute(
        f"SELECT {_COLUMNS}, rules FROM kept_flags WHERE series = ?"
        f" AND {connection.dialect.sound['kept_flags']} ORDER BY rules, stretch",
        (series_number(connection, series) or -1,),
    ).fetchall()
    return [(row[-1], _kept(row)) for row in found]


def keep(connection: Connection, judged: Iterable[Judged]) -> None:
    """Keep flags that no commit has made void since they were found. Inside a transaction that writes."""
    valid = _still_valid(connection, list(judged))
    entries = zip(valid, series_entries(connection, list(valid)), strict=True)
    numbers = {series: entry.number for series, entry in entries if entry is not None}
    new: dict[_Key, list[KeptFlags]] = defaultdict(list)
    for series, number in numbers.items():
        for rules, kept in valid[series]:
            stretch = stretch_number(kept.span.start, series.timeframe.step)
            new[_Key(number, stretch, rules)].append(kept)
    where = "WHERE series = ? AND stretch = ? AND rules = ?"
    each = connection.each(
        f"SELECT {_COLUMNS}, {connection.dialect.sound['kept_flags']} FROM kept_flags {where}", list(new)
    )
    known = {key: row for key, rows in zip(new, each, strict=True) if (row := next(iter(rows), None))}
    connection.queue(f"DELETE FROM kept_flags {where}", list(known))
    sound = {key: _kept(row) for key, row in known.items() if row[-1]}
    put = {key: reduce(merged, parts, sound.get(key, parts[0])) for key, parts in new.items()}
    connection.queue(
        connection.dialect.insert_flags,
        [(*key, *kept.span, *kept.reach, to_bytes(kept.flags)) for key, kept in put.items()],
    )


class _Key(NamedTuple):
    """The row id of a series, the number of a stretch, and the rules."""

    number: int
    stretch: int
    rules: bytes


def make_void(connection: Connection, touched: Iterable[tuple[int, Span]]) -> None:
    """Forget the flags of each series that rest on anything of the range that is being changed."""
    connection.queue(
        "DELETE FROM kept_flags WHERE series = ? AND reach_end > ? AND reach_start < ?",
        [(number, *span) for number, span in touched],
    )


def _still_valid(
    connection: Connection, judged: list[Judged]
) -> dict[SeriesId, list[tuple[bytes, KeptFlags]]]:
    seen = {one.seen for one in judged}
    since = min((point.tx for point in seen), default=0)
    sound = connection.dialect.sound["tx"]
    spoilt = connection.execute(f"SELECT 1 FROM tx WHERE id > ? AND NOT ({sound}) LIMIT 1", (since,))
    if spoilt.fetchone() is not None or not has_all(connection, seen):
        return {}  # nobody can say what has been touched
    commits = changes(connection, since) if newest(connection).tx > since else []
    valid: dict[SeriesId, list[tuple[bytes, KeptFlags]]] = defaultdict(list)
    for series, rules, point, kept in judged:
        if not any(one.tx > point.tx and one.series == series and kept.rests_on(one.span) for one in commits):
            valid[series].append((rules, kept))
    return valid


def _kept(row: tuple[Any, ...]) -> KeptFlags:
    start, end, reach_start, reach_end, flags = row[:5]
    return KeptFlags(Span(start, end), Span(reach_start, reach_end), from_bytes(flags))
