"""Catalogs of stores whose rows lie in another system: where they lie there, and that nobody opens one alone.

Where they lie is a number, and another one once they are written anew. A catalog also notes at which start of
that system its newest rows were last looked at, see `questdb/restarts`; which list of its chunks lies there,
see `questdb/current`; and which commits it has forgotten, because it is older than that list.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from secrets import randbits

from qmtl.foundation.errors import StoreError
from qmtl.runtime.io.sql.commits import newest
from qmtl.runtime.io.sql.dialect import Connection

FIRST_PLACE = 1
# The settings of a store that keeps no bytes of chunks itself: where its rows are, where somebody may be
# writing them anew, after which commit they were, at which start of the other system they were looked at,
# and, of a catalog that a copy has made, a number that the tables of its rows have as well. Then the number
# of the list of chunks; and of commits that the list has and the catalog has not, how many rows they wrote,
# and number and time of the first.
_FORGOTTEN = ("rows forgotten", "rows forgotten from commit", "rows forgotten from time")
SETTINGS = _PLACE, _COMING, _MOVED, _STARTED, _COPY, _LIST, *_ = (
    "rows elsewhere",
    "rows being moved",
    "rows moved after",
    "rows seen after start",
    "rows of the copy",
    "rows listed in",
    *_FORGOTTEN,
)


@dataclass(frozen=True)
class Forgotten:
    """What a catalog no longer knows: how many rows, and number and time (ns) of the first commit."""

    rows: int
    tx: int
    at: int


def settle_rows(
    connection: Connection,
    location: str,
    writing: Callable[[], AbstractContextManager[Connection]],
    *,
    are_elsewhere: bool,
) -> None:
    """Refuse a database whose rows lie elsewhere than it was opened for; a new one notes where they do.

    writing: of the database, see `Database.writing`.
    """
    is_catalog = place_of_rows(connection) is not None
    if is_catalog and not are_elsewhere:
        raise StoreError(
            "this is the catalog of a store whose rows lie elsewhere",
            path=location,
            why="without them its bars would be taken for lost",
            next_step="open it as questdb://host:9000?catalog=...",
        )
    if is_catalog or not are_elsewhere:
        return
    with writing() as writer:
        if place_of_rows(writer) is not None:
            return  # another process was quicker
        if writer.execute("SELECT 1 FROM tx LIMIT 1").fetchone() is not None:
            raise StoreError(
                "this is a store of its own, and cannot be the catalog of another",
                path=location,
                why="it has commits whose rows lie in it",
                next_step="name a new folder or schema as the catalog",
            )
        put_rows(writer, FIRST_PLACE)
        # Whoever may write the store, and make no setting, can change them.
        begin_moving(writer, FIRST_PLACE)
        note_start(writer, 0)
        put_list(writer, 0)
        note_forgotten(writer, None)
        writer.execute("COMMIT")


def place_of_rows(connection: Connection) -> int | None:
    """Where they are; None in a database that keeps its own."""
    return _setting(connection, _PLACE)


def place_coming(connection: Connection) -> int | None:
    """The last place where somebody began to write them anew."""
    return _setting(connection, _COMING)


def put_rows(connection: Connection, place: int) -> None:
    """From this transaction on they are in that place, written anew."""
    _set(connection, _PLACE, place)
    note_written_anew(connection)


def note_written_anew(connection: Connection) -> None:
    """The rows of all commits were written shortly before this transaction."""
    _set(connection, _MOVED, newest(connection).tx)


def begin_moving(connection: Connection, place: int) -> None:
    """From this transaction on nobody else who has begun to write them anew may complete that."""
    _set(connection, _COMING, place)


def number_of_copy(connection: Connection) -> int:
    """What the tables of rows know the copy by that is made in this database; made by this transaction."""
    number = _setting(connection, _COPY)
    if number is None:
        number = 1 + randbits(62)
        _set(connection, _COPY, number)
    return number


def moved_after(connection: Connection) -> int:
    """The newest commit as the rows were put where they are."""
    return _setting(connection, _MOVED) or 0


def start_seen(connection: Connection) -> int:
    """The start of the other system at which its newest rows were looked at; 0 for none."""
    return _setting(connection, _STARTED) or 0


def note_start(connection: Connection, start: int) -> None:
    """From this transaction on the newest rows were looked at since that start."""
    _set(connection, _STARTED, start)


def list_of_chunks(connection: Connection) -> int:
    """The number of the list of chunks that lies beside the rows; 0 for none."""
    return _setting(connection, _LIST) or 0


def put_list(connection: Connection, number: int) -> None:
    """From this transaction on the list of chunks has that number."""
    _set(connection, _LIST, number)


def forgotten(connection: Connection) -> Forgotten | None:
    """What was noted of commits that it no longer knows."""
    rows, tx, at = (_setting(connection, name) or 0 for name in _FORGOTTEN)
    return Forgotten(rows, tx, at) if at else None


def note_forgotten(connection: Connection, found: Forgotten | None) -> None:
    """Note it, until it is noted that there is none."""
    for name, value in zip(_FORGOTTEN, (found.rows, found.tx, found.at) if found else (0, 0, 0), strict=True):
        _set(connection, name, value)


def _setting(connection: Connection, name: str) -> int | None:
    found = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return None if found is None else int(found[0])


def _set(connection: Connection, name: str, value: int) -> None:
    if _setting(connection, name) is None:
        connection.execute("INSERT INTO setting (name, value) VALUES (?, ?)", (name, value))
    else:
        connection.execute("UPDATE setting SET value = ? WHERE name = ?", (value, name))
