"""The list of commits and the list of series: what is newest, what a time names, what others have touched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.runtime.io.sql.dialect import Connection, Dialect, Question
from qmtl.runtime.io.store.point_in_time import last_at
from qmtl.runtime.io.store.values import Change, Point

# The kind of a commit of no series: what was committed between it and the one before may have been lost.
LOST_TAIL = "lost tail"
# The series that damage has taken anything from.
LOST = "SELECT series FROM lost"


# The newest row ids of series, by all that has one.
_TAKEN = "SELECT 0 AS number UNION ALL SELECT max(id) FROM series" + "".join(
    f" UNION ALL SELECT max(series) FROM {table}" for table in ("chunk", "hot", "answer")
)


class SeriesEntry(NamedTuple):
    """What the list of series says of one: its row id, and how many single rows it has now."""

    number: int
    hot: int


def series_named(node: str) -> SeriesId:
    """The series of an entry. Raises `StoreCorruptError` for what names none: the list was edited."""
    try:
        return SeriesId.parse(node)
    except InvalidRequestError as error:
        raise StoreCorruptError(
            f"the list of series has {node!r}, which names none",
            why=error.what,
            next_step="change it back, or bring the store back from a backup",
        ) from error


def series_number(connection: Connection, series: SeriesId) -> int | None:
    """The row id of a series, or None. Raises `StoreCorruptError` where damage may have hidden it."""
    entry = series_entry(connection, series)
    return None if entry is None else entry.number


def series_entry(connection: Connection, series: SeriesId) -> SeriesEntry | None:
    """The entry of a series, or None. Raises `StoreCorruptError` where damage may have hidden it."""
    (entry,) = series_entries(connection, [series])
    return entry


def series_entries(connection: Connection, names: Sequence[SeriesId]) -> list[SeriesEntry | None]:
    """The entry of each series, or None. Raises `StoreCorruptError` where damage may have hidden one."""
    asked = [entry_question(connection.dialect, series) for series in names]
    each = connection.each(connection.dialect.series_by_name, [one.values for one in asked])
    found = [next(iter(rows), None) for rows in each]
    lacking = [series for series, row in zip(names, found, strict=True) if row is None]
    is_hidden = bool(lacking) and connection.dialect.may_hide(connection, lacking)
    entries = []
    for series, row in zip(names, found, strict=True):
        if is_hidden if row is None else not row[2]:
            raise damaged_list("the list of series", series)
        entries.append(None if row is None else SeriesEntry(row[0], row[1]))
    return entries


def entry_question(dialect: Dialect, series: SeriesId) -> Question:
    """What finds the entry of a series."""
    return Question(dialect.series_by_name, (series.text,))


def certainly_new(connection: Connection, names: Sequence[SeriesId]) -> set[SeriesId]:
    """Those that the list of series lacks; none where damage may have hidden any of them."""
    listed = connection.dialect.listed("?", ["text:name"])
    known = connection.execute(
        f"WITH wanted AS ({listed}) SELECT node FROM wanted JOIN series ON node = name",
        (json.dumps([[series.text] for series in names]),),
    ).fetchall()
    new = set(names) - {series_named(node) for (node,) in known}
    return set() if new and connection.dialect.may_hide(connection, new) else new


def enter_series(connection: Connection, series: SeriesId) -> int:
    """The row id of a series, entered if it is new."""
    number = series_number(connection, series)
    return add_series(connection, series) if number is None else number


def add_series(connection: Connection, series: SeriesId) -> int:
    """Enter a series that is not in the list; its row id."""
    # Without a hole, also where a transaction was undone: a hole is what damage leaves. And never that of a
    # series whose entry is gone, and whose bars are not.
    (number,) = connection.execute(
        f"INSERT INTO series (id, node) SELECT max(number) + 1, ? FROM ({_TAKEN}) AS taken RETURNING id",
        (series.text,),
    ).fetchone()
    proof = connection.dialect.proofs["series"]
    connection.execute(f"UPDATE series SET crc = {proof} WHERE id = ?", (number,))
    return int(number)


def newest(connection: Connection) -> Point:
    """The newest commit; (0, 0) if there is none."""
    found = connection.execute(connection.dialect.newest).fetchone()
    if found is None:
        return Point(0, 0)
    if not found[2]:
        raise damaged_list("the list of commits")
    return Point(int(found[0]), int(found[1]))


def damaged_list(what: str, series: SeriesId | None = None) -> StoreCorruptError:
    """The error of a list of which a row is not what was written."""
    return StoreCorruptError(
        f"{what} is damaged",
        series=series,
        next_step="run `qmtl store verify`; bring the store back from a backup (`qmtl store restore`)",
    )


def horizon_of(connection: Connection) -> int:
    """The retention horizon, ns. Raises `StoreCorruptError` where it is missing, or not what was written."""
    found = connection.execute(
        f"SELECT value, {connection.dialect.sound['setting']} FROM setting WHERE name = 'horizon'"
    ).fetchone()
    if found is None or not found[1]:
        raise damaged_list("the list of settings")
    return int(found[0])


def horizon_if_sound(connection: Connection) -> int:
    """The same for those who read no `as_of`: 0 where it is damaged, which whoever reads one hears of."""
    try:
        return horizon_of(connection)
    except StoreCorruptError:
        return 0


def commit_at(connection: Connection, as_of: int) -> Point:
    """Number and time of the newest commit at `as_of`.

    Raises `StoreError` before the horizon, and where a later commit may be missing that was made by then.
    """
    found = newest_at(connection, as_of)
    if found.tx and as_of > found.as_of:
        _refuse_doubt(connection, found, as_of)
    return found


def newest_at(connection: Connection, as_of: int) -> Point:
    """The same of those that are here. Raises `StoreError` before the horizon."""
    horizon = horizon_of(connection)
    if as_of < horizon:
        pinned = connection.execute(
            f"SELECT tx, as_of, {connection.dialect.sound['pin']} FROM pin WHERE as_of = ?", (as_of,)
        ).fetchone()
        if pinned is not None and not pinned[2]:
            raise damaged_list("the list of pins")
        if pinned is not None:
            return Point(*pinned[:2])
        raise StoreError(
            f"the store no longer knows what it held at {iso(as_of)}",
            why=f"older versions were swept up to the retention horizon {iso(horizon)}",
            next_step="ask as of that time or later, or exactly as of a pin (`qmtl store pins`); a longer "
            "retention keeps more from now on",
        )

    def time_of(tx: int) -> int:
        sound = connection.dialect.sound["tx"]
        found = connection.execute(f"SELECT committed_at, {sound} FROM tx WHERE id = ?", (tx,)).fetchone()
        if found is None or not found[1]:
            raise damaged_list("the list of commits")
        return int(found[0])

    (first,) = connection.execute("SELECT min(id) FROM tx").fetchone()
    return Point(0, 0) if first is None else last_at(first, newest(connection).tx, as_of, time_of)


def _refuse_doubt(connection: Connection, found: Point, as_of: int) -> None:
    """Raise `StoreError` where commits between `found` and `as_of` may be missing."""
    after = connection.execute("SELECT kind FROM tx WHERE id = ?", (found.tx + 1,)).fetchone()
    why = connection.missing_behind if after is None else ""
    if after == (LOST_TAIL,):
        why = "the server was promoted or restored then, and may have lost them"
    if why:
        raise StoreError(
            f"nobody knows what the store held at {iso(as_of)}",
            why=f"the newest commit before is of {iso(found.as_of)}; there may be others behind it: {why}",
            next_step=f"read as of that commit ({found.as_of}), or the newest state, without `as_of=`",
        )


def has_all(connection: Connection, points: Iterable[Point]) -> bool:
    """Whether commits are in the list, with these times; (0, 0) is none. False also of those swept since."""
    wanted = [tuple(point) for point in points if point.tx]
    each = connection.each("SELECT 1 FROM tx WHERE id = ? AND committed_at = ?", wanted) if wanted else ()
    return all(list(rows) for rows in each)


def changes(connection: Connection, since: int) -> list[Change]:
    """What commits after `since` touched. Where the list no longer reaches back, whole series are named."""
    rows = connection.execute(
        'SELECT tx.id, node, start, "end" FROM tx JOIN series ON series.id = tx.series'
        " WHERE tx.id > ? AND kind <> 'compact' ORDER BY tx.id",
        (since,),
    ).fetchall()
    found = [Change(tx, series_named(node), Span(start, end)) for tx, node, start, end in rows]
    if found and found[0].tx == since + 1:
        return found  # the list reaches back that far
    (first,) = connection.execute("SELECT min(id) FROM tx").fetchone()
    if first is None or since >= first - 1:
        return found
    return whole_series(connection, first - 1) + found


def whole_series(connection: Connection, tx: int) -> list[Change]:
    """Changes of all that there is."""
    nodes = connection.execute("SELECT node FROM series ORDER BY id").fetchall()
    return [Change(tx, series_named(node), Span(EARLIEST, LATEST)) for (node,) in nodes]
