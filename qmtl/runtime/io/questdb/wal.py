"""How far QuestDB is with what was written to a table, and waiting until it shows all of it."""

from __future__ import annotations

import time
from typing import NamedTuple

from qmtl.foundation.errors import StoreError
from qmtl.runtime.io.questdb.server import QuestDBServer

# How long rows that the server has taken may stay invisible before that is an error.
_VISIBLE_S = 60.0


class Progress(NamedTuple):
    """How far the server is with what was written to a table: visible up to `applied` of `written`."""

    is_suspended: bool
    applied: int
    written: int
    why: str


def progress_of(server: QuestDBServer, table: str) -> Progress | None:
    """How far it is; None for a table that is not there, or has no log of writes.

    table: a name without quotes in it.
    """
    found = server.query(
        "SELECT suspended, writerTxn, sequencerTxn, errorTag, errorMessage FROM wal_tables()"
        f" WHERE name = '{table}'"
    )
    if not found:
        return None
    suspended, applied, written, *why = found[0]
    return Progress(bool(suspended), int(applied), int(written), " ".join(part for part in why if part))


def settle(server: QuestDBServer, table: str) -> bool:
    """Wait until all that was written by now can be read; False for a table of which nobody can say.

    Raises `StoreError` if that takes too long.
    """
    now = progress_of(server, table)
    if now is None:
        return False
    goal = now.written
    deadline, pause = time.monotonic() + _VISIBLE_S, 0.001
    while now.applied < goal:
        if now.is_suspended:
            raise StoreError(
                f"QuestDB has suspended the table {table}",
                path=server.address.shown,
                why=f"{now.why or 'it gives no reason'}; {now.written - now.applied} transactions wait",
                next_step=f"remove the cause, such as a full disk, then: ALTER TABLE {table} RESUME WAL",
            )
        if time.monotonic() > deadline:
            raise StoreError(
                "QuestDB does not show what it has taken",
                path=server.address.shown,
                why=f"after {_VISIBLE_S:.0f} s it is at transaction {now.applied} of {goal}",
                next_step="look into the log of the server, and repeat once wal_tables() shows no lag",
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
        now = progress_of(server, table)
        if now is None:
            return False
    return True
