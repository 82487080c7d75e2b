"""Where in another system the rows of a catalog lie: a number, another one once they are written anew."""

from __future__ import annotations

from qmtl.runtime.io.sql.dialect import Connection

FIRST_PLACE = 1
# The settings of a store that keeps no bytes of chunks itself: where its rows are, and where somebody may be
# writing them anew.
SETTINGS = _PLACE, _COMING = "rows elsewhere", "rows being moved"


def place_of_rows(connection: Connection) -> int | None:
    """Where they are; None in a database that keeps its own."""
    return _setting(connection, _PLACE)


def place_coming(connection: Connection) -> int | None:
    """The last place where somebody began to write them anew."""
    return _setting(connection, _COMING)


def begin_places(connection: Connection) -> None:
    """Note that the rows of a new store lie elsewhere. Whoever may write it can say later that they move."""
    put_rows(connection, FIRST_PLACE)
    begin_moving(connection, FIRST_PLACE)


def put_rows(connection: Connection, place: int) -> None:
    """From this transaction on they are in that place."""
    _set(connection, _PLACE, place)


def begin_moving(connection: Connection, place: int) -> None:
    """From this transaction on nobody else who has begun to write them anew may complete that."""
    _set(connection, _COMING, place)


def _setting(connection: Connection, name: str) -> int | None:
    found = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return None if found is None else int(found[0])


def _set(connection: Connection, name: str, value: int) -> None:
    if _setting(connection, name) is None:
        connection.execute("INSERT INTO setting (name, value) VALUES (?, ?)", (name, value))
    else:
        connection.execute("UPDATE setting SET value = ? WHERE name = ?", (value, name))
