"""Which tables a server has, and of which columns, also in the moments after its start.

It answers as soon as it knows the names of its tables, and then finds out, one after the other, what they
consist of. Until it is through, `tables()` leaves out tables that are there, and `table_columns()` says of
them that they do not exist. With 400 tables and a slow processor, 9.3.4 left out 231 of them for a tenth of a
second. `wal_tables()`, and statements that name a table, know all from the beginning.
"""

from __future__ import annotations

import time
from typing import Any

from qmtl.runtime.io.questdb.server import QuestDBServer, StatementError

# How long a table may be known by name alone before the server is believed that it has no columns.
_STARTING_S = 60.0


def names_of_tables(server: QuestDBServer) -> list[str]:
    """Of all tables with a log of writes: those of a store, but for `NAME_store`, have one."""
    return [str(name) for (name,) in server.query("SELECT name FROM wal_tables()")]


def columns_of(server: QuestDBServer, table: str, what: str) -> list[list[Any]] | None:
    """What `table_columns()` says of each column of a table or view; None where there is no such table.

    table: a name without quotes in it. what: names of columns of that function, as a statement has them.
    """
    deadline = time.monotonic() + _STARTING_S
    while True:
        try:
            return server.query(f"SELECT {what} FROM table_columns('{table}')")
        except StatementError as failure:
            if not _is_missing(failure):
                raise
            if not _answers(server, table) or time.monotonic() > deadline:
                return None
        time.sleep(0.02)


def _answers(server: QuestDBServer, table: str) -> bool:
    """Whether a statement that names the table finds it."""
    try:
        server.query(f'SELECT 1 FROM "{table}" LIMIT 0')
    except StatementError as failure:
        if _is_missing(failure):
            return False
        raise
    return True


def _is_missing(failure: StatementError) -> bool:
    return "does not exist" in (failure.why or "")
