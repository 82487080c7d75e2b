"""What damage has hidden of the index of series: found by what was counted and by bytes that name a place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from qmtl.runtime.io.sql.chunks import Chunk
from qmtl.runtime.io.sql.dialect import ALL_VERSIONS, COUNTS, LIVE
from qmtl.runtime.io.sql.single_rows import place_of
from qmtl.runtime.io.sql.vanished_rows import covered_bars
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.sql.views import asked

# Stamp and first commit of a single row, or None where its bytes are damaged too.
_Place = tuple[int | None, int]


def look_for_gaps(views: Sequence[View]) -> None:
    """Compare what the index has of each series with what was counted: damage can hide an entry wholly."""
    views = [view for view in views if view.number is not None]
    counts = asked(
        views, f"SELECT chunks, hot, answers, {COUNTS} FROM series AS series_of WHERE id = :series"
    )
    for view, rows, places in zip(views, counts, misplaced(views, live=True), strict=True):
        numbers = _only(rows)
        counted, found = numbers[:3], numbers[3:]
        if counted != found or places:
            _report_gaps(view, counted, found, places)


def _report_gaps(view: View, counted: list[int], found: list[int], places: list[_Place]) -> None:
    if counted != found:
        names = ("chunks", "single rows", "answers")
        lacking = ", ".join(
            f"{n} of {c} {w}" for n, c, w in zip(found, counted, names, strict=True) if n != c
        )
        view.report_index(f"the index of the series has {lacking}")
    for ts, _ in places:
        if ts is None:
            view.report_index("a single row, and its place, are damaged")
        else:
            view.report_single(ts)
    assert view.number is not None
    chunks = (chunk[:3] for chunk in view.chunks(-LIVE, LIVE - 1))
    over = covered_bars(view.connection, view.number, view.series.timeframe.step, chunks)
    if over:
        view.report_index("single rows are not found by their time")
    view.damage = [one._replace(over=over) if one.of_index else one for one in view.damage]


def look_through_history(views: Sequence[View]) -> list[bool]:
    """Look for rows of earlier commits whose place in the index is damaged: reads as of then miss them.

    The bytes of a single row say where it belongs. Where they do not match either, and where a row has
    vanished, nobody can say which bars are right. Of each view, whether all is sound, at whichever commit.
    """
    known = [view for view in views if view.number is not None]
    counts = asked(known, f"SELECT versions, {ALL_VERSIONS} FROM series AS series_of WHERE id = :series")
    unsound = set()
    for view, rows, places in zip(known, counts, misplaced(known), strict=True):
        counted, there = _only(rows)
        if counted != there:
            view.report_history(f"the index of the series has {there} of {counted} versions")
        for ts, tx_from in places:
            if ts is None:
                view.report_history("a single row of an earlier commit, and its place, are damaged")
            elif tx_from <= view.tx:
                view.report_single(ts)
        if counted != there or places:
            unsound.add(view)
    return [view not in unsound for view in views]


def look_through_entries(views: Sequence[View]) -> None:
    """Look for chunks and answers of any commit whose entries are damaged."""
    if not views or not views[0].connection.dialect.has_proofs:
        return
    sound = views[0].connection.dialect.sound
    entries = asked(
        views,
        "SELECT id, first_ts, last_ts, rows, codec, checksum FROM chunk"
        f" WHERE series = :series AND NOT ({sound['chunk']})",
    )
    for view, found in zip(views, entries, strict=True):
        for row in list(found):
            view.report_entry(Chunk(*row))
    counts = asked(views, f"SELECT count(*) FROM answer WHERE series = :series AND NOT ({sound['answer']})")
    for view, rows in zip(views, counts, strict=True):
        if _only(rows)[0]:
            view.report_index("an answer does not match its checksum")


def _only(rows: Iterable[Any]) -> list[int]:
    (row,) = rows
    return list(row)


def misplaced(views: Sequence[View], *, live: bool = False) -> list[list[_Place]]:
    """Of each view, the single rows whose place is damaged, as their bytes say.

    live: only of those that hold now.
    """
    if not views or not views[0].connection.dialect.has_proofs:
        return [[] for _ in views]
    dialect = views[0].connection.dialect
    which = f" AND tx_to {dialect.same} :live" if live else ""
    # Not `=`: SQLite would put the series that is looked for into the proof, in place of what is there.
    found = asked(
        views,
        f"SELECT data FROM hot WHERE series {dialect.same} :series{which} AND NOT ({dialect.sound['hot']})",
    )
    return [
        [place_of(view.number or -1, data) or (None, 0) for (data,) in rows]
        for view, rows in zip(views, found, strict=True)
    ]
